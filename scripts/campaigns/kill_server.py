"""kill -9 of the server at random moments, while services are run, killed and called and accounts
are made.

After each: the next start works; the services that are wanted are those that were acknowledged,
each runs once and answers; acknowledged accounts can log in; no process of the dead server stays.
A change that was under way at the kill may have happened or not.
"""

import json
import pathlib
import threading
import time

from campaign import eventually_answers, orphans, run_service, start
from home import Failed, eventually

CYCLES = (5, 200)
NAMES = [["first", "second"], ["third", "fourth"]]
# The longest life of a server, in seconds, and that of one killed while it starts.
LIFE, START = 1.5, 0.2
# One start in so many is killed before it is ready.
EARLY = 5
# How many of the accounts of earlier cycles are looked at in each.
SAMPLE = 10


class World:
    """What may be true: for each service whether it is wanted, and the accounts that must exist."""

    def __init__(self):
        self.wanted = {name: {False} for names in NAMES for name in names}
        self.accounts = {}
        self.killed = threading.Event()


def run(campaign):
    """Runs the campaign."""
    with campaign.home() as home:
        # A command must not start a server by itself while there is none.
        home.environment["MICRO_NO_AUTOSTART"] = "1"
        world, server = World(), start(home)
        for _ in range(campaign.cycles):
            campaign.count("cycles")
            before = set(world.accounts)
            kill_while_busy(campaign, home, world, server)
            orphans(campaign, home)
            while campaign.random.randrange(EARLY) == 0:
                kill_while_starting(campaign, home)
            begun = time.monotonic()
            server = start(home)
            campaign.highest("max restart ms", (time.monotonic() - begun) * 1e3)
            verify_services(campaign, home, world)
            old = campaign.random.sample(sorted(before), min(SAMPLE, len(before)))
            verify_accounts(campaign, home, world, [*old, *(world.accounts.keys() - before)])
        verify_accounts(campaign, home, world, list(world.accounts))


def kill_while_busy(campaign, home, world, server):
    """Lets the workers work, and kills the server under them."""
    world.killed.clear()
    token = home.token()
    workers = [
        threading.Thread(target=run_and_kill, args=(campaign, home, world, names)) for names in NAMES
    ]
    workers += [
        threading.Thread(target=make_accounts, args=(campaign, home, world, token)),
        threading.Thread(target=call, args=(campaign, home, world)),
    ]
    for worker in workers:
        worker.start()
    time.sleep(campaign.random.uniform(0.02, LIFE))
    world.killed.set()
    server.kill()
    server.wait()
    for worker in workers:
        worker.join()


def kill_while_starting(campaign, home):
    """Kills a server that has just been started."""
    campaign.count("killed while starting")
    server = home.spawn("server")
    time.sleep(campaign.random.uniform(0, START))
    server.kill()
    server.wait()
    orphans(campaign, home)


def run_and_kill(campaign, home, world, names):
    """Runs and kills some services by turns, which nobody else touches."""
    chance = campaign.random_for(*names)
    while not world.killed.is_set():
        name = chance.choice(names)
        wanted = world.wanted[name] == {False}
        world.wanted[name] = {True, False}
        words = run_service(home, name, "--detach") if wanted else ("kill", name)
        done = home.micro(*words)
        if done.returncode == 0:
            world.wanted[name] = {wanted}
            campaign.count("acknowledged")
        elif not world.killed.is_set():
            campaign.violated("refused", f"{words[0]} {name}: {done.stderr.strip()}")


def make_accounts(campaign, home, world, token):
    """Makes accounts, one after the other."""
    while not world.killed.is_set():
        account = f"account-{campaign.counts['cycles']}-{len(world.accounts)}"
        try:
            answer = home.call("/auth/Auth/Generate", {"id": account}, token)
        except OSError as error:
            if not world.killed.is_set():
                campaign.violated("refused", f"account {account}: {error}")
            return
        except Failed as error:
            campaign.violated("refused", str(error))
            return
        world.accounts[account] = answer["account"]["secret"]
        campaign.count("acknowledged")


def call(campaign, home, world):
    """Calls services that may or may not be there; what counts is that the server has work."""
    chance = campaign.random_for("calls")
    while not world.killed.is_set():
        name = chance.choice(sorted(world.wanted))
        try:
            status, _ = home.request(f"/{name}/Helloworld/Call?name=Jane")
        except (OSError, ValueError):
            continue
        campaign.count("calls answered", status == 200)


def verify_services(campaign, home, world):
    """Compares what is wanted after the restart with what was acknowledged before."""
    present = {service["name"] for service in json.loads(home.ok("status", "-o", "json") or "[]")}
    for name, allowed in world.wanted.items():
        wanted = name in present
        if wanted not in allowed:
            campaign.violated("resurrected" if wanted else "lost", f"service {name}")
        world.wanted[name] = {wanted}
    for name in present:
        eventually_answers(home, name)
    found = {}

    def once_each():
        found.clear()
        found.update(running(home))
        return found == dict.fromkeys(present, 1)

    try:
        eventually("each service to run once", once_each)
    except Failed:
        campaign.violated("doubled or missing", f"wanted {sorted(present)}, processes {found}")


def running(home):
    """How many processes run the program of each service."""
    found = {}
    for pid in home.processes():
        try:
            variables = pathlib.Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        for variable in variables:
            if variable.startswith("MICRO_SERVICE_NAME="):
                name = variable.split("=", 1)[1]
                found[name] = found.get(name, 0) + 1
    return found


def verify_accounts(campaign, home, world, accounts):
    """Logs in with accounts that were acknowledged."""
    for account in accounts:
        try:
            home.token(account, world.accounts[account])
        except Failed as error:
            campaign.violated("lost", f"account {account}: {error}")
