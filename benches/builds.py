"""Rows about building: `micro run` of a scaffold against bare cargo, the program's exec and a call.

Both sides build the same source in folders and target folders of their own. A side is done when
a call by gRPC is answered with the greeting of the source as it stands.
"""

import contextlib
import http.client
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time

import home as homes
from budgets import EDIT, Budget
from harness import Figure, each, load_average


def cold(bench):
    """The first build of a scaffold; then the same again with nothing to build."""
    with Sides(bench) as sides:
        pair(bench, "build-cold", [(sides.bare(), sides.micro())], None)
        warm = []
        for _ in range(1 if bench.quick else 3):
            sides.home.ok("kill", "helloworld")
            warm.append((sides.bare(), sides.micro()))
        pair(bench, "build-warm", warm, None)


def edit(bench):
    """A changed greeting: from the save to the first new answer, and calls that failed meanwhile."""
    with Sides(bench) as sides:
        sides.bare()
        sides.micro()
        times = []
        with Caller(sides.home) as caller:
            for number in range(bench.pairs):
                sides.greet(f"Hello{number}")
                times.append((sides.bare(), sides.micro()))
        pair(bench, "edit", times, EDIT)
        note = f"of {caller.calls:,} through the API while {len(times)} versions took over"
        bench.show(Figure("edit failed calls", caller.failed, "calls", note))


def clone(bench):
    """From a clone to a call that is answered, as the README says it: our own build, then `quickstart`."""
    with tempfile.TemporaryDirectory() as folder:
        tree = pathlib.Path(folder) / "micro"
        subprocess.run(["git", "clone", "--quiet", "--local", homes.ROOT, tree], check=True)
        # What is not committed is not measured.
        with homes.Home(tree / "target/release/micro") as home:

            def cargo(*words):
                words = ["cargo", *words]
                quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
                subprocess.run(words, cwd=tree, env=home.environment, check=True, **quiet)

            begun = time.perf_counter()
            cargo("build", "--release")
            built = time.perf_counter() - begun
            cargo("run", "--release", "--", "quickstart")
            took = time.perf_counter() - begun
    note = f"{built:.0f} s of it are our own build; load {load_average():.1f}"
    bench.show(Figure("clone", took, "s", note))


def pair(bench, row, times, limits):
    """The ratio of `micro run` to the bare way; a limit with a constant becomes a ratio too."""
    bare = statistics.median(first for first, _ in times)
    ratios = [second / first for first, second in times]
    budget = None
    if limits:
        budget = Budget(*(round(factor + constant / bare, 2) for factor, constant in limits))
    micro = statistics.median(second for _, second in times)
    note = (
        f"cargo, exec, call {bare:.2f} s -> micro run, call {micro:.2f} s; "
        f"{min(ratios):.2f}-{max(ratios):.2f}; load {load_average():.1f}"
    )
    bench.show(Figure(row, statistics.median(ratios), "x cargo", note, budget))


class Sides(contextlib.ExitStack):
    """One scaffold twice: for `micro run`, and for bare cargo."""

    def __init__(self, bench):
        super().__init__()
        self.bench = bench

    def __enter__(self):
        super().__enter__()
        self.home = self.enter_context(self.bench.server())
        self.home.ok("new", "helloworld")
        self.ours = self.home.folder / "helloworld"
        self.plain = self.home.folder / "plain/helloworld"
        shutil.copytree(self.ours, self.plain)
        unpacked = next(entry for entry in (self.home.folder / "home/data/sdk").iterdir() if entry.is_dir())
        homes.patch(self.plain, unpacked)
        self.program = None
        self.text = "Hello"
        self.callback(self.stop)
        return self

    def stop(self):
        """Ends the program that was started by hand."""
        if self.program:
            self.program.kill()
            self.program.wait()

    def greet(self, text):
        """Saves a new greeting in both folders."""
        for folder in (self.ours, self.plain):
            handler = folder / "src/handler.rs"
            handler.write_text(handler.read_text().replace(f'"{self.text} {{}}"', f'"{text} {{}}"'))
        self.text = text

    def answered(self, address):
        self.bench.load("until", address, "helloworld", f"{self.text} JJJJ")

    def bare(self):
        """Seconds of cargo, the start of the program and its first answer."""
        self.stop()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        # A home where no server runs, so that it serves on its own.
        environment = os.environ | {
            "MICRO_SERVICE_ADDRESS": address,
            "MICRO_HOME": str(self.home.folder / "nobody"),
        }
        begun = time.perf_counter()
        homes.cargo(self.plain)
        self.program = subprocess.Popen(
            [self.plain / "target/debug/helloworld"], env=environment, stderr=subprocess.DEVNULL
        )
        self.answered(address)
        return time.perf_counter() - begun

    def micro(self):
        """Seconds of `micro run` and the first answer of what it built."""
        begun = time.perf_counter()
        self.home.ok("run", ".", cwd=self.ours)
        self.answered(self.home.state()["proxy"])
        return time.perf_counter() - begun


class Caller(threading.Thread):
    """Calls a service a hundred times a second, and counts the calls that fail."""

    def __init__(self, home):
        super().__init__(daemon=True)
        self.home, self.calls, self.failed, self.over = home, 0, 0, threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()

    def run(self):
        while not self.over.wait(0.01):
            self.calls += 1
            try:
                status, _ = self.home.request("/helloworld/Call?name=Jane")
                self.failed += status != 200
            except (OSError, http.client.HTTPException):
                self.failed += 1


ROWS = each({"build-cold": cold, "edit": edit, "clone": clone})

