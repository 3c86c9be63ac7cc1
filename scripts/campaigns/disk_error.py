"""The disk fails: a sync ends with an error, once, a few times or from then on.

What could not be put on disk is not acknowledged, and the answer says so. While every sync fails,
nothing is acknowledged at all, and reads go on. Afterwards the server goes on, and everything acknowledged is there:
in the same server, after kill -9, and after a loss of power, where what a failed sync was to keep is
lost even if a later sync succeeded. The errors are made by a library before the server (see
`recorder.c`), at a random moment.
"""

import contextlib
import pathlib
import time

from campaign import listening, log, long_token
from client import Client
from disk_full import same, until
from home import Failed
from ledger import Ledger
from power_loss import compare
from recorder import FAILED_SYNCS, FAILING, SYNC_FAILED, Recorder, state_folder
from trial import Trial, check
from writer import Writer, Writers

CYCLES = (4, 200)
# By turns so many syncs fail. All fail from then on: until the disk is well again, or, the last, until
# the server is killed.
ALL = -1
TURNS = [(1, False), (ALL, False), (3, False), (ALL, True)]
# Changes acknowledged before the failures, and after them.
BEFORE, AFTER = 150, 150
REFUSALS = 40
# States after a loss of power that are tried in each cycle.
STATES = 6


def run(campaign):
    """Runs the campaign."""
    for cycle in range(campaign.cycles):
        campaign.count("cycles")
        with campaign.bare_home() as home:
            fail(campaign, home, cycle, *TURNS[cycle % len(TURNS)])


def fail(campaign, home, cycle, failures, killed):
    """Lets syncs of a server fail, and looks at what it acknowledged."""
    recorder = Recorder(home)
    server = recorder.serving()
    token, ledger = long_token(home), Ledger(recorder.mark)
    admin = recorder.mark()
    with Writers(campaign, home, ledger, token, cycle) as writers:
        until("the first changes", lambda: ledger.acknowledged >= BEFORE)
        time.sleep(campaign.random.uniform(0, 0.2))
        recorder.words[FAILING] = failures
        if failures == ALL:
            until("refusals", lambda: len(writers.refused()) >= REFUSALS)
            # What was sent before may have been synced before.
            begun = recorder.mark()
            until("more refusals", lambda: len(writers.refused()) >= 2 * REFUSALS)
            acknowledged_unkept(campaign, ledger, begun)
            recorder.words[FAILING] = ALL if killed else 0
        else:
            until("the syncs to fail", lambda: recorder.words[FAILED_SYNCS] >= failures)
        if not killed:
            went_on(campaign, home, ledger, ledger.acknowledged)
    for status, text in writers.refused():
        campaign.count("refused")
        if status != 500:
            campaign.violated("unclear", f"{status}: {text.strip()}")
    for failure in writers.failures:
        campaign.violated("no answer", failure)
    campaign.count("failed syncs", recorder.words[FAILED_SYNCS])
    campaign.count("acknowledged", ledger.acknowledged)
    same(campaign, home, token, ledger, "in the same server")
    if killed:
        delete_what_failed(campaign, home, token, ledger)
    server.kill()
    server.wait()
    operations = recorder.operations()
    compare(operations, recorder)
    after_power_loss(campaign, operations, ledger, token, admin)
    if listening(home).poll() is not None:
        campaign.violated("refused to start", log(home))
        return
    same(campaign, home, token, ledger, "after a restart")
    for kind, text in check(state_folder(home)):
        campaign.violated(kind, text)


def acknowledged_unkept(campaign, ledger, begun):
    """Looks for changes that were sent and acknowledged while no sync succeeded."""
    with ledger.lock:
        found = [
            (thing, number, change, list(changes))
            for thing, changes in ledger.changes.items()
            for number, change in enumerate(changes)
            if change.sent >= begun and change.acknowledged is not None
        ]
    for thing, number, change, changes in found:
        kept = [earlier.value for earlier in changes[:number] if earlier.acknowledged is not None]
        # To delete what is not there needs no sync.
        if change.value is not None or kept and kept[-1] is not None:
            campaign.violated("acknowledged unkept", f"{thing[0]} `{thing[1]}` while no sync succeeds")


def delete_what_failed(campaign, home, token, ledger):
    """Deletes a record whose write failed: if that is acknowledged, it must not come back."""
    with contextlib.closing(Client(home, token)) as client:
        writer = Writer("w", ledger, client, campaign.random, [40], "failed")
        writer.write("failed/write")
        writer.delete("failed/write")


def went_on(campaign, home, ledger, before):
    """Waits for acknowledged changes after the failures; a server that needs a restart says so."""
    try:
        until("changes after the failures", lambda: ledger.acknowledged >= before + AFTER)
        campaign.count("went on")
    except Failed as error:
        if "restart" in log(home):
            campaign.count("asked for a restart")
        else:
            campaign.violated("stuck", str(error))


def after_power_loss(campaign, operations, ledger, token, admin):
    """Tries states of a disk on which what failed to be kept is lost."""
    memory = pathlib.Path("/dev/shm")
    with campaign.bare_home(memory if memory.is_dir() else None) as home:
        first = next(operation.sequence for operation in operations if operation.kind == SYNC_FAILED)
        trial = Trial(campaign, [home], ledger, token, admin)
        trial.run(operations, STATES, 2, "states after a loss of power", first=first)
