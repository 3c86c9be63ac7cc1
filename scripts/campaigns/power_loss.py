"""The power fails at any moment: of what was not synced, any part is lost.

A server is recorded while clients change records, settings, secrets, blobs, rules and accounts,
through a stop and a start. For moments of that record the states are made that a disk may be in
after a loss of power there (see `disk.py`), and a server is started on each. Everything that was
acknowledged before the moment must be there, a batch must be there whole or not at all, nothing may
be there that was never sent, and the database must pass SQLite's own check.

The counter checks: the same with the syncs of the database, of its log, of blobs, or of folders
taken out of the record must find losses. Where they find none, this campaign is blind.
"""

import contextlib
import pathlib
import shutil
import time

from campaign import log, long_token
from disk import SORTS, Disk
from home import PATIENCE, Failed
from ledger import Ledger
from recorder import Recorder, files
from trial import KEPT, Trial
from writer import Writers

# A cycle is one state in which a disk may be.
CYCLES = (200, 5000)
# The record ends with so many acknowledged changes for each server that is recorded.
CHANGES = (900, 2500)
# Of one moment, at most so many states are tried.
STATES = (4, 256)
# Of the states, this share goes to the counter checks, and this to the stricter promise of POSIX.
COUNTER, STRICT = 0.1, 0.2
# Servers that look at states at the same time.
LOOKING = 2


def run(campaign):
    """Runs the campaign."""
    shutil.rmtree(KEPT, ignore_errors=True)
    long = campaign.cycles > CYCLES[0]
    with contextlib.ExitStack() as homes:
        home = homes.enter_context(campaign.bare_home())
        recorder = Recorder(home)
        ledger, token, admin = record(campaign, home, recorder, CHANGES[long])
        operations = recorder.operations()
        campaign.count("operations", len(operations))
        campaign.count("acknowledged", ledger.acknowledged)
        compare(operations, recorder)
        memory = pathlib.Path("/dev/shm")
        within = memory if memory.is_dir() else None
        lookers = [homes.enter_context(campaign.bare_home(within)) for _ in range(LOOKING)]
        trial = Trial(campaign, lookers, ledger, token, admin, counted=True)
        counter = max(len(SORTS), int(campaign.cycles * COUNTER))
        strict = max(1, int(campaign.cycles * STRICT))
        trial.run(operations, campaign.cycles - counter - strict, STATES[long], "states")
        trial.run(operations, strict, STATES[long], "states by POSIX", strict=True)
        # What a missing sync does shows after some time.
        middle = len(operations) // 2
        for sort in SORTS:
            name = f"without syncs of the {sort}"
            found = trial.run(operations, counter // len(SORTS), 1, name, deaf=sort, first=middle)
            campaign.count("found then", found)
            if not found:
                campaign.violated("blind", f"no loss was found although no sync of the {sort} counts")


def record(campaign, home, recorder, changes):
    """Records two servers on the same home, one after the other: the ledger and a token."""
    ledger = Ledger(recorder.mark)
    token, admin = None, recorder.mark()
    for life in range(2):
        server = recorder.serving()
        if life == 0:
            token, admin = long_token(home), recorder.mark()
        refused = work(campaign, home, ledger, token, life, changes)
        server.terminate()
        if server.wait() != 0:
            raise Failed(f"the recorded server ended with {server.returncode}: {log(home)}")
        for refusal in refused:
            campaign.violated("refused", str(refusal))
    return ledger, token, admin


def work(campaign, home, ledger, token, life, changes):
    """Lets writers change things until enough was acknowledged; what was refused."""
    before, deadline = ledger.acknowledged, time.monotonic() + 2 * PATIENCE
    with Writers(campaign, home, ledger, token, life) as writers:
        while ledger.acknowledged - before < changes and time.monotonic() < deadline:
            time.sleep(0.05)
    return writers.refused() + writers.failures


def compare(operations, recorder):
    """Replays the whole record; the result must be what is on the disk, or not all was seen."""
    disk = Disk()
    for operation in operations:
        disk.apply(operation)
    replayed, real = disk.all(), files(recorder.folder)
    wrong = sorted(path for path in {*replayed, *real} if replayed.get(path, b"-") != real.get(path, b"-"))
    if wrong:
        raise Failed(f"the record is not what happened: {', '.join(wrong[:5])} differ")
