"""The power fails at any moment: of what was not synced, any part is lost.

A server is recorded while clients change records, settings, secrets, blobs, rules and accounts,
through a stop and a start. For moments of that record the states are made that a disk may be in
after a loss of power there (see `disk.py`), and a server is started on each. Everything that was
acknowledged before the moment must be there, a batch must be there whole or not at all, nothing may
be there that was never sent, and the database must pass SQLite's own check.

The counter check: the same with every sync taken out of the record must find losses. If it finds
none, this campaign could not find any either.
"""

import contextlib
import pathlib
import queue
import shutil
import sqlite3
import threading
import time

from campaign import listening, log, long_token
from client import Client, Refused, look
from disk import Disk, put
from home import PATIENCE, ROOT, Failed
from ledger import Ledger
from recorder import SYNC, Recorder, files, state_folder
from writer import Writers

# A cycle is one state in which a disk may be.
CYCLES = (200, 5000)
# The record ends with so many acknowledged changes for each server that is recorded.
CHANGES = (900, 2500)
# Of one moment, at most so many states are tried.
STATES = (4, 256)
# Of the states, this share goes to the counter check, and this to the stricter promise of POSIX.
COUNTER, STRICT = 0.1, 0.2
# Servers that look at states at the same time.
LOOKING = 2
# Of what is wrong in one state, so much is shown.
SHOWN = 3
# States with something wrong in them are kept here, this many of them.
KEPT, KEEP = ROOT / "target/campaign/states", 5


def run(campaign):
    """Runs the campaign."""
    shutil.rmtree(KEPT, ignore_errors=True)
    long = campaign.cycles > CYCLES[0]
    with contextlib.ExitStack() as homes:
        home = homes.enter_context(campaign.bare_home())
        recorder = Recorder(home)
        ledger, token, admin = record(campaign, home, recorder, CHANGES[long])
        operations = recorder.operations()
        campaign.count("operations", len(operations))
        campaign.count("acknowledged", ledger.acknowledged)
        compare(operations, recorder)
        memory = pathlib.Path("/dev/shm")
        within = memory if memory.is_dir() else None
        lookers = [homes.enter_context(campaign.bare_home(within)) for _ in range(LOOKING)]
        trial = Trial(campaign, lookers, ledger, token, admin, counted=True)
        counter = max(1, int(campaign.cycles * COUNTER))
        strict = max(1, int(campaign.cycles * STRICT))
        trial.run(operations, campaign.cycles - counter - strict, STATES[long], "states")
        trial.run(operations, strict, STATES[long], "states by POSIX", strict=True)
        trial.run(operations, counter, 2, "states without syncs", synced=False)
    losses = campaign.counts.get("found without syncs", 0)
    if not losses:
        campaign.violated("blind", "no loss was found although nothing was synced")


def record(campaign, home, recorder, changes):
    """Records two servers on the same home, one after the other: the ledger and a token."""
    ledger = Ledger(recorder.mark)
    token, admin = None, recorder.mark()
    for life in range(2):
        server = listening(home, recorder.environment)
        if server.poll() is not None:
            raise Failed(f"the recorded server did not start: {log(home)}")
        if life == 0:
            token, admin = long_token(home), recorder.mark()
        refused = work(campaign, home, ledger, token, life, changes)
        server.terminate()
        if server.wait() != 0:
            raise Failed(f"the recorded server ended with {server.returncode}: {log(home)}")
        for refusal in refused:
            campaign.violated("refused", str(refusal))
    return ledger, token, admin


def work(campaign, home, ledger, token, life, changes):
    """Lets writers change things until enough was acknowledged; what was refused."""
    before, deadline = ledger.acknowledged, time.monotonic() + 2 * PATIENCE
    with Writers(campaign, home, ledger, token, life) as writers:
        while ledger.acknowledged - before < changes and time.monotonic() < deadline:
            time.sleep(0.05)
    return writers.refused() + writers.failures


def compare(operations, recorder):
    """Replays the whole record; the result must be what is on the disk, or not all was seen."""
    disk = Disk()
    for operation in operations:
        disk.apply(operation)
    replayed, real = disk.all(), files(recorder.folder)
    wrong = sorted(path for path in {*replayed, *real} if replayed.get(path, b"-") != real.get(path, b"-"))
    if wrong:
        raise Failed(f"the record is not what happened: {', '.join(wrong[:5])} differ")


class Trial:
    """Starts servers on states and looks at what they have."""

    def __init__(self, campaign, homes, ledger, token, admin, counted=False):
        self.campaign, self.homes, self.ledger, self.token, self.admin = campaign, homes, ledger, token, admin
        # Whether a state is a cycle of the campaign.
        self.counted, self.lock = counted, threading.Lock()

    def run(self, operations, count, each, name, synced=True, strict=False):
        """Tries so many states at moments spread over the record, at most `each` of one moment."""
        waiting, threads = queue.Queue(2), []
        found = [0]

        def take(home):
            while (task := waiting.get()) is not None:
                try:
                    wrong = self.look(home, *task)
                except Exception as error:  # noqa: BLE001 - whatever it is, it is reported
                    wrong = [("stuck", repr(error))]
                with self.lock:
                    if self.counted:
                        self.campaign.count("cycles")
                    self.report(name, synced, wrong, *task)
                    found[0] += bool(wrong)

        for home in self.homes:
            threads.append(threading.Thread(target=take, args=(home,)))
            threads[-1].start()
        try:
            for task in self.states(operations, count, each, synced, strict):
                waiting.put(task)
        finally:
            for _ in threads:
                waiting.put(None)
            for thread in threads:
                thread.join()
        if not synced:
            self.campaign.count("found without syncs", found[0])

    def states(self, operations, count, each, synced, strict):
        """The states to try: the moment, what was chosen, and the files."""
        chance = self.campaign.random_for("moments", synced, strict)
        number = min(len(operations), max(1, -(-count // each)) if each <= 4 else max(1, count // 16))
        syncs = [at for at, operation in enumerate(operations) if operation.kind == SYNC]
        moments = {chance.choice(syncs) for _ in range(number // 2)}
        while len(moments) < number:
            moments.add(chance.randrange(1, len(operations) + 1))
        disk, done, left = Disk(synced, strict), 0, count
        ordered = sorted(moments)
        for position, moment in enumerate(ordered):
            while done < moment:
                disk.apply(operations[done])
                done += 1
            limit = min(each, -(-left // (len(ordered) - position)))
            if disk.uncertain() <= 8:
                # All combinations, as long as that leaves something for the others.
                limit = min(each, max(limit, left - (len(ordered) - position)))
            tried = set()
            for words, state in disk.states(chance, limit):
                if words in tried:
                    continue
                tried.add(words)
                left -= 1
                yield moment, words, state
                if left <= 0:
                    return

    def report(self, name, synced, wrong, moment, words, state):
        campaign = self.campaign
        campaign.count(name)
        if not synced:
            return
        for kind, text in wrong[:SHOWN]:
            campaign.violated(kind, f"{text} ({name}, after {moment} operations: {words})")
        KEPT.mkdir(parents=True, exist_ok=True)
        if wrong and len(list(KEPT.iterdir())) < KEEP:
            folder = KEPT / f"{campaign.name}-{campaign.seed}-{campaign.counts['cycles']}-{moment}"
            folder.mkdir()
            put(folder, state)

    def look(self, home, moment, _words, state):
        """Starts a server on a state; what is wrong there."""
        folder = state_folder(home)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        put(folder, state)
        server = listening(home)
        try:
            if server.poll() is not None:
                return [("refused to start", log(home).strip()[-300:])]
            return self.read(home, moment) + check(folder)
        finally:
            server.kill()
            server.wait()
            home.spawned.remove(server)
            (home.folder / "server.log").write_bytes(b"")

    def read(self, home, moment):
        """What is wrong with what the server has."""
        client, wrong = Client(home, self.token), []
        try:
            status, _ = home.request("/config/Config/Get?path=none", token=self.token)
            if status == 401:
                # The key that signs tokens is another: no wonder if the server was not ready yet.
                if moment >= self.admin:
                    wrong.append(("key lost", "the tokens of the server are not valid any more"))
                client.token = home.token()
            return wrong + list(self.ledger.wrong(look(client), moment))
        except (OSError, Refused, Failed) as error:
            return [*wrong, ("refused", str(error))]
        finally:
            client.close()


def check(folder):
    """What SQLite finds wrong with the database."""
    with contextlib.closing(sqlite3.connect(f"file:{folder}/micro.db?mode=ro", uri=True)) as database:
        found = database.execute("PRAGMA integrity_check").fetchall()
    return [] if found == [("ok",)] else [("malformed", str(found[:3]))]
