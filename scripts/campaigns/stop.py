"""SIGTERM at random moments with calls in flight: the server ends with 0, leaves no process, and
answers every call it had accepted.

A call sent well before the signal was accepted. One sent at about the same time may have come too
late: then it is refused, or its connection ends, but it is never answered with another error.
"""

import threading
import time

from campaign import eventually_answers, log, orphans, run_service, start

CYCLES = (3, 50)
CALLERS = 8
# A call sent this long before the signal has been accepted, in seconds, also on a busy machine.
ACCEPTED = 0.15
# How long the server may take to end, in seconds: its grace period, and some more.
LIMIT = 30
# What a server that is stopping may answer to those who come too late.
TOO_LATE = 503


def run(campaign):
    """Runs the campaign."""
    with campaign.home() as home:
        home.environment["MICRO_NO_AUTOSTART"] = "1"
        server = start(home)
        home.ok(*run_service(home, "helloworld"))
        for cycle in range(campaign.cycles):
            campaign.count("cycles")
            if cycle:
                server = start(home)
            eventually_answers(home, "helloworld")
            stop_under_load(campaign, home, server)
            orphans(campaign, home)


def stop_under_load(campaign, home, server):
    """Lets callers call, and stops the server under them."""
    over, outcomes = threading.Event(), []
    callers = [
        threading.Thread(target=call, args=(campaign, home, over, outcomes, number))
        for number in range(CALLERS)
    ]
    for caller in callers:
        caller.start()
    time.sleep(campaign.random.uniform(0.2, 1.5))
    signalled = time.monotonic()
    server.terminate()
    try:
        code = server.wait(LIMIT)
    except Exception as error:
        campaign.violated("not stopped", f"{error}: {log(home)}")
        server.kill()
        code = server.wait()
    campaign.highest("max stop ms", (time.monotonic() - signalled) * 1e3)
    over.set()
    for caller in callers:
        caller.join()
    if code != 0:
        campaign.violated("wrong exit codes", f"{code}: {log(home)}")
    for sent, answered, outcome in outcomes:
        if outcome == 200:
            campaign.count("answered")
            campaign.count("in flight at the signal", sent < signalled < answered)
        elif sent < signalled - ACCEPTED:
            campaign.violated("failed", f"sent {signalled - sent:.3f} s before the signal: {outcome}")
        elif isinstance(outcome, int) and outcome != TOO_LATE:
            campaign.violated("failed", f"sent {sent - signalled:+.3f} s from the signal: {outcome}")
        else:
            campaign.count("refused")


def call(campaign, home, over, outcomes, number):
    """Calls until the server is gone; half of the calls take 300 ms."""
    chance = campaign.random_for("caller", number)
    while not over.is_set():
        name = chance.choice(["slow", "Jane"])
        sent = time.monotonic()
        try:
            outcome, _ = home.request(f"/helloworld/Call?name={name}")
        except (OSError, ValueError) as error:
            outcome = repr(error)
        outcomes.append((sent, time.monotonic(), outcome))
        if outcome != 200:
            return
