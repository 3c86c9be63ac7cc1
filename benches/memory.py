"""Rows about memory and connections: the share of memory (PSS) of a server that idles, at the peak of a burst
and after it, and how quickly connections are taken."""

import concurrent.futures
import contextlib
import json
import pathlib
import resource
import subprocess
import time

import harness
from harness import MEGABYTE, Figure, Rows, each, pss
from home import Failed, Home, eventually

SERVICES = 1000
# A burst: logins, or connections that each ask once.
LOGINS, CONNECTIONS = 20, 9_000
# Connections that are made at a time.
AT_ONCE = 64
# How long after a burst memory is looked at, in seconds. The allocator keeps what was freed for 10 s, such as
# the 19 MiB of a login, and looks at that every few seconds.
AFTER = 20


def idle(bench, chosen):
    """Of an idle server: untouched, and with many services."""
    if not {"memory-idle", "memory-1000"} & chosen:
        return
    with Home(bench.micro) as home:
        process = home.spawn("server")
        eventually("the server to say where it is", home.state)
        def show(row, note):
            time.sleep(AFTER)
            bench.show(Figure(row, pss(process.pid) / MEGABYTE, "MB", note))

        show("memory-idle", f"PSS after {AFTER} s, before the first login")
        harness.register(home, SERVICES)
        show("memory-1000", f"{SERVICES:,} services with 3 endpoints each, {AFTER} s after the last of them")


def logins(bench):
    """After logins at once, each of which takes 19 MiB for argon2id."""
    with bench.server() as home:

        def burst():
            with concurrent.futures.ThreadPoolExecutor(LOGINS) as together:
                list(together.map(lambda _: home.token(), range(LOGINS)))

        around(bench, home, "memory-logins", burst, f"{LOGINS} logins at once")


def connections(bench):
    """After connections that were all open at once."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with bench.server() as home:
        opened = {}

        def burst():
            words = [bench.load_program, "connections", home.state()["api"], str(CONNECTIONS)]
            with contextlib.ExitStack() as open_ones:
                pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
                process = open_ones.enter_context(subprocess.Popen(words, **pipes, text=True))
                opened.update(json.loads(process.stdout.readline() or "{}"))
                process.stdin.close()
            if not opened:
                raise Failed(f"{CONNECTIONS} connections cannot be opened")

        around(bench, home, "memory-connections", burst, f"{CONNECTIONS:,} connections with a request each")
        bench.show(Figure("connections-9000", opened["seconds"], "s", "until the last of them was answered"))


def around(bench, home, row, burst, what):
    """Memory after a burst, in terms of that before."""
    pid = home.state()["pid"]
    time.sleep(AFTER)
    before = pss(pid)
    # So that the peak is that of the burst (proc(5)).
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")
    burst()
    peak = highest(pid)
    time.sleep(AFTER)
    after = pss(pid)
    note = (
        f"{what}: {before / MEGABYTE:.1f} MB before, RSS {peak / MEGABYTE:.1f} MB at the peak, "
        f"{after / MEGABYTE:.1f} MB {AFTER} s later"
    )
    bench.show(Figure(row, after / before, "x before", note))


def highest(pid):
    """The most memory a process had (VmHWM), in bytes."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"process {pid} has no VmHWM line")


def connects(bench):
    """Connections a second with one request each, beside a server of the same libraries with nothing else."""
    with bench.helloworld() as home, bench.floor("gateway", home.node("helloworld", home.token())) as floor:

        def measure(address, pid):
            measured = bench.load("connects", address, AT_ONCE, bench.seconds, pid)
            cpu = measured["ticks"] / harness.TICKS / measured["requests"] * 1e6
            return measured | {"figure": measured["requests"] / measured["seconds"], "cpu": cpu}

        state = home.state()
        ratios, bare, ours = harness.pairs(
            bench.pairs,
            lambda: measure(floor["address"], floor["pid"]),
            lambda: measure(state["api"], state["pid"]),
        )
        note = (
            f"{harness.median(bare, 'figure'):,.0f}/s -> {harness.median(ours, 'figure'):,.0f}/s, "
            f"{AT_ONCE} at a time; CPU {harness.median(bare, 'cpu'):.1f} -> {harness.median(ours, 'cpu'):.1f} us; "
            f"{ratios.note()}"
        )
        bench.show(Figure("connects", ratios.median, "x gateway", note))


IDLE = Rows(["memory-idle", "memory-1000"], idle)
ROWS = each({"memory-logins": logins, "memory-connections": connections, "connects": connects})
