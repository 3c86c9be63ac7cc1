"""Rows about state: acknowledged writes and reads of the store, lists, logins, and the memory that a
large blob takes. How the state grows is measured by growth.py.

Writes are compared with bare SQLite on the same disk, with the same promise (WAL and
`synchronous=FULL`): one after the other, and many in one transaction.
"""

import pathlib
import random
import sqlite3
import statistics
import struct
import subprocess
import tempfile
import time

import harness
from harness import MEGABYTE, Figure, Rows, pss

STORE = "store.Store"
VALUE = b"v" * 100
# Callers at once.
CALLERS = [1, 32, 64]
# Hits of a list, among so many keys.
HITS = [10, 10_000]
# Records in one request.
BATCH = 2_000
# Bytes of a blob.
BLOB = 1 << 30

ROWS_WRITE = {f"store-write-{callers}": callers for callers in CALLERS}
ROWS_LIST = {f"store-list-{hits}": hits for hits in HITS}


def field(number, value):
    """A field of protobuf: text, bytes or a message, or a whole number."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def write(key, table, value=VALUE):
    """A request to write a record."""
    return field(1, field(1, key) + field(2, value)) + field(2, field(2, table))


def read(key, table):
    """A request to read a record."""
    return field(1, key) + field(2, field(2, table))


def list_(prefix, table, limit=0, offset=0, after=""):
    """A request to list keys."""
    part = field(5, limit) + field(6, offset) + field(100, after)
    return field(1, field(2, table) + field(3, prefix) + part)


def batch(keys, table):
    """A request to write many records at once."""
    return b"".join(field(1, field(1, table) + field(2, field(1, key) + field(2, VALUE))) for key in keys)


class Target:
    """A server, and what is sent to it."""

    def __init__(self, bench, home, folder, prefix=()):
        self.bench, self.home, self.folder, self.prefix = bench, home, folder, prefix
        self.token = home.token()
        self.state = home.state()

    def send(self, method, messages, callers=1, seconds=None):
        """Sends messages by turns, and returns what was measured; its `figure` is calls a second."""
        path = self.folder / "messages"
        path.write_bytes(b"".join(struct.pack(">I", len(message)) + message for message in messages))
        service = method if "/" in method else f"{STORE}/{method}"
        measured = self.bench.load(
            "messages", self.state["proxy"], service, callers, seconds or self.bench.seconds, path,
            self.state["pid"], prefix=self.prefix, environment={"MICRO_LOAD_TOKEN": self.token},
        )
        measured["figure"] = measured["requests"] / measured["seconds"]
        return measured

    def fill(self, table, count, life=lambda: 0):
        """Writes so many keys, each with a time to live in milliseconds."""
        for start in range(0, count, BATCH):
            keys = [f"key-{number:08}" for number in range(start, min(start + BATCH, count))]
            record = {"value": "dg==", "expiry_ms": life()}
            changes = [{"table": table, "write": {"key": key} | record} for key in keys]
            self.home.call("/store/Store/Batch", {"changes": changes}, self.token)


def groups(*measures):
    """Rows in groups, each group with a server of its own: a function and its rows with their sizes."""

    def measure(bench, chosen):
        with tempfile.TemporaryDirectory() as folder:
            for measure_rows, rows in measures:
                rows = {name: size for name, size in rows.items() if name in chosen}
                if rows:
                    with bench.server() as home:
                        measure_rows(Target(bench, home, pathlib.Path(folder)), rows)

    return Rows([name for _, rows in measures for name in rows], measure)


def writes(target, rows):
    """Acknowledged writes a second."""
    messages = [write(f"key-{number}", "bench") for number in range(20_000)]
    for name, callers in rows.items():
        ratios, bare, ours = harness.pairs(
            target.bench.pairs,
            lambda: bare_writes(target, 1),
            lambda: target.send("Write", messages, callers),
        )
        grouped = bare_writes(target, callers)["figure"]
        rate = harness.median(ours, "figure")
        note = (
            f"{rate:,.0f}/s; bare SQLite {harness.median(bare, 'figure'):,.0f}/s one by one, "
            f"{grouped:,.0f}/s with {callers} in a transaction; p50 {harness.median(ours, 'p50_us'):,.0f} us, "
            f"p99 {harness.median(ours, 'p99_us'):,.0f} us; {ratios.note()}"
        )
        target.bench.show(Figure(name, ratios.median, "x SQLite", note))


def bare_writes(target, together):
    """What SQLite does alone, on the same disk."""
    with tempfile.TemporaryDirectory(dir=target.home.folder) as folder:
        database = sqlite3.connect(pathlib.Path(folder) / "bare.db", isolation_level=None)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("CREATE TABLE entries (k BLOB PRIMARY KEY, v BLOB, version INTEGER) WITHOUT ROWID")
        count, begun = 0, time.perf_counter()
        while (took := time.perf_counter() - begun) < target.bench.seconds:
            database.execute("BEGIN IMMEDIATE")
            rows = [(f"key-{count + number}", VALUE, count) for number in range(together)]
            database.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", rows)
            database.execute("COMMIT")
            count += together
        database.close()
        return {"figure": count / took}


def reads(target, rows):
    """Reads of keys by chance, beside a call that is answered from memory: a small setting of the config."""
    target.fill("bench", 10_000)
    chance = random.Random(1)
    messages = [read(f"key-{chance.randrange(10_000):08}", "bench") for _ in range(20_000)]
    target.home.call("/config/Config/Set", {"path": "small", "value": {"data": '"value"'}}, target.token)
    for name, callers in rows.items():
        ratios, least, ours = harness.pairs(
            target.bench.pairs,
            lambda: target.send("config.Config/Get", [field(2, "small")], callers),
            lambda: target.send("Read", messages, callers),
        )
        cpu, least_cpu = (
            harness.median(some, "ticks") / harness.TICKS / harness.median(some, "requests") * 1e6
            for some in (ours, least)
        )
        note = (
            f"{harness.median(ours, 'figure'):,.0f}/s; CPU {cpu:.1f} us beside {least_cpu:.1f} us; "
            f"p50 {harness.median(ours, 'p50_us'):,.0f} us, p99 {harness.median(ours, 'p99_us'):,.0f} us; "
            f"{ratios.note()}"
        )
        target.bench.show(Figure(name, ratios.median, "x from memory", note))


def lists(target, rows):
    """Lists a second that find so many keys among 100,000."""
    target.fill("bench", 100_000)
    for name, hits in rows.items():
        prefix = f"key-{0:08}"[: -len(str(hits - 1))]
        measured = target.send("List", [list_(prefix, "bench")])
        note = f"{measured['p50_us'] / hits:,.2f} us a key; p99 {measured['p99_us']:,.0f} us"
        target.bench.show(Figure(name, measured["p50_us"] / 1e3, "ms", note))


def login(target, rows):
    """A login with a chosen secret (argon2id), and the renewal of one."""
    del rows
    times, renewals = [], []
    for _ in range(10):
        begun = time.perf_counter()
        answer = target.home.call("/auth/Auth/Token", {"id": "admin", "secret": "micro"})
        times.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        target.home.call("/auth/Auth/Token", {"refresh_token": answer["token"]["refresh_token"]})
        renewals.append(time.perf_counter() - begun)
    note = f"argon2id; a renewal {statistics.median(renewals) * 1e3:.1f} ms"
    target.bench.show(Figure("login", statistics.median(times) * 1e3, "ms", note))


def revocation(target, rows):
    """From the answer to the deletion of an account until a stream it has open has ended, and the command
    that printed it; and until a new call is refused."""
    del rows
    home, times, polls = target.home, [], 0
    home.ok("env", "add", "far", target.state["proxy"])
    home.ok("config", "set", "small", "1")
    for number in range(20):
        name = f"account-{number}"
        home.call("/auth/Auth/Generate", {"id": name, "secret": "s", "scopes": ["admin"]}, target.token)
        home.ok("-e", "far", "login", "--username", name, "--password", "s")
        token = home.token(name, "s")
        words = [str(target.bench.micro), "-e", "far", "config", "watch", "small"]
        with subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=home.environment
        ) as watching:
            watching.stdout.readline()
            home.call("/auth/Accounts/Delete", {"id": name}, target.token)
            begun = time.perf_counter()
            while home.request("/registry/listServices", token=token)[0] != 401:
                polls += 1
            watching.wait()
            times.append((time.perf_counter() - begun) * 1e3)
    note = f"{min(times):.1f}-{max(times):.1f} ms; {polls} of 20 calls were answered meanwhile"
    target.bench.show(Figure("revocation", statistics.median(times), "ms", note))


def blob(target, rows):
    """The memory of the server while a blob of 1 GiB comes and goes, beyond what it had before."""
    del rows
    before, highest = pss(target.state["pid"]), 0
    words = [str(target.bench.micro), "store", "blob"]
    environment = target.home.environment
    piece = b"x" * (1 << 20)
    begun = time.perf_counter()
    with subprocess.Popen([*words, "write", "big", "-"], stdin=subprocess.PIPE, env=environment) as writing:
        for number in range(BLOB // len(piece)):
            writing.stdin.write(piece)
            if number % 32 == 0:
                highest = max(highest, pss(target.state["pid"]))
    wrote = time.perf_counter() - begun
    begun = time.perf_counter()
    with subprocess.Popen([*words, "read", "big"], stdout=subprocess.PIPE, env=environment) as reading:
        total = 0
        while part := reading.stdout.read(1 << 20):
            total += len(part)
            if total % (32 << 20) < (1 << 20):
                highest = max(highest, pss(target.state["pid"]))
    took = time.perf_counter() - begun
    rates = f"written at {BLOB / wrote / MEGABYTE:,.0f} MB/s, read at {total / took / MEGABYTE:,.0f} MB/s"
    note = f"PSS beyond the {before / MEGABYTE:.0f} MB before; {rates}"
    if total != BLOB or writing.returncode or reading.returncode:
        note = f"FAILED: {total} bytes came back; {note}"
    target.bench.show(Figure("blob-1gib", (highest - before) / MEGABYTE, "MB", note))


ROWS = groups(
    (writes, ROWS_WRITE),
    (reads, {"store-read-1": 1, "store-read-64": 64}),
    (lists, ROWS_LIST),
    (login, {"login": 0}),
    (revocation, {"revocation": 0}),
    (blob, {"blob-1gib": 0}),
)
