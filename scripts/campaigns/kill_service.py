"""kill -9 of the process of a service, again and again: it comes back each time, as another process,
and calls succeed again. It has been ready for a while at each kill, so none of them is its own
failure, and it is never given up.
"""

import json
import statistics
import time

from campaign import eventually_answers, run_service, start
from home import Failed, eventually, kill

CYCLES = (2, 100)
# After so many seconds the waits between starts begin anew, so that each outage is that of a first one.
READY = 10.1


def run(campaign):
    """Runs the campaign."""
    outages = []
    with campaign.home() as home:
        start(home)
        home.ok(*run_service(home, "victim"))
        for _ in range(campaign.cycles):
            campaign.count("cycles")
            eventually_answers(home, "victim")
            before = eventually("the service to run", lambda: process(home))
            time.sleep(READY + campaign.random.uniform(0, 0.2))
            begun = time.monotonic()
            kill(before)
            try:
                eventually_answers(home, "victim")
                eventually("another process", lambda: process(home) not in (None, before))
            except Failed as error:
                campaign.violated("lost", f"{error}: {home.micro('status', 'victim').stdout}")
                return
            outages.append((time.monotonic() - begun) * 1e3)
            campaign.highest("max outage ms", outages[-1])
    campaign.counts["median outage ms"] = round(statistics.median(outages))


def process(home):
    """The process that runs the service, as the status tells."""
    services = json.loads(home.ok("status", "-o", "json") or "[]")
    pids = [service["metadata"].get("pid") for service in services if service["status"] == "running"]
    return int(pids[0]) if pids and pids[0] else None
