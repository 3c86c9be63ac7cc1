"""How `scripts/bench` measures on a noisy machine, and how a row is judged.

Two things are compared side by side, in interleaved pairs of the same minute; the figure is the
median of the ratios of the pairs, with the smallest and the largest. The load of the machine is
printed for each pair; a pair that began on a busy machine is marked with `!` and repeated.
Profile "path": every party on CPU 0, one call in flight, which shows the length of the path.
Profile "loaded": nothing pinned, 64 in flight, which shows the cost of a call.
"""

import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable

from home import Failed, Home, eventually

# The load of the last minute above which a pair is marked.
BUSY = 2.5
# How often a marked pair is repeated.
REPEATS = 3
TICKS = os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass
class Budget:
    """What a figure must be and should be; `up` says that more is better."""

    must: float
    aim: float
    up: bool = False

    def verdict(self, value):
        """`met`, `aim met`, or by how much it was missed."""
        reaches = (lambda limit: value >= limit) if self.up else (lambda limit: value <= limit)
        if reaches(self.aim):
            return "met, aim too"
        if reaches(self.must):
            return "met"
        if self.must == 0:
            return f"missed by {value:g}"
        return f"missed by {abs(value - self.must) / self.must * 100:.0f} %"


@dataclasses.dataclass
class Figure:
    """One line of the table."""

    row: str
    value: float
    unit: str
    budget: Budget | None = None
    note: str = ""

    def line(self):
        budget = f"{self.budget.must:g} / {self.budget.aim:g}" if self.budget else "-"
        verdict = self.budget.verdict(self.value) if self.budget else "-"
        value = f"{self.value:.3g}" if self.value < 100 else f"{self.value:,.0f}"
        return f"{self.row:<26} {value + ' ' + self.unit:>14}  {budget:>13}  {verdict:<15} {self.note}"

    def record(self):
        """The line as JSON."""
        fields = dataclasses.asdict(self)
        fields["verdict"] = self.budget.verdict(self.value) if self.budget else None
        return json.dumps(fields)


HEAD = f"{'ROW':<26} {'VALUE':>14}  {'MUST / AIM':>13}  {'RESULT':<15} NOTE"


def load_average():
    """The load of the last minute."""
    return os.getloadavg()[0]


@dataclasses.dataclass
class Ratios:
    """The ratios of some pairs: second ÷ first."""

    kept: list
    loads: list

    @property
    def median(self):
        return statistics.median(self.kept)

    def note(self):
        loads = " ".join(f"{load:.1f}{'!' if load > BUSY else ''}" for load in self.loads)
        return f"{min(self.kept):.2f}-{max(self.kept):.2f}; load {loads}"


def pairs(count, first, second):
    """Measures both by turns. Ratios, and what each measurement returned.

    A measurement returns a dictionary; its `figure` is what the ratio is taken of.
    """
    taken, busy, loads = [], [], []
    while len(taken) < count and len(taken) + len(busy) < count + REPEATS:
        load = load_average()
        loads.append(load)
        pair = (first(), second())
        (busy if load > BUSY else taken).append(pair)
    # A machine that is never quiet: marked pairs are better than none, and the note shows the load.
    if len(taken) < min(3, count):
        taken += busy
    ratios = Ratios([after["figure"] / before["figure"] for before, after in taken], loads)
    return ratios, [before for before, _ in taken], [after for _, after in taken]


def median(measured, key):
    """The median of one key of some measurements."""
    return statistics.median(entry[key] for entry in measured)


@dataclasses.dataclass
class Rows:
    """Some rows of the table: their names, and what measures those that were chosen."""

    names: Iterable[str]
    measure: Callable[["Bench", set], None]


def each(measures):
    """Rows that have nothing in common: each name with what measures it."""

    def measure(bench, chosen):
        for name, one in measures.items():
            if name in chosen:
                one(bench)

    return Rows(measures, measure)


class Bench:
    """What every row needs: the programs, how long to measure, and where figures go."""

    def __init__(self, micro, load, service, quick, output):
        self.micro, self.load_program, self.service = micro, str(load), service
        self.quick, self.output = quick, output
        self.pairs = 3 if quick else 5
        self.seconds = 0.7 if quick else 2.0
        nice = ["nice", "-n", "-15"]
        allowed = subprocess.run([*nice, "true"], capture_output=True)
        pinned = ["taskset", "-c", "0"]
        # Without the right to it, nice says so on standard error and goes on.
        self.path = pinned + (nice if allowed.returncode == 0 and not allowed.stderr else [])

    def show(self, figure):
        """Prints a figure, and writes it to the file of JSON lines."""
        print(figure.line(), flush=True)
        if self.output:
            self.output.write(figure.record() + "\n")
            self.output.flush()

    def load(self, *arguments, prefix=(), environment=None):
        """Runs the load program, and returns what it measured."""
        done = subprocess.run(
            [*prefix, self.load_program, *map(str, arguments)],
            env=os.environ | (environment or {}),
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise Failed(f"micro-load {' '.join(map(str, arguments))}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    @contextlib.contextmanager
    def server(self, prefix=()):
        """A home whose server answers; everything in it runs under `prefix`."""
        with Home(self.micro, prefix) as home:
            process = home.spawn("server")
            wait_until_ready(home, process)
            yield home

    @contextlib.contextmanager
    def helloworld(self, prefix=()):
        """A server that runs `helloworld`, built for release."""
        with self.server(prefix) as home:
            home.ok("run", self.service.parent, "--name", "helloworld", "--command", self.service)
            yield home


def wait_until_ready(home, process):
    """Waits until a login is answered by this process."""

    def answers():
        if process.poll() is not None:
            sys.exit(f"the server ended: {(home.folder / 'server.log').read_text()}")
        state = home.state()
        if not state or state["pid"] != process.pid:
            return False
        try:
            return home.token()
        except OSError:
            return False

    return eventually("the server to answer a login", answers, pause=0.0005)
