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
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable

from budgets import BUDGETS, Budget
from home import Failed, Home, eventually

# The load of the last minute above which a pair is marked.
BUSY = 2.5
# How often a marked pair is repeated.
REPEATS = 3
TICKS = os.sysconf("SC_CLK_TCK")
MEGABYTE = 1e6


@dataclasses.dataclass
class Figure:
    """One line of the table; its budget is that of its row, where it names none."""

    row: str
    value: float
    unit: str
    note: str = ""
    budget: Budget | None = None

    def __post_init__(self):
        self.budget = self.budget or BUDGETS.get(self.row)

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


def earlier(path):
    """The figures of an earlier run, by their rows."""
    records = map(json.loads, pathlib.Path(path).read_text().splitlines())
    return {record["row"]: record["value"] for record in records}


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

    def __init__(self, micro, load, service, quick, output, before):
        self.micro, self.load_program, self.service = micro, str(load), service
        self.quick, self.output, self.before = quick, output, before
        self.pairs = 3 if quick else 5
        self.seconds = 0.7 if quick else 2.0
        nice = ["nice", "-n", "-15"]
        allowed = subprocess.run([*nice, "true"], capture_output=True)
        pinned = ["taskset", "-c", "0"]
        # Without the right to it, nice says so on standard error and goes on.
        self.path = pinned + (nice if allowed.returncode == 0 and not allowed.stderr else [])

    def show(self, figure):
        """Prints a figure, beside that of an earlier run if there is one, and writes it to the file."""
        before = self.before.get(figure.row)
        change = f"{figure.value / before:.2f} x before ({before:.3g}); " if before else ""
        print(dataclasses.replace(figure, note=change + figure.note).line(), flush=True)
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
    def floor(self, kind, upstream, prefix=()):
        """A floor program in front of a service: its address and process."""
        words = [*prefix, self.load_program, kind, upstream]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield json.loads(process.stdout.readline())
            finally:
                process.kill()

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


def pss(pid):
    """Bytes of memory of a process, shared pages in shares."""
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"process {pid} has no Pss line")


def register(home, count):
    """Registers so many services, each as the scaffold registers one."""

    def message(name, field, kind):
        return {"name": name, "type": name, "values": [{"name": field, "type": kind, "values": []}]}

    endpoints = [
        ("Helloworld.Call", ("CallRequest", "name", "string"), ("CallResponse", "msg", "string")),
        ("Helloworld.Stream", ("StreamRequest", "count", "int64"), ("StreamResponse", "count", "int64")),
        ("Helloworld.PingPong", ("Ping", "stroke", "int64"), ("Pong", "stroke", "int64")),
    ]
    endpoints = [
        {"name": name, "request": message(*request), "response": message(*response)}
        for name, request, response in endpoints
    ]
    token = home.token()
    for number in range(count):
        service = {
            "name": f"service-{number}",
            "version": "latest",
            "endpoints": endpoints,
            "nodes": [{"id": f"service-{number}-1", "address": f"127.0.0.1:{20000 + number}"}],
            "options": {"ttl": 600},
        }
        home.call("/registry/Registry/Register", service, token)
