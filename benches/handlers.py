"""Rows about the handler of a service: calls a second by the SDK beside the same by tonic alone.

The notes have the rates, what hyper alone does, and the CPU time of a call.
"""

import functools

import harness
from harness import Figure, Rows

NAME_BYTES = 4
# Each row: who serves, and how many calls are in flight.
HANDLERS = {
    f"handler-{kind}-{in_flight}": (kind, in_flight) for kind in ("sdk", "spans") for in_flight in (1, 64)
}


def measure(bench, chosen):
    """Measures the chosen rows, each pair beside tonic alone, then once beside hyper alone."""
    for name, (kind, in_flight) in HANDLERS.items():
        if name not in chosen:
            continue
        # With one call in flight all of it runs on one core, as the other rows of that sort do.
        prefix = bench.path if in_flight == 1 else []

        def program(kind):
            return bench.floor("handler", kind, prefix)

        def rate(served):
            return calls(bench, served, in_flight, prefix)

        with program(kind) as ours, program("tonic") as tonic, program("hyper") as hyper:
            ratios, bare, by_sdk = harness.pairs(
                bench.pairs, functools.partial(rate, tonic), functools.partial(rate, ours)
            )
            least = rate(hyper)
        note = (
            f"{harness.median(bare, 'figure'):,.0f}/s -> {harness.median(by_sdk, 'figure'):,.0f}/s, "
            f"hyper {least['figure']:,.0f}/s; CPU {harness.median(bare, 'cpu'):.1f} -> "
            f"{harness.median(by_sdk, 'cpu'):.1f} us/call, hyper {least['cpu']:.1f}; {ratios.note()}"
        )
        bench.show(Figure(name, ratios.median, "x tonic", note))


def calls(bench, served, in_flight, prefix):
    """Calls it for a while."""
    words = ["calls", "grpc", served["address"], "helloworld", in_flight, bench.seconds, NAME_BYTES, served["pid"]]
    measured = bench.load(*words, prefix=prefix)
    measured["figure"] = measured["requests"] / measured["seconds"]
    measured["cpu"] = measured["ticks"] / harness.TICKS / measured["requests"] * 1e6
    return measured


ROWS = Rows(HANDLERS, measure)
