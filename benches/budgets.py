"""What each row of the table has to reach, and what is aimed at: the one list of it."""

import dataclasses


@dataclasses.dataclass
class Budget:
    """What a figure must be and should be; `up` says that more is better."""

    must: float
    aim: float
    up: bool = False

    def verdict(self, value):
        """`met`, `met, aim too`, or by how much it was missed."""
        reaches = (lambda limit: value >= limit) if self.up else (lambda limit: value <= limit)
        if reaches(self.aim):
            return "met, aim too"
        if reaches(self.must):
            return "met"
        if self.must == 0:
            return f"missed by {value:g}"
        return f"missed by {abs(value - self.must) / self.must * 100:.0f} %"


def least(must, aim):
    """A budget of which more is better."""
    return Budget(must, aim, up=True)


# By the name of the row; the unit is that of the row.
BUDGETS = {
    # Calls: calls a second ÷ those of a direct call, or CPU time ÷ that of a floor program.
    "proxy-token-small-1": least(0.42, 0.50),
    "proxy-token-1kb-1": least(0.42, 0.50),
    "api-small-1": least(0.55, 0.62),
    "api-1kb-1": least(0.28, 0.40),
    "api-small-64 CPU": Budget(1.3, 1.1),
    "proxy-small-64 CPU": Budget(1.4, 1.1),
    "api-envoy": least(1.8, 2.2),
    # A handler of the SDK ÷ one of tonic alone, calls a second.
    "handler-sdk-1": least(0.9, 1.0),
    "handler-sdk-64": least(0.9, 1.0),
    # Commands ÷ `true`; with 1,000 services registered ÷ with 10.
    "help": Budget(2, 1.6),
    "call": Budget(6, 4),
    "services-1000": Budget(2, 1.5),
    "complete-1000": Budget(2, 1.5),
    "unknown-1000": Budget(2, 1.5),
    # The server: milliseconds to the first login, megabytes, and what stays of them.
    "ready-fresh": Budget(100, 60),
    "ready-again": Budget(40, 25),
    "crash": Budget(500, 150),
    "memory-idle": Budget(20, 12),
    "memory-1000": Budget(40, 20),
    "memory-logins": Budget(2, 1.3),
    "connections-9000": Budget(2, 1.3),
    "memory-connections": Budget(2, 1.3),
    # State: calls a second ÷ SQLite alone, or ÷ a call answered from memory; milliseconds; slowest hundredth.
    "store-write-32": least(3, 6),
    "store-read-1": least(0.8, 0.9),
    "store-read-64": least(0.8, 0.9),
    "revocation": Budget(100, 50),
    "store-expiry-100000": Budget(2, 1.2),
    "auth-rules-1000": least(0.93, 0.97),
    # Builds: calls that fail while a new version takes over; seconds from a clone to a running call.
    "edit failed calls": Budget(0, 0),
    "clone": Budget(210, 150),
}
# From a save to the new version's answer, in terms of the bare way in seconds: so many times that, and so
# many seconds more.
EDIT = ((1.15, 0.100), (1.05, 0.050))
