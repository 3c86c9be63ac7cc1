"""The library that stands between a server and its disk: built, told what to do, and its record read.

See `recorder.c`. It works on Linux, with a program that is linked to the C library dynamically.
"""

import mmap
import os
import pathlib
import shutil
import struct
import subprocess
import sys

from campaign import serving
from home import ROOT, Failed

SOURCE = pathlib.Path(__file__).with_name("recorder.c")
LIBRARY = ROOT / "target/campaign/recorder.so"
# As in recorder.c.
SEQUENCE, FILES, ROOM, FAILING, FAILED_SYNCS, REFUSED, SYNCS = range(7)
WORDS = 8
CREATE, ADOPT, WRITE, CUT, SYNC, RENAME, UNLINK, LINK, MKDIR, RMDIR, SYNC_FAILED = range(1, 12)
HEADER = struct.Struct("<IIQQQQ")
NO_LIMIT = -1


class Unsupported(Exception):
    """This system has no way to stand between a program and its disk."""


def build(source=SOURCE, library=LIBRARY):
    """Compiles a library that stands before the C library, if it is older than its source."""
    if not sys.platform.startswith("linux"):
        raise Unsupported("it needs Linux and LD_PRELOAD")
    compiler = shutil.which("cc")
    if not compiler:
        raise Unsupported("it needs a C compiler, `cc`")
    if library.exists() and library.stat().st_mtime > source.stat().st_mtime:
        return library
    library.parent.mkdir(parents=True, exist_ok=True)
    words = [compiler, "-shared", "-fPIC", "-O2", "-Wall", str(source), "-o", str(library), "-ldl", "-lpthread"]
    built = subprocess.run(words, capture_output=True, text=True)
    if built.returncode != 0:
        raise Failed(f"cannot build {source}: {built.stderr}")
    return library


class Operation:
    """One thing that was done to a file or a folder; `number` is an offset, a size or a sequence."""

    __slots__ = ("kind", "sequence", "file", "number", "paths", "data")

    def __init__(self, kind, sequence, file, number, paths, data):
        self.kind, self.sequence, self.file = kind, sequence, file
        self.number, self.paths, self.data = number, paths, data


class Recorder:
    """Stands before the state of the server of a home."""

    def __init__(self, home, recording=True):
        library = build()
        self.home = home
        self.folder = state_folder(home)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = home.folder / "record" if recording else None
        control = home.folder / "control"
        control.write_bytes(bytes(8 * WORDS))
        with open(control, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 8 * WORDS)
        self.words = memoryview(self.map).cast("q")
        self.words[ROOM] = NO_LIMIT
        self.environment = {
            "LD_PRELOAD": str(library),
            "RECORDER_FOLDER": os.path.realpath(self.folder),
            "RECORDER_CONTROL": str(control),
        }
        if self.log:
            self.log.touch()
            self.environment["RECORDER_LOG"] = str(self.log)

    def serving(self):
        """Starts the server of the home behind the library, which has to succeed."""
        process = serving(self.home, self.environment)
        if not self.words[SYNCS]:
            raise Unsupported("the program is not linked to the C library dynamically")
        return process

    def mark(self):
        """How many operations were recorded up to now."""
        return self.words[SEQUENCE]

    def operations(self):
        """What was recorded, in its order; paths are seen from the folder."""
        base = len(self.environment["RECORDER_FOLDER"]) + 1
        record = self.log.read_bytes()
        view, at, found = memoryview(record), 0, []
        while at + HEADER.size <= len(record):
            kind, path_bytes, sequence, file, number, size = HEADER.unpack_from(record, at)
            at += HEADER.size
            paths = record[at : at + path_bytes].decode().split("\0") if path_bytes else []
            at += path_bytes
            found.append(Operation(kind, sequence, file, number, [path[base:] for path in paths], view[at : at + size]))
            if sequence != len(found) - 1:
                raise Failed(f"operation {len(found) - 1} of the record has the number {sequence}")
            at += size
        return found


def state_folder(home):
    """Where the server of a home keeps its state."""
    return home.folder / "home/data/server"


def files(folder):
    """What is in a folder now, as the recorder sees it: each path with its bytes, or none for a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if not path.name.endswith("-shm"):
            found[str(path.relative_to(folder))] = None if path.is_dir() else path.read_bytes()
    return found
