"""The disk fills up while clients write, and has room again later.

Without room a write is refused with 507 and words that say why; what was refused is not there, what
was acknowledged is, and reads go on. Once there is room, writes succeed again without a restart. The
end of the room is made by a library before the server (see `recorder.c`), at a random byte.
"""

import contextlib
import itertools
import time

from campaign import listening, log, long_token
from client import Client, Refused, look
from home import PATIENCE, Failed
from ledger import Ledger
from recorder import NO_LIMIT, REFUSED, ROOM, Recorder, state_folder
from trial import check
from writer import Writers

CYCLES = (4, 100)
# Changes that are acknowledged before the room is limited, and after there is room again.
BEFORE, AFTER = 60, 100
# The most bytes that are left then.
LEFT = 300_000
# So many writes are refused before there is room again.
REFUSALS = 60
# How long it may take until a write succeeds again, in seconds.
LIMIT = 5
FULL, WORDS = 507, "disk space"


def run(campaign):
    """Runs the campaign."""
    for cycle in range(campaign.cycles):
        campaign.count("cycles")
        with campaign.bare_home() as home:
            fill(campaign, home, cycle)


def fill(campaign, home, cycle):
    """Takes the room away from a server and gives it back."""
    recorder = Recorder(home, recording=False)
    server = recorder.serving()
    token, ledger = long_token(home), Ledger(itertools.count().__next__)
    with Writers(campaign, home, ledger, token, cycle) as writers:
        until("the first changes", lambda: ledger.acknowledged >= BEFORE)
        recorder.words[ROOM] = campaign.random.randrange(LEFT)
        until("refusals", lambda: len(writers.refused()) >= REFUSALS)
    refused = writers.refused()
    campaign.count("refused", len(refused))
    for status, text in refused:
        if status != FULL or WORDS not in text:
            campaign.violated("unclear", f"{status}: {text.strip()}")
    same(campaign, home, token, ledger, "while the disk is full")
    recorder.words[ROOM] = NO_LIMIT
    recover(campaign, home, token, ledger, cycle)
    campaign.count("writes without room", recorder.words[REFUSED])
    for failure in writers.failures:
        campaign.violated("no answer", failure)
    same(campaign, home, token, ledger, "after there was room again")
    # A log that is left over needs no room at the next start; a new one does.
    campaign.random.choice([server.kill, server.terminate])()
    server.wait()
    recorder.words[ROOM] = 0
    start_without_room(campaign, home, recorder, token, ledger)
    server = listening(home)
    if server.poll() is not None:
        campaign.violated("refused to start", log(home))
        return
    same(campaign, home, token, ledger, "after a restart")
    for kind, text in check(state_folder(home)):
        campaign.violated(kind, text)
    campaign.count("acknowledged", ledger.acknowledged)


def start_without_room(campaign, home, recorder, token, ledger):
    """Starts a server on the full disk: it says why it cannot, or serves what is there."""
    (home.folder / "server.log").write_bytes(b"")
    server = listening(home, recorder.environment)
    if server.poll() is None:
        campaign.count("started without room")
        same(campaign, home, token, ledger, "started on a full disk")
        server.kill()
        server.wait()
    elif WORDS in log(home) or "No space left" in log(home):
        campaign.count("refused to start without room")
    else:
        campaign.violated("unclear", f"a start on a full disk: {log(home)[-500:]}")


def until(what, done):
    deadline = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > deadline:
            raise Failed(f"waited {PATIENCE} s for {what}")
        time.sleep(0.01)


def recover(campaign, home, token, ledger, cycle):
    """Everything succeeds again, and soon."""
    before, begun = ledger.acknowledged, time.monotonic()
    with Writers(campaign, home, ledger, token, cycle, "again") as writers:
        until("a write to succeed again", lambda: ledger.acknowledged > before)
        took = time.monotonic() - begun
        campaign.highest("max recovery ms", took * 1e3)
        if took > LIMIT:
            campaign.violated("slow", f"a write succeeded {took:.1f} s after there was room again")
        until("changes after there was room again", lambda: ledger.acknowledged > before + AFTER)
    for failure in writers.refused() + writers.failures:
        campaign.violated("refused", f"although there is room again: {failure}")


def same(campaign, home, token, ledger, moment):
    """What is there is what may be there."""
    try:
        with contextlib.closing(Client(home, token)) as client:
            seen = look(client)
    except (OSError, Refused) as error:
        campaign.violated("unreadable", f"{moment}: {error}")
        return
    for kind, text in ledger.wrong(seen):
        campaign.violated(kind, f"{moment}: {text}")
