"""Files of a stopped server are damaged: a bit is flipped, the end is cut off, a part is zeros or noise.

The server then refuses to start, with a reason that names the file, or it serves. What it serves is
what was written or an error, never something else. A log that is cut short is like a server that was
killed earlier: what is missing from its end is counted as `older`, and is no violation. What the
database itself lost without a word is one, and so is a panic.
"""

import contextlib
import itertools
import shutil
import signal
import time

from campaign import listening, log, long_token, serving
from client import Client, Refused, look
from disk import put
from home import PATIENCE
from ledger import Ledger
from recorder import files, state_folder
from writer import Writers

CYCLES = (80, 2000)
# Changes of each server behind an image of a folder.
CHANGES = 300
# How the servers ended that each image is of: with all in the database, all in its log, or in both.
LIVES = [[signal.SIGTERM], [signal.SIGKILL], [signal.SIGTERM, signal.SIGKILL]]
FLIP, CUT, ZERO, NOISE, EMPTY = "flip", "cut", "zeros", "noise", "empty"
WEIGHTS = {FLIP: 10, CUT: 3, ZERO: 2, NOISE: 2, EMPTY: 1}
SORTS = {"database": 4, "log": 3, "blob": 1}
# The most bytes of zeros or noise.
PATCH = 6000


def run(campaign):
    """Runs the campaign."""
    images = [make(campaign, number) for number in range(len(LIVES))]
    with campaign.bare_home() as home:
        for _ in range(campaign.cycles):
            campaign.count("cycles")
            image, ledger, token = campaign.random.choice(images)
            state, what, path = damaged(campaign, image)
            campaign.count(f"{sort(path)} damaged")
            folder = state_folder(home)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            put(folder, state)
            serve(campaign, home, ledger, token, what, path)


def make(campaign, number):
    """The files of a server after some work, what was acknowledged, and a token."""
    ledger = Ledger(itertools.count().__next__)
    with campaign.bare_home() as home:
        for life, ends in enumerate(LIVES[number]):
            server = serving(home)
            token, wanted = long_token(home), ledger.acknowledged + CHANGES
            with Writers(campaign, home, ledger, token, number, life) as writers:
                deadline = time.monotonic() + PATIENCE
                while ledger.acknowledged < wanted and time.monotonic() < deadline:
                    time.sleep(0.02)
            for failure in writers.refused() + writers.failures:
                campaign.violated("refused", str(failure))
            server.send_signal(ends)
            server.wait()
        return files(state_folder(home)), ledger, token


def sort(path):
    """What a file is."""
    if path.startswith("blobs/"):
        return "blob"
    return {"micro.db": "database", "micro.db-wal": "log"}[path]


def damaged(campaign, image):
    """A copy of the files with one damage, what it is in words, and where."""
    chance = campaign.random
    by_sort = {}
    for path, content in image.items():
        if content and (path.startswith("blobs/") or path in ("micro.db", "micro.db-wal")):
            by_sort.setdefault(sort(path), []).append(path)
    weights = [SORTS[name] for name in by_sort]
    path = chance.choice(by_sort[chance.choices(list(by_sort), weights)[0]])
    content = bytearray(image[path])
    what = chance.choices(list(WEIGHTS), WEIGHTS.values())[0]
    at = chance.randrange(len(content))
    size = min(chance.randrange(1, PATCH), len(content) - at)
    words = f"{what} at {at} of {len(content)} bytes of {path}"
    if what == FLIP:
        bit = chance.randrange(8)
        content[at] ^= 1 << bit
        words += f", bit {bit}"
    elif what == CUT:
        del content[at:]
    elif what == ZERO:
        content[at : at + size] = bytes(size)
    elif what == NOISE:
        content[at : at + size] = chance.randbytes(size)
    else:
        content.clear()
    return image | {path: bytes(content)}, words, path


def serve(campaign, home, ledger, token, what, path):
    """Starts a server on damaged files, and judges what it does."""
    (home.folder / "server.log").write_bytes(b"")
    server = listening(home)
    try:
        if server.poll() is not None:
            refusal = log(home).strip().splitlines()
            campaign.count("refused to start")
            if not refusal or "micro.db" not in refusal[-1] and "micro.db" not in refusal[0]:
                campaign.violated("unclear", f"{what}: {refusal}")
            return
        try:
            with contextlib.closing(Client(home, token)) as client:
                wrong = list(ledger.wrong(look(client)))
        except (Refused, OSError) as error:
            wrong = [("unreadable", str(error))]
        judge(campaign, wrong, what, path)
    finally:
        server.kill()
        server.wait()
        home.spawned.remove(server)
        if "panicked" in log(home):
            campaign.violated("panics", f"{what}: {log(home)[-300:]}")


def judge(campaign, wrong, what, path):
    """Counts what became of one damage."""
    kinds = {kind for kind, _ in wrong}
    silent = kinds - {"unreadable"}
    if not kinds:
        campaign.count("harmless")
    elif not silent:
        campaign.count("told on reading")
    elif sort(path) == "log" and not silent - {"lost", "resurrected"}:
        campaign.count("older")
    else:
        kind, text = next(entry for entry in wrong if entry[0] != "unreadable")
        campaign.violated("silent", f"{what}: {kind}: {text}" + (f", and {len(wrong) - 1} more" if wrong[1:] else ""))
