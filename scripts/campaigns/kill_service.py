"""kill -9 of the process of a service: it comes back, as another process, and calls succeed again."""

import json
import statistics
import time

from home import Failed, eventually, kill

from campaign import eventually_answers, run_service, start

CYCLES = (5, 100)
# A service that dies five times soon after its start is given up for good; so it is run anew before.
IN_A_ROW = 4


def run(campaign):
    """Runs the campaign."""
    outages = []
    with campaign.home() as home:
        start(home)
        for cycle in range(campaign.cycles):
            campaign.count("cycles")
            if cycle % IN_A_ROW == 0:
                if cycle:
                    home.ok("kill", "victim")
                home.ok(*run_service(home, "victim"))
            eventually_answers(home, "victim")
            time.sleep(campaign.random.uniform(0, 0.2))
            before = process(home)
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
