"""Rows about the program itself: how soon the server answers, also after a crash, and what a command costs."""

import os
import re
import shutil
import signal
import statistics
import subprocess
import threading
import time

import harness
from harness import MEGABYTE, Figure, each
from home import Failed, Home

# Services registered for the rows about lists of names: few and many.
FEW, MANY = 10, 1000
# Commands that need those names: their words, exit code and environment.
LISTS = {
    "services-1000": (["services"], 0, {}),
    "complete-1000": (["--", "micro", "se"], 0, {"MICRO_COMPLETE": "bash"}),
    "unknown-1000": (["servise-1"], 5, {}),
}
# How long a server may take to stop, in seconds.
STOP = 30
# Keys in the store of a server that crashes, and in one request.
KEYS, BATCH = 100_000, 2_000


def ready(bench):
    """From exec to the answer of the first login: in a fresh home, and the next times."""
    fresh, again = [], []
    for _ in range(bench.pairs):
        with Home(bench.micro) as home:
            fresh.append(start(home))
            again += [start(home) for _ in range(2)]
    show_times(bench, "ready-fresh", fresh)
    show_times(bench, "ready-again", again)


def start(home, number=signal.SIGTERM, before=lambda: None):
    """Starts the server, and ends it by a signal; milliseconds until a login was answered."""
    begun = time.perf_counter()
    process = home.spawn("server")
    harness.wait_until_ready(home, process)
    took = (time.perf_counter() - begun) * 1e3
    before()
    process.send_signal(number)
    process.wait(STOP)
    return took


def crash(bench):
    """From exec to the first login, after the server was killed while it wrote."""
    with Home(bench.micro) as home:

        def killed():
            return start(home, signal.SIGKILL, before=lambda: busy(home))

        start(home, before=lambda: fill(home))
        killed()
        times = [killed() for _ in range(bench.pairs)]
    show_times(bench, "crash", times, f"killed while it wrote, {KEYS:,} keys; ")


def fill(home):
    """Writes the keys."""
    token = home.token()
    for first in range(0, KEYS, BATCH):
        keys = (f"key-{number:08}" for number in range(first, first + BATCH))
        changes = [{"write": {"key": key, "value": "dg=="}} for key in keys]
        home.call("/store/Store/Batch", {"changes": changes}, token)


def busy(home):
    """Returns while writes are under way that nobody waits for."""
    token = home.token()

    def write():
        try:
            for number in range(1_000_000):
                home.call("/store/Store/Write", {"record": {"key": f"key-{number:08}", "value": "dg=="}}, token)
                written.set()
        except OSError:
            # It was killed, as it should be.
            pass

    written = threading.Event()
    threading.Thread(target=write, daemon=True).start()
    if not written.wait(STOP):
        raise Failed(f"nothing was written within {STOP} s")


def show_times(bench, row, times, what=""):
    load = harness.load_average()
    note = f"{what}{min(times):.0f}-{max(times):.0f}, {len(times)} starts; load {load:.1f}"
    bench.show(Figure(row, statistics.median(times), "ms", note))


def size(bench):
    """The size of the binary."""
    bench.show(Figure("binary-size", os.path.getsize(bench.micro) / MEGABYTE, "MB", "stripped"))


def help_(bench):
    """`micro --help` against `true`."""
    with Home(bench.micro) as home:
        starts(bench, home, "help", "--help")


def call(bench):
    """A dynamic call end to end against `true`."""
    with bench.helloworld(bench.path) as home:
        starts(bench, home, "call", "helloworld", "call", "--name=Jane")


def starts(bench, home, row, *words):
    """A command against `true`."""
    command = [bench.micro, *words]
    ratios, bare, micro = harness.pairs(
        bench.pairs, lambda: started(bench, home, "true"), lambda: started(bench, home, *command)
    )
    note = (
        f"p50 {harness.median(bare, 'p50_ms'):.2f} -> {harness.median(micro, 'p50_ms'):.2f} ms, "
        f"p99 {harness.median(micro, 'p99_ms'):.2f} ms; {faults(home, command)} page faults, "
        f"{instructions(home, command)} instructions; {ratios.note()}"
    )
    bench.show(Figure(row, ratios.median, "x true", note))


def started(bench, home, *command, status=0, environment=None):
    """Starts a command again and again: what was measured, its `figure` in milliseconds."""
    count = 30 if bench.quick else 100
    environment = home.environment | (environment or {})
    measured = bench.load("starts", count, *command, prefix=bench.path, environment=environment)
    if measured["status"] != status:
        raise Failed(f"{command} ended with {measured['status']}")
    return measured | {"figure": measured["p50_ms"]}


def faults(home, command):
    """The page faults of a command that bring nothing from the disk, from its fork on."""
    with open(os.devnull, "r+b") as nothing:
        files = [(os.POSIX_SPAWN_DUP2, nothing.fileno(), number) for number in (0, 1, 2)]
        words = [str(word) for word in command]
        pid = os.posix_spawn(words[0], words, home.environment, file_actions=files)
        _, _, used = os.wait4(pid, 0)
    return f"{used.ru_minflt:,}"


def instructions(home, command):
    """The instructions of a command, its threads and libraries, as callgrind counts them."""
    if not shutil.which("valgrind"):
        return "? (valgrind is not installed)"
    words = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *map(str, command)]
    done = subprocess.run(words, env=home.environment, capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    return f"{int(found[1]) / 1e6:.2f} M" if found else "? (callgrind counted none)"


def names(bench, chosen):
    """Commands that need the names of the services, with many registered beside few."""
    rows = {name: row for name, row in LISTS.items() if name in chosen}
    if not rows:
        return
    with bench.server(bench.path) as few, bench.server(bench.path) as many:
        for home, count in ((few, FEW), (many, MANY)):
            harness.register(home, count)
        for name, (words, status, environment) in rows.items():

            def measure(home, words=words, status=status, environment=environment):
                return started(bench, home, bench.micro, *words, status=status, environment=environment)

            ratios, small, large = harness.pairs(bench.pairs, lambda: measure(few), lambda: measure(many))
            note = (
                f"p50 {harness.median(small, 'p50_ms'):.2f} -> {harness.median(large, 'p50_ms'):.2f} ms; "
                f"{ratios.note()}"
            )
            bench.show(Figure(name, ratios.median, f"x with {FEW}", note))


ROWS = each({"ready": ready, "crash": crash, "size": size, "help": help_, "call": call})
NAMES = harness.Rows(LISTS, names)
