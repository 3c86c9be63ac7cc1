"""Servers that are started on the states of a disk after a loss of power, and what is wrong there."""

import contextlib
import queue
import shutil
import sqlite3
import threading

from campaign import listening, log
from client import Client, Refused, look
from disk import ALL_OF, Disk, put
from home import ROOT, Failed
from recorder import SYNC, SYNC_FAILED, state_folder

# States with something wrong in them are kept here, this many of them.
KEPT, KEEP = ROOT / "target/campaign/states", 5


class Trial:
    """Starts servers on states and looks at what they have."""

    def __init__(self, campaign, homes, ledger, token, admin, counted=False):
        self.campaign, self.homes, self.ledger, self.token, self.admin = campaign, homes, ledger, token, admin
        # Whether a state is a cycle of the campaign.
        self.counted, self.lock = counted, threading.Lock()

    def run(self, operations, count, each, name, deaf=None, strict=False, first=1):
        """Tries so many states at moments spread over the record from `first` on, at most `each` of one.

        With the name of a sort of files, no sync of such a file counts: then what is found is no
        violation. Returns in how many states something was wrong.
        """
        waiting, threads, found = queue.Queue(2), [], [0]

        def take(home):
            """Looks at states until there are no more."""
            while (task := waiting.get()) is not None:
                try:
                    wrong = self.look(home, *task)
                except Exception as error:
                    # Whatever it is, the others go on.
                    wrong = [("stuck", repr(error))]
                with self.lock:
                    self.campaign.count(name)
                    if self.counted:
                        self.campaign.count("cycles")
                    if not deaf:
                        self.report(name, wrong, *task)
                    found[0] += bool(wrong)

        for home in self.homes:
            threads.append(threading.Thread(target=take, args=(home,)))
            threads[-1].start()
        try:
            for task in self.states(operations, count, each, deaf, strict, first):
                waiting.put(task)
        finally:
            for _ in threads:
                waiting.put(None)
            for thread in threads:
                thread.join()
        return found[0]

    def states(self, operations, count, each, deaf, strict, first):
        """The states to try: the moment, what was chosen, and the files."""
        chance = self.campaign.random_for("moments", deaf, strict)
        number = min(len(operations) - first, max(1, -(-count // each)) if each <= 4 else max(1, count // 16))
        syncs = [at for at, operation in enumerate(operations) if operation.kind in (SYNC, SYNC_FAILED) and at >= first]
        # Most is at stake just before a sync.
        moments = {chance.choice(syncs) for _ in range(number // 2)}
        while len(moments) < number:
            moments.add(chance.randrange(first, len(operations) + 1))
        disk, done, left = Disk(deaf, strict), 0, count
        ordered = sorted(moments)
        for position, moment in enumerate(ordered):
            while done < moment:
                disk.apply(operations[done])
                done += 1
            limit = min(each, -(-left // (len(ordered) - position)))
            if disk.uncertain() <= ALL_OF:
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

    def report(self, name, wrong, moment, words, state):
        """Notes what is wrong, and keeps the state."""
        campaign = self.campaign
        for kind, text in grouped(wrong):
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


def grouped(wrong):
    """One of each kind and of each sort of things, with the number of the others."""
    groups = {}
    for kind, text in wrong:
        groups.setdefault((kind, text.split("/")[0].split(".")[0]), []).append(text)
    for (kind, _), texts in groups.items():
        yield kind, texts[0] + (f", and {len(texts) - 1} more" if texts[1:] else "")


def check(folder):
    """What SQLite finds wrong with the database."""
    with contextlib.closing(sqlite3.connect(f"file:{folder}/micro.db?mode=ro", uri=True)) as database:
        found = database.execute("PRAGMA integrity_check").fetchall()
    return [] if found == [("ok",)] else [("malformed", str(found[:3]))]
