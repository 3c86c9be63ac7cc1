"""Rows about calls: the gRPC proxy and the HTTP API, each against a direct call of the service.

Each row has the ratio of calls a second to the direct call; its note has both rates, the latency
and the CPU time the server spends on a request. With 64 calls in flight that CPU time also stands
beside what the same libraries need with nothing between: the floor programs of micro-load.
"""

import harness
from harness import Figure, Rows

SIZES = {"small": 4, "1kb": 1024}
# The floor program that a row is compared with by CPU time.
FLOORS = {"api-small-64": "gateway", "proxy-small-64": "forwarder"}
# The one whose ratio to the direct call stands beside that of a row: what the libraries leave.
ALONE = {"api-small-1": "gateway", "proxy-token-small-1": "forwarder", "proxy-token-1kb-1": "forwarder"}


# Each row: the door, the size of the message, how many calls are in flight.
CALLS = {
    f"{door}-{size}-{in_flight}": (door, size, in_flight)
    for in_flight in (1, 64)
    for size in SIZES
    for door in ("proxy", "proxy-token", "api")
}


def measure(bench, chosen):
    """Measures the chosen rows, with one server a profile."""
    for in_flight in (1, 64):
        of_profile = {name: row for name, row in CALLS.items() if name in chosen and row[2] == in_flight}
        if of_profile:
            prefix = bench.path if in_flight == 1 else []
            with bench.helloworld(prefix) as home:
                doors = Doors(bench, home, prefix, in_flight)
                for name, (door, size, _) in of_profile.items():
                    doors.measure(name, door, size)


class Doors:
    """The doors of one server, and the service behind it."""

    def __init__(self, bench, home, prefix, in_flight):
        self.bench, self.prefix, self.in_flight = bench, prefix, in_flight
        self.token = home.token()
        self.state = home.state()
        self.direct = home.node("helloworld", self.token)

    def calls(self, protocol, address, size, pid=None, token=None):
        environment = {"MICRO_LOAD_TOKEN": token} if token else {}
        words = ["calls", protocol, address, "helloworld", self.in_flight, self.bench.seconds, SIZES[size]]
        words += [pid] if pid else []
        measured = self.bench.load(*words, prefix=self.prefix, environment=environment)
        measured["figure"] = measured["requests"] / measured["seconds"]
        if pid:
            measured["cpu"] = measured["ticks"] / harness.TICKS / measured["requests"] * 1e6
        return measured

    def measure(self, name, door, size):
        protocol, address = ("http", self.state["api"]) if door == "api" else ("grpc", self.state["proxy"])
        token = self.token if door == "proxy-token" else None
        ratios, direct, through = harness.pairs(
            self.bench.pairs,
            lambda: self.calls("grpc", self.direct, size),
            lambda: self.calls(protocol, address, size, self.state["pid"], token),
        )
        cpu = harness.median(through, "cpu")
        note = (
            f"{harness.median(direct, 'figure'):,.0f}/s -> {harness.median(through, 'figure'):,.0f}/s; "
            f"p50 {harness.median(direct, 'p50_us'):.0f} -> {harness.median(through, 'p50_us'):.0f} us, "
            f"p99 {harness.median(direct, 'p99_us'):.0f} -> {harness.median(through, 'p99_us'):.0f} us; "
            f"CPU {cpu:.1f} us/request; {ratios.note()}"
        )
        self.bench.show(Figure(name, ratios.median, "x direct", note))
        if name in FLOORS:
            self.compare(name, protocol, address, size, token)
        if name in ALONE:
            self.show_floor(name, protocol, size, token)

    def show_floor(self, name, protocol, size, token):
        """The floor program in the place of the server."""
        with self.bench.floor(ALONE[name], self.direct, self.prefix) as floor:
            ratios, direct, through = harness.pairs(
                self.bench.pairs,
                lambda: self.calls("grpc", self.direct, size),
                lambda: self.calls(protocol, floor["address"], size, floor["pid"], token),
            )
        note = (
            f"{harness.median(direct, 'figure'):,.0f}/s -> {harness.median(through, 'figure'):,.0f}/s; "
            f"CPU {harness.median(through, 'cpu'):.1f} us/request; {ratios.note()}"
        )
        self.bench.show(Figure(f"{name} {ALONE[name]}", ratios.median, "x direct", note))

    def compare(self, name, protocol, address, size, token):
        """CPU time a request, beside that of the floor program."""
        kind = FLOORS[name]

        def cpu(*target):
            measured = self.calls(protocol, *target)
            return measured | {"figure": measured["cpu"]}

        with self.bench.floor(kind, self.direct, self.prefix) as floor:
            ratios, bare, ours = harness.pairs(
                self.bench.pairs,
                lambda: cpu(floor["address"], size, floor["pid"]),
                lambda: cpu(address, size, self.state["pid"], token),
            )
        note = (
            f"{harness.median(bare, 'cpu'):.1f} -> {harness.median(ours, 'cpu'):.1f} us/request; "
            f"{ratios.note()}"
        )
        self.bench.show(Figure(f"{name} CPU", ratios.median, f"x {kind}", note))


ROWS = Rows(CALLS, measure)
