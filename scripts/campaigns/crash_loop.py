"""A service that ends as soon as it has started, beside some that are well: it is started again less
and less often and then given up, its status says why, and the others never miss a call.
"""

import json
import threading
import time

from campaign import eventually_answers, run_service, start
from home import Failed, eventually

CYCLES = (1, 10)
HEALTHY = 10
# Five quick failures are final; with the first start that is the most processes one run may have.
STARTS = 5
WORDS = "no room in the inn"


def run(campaign):
    """Runs the campaign."""
    with campaign.home() as home:
        start(home)
        names = [f"well-{number}" for number in range(HEALTHY if campaign.cycles > 1 else 3)]
        for name in names:
            home.ok(*run_service(home, name))
        for name in names:
            eventually_answers(home, name)
        for _ in range(campaign.cycles):
            campaign.count("cycles")
            beside(campaign, home, names)


def beside(campaign, home, names):
    """Lets one service fail until it is given up, while the others are called."""
    over, count = threading.Event(), home.folder / "starts"
    count.write_text("")
    script = f"echo start >> {count}; echo {WORDS} >&2; exit 7"
    callers = [threading.Thread(target=call, args=(campaign, home, over, name)) for name in names]
    for caller in callers:
        caller.start()
    begun = time.monotonic()
    home.micro("run", ".", "--name", "crashes", "--command", f"sh -c '{script}'", "--detach")
    try:
        status = eventually("the service to be given up", lambda: given_up(home))
        text = json.dumps(status)
        for word in [WORDS, "7"]:
            if word not in text:
                campaign.violated("silent", f"the status does not say `{word}`: {text}")
    except Failed as error:
        campaign.violated("not given up", str(error))
    campaign.highest("max seconds to give up", time.monotonic() - begun)
    over.set()
    for caller in callers:
        caller.join()
    started = len(count.read_text().splitlines())
    campaign.count("starts", started)
    if started > STARTS:
        campaign.violated("too many starts", f"{started}")
    home.ok("kill", "crashes")


def given_up(home):
    """The status of the failing service once it has failed for good."""
    services = json.loads(home.ok("status", "crashes", "-o", "json") or "[]")
    return next((service for service in services if service["status"] == "failed"), None)


def call(campaign, home, over, name):
    """Calls a service that is well, until all is over."""
    while not over.wait(0.01):
        try:
            status, answer = home.request(f"/{name}/Helloworld/Call?name=Jane")
        except (OSError, ValueError) as error:
            status, answer = 0, str(error)
        campaign.count("calls")
        if status != 200:
            campaign.violated("failed calls", f"{name}: {status} {answer}")
