"""Ten commands at once with no server: one server is started, and each command is answered by it.

The home is fresh, or the last server was stopped in it, or killed.
"""

import pathlib
import subprocess

from home import eventually, kill

CYCLES = (3, 50)
COMMANDS = 10
BLOCKS = ["auth", "broker", "config", "events", "network", "registry", "runtime", "store"]


def run(campaign):
    """Runs the campaign."""
    left = campaign.cycles
    while left > 0:
        with campaign.home() as home:
            left -= races(campaign, home, left)


def races(campaign, home, limit):
    """Races in one home until chance asks for a fresh one; how many there were."""
    for number in range(1, limit + 1):
        campaign.count("cycles")
        race(campaign, home)
        end = campaign.random.choice(["fresh", "stopped", "killed"])
        campaign.count(f"then {end}")
        if end == "fresh":
            return number
        if end == "stopped":
            home.ok("server", "stop")
        else:
            for pid in servers(home):
                kill(pid)
        eventually("the server to end", lambda: not home.processes())
    return limit


def race(campaign, home):
    """Starts the commands together, and looks at what each says and at how many servers there are."""
    commands = [
        subprocess.Popen(
            [campaign.binary, "services"],
            env=home.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(COMMANDS)
    ]
    for command in commands:
        out, said = command.communicate(timeout=60)
        if command.returncode != 0 or out.split() != BLOCKS:
            campaign.violated("failed commands", f"ended with {command.returncode}: {out!r} {said!r}")
    found = servers(home)
    campaign.count("commands", COMMANDS)
    if len(found) != 1:
        campaign.violated("wrong servers", f"{len(found)} servers after {COMMANDS} commands at once")


def servers(home):
    """The servers of a home."""
    found = []
    for pid in home.processes():
        try:
            words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"server" in words:
            found.append(pid)
    return found
