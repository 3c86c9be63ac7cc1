"""Rows about growth: what an operation takes when there is much of what it works on."""

import json
import random
import statistics
import time

import harness
from harness import MEGABYTE, Figure, pss
from state import Target, field, groups, list_, read, write

# How many keys there are while one is read and one is written.
KEYS = [1_000, 100_000, 1_000_000]
# The place in 100,000 keys at which a page begins, and how long it is.
DEPTHS, PAGE = [0, 100, 90_000], 100
# Bytes of a value.
VALUES = [100, 1_000, 100_000, 1_000_000, 4_000_000]
# Records that expire at once, and for how many seconds that is watched.
EXPIRED, WATCHED = 100_000, 10
RULES = [1, 100, 1_000, 10_000]
ACCOUNTS = [10, 1_000, 10_000]
# Keys of a config, at most so many set at once.
SETTINGS, PART = [100, 10_000, 50_000], 5_000


def rows(name, sizes):
    """Rows of one name, with their sizes."""
    return {f"{name}-{size}": size for size in sizes}


def rising(chosen):
    """Rows from the smallest to the largest."""
    return sorted(chosen.items(), key=lambda row: row[1])


def keys(target, chosen):
    """A read and a write of one key, the more keys there are."""
    chance = random.Random(1)
    for name, count in rising(chosen):
        target.fill("bench", count)
        some = [f"key-{chance.randrange(count):08}" for _ in range(20_000)]
        reading = target.send("Read", [read(key, "bench") for key in some])
        writing = target.send("Write", [write(key, "bench") for key in some])
        note = f"a write {writing['p50_us']:,.0f} us; p99 {reading['p99_us']:,.0f} and {writing['p99_us']:,.0f} us"
        target.bench.show(Figure(name, reading["p50_us"], "us a read", note))


def pages(target, chosen):
    """A page of keys after so many others, by the last key of the page before."""
    target.fill("bench", 100_000)
    for name, depth in rising(chosen):
        after = f"key-{depth - 1:08}" if depth else ""
        by_key = target.send("List", [list_("", "bench", limit=PAGE, after=after)])
        by_offset = target.send("List", [list_("", "bench", limit=PAGE, offset=depth)])
        note = f"by offset {by_offset['p50_us']:,.0f} us"
        target.bench.show(Figure(name, by_key["p50_us"], "us a page", note))


def values(target, chosen):
    """Megabytes a second in values of one size."""
    for name, size in rising(chosen):
        some = [f"key-{number}" for number in range(8)]
        writing = target.send("Write", [write(key, "bench", b"v" * size) for key in some])
        reading = target.send("Read", [read(key, "bench") for key in some])
        rates = [measured["figure"] * size / 1e6 for measured in (writing, reading)]
        note = f"read {rates[1]:,.1f} MB/s; PSS afterwards {pss(target.state['pid']) / MEGABYTE:.0f} MB"
        target.bench.show(Figure(name, rates[0], "MB/s in", note))


def expiry(target, chosen):
    """The slowest hundredth of writes while many records expire, beside those before."""
    messages = [write(f"other-{number}", "other") for number in range(1_000)]
    for name, count in rising(chosen):
        # Written until then; what is late expires at once.
        over = time.monotonic() + 1 + count / 2_000
        target.fill("bench", count, lambda: max(1, int((over - time.monotonic()) * 1e3)))
        late = max(0.0, time.monotonic() - over)
        before = target.send("Write", messages, seconds=WATCHED) if not late else None
        time.sleep(max(0.0, over - time.monotonic()))
        during = target.send("Write", messages, seconds=WATCHED)
        after = before or target.send("Write", messages, seconds=WATCHED)
        note = f"p99 {during['p99_us']:,.0f} us, else {after['p99_us']:,.0f} us; p50 {during['p50_us']:,.0f} us"
        ratio = during["p99_us"] / after["p99_us"]
        target.bench.show(Figure(name, ratio, "x p99", note))


def rules(target, chosen):
    """A call to a building block with so many rules, none of which concerns it but the default one,
    beside the same with the default one alone; all on one core."""
    bench, message = target.bench, [read("none", "bench")]
    with bench.server(bench.path) as few, bench.server(bench.path) as many:
        few, many = (Target(bench, home, target.folder, bench.path) for home in (few, many))
        for one in (few, many):
            record = {"record": {"key": "none"}, "options": {"table": "bench"}}
            one.home.call("/store/Store/Write", record, one.token)
        present = 0
        for name, count in rising(chosen):
            begun, made = time.perf_counter(), max(1, count - 1 - present)
            for number in range(present, count - 1):
                rule = {
                    "id": f"rule-{number}", "scope": "*", "access": "GRANTED", "priority": number + 1,
                    "resource": {"type": "service", "name": f"service-{number}", "endpoint": "*"},
                }
                many.home.call("/auth/Rules/Create", {"rule": rule}, many.token)
            created, present = (time.perf_counter() - begun) / made, count - 1
            ratios, _, ours = harness.pairs(
                bench.pairs, lambda: few.send("Read", message), lambda: many.send("Read", message)
            )
            note = f"{harness.median(ours, 'figure'):,.0f}/s; one is made in {created * 1e3:.1f} ms; {ratios.note()}"
            bench.show(Figure(name, ratios.median, "x fewest", note))


def accounts(target, chosen):
    """A login with a generated secret, the more accounts there are."""
    made = []
    for name, count in rising(chosen):
        for number in range(len(made), count):
            account = target.home.call("/auth/Auth/Generate", {"id": f"account-{number}"}, target.token)
            made.append(account["account"])
        times = []
        for account in random.Random(1).choices(made, k=100):
            begun = time.perf_counter()
            target.home.token(account["id"], account["secret"])
            times.append(time.perf_counter() - begun)
        note = f"PSS {pss(target.state['pid']) / MEGABYTE:.0f} MB"
        target.bench.show(Figure(name, statistics.median(times) * 1e3, "ms a login", note))


def settings(target, chosen):
    """A small setting read and set, the more the config of the namespace has."""
    present = 0
    for name, count in rising(chosen):
        while present < count:
            part = {f"key-{number:05}": "value" for number in range(present, min(count, present + PART))}
            change = {"path": f"bench.part-{present}", "value": {"data": json.dumps(part)}}
            target.home.call("/config/Config/Set", change, target.token)
            present += len(part)
        target.home.call("/config/Config/Set", {"path": "small", "value": {"data": "0"}}, target.token)
        reading = target.send("config.Config/Get", [field(2, "small")])
        changes = [field(2, "small") + field(3, field(1, str(number))) for number in range(100)]
        setting = target.send("config.Config/Set", changes)
        note = f"set {setting['p50_us']:,.0f} us; p99 {reading['p99_us']:,.0f} and {setting['p99_us']:,.0f} us"
        target.bench.show(Figure(name, reading["p50_us"], "us a get", note))


ROWS = groups(
    (keys, rows("store-keys", KEYS)),
    (pages, rows("store-page", DEPTHS)),
    (values, rows("store-value", VALUES)),
    (expiry, rows("store-expiry", [EXPIRED])),
    (rules, rows("auth-rules", RULES)),
    (accounts, rows("auth-accounts", ACCOUNTS)),
    (settings, rows("config-keys", SETTINGS)),
)
