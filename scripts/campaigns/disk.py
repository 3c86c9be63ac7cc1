"""A model of a disk that loses its power: from a record of what a program did, what may be there.

What was done to a file counts once a sync of that file began after it and came back. All else may
be there or not, each write on its own, and one may be torn at the border of a sector. Names are kept
the same way: a name that was made, moved or removed counts once its folder was synced.

By default the file system is one like ext4, XFS or Btrfs, where the sync of a file also keeps the
name it has, and the folders above it. `strict` promises no more than POSIX: names need a sync of
their folder. A sync that failed keeps nothing, and what it was to keep may be lost for good, since
the system takes it for written: no later sync brings it back.
"""

import itertools
import os

from recorder import ADOPT, CREATE, CUT, LINK, MKDIR, RENAME, RMDIR, SYNC, SYNC_FAILED, UNLINK, WRITE

SECTOR = 512
# With so few operations that are not certain, all their combinations are tried, if there is room.
ALL_OF = 8
# What is synced, by sorts.
SORTS = ["database", "log", "blobs", "folders"]
# In the place of a file: the entry of a folder.
FOLDER = object()


class File:
    """The content of a file: what is certain, and what may still be lost."""

    def __init__(self, path):
        self.path, self.certain, self.pending = path, bytearray(), []
        # Of what is pending: what no sync brings back, and what is certain but stands after such.
        self.doomed, self.sure = set(), set()

    def sync(self, began):
        """Keeps what was done before a sync began, except for what an earlier one failed to keep."""
        rest = []
        for operation in self.pending:
            if operation.sequence >= began or operation.sequence in self.doomed:
                rest.append(operation)
            elif self.doomed:
                self.sure.add(operation.sequence)
                rest.append(operation)
            else:
                overlay(self.certain, operation)
        self.pending = rest

    def doom(self, began):
        """Notes that a sync failed."""
        sequences = {operation.sequence for operation in self.pending if operation.sequence < began}
        self.doomed |= sequences - self.sure

    def uncertain(self):
        """What may be there or not."""
        return [operation for operation in self.pending if operation.sequence not in self.sure]

    def content(self, kept, torn=None):
        """Its bytes if of what is uncertain these operations were kept, the last of them in part."""
        content = bytearray(self.certain)
        chosen = self.sure | {operation.sequence for operation in kept}
        last = kept[-1] if kept else None
        for operation in self.pending:
            if operation.sequence in chosen:
                overlay(content, operation, torn if operation is last else None)
        return content


def sort_of(file):
    """The sort of what is synced, a file or the path of a folder."""
    if not isinstance(file, File):
        return "folders"
    if file.path.startswith("blobs/"):
        return "blobs"
    return {"micro.db": "database", "micro.db-wal": "log"}.get(file.path, "others")


def overlay(content, operation, sectors=None):
    """Does to bytes what an operation does to a file; of a torn one only some sectors."""
    if operation.kind == CUT:
        grow(content, operation.number)
        del content[operation.number :]
        return
    start, data = operation.number, operation.data
    end = start + len(data)
    if sectors is None:
        grow(content, start)
        content[start:end] = data
        return
    at = start
    while at < end:
        border = min(end, (at // SECTOR + 1) * SECTOR)
        if sectors.random() < 0.5:
            grow(content, at)
            content[at:border] = data[at - start : border - start]
        at = border


def grow(content, size):
    if len(content) < size:
        content.extend(bytes(size - len(content)))


def parent(path):
    return path.rpartition("/")[0]


class Disk:
    """The disk after so many operations of a record."""

    def __init__(self, deaf=None, strict=False):
        # Syncs of this sort of files are ignored.
        self.deaf, self.strict = deaf, strict
        # Names that are certain, those not certain in their order, and names as the program sees them.
        self.names, self.pending, self.seen = {}, [], {}
        self.files = {}

    def apply(self, operation):
        """Goes on by one operation."""
        kind = operation.kind
        if kind in (WRITE, CUT):
            file = self.files[operation.file]
            file.pending.append(operation)
        elif kind == ADOPT:
            path = operation.paths[0]
            # The folder itself, or what was there before, is known by its name.
            self.files[operation.file] = self.seen.get(path, FOLDER) if path else FOLDER
            if self.files[operation.file] is FOLDER:
                self.files[operation.file] = path
        elif kind == CREATE:
            file = self.files[operation.file] = File(operation.paths[0])
            self.rename(operation, {operation.paths[0]: file})
        elif kind == MKDIR:
            self.rename(operation, {operation.paths[0]: FOLDER})
        elif kind in (UNLINK, RMDIR):
            self.rename(operation, {operation.paths[0]: None})
        elif kind == LINK:
            self.rename(operation, {operation.paths[1]: self.seen[operation.paths[0]]})
        elif kind == RENAME:
            old, new = operation.paths
            self.rename(operation, {old: None, new: self.seen[old]})
        elif kind == SYNC:
            if sort_of(self.files[operation.file]) != self.deaf:
                self.sync(operation)
        elif kind == SYNC_FAILED:
            file = self.files[operation.file]
            if isinstance(file, File):
                file.doom(operation.number)

    def rename(self, operation, changes):
        """Notes a change of names; None removes one."""
        self.pending.append((operation.sequence, changes))
        change(self.seen, changes)

    def sync(self, operation):
        file, began = self.files[operation.file], operation.number
        if isinstance(file, File):
            file.sync(began)
            if not self.strict:
                named = {path for path, held in self.seen.items() if held is file}
                self.keep(began, lambda changes: any(held is file for held in changes.values()))
                for path in named:
                    self.keep_above(began, path)
            return
        self.keep(began, lambda changes: any(parent(path) == file for path in changes))
        if not self.strict:
            self.keep_above(began, file + "/")

    def keep_above(self, began, path):
        """Keeps the folders above a path."""
        above = set()
        while path := parent(path):
            above.add(path)
        self.keep(began, lambda changes: any(held is FOLDER and path in above for path, held in changes.items()))

    def keep(self, began, wanted):
        """Makes changes of names certain, with the earlier ones of the same names."""
        chosen, paths = set(), set()
        for number in reversed(range(len(self.pending))):
            sequence, changes = self.pending[number]
            if sequence < began and (wanted(changes) or paths & changes.keys()):
                chosen.add(number)
                paths |= changes.keys()
        for number in sorted(chosen):
            change(self.names, self.pending[number][1])
        self.pending = [entry for number, entry in enumerate(self.pending) if number not in chosen]

    def uncertain(self):
        """How many operations may be there or not."""
        return len(self.pending) + sum(len(file.uncertain()) for file in self.held())

    def held(self):
        """The files that may have a name after a crash, each once."""
        held = dict.fromkeys(file for file in self.names.values() if isinstance(file, File))
        for _, changes in self.pending:
            held |= dict.fromkeys(file for file in changes.values() if isinstance(file, File))
        return list(held)

    def all(self):
        """What the program sees: nothing is lost."""
        return {path: None if file is FOLDER else bytes(file.content(file.pending)) for path, file in self.seen.items()}

    def states(self, chance, limit):
        """What may be there after a loss of power now, at most `limit` times: pairs of what was
        chosen, in words, and the paths with their bytes."""
        total = self.uncertain()
        if total <= ALL_OF and 2**total <= limit:
            choices = [[bool(bits >> bit & 1) for bit in range(total)] for bits in range(2**total)]
        else:
            choices = self.some(chance, total, limit)
        for kept in choices:
            yield self.state(chance, kept)

    def some(self, chance, total, limit):
        """Choices: nothing, everything, all up to a point, and any."""
        yield [False] * total
        for number in itertools.islice(itertools.cycle(range(4)), max(limit - 1, 0)):
            if number == 0:
                yield [True] * total
            elif number == 1:
                point = chance.randrange(total + 1)
                yield [at < point for at in range(total)]
            else:
                share = chance.choice([0.1, 0.5, 0.9])
                yield [chance.random() < share for _ in range(total)]

    def state(self, chance, kept):
        """The files if these operations were kept."""
        words, used = [], len(self.pending)
        names = dict(self.names)
        for (_, changes), keep in zip(self.pending, kept, strict=False):
            if keep:
                change(names, changes)
        words.append(f"names {sum(kept[:used])}/{used}")
        contents = {}
        for file in self.held():
            open_ones = file.uncertain()
            mine = kept[used : used + len(open_ones)]
            used += len(open_ones)
            chosen = [operation for operation, keep in zip(open_ones, mine, strict=False) if keep]
            torn = chance if chosen and chance.random() < 0.5 else None
            contents[file] = file.content(chosen, torn)
            if open_ones:
                path = next((path for path, held in names.items() if held is file), "unnamed")
                numbers = [operation.sequence for operation in chosen]
                words.append(f"{path} {len(chosen)}/{len(mine)}{' torn' if torn else ''} {numbers[:12]}")
        found = {}
        for path, file in sorted(names.items()):
            above = parent(path)
            # A name in a folder that is not there is not there either.
            if not above or found.get(above, b"") is None:
                found[path] = None if file is FOLDER else contents.get(file, b"")
        return "; ".join(words), found


def change(names, changes):
    for path, file in changes.items():
        if file is None:
            names.pop(path, None)
        else:
            names[path] = file


def put(folder, files):
    """Writes files into an empty folder."""
    for path, content in files.items():
        if content is None:
            os.mkdir(folder / path, 0o700)
        else:
            with open(folder / path, "wb", opener=private) as file:
                file.write(content)


def private(path, flags):
    return os.open(path, flags, 0o600)
