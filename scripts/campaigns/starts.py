"""Many starts of processes that leave children behind: none of them stays, no zombie is left, and
the server holds no more file descriptors than before.
"""

import json
import pathlib

from campaign import start
from home import eventually

# Each cycle starts a hundred processes five times.
CYCLES = (1, 20)
INSTANCES, FAILURES = 100, 5
# Connections that come and go.
SPARE = 8


def run(campaign):
    """Runs the campaign."""
    with campaign.home() as home:
        server = start(home)
        before = None
        for _ in range(campaign.cycles):
            campaign.count("cycles")
            fork(campaign, home)
            home.ok("kill", "forks")
            found = eventually("the processes to be reaped", lambda: settled(server.pid))
            if before is None:
                before = found
            campaign.highest("max open files", found)
            if found > before + SPARE:
                campaign.violated("leaked files", f"{before} after the first cycle, now {found}")


def fork(campaign, home):
    """Runs processes that each start one in the background, and end."""
    script = "sleep 1000 & exit 1"
    words = ["--command", f"sh -c '{script}'", "--instances", INSTANCES, "--detach"]
    home.ok("run", ".", "--name", "forks", *words)
    eventually("all instances to be given up", lambda: given_up(home), 300)
    campaign.count("starts", INSTANCES * FAILURES)
    left = [pid for pid in home.processes() if b"sleep" in words_of(pid)]
    if left:
        eventually("what was left behind to end", lambda: not [p for p in left if b"sleep" in words_of(p)])


def given_up(home):
    services = json.loads(home.ok("status", "forks", "-o", "json") or "[]")
    return any(service["status"] == "failed" for service in services)


def words_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def settled(server):
    """How many files the server has open, once it has no child that has ended; nothing before."""
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:2]
            except OSError:
                continue
            if int(parent) == server and state == "Z":
                return None
    return len(list(pathlib.Path(f"/proc/{server}/fd").iterdir()))
