"""kill -9 of the server at random moments, while clients change all that it keeps.

After each: everything acknowledged is there, nothing that was never sent, and what was deleted stays
deleted; a batch is there whole or not at all. Some keys are contested: several clients move money
between accounts, the sum of which is always the same, and others write registers only if the version
is the one they read. Of those writes no two may succeed on the same version, and versions grow in
the order of what happened.
"""

import base64
import contextlib
import json
import threading
import time

from campaign import long_token, serving
from client import DATABASE, Client, Refused, look
from home import Failed
from ledger import Ledger
from recorder import state_folder
from trial import check
from writer import SECRET, Writers, encoded

CYCLES = (20, 2000)
# How long a server lives before it is killed, in seconds.
LIFE = (0.05, 0.25)
BANKERS, ACCOUNTS, BALANCE = 3, 8, 100
CONTENDERS, REGISTERS = 3, 2


def run(campaign):
    """Runs the campaign."""
    with campaign.bare_home() as home:
        home.environment["MICRO_NO_AUTOSTART"] = "1"
        server = serving(home)
        token = long_token(home)
        ledger, contest = Ledger(time.monotonic), Contest(campaign)
        contest.begin(Client(home, token))
        for cycle in range(campaign.cycles):
            campaign.count("cycles")
            kill_while_busy(campaign, home, server, ledger, contest, token, cycle)
            begun = time.monotonic()
            server = serving(home)
            campaign.highest("max restart ms", (time.monotonic() - begun) * 1e3)
            verify(campaign, home, ledger, contest, token)
        campaign.count("acknowledged", ledger.acknowledged)


def kill_while_busy(campaign, home, server, ledger, contest, token, cycle):
    """Lets everybody work, and kills the server under them."""
    writers = Writers(campaign, home, ledger, token, cycle, accounts=1)
    with writers, contest.at_work(home, token, writers.over):
        time.sleep(campaign.random.uniform(*LIFE))
        # Who gets no answer from now on knows why.
        writers.over.set()
        server.kill()
        server.wait()
        home.spawned.remove(server)
    for failure in writers.refused() + writers.failures:
        campaign.violated("refused", str(failure))


def verify(campaign, home, ledger, contest, token):
    """Compares what is there with what was acknowledged."""
    client = Client(home, token)
    with contextlib.closing(client):
        seen = look(client)
        contest.verify(client, {thing: seen.pop(thing) for thing in list(seen) if contested(thing)})
    for kind, text in ledger.wrong(seen):
        campaign.violated(kind, text)
    for kind, text in check(state_folder(home)):
        campaign.violated(kind, text)
    ledger.settle(seen)
    accounts = [thing[1] for thing in ledger.changes if thing[0] == "account"]
    if accounts:
        account = campaign.random.choice(accounts)
        there = ("account", account) in seen
        try:
            home.token(account, SECRET)
            if not there:
                campaign.violated("resurrected", f"account {account}, which is not there, can log in")
        except Failed as error:
            if there:
                campaign.violated("lost", f"account {account}, which is there, cannot log in: {error}")


def contested(thing):
    return thing[0] == "record" and thing[1].split("/")[0] in ("bank", "register")


class Contest:
    """Keys that several clients change."""

    def __init__(self, campaign):
        self.campaign, self.lock, self.number = campaign, threading.Lock(), 0
        # For each register what was written: when it was sent and acknowledged, on which version, and
        # the version it got; none if there was no answer.
        self.writes = {f"register/{number}": [] for number in range(REGISTERS)}

    def begin(self, client):
        """Opens the accounts."""
        for number in range(ACCOUNTS):
            record = {"key": f"bank/{number}", "value": encoded(str(BALANCE).encode())}
            client.json("/store/Store/Write", {"record": record, "options": {"database": DATABASE}})

    @contextlib.contextmanager
    def at_work(self, home, token, over):
        """Some clients at work until it is over."""

        def work(step, chance):
            client = Client(home, token)
            while not over.is_set():
                try:
                    step(client, chance)
                except OSError as error:
                    if not over.is_set():
                        self.campaign.violated("refused", str(error))
                    break
                except Refused as error:
                    if error.status != 412:
                        self.campaign.violated("refused", str(error))
                    self.campaign.count("conflicts")
            client.close()

        steps = [self.transfer] * BANKERS + [self.write] * CONTENDERS
        threads = [
            threading.Thread(target=work, args=(step, self.campaign.random_for("contest", number)))
            for number, step in enumerate(steps)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            for thread in threads:
                thread.join()

    def transfer(self, client, chance):
        """Moves money between two accounts."""
        options = {"database": DATABASE, "prefix": True}
        accounts = client.json("/store/Store/Read", {"key": "bank/", "options": options})["records"]
        balances = {record["key"]: int(base64.b64decode(record["value"])) for record in accounts}
        self.balanced(balances)
        versions = {record["key"]: record["version"] for record in accounts}
        giver, taker = chance.sample(sorted(balances), 2)
        amount = chance.randrange(balances[giver] + 1)
        after = {giver: balances[giver] - amount, taker: balances[taker] + amount}
        changes = [
            {"write": {"key": key, "value": encoded(str(balance).encode())}, "if_version": versions[key]}
            for key, balance in after.items()
        ]
        client.json("/store/Store/Batch", {"database": DATABASE, "changes": changes})
        self.campaign.count("transfers")

    def balanced(self, balances):
        """The sum is what it was in the beginning."""
        if len(balances) != ACCOUNTS or sum(balances.values()) != ACCOUNTS * BALANCE or min(balances.values()) < 0:
            self.campaign.violated("unbalanced", str(balances))

    def write(self, client, chance):
        """Reads a register and writes it if it is still the same."""
        key = chance.choice(sorted(self.writes))
        asked = time.monotonic()
        version = self.read(client, key)
        self.not_older(key, asked, version)
        with self.lock:
            self.number += 1
            entry = {"sent": time.monotonic(), "acknowledged": None, "on": version, "version": None}
            entry["value"] = self.number
            self.writes[key].append(entry)
        record = {"key": key, "value": encoded(str(entry["value"]).encode())}
        body = {"record": record, "options": {"database": DATABASE, "if_version": str(version)}}
        try:
            answer = client.json("/store/Store/Write", body)
        except Refused:
            with self.lock:
                self.writes[key].remove(entry)
            raise
        with self.lock:
            entry["version"], entry["acknowledged"] = int(answer["version"]), time.monotonic()
        self.campaign.count("register writes")

    @staticmethod
    def read(client, key):
        """The version of a register; 0 if there is none."""
        status, text = client.request("/store/Store/Read", {"key": key, "options": {"database": DATABASE}})
        if status not in (200, 404):
            raise Refused(status, text.decode(errors="replace"))
        return int(json.loads(text)["records"][0]["version"]) if status == 200 else 0

    def not_older(self, key, asked, version):
        """A read sees all that was acknowledged before it was sent."""
        with self.lock:
            known = [entry["version"] for entry in self.writes[key] if (entry["acknowledged"] or asked) < asked]
        if known and version < max(known):
            self.campaign.violated("stale", f"{key}: version {version} was read after {max(known)} was acknowledged")

    def verify(self, client, seen):
        """Looks at all of it after a restart."""
        self.balanced({key: int(value) for (_, key), value in seen.items() if key.startswith("bank/")})
        for key, writes in self.writes.items():
            done = sorted((entry for entry in writes if entry["version"]), key=lambda entry: entry["acknowledged"])
            self.in_order(key, done)
            found = seen.get(("record", key))
            last = max(done, key=lambda entry: entry["version"], default=None)
            possible = [entry["value"] for entry in writes if not entry["version"]] + ([last["value"]] if last else [])
            if found is not None and int(found) not in possible or found is None and last:
                self.campaign.violated("lost", f"{key} is {found}, the last acknowledged is {last}")
            # The next cycle begins with what is there.
            version, now = self.read(client, key), time.monotonic()
            value = int(found) if found is not None else None
            start = {"sent": now, "acknowledged": now, "on": None, "version": version, "value": value}
            self.writes[key] = [start] if version else []

    def in_order(self, key, done):
        """Two that follow each other have growing versions, and no version was written on twice."""
        highest = {}
        for entry in done:
            if entry["on"] is None:
                continue
            if entry["on"] in highest:
                self.campaign.violated("split", f"{key}: {entry} and {highest[entry['on']]} on the same version")
            highest[entry["on"]] = entry
            before = [other["version"] for other in done if other["acknowledged"] < entry["sent"]]
            if before and max(before) >= entry["version"] or entry["version"] <= entry["on"]:
                self.campaign.violated("disorder", f"{key}: {entry} does not follow version {max(before, default=0)}")
