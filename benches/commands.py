"""Rows about the program itself: how soon the server answers, what it weighs, what a command costs."""

import os
import pathlib
import statistics
import time

import harness
from harness import Budget, Figure, each
from home import Home, eventually

MEGABYTE = 1e6
SERVICES = 1000
LOGINS = 20
# How long a server may take to stop, in seconds.
STOP = 30


def ready(bench):
    """From exec to the answer of the first login: in a fresh home, and the next times."""
    fresh, again = [], []
    for _ in range(bench.pairs):
        with Home(bench.micro) as home:
            fresh.append(start(home))
            again += [start(home) for _ in range(2)]
    show_times(bench, "ready-fresh", fresh, Budget(150, 60))
    show_times(bench, "ready-again", again, Budget(60, 25))


def start(home):
    """Starts the server and stops it; milliseconds until a login was answered."""
    begun = time.perf_counter()
    process = home.spawn("server")
    harness.wait_until_ready(home, process)
    took = (time.perf_counter() - begun) * 1e3
    process.terminate()
    process.wait(STOP)
    return took


def show_times(bench, row, times, budget):
    load = harness.load_average()
    note = f"{min(times):.0f}-{max(times):.0f}, {len(times)} starts; load {load:.1f}"
    bench.show(Figure(row, statistics.median(times), "ms", budget, note))


def memory(bench):
    """The share of memory (PSS) of an idle server: untouched, with many services, after logins."""
    idle = 3 if bench.quick else 10
    with Home(bench.micro) as home:
        process = home.spawn("server")
        eventually("the server to say where it is", home.state)

        def show(row, budget, note):
            time.sleep(idle)
            bench.show(Figure(row, pss(process.pid) / MEGABYTE, "MB", budget, note))

        show("memory-idle", Budget(20, 12), f"PSS after {idle} s, before the first login")
        token = home.token()
        for number in range(SERVICES):
            home.call("/registry/Registry/Register", service(number), token)
        show("memory-1000", Budget(40, 20), f"{SERVICES:,} services with 3 endpoints each, after one login")
        for _ in range(LOGINS):
            home.token()
        show("memory-logins", None, f"the same after {LOGINS} logins")


def pss(pid):
    """Bytes of memory of a process, shared pages in shares."""
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"process {pid} has no Pss line")


def service(number):
    """A service as the scaffold registers it."""

    def message(name, field, kind):
        return {"name": name, "type": name, "values": [{"name": field, "type": kind, "values": []}]}

    endpoints = [
        ("Helloworld.Call", ("CallRequest", "name", "string"), ("CallResponse", "msg", "string")),
        ("Helloworld.Stream", ("StreamRequest", "count", "int64"), ("StreamResponse", "count", "int64")),
        ("Helloworld.PingPong", ("Ping", "stroke", "int64"), ("Pong", "stroke", "int64")),
    ]
    return {
        "name": f"service-{number}",
        "version": "latest",
        "endpoints": [
            {"name": name, "request": message(*request), "response": message(*response)}
            for name, request, response in endpoints
        ],
        "nodes": [{"id": f"service-{number}-1", "address": f"127.0.0.1:{20000 + number}"}],
        "options": {"ttl": 600},
    }


def size(bench):
    """The size of the binary."""
    bench.show(Figure("binary-size", os.path.getsize(bench.micro) / MEGABYTE, "MB", note="stripped"))


def help_(bench):
    """`micro --help` against `true`."""
    with Home(bench.micro) as home:
        starts(bench, home, "help", Budget(2, 1.6), "--help")


def call(bench):
    """A dynamic call end to end against `true`."""
    with bench.helloworld(bench.path) as home:
        starts(bench, home, "call", Budget(6, 4), "helloworld", "call", "--name=Jane")


def starts(bench, home, row, budget, *words):
    count = 30 if bench.quick else 100

    def measure(*command):
        measured = bench.load("starts", count, *command, prefix=bench.path, environment=home.environment)
        return measured | {"figure": measured["p50_ms"]}

    ratios, bare, micro = harness.pairs(
        bench.pairs, lambda: measure("true"), lambda: measure(bench.micro, *words)
    )
    note = (
        f"p50 {harness.median(bare, 'p50_ms'):.2f} -> {harness.median(micro, 'p50_ms'):.2f} ms, "
        f"p99 {harness.median(micro, 'p99_ms'):.2f} ms; {ratios.note()}"
    )
    bench.show(Figure(row, ratios.median, "x true", budget, note))


ROWS = each({"ready": ready, "memory": memory, "size": size, "help": help_, "call": call})
