"""What was sent to a server, what of it was acknowledged, and so what must and may be there.

Each key has one writer, which waits for the answer before it goes on. So what is there is what the
last acknowledged change left, or one that was sent after it.
"""

import threading

from client import Unreadable

# A batch writes the same to each of these.
GROUP = ["a", "b", "c"]


class Change:
    """One change of one key: when it was sent and acknowledged, and what it leaves there."""

    __slots__ = ("sent", "acknowledged", "value", "version")

    def __init__(self, sent, value):
        self.sent, self.acknowledged, self.value, self.version = sent, None, value, None


class Ledger:
    """The changes of every key; `mark` tells the moment."""

    def __init__(self, mark):
        self.mark, self.changes, self.lock = mark, {}, threading.Lock()
        # How many changes were acknowledged.
        self.acknowledged = 0

    def send(self, things, value):
        """Notes that a change of some things goes out."""
        change = Change(self.mark(), value)
        with self.lock:
            for thing in things:
                self.changes.setdefault(thing, []).append(change)
        return change

    def acknowledge(self, change, version=None):
        """Notes that it was acknowledged."""
        change.version = version
        change.acknowledged = self.mark()
        with self.lock:
            self.acknowledged += 1

    def forget(self, things, change):
        """Notes that the server refused it, which says that nothing was changed."""
        with self.lock:
            for thing in things:
                self.changes[thing].remove(change)

    def settle(self, seen):
        """Takes what is there as what must be there from now on: what was in doubt is known now."""
        for thing in self.changes:
            change = Change(self.mark(), seen.get(thing))
            change.acknowledged = change.sent
            self.changes[thing] = [change]

    def present(self, thing):
        """The last thing that was acknowledged."""
        changes = [change for change in self.changes.get(thing, []) if change.acknowledged is not None]
        return changes[-1].value if changes else None

    def allowed(self, thing, now):
        """What may be there if all ended at a moment: none stands for nothing."""
        values = [None]
        for change in self.changes.get(thing, []):
            if change.sent > now:
                break
            if change.acknowledged is not None and change.acknowledged <= now:
                values = []
            values.append(change.value)
        return values

    def wrong(self, seen, now=float("inf")):
        """What is not as it may be: pairs of a kind and a text. Kinds: `lost` (older or not there),
        `resurrected` (there though deleted), `altered` (never sent), `unreadable`, `half` (a batch)."""
        for thing in {**self.changes, **seen}:
            found = seen.get(thing)
            allowed = self.allowed(thing, now)
            if found in allowed:
                continue
            name = f"{thing[0]} `{thing[1]}`"
            if isinstance(found, Unreadable):
                yield "unreadable", f"{name}: {found}"
            elif found is None:
                yield "lost", f"{name} is not there, acknowledged was {brief(allowed)}"
            elif found not in [change.value for change in self.changes.get(thing, [])]:
                yield "altered", f"{name} is {brief([found])}, which was never sent"
            elif allowed == [None]:
                yield "resurrected", f"{name} is {brief([found])}, its deletion was acknowledged"
            else:
                yield "lost", f"{name} is the older {brief([found])}, acknowledged was {brief(allowed)}"
        for kind, key in self.changes:
            if kind == "record" and key.startswith("group/") and key.endswith("/" + GROUP[0]):
                found = [seen.get((kind, key[:-1] + part)) for part in GROUP]
                if any(value != found[0] for value in found) and not any(isinstance(v, Unreadable) for v in found):
                    yield "half", f"the batch of `{key[:-2]}` left {brief(found)}"


def brief(values):
    """Values in a few words."""
    return " or ".join(str(value if value is None or len(value) < 60 else value[:60] + b"...") for value in values)
