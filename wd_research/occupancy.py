"""Occupancy: one process at a time writes the record of a run, and it says how that ended."""

import time
import traceback
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from wd_research.flags import UserError
from wd_research.leases import Leases, describe_owner
from wd_research.reporting.checksums import seal
from wd_research.reporting.files import UnwritableError, read_inside, write_whole
from wd_research.reporting.folder import CLAIMED, RECORD, RESULTS, claim_folder, make_folder
from wd_research.reporting.page import write_record
from wd_research.reporting.record import read_record
from wd_research.scheduling import WAITING, IncompleteError
from wd_research.signals import ending, will
from wd_research.tiles import TILES

LEASE = "run.claim"  # the file that says who writes


@contextmanager
def occupied(
    folder: Path, leases: Leases, join: bool = False, announce: Callable[[str], None] = lambda what: None
) -> Generator[None]:
    """Be the one that writes in the folder of a run in a block.

    Raises UserError when the folder cannot be written, or another process writes there; then, to `join`,
    IncompleteError. Where it is not known whether that process lives, it waits until it is.
    """
    make_folder(folder)
    while True:
        with leases.taken(folder / LEASE) as mine:
            if mine:
                yield
                return
        who, lives = describe_owner(folder / LEASE), leases.owner_is(folder / LEASE)
        if lives == "alive" and join:
            raise IncompleteError(f"everything is trained, and {who} concludes in {folder}")
        if lives == "alive":
            raise UserError(f"--workdir {folder} holds a run that still goes on, {who}: wait for it, train with it by "
                            f"--join {folder}, or name another folder")  # fmt: skip
        announce(f"waiting whether {who} still lives")
        time.sleep(WAITING)


@contextmanager
def begun(folder: Path, record: Mapping[str, Any]) -> Generator[None]:
    """Let the record of a folder say that a run goes on in a block, or with what error it ended.

    Where the folder holds results the record stays theirs until others are written. Raises UserError when the folder
    holds another experiment.
    """
    earlier = earlier_record(folder, record)
    if earlier is None and not (folder / RECORD).exists():
        claim_folder(folder)
    with recorded(folder, earlier):
        if not (folder / RESULTS).exists():
            seal(folder, {**record, "status": "running"})
        yield


def earlier_record(folder: Path, record: Mapping[str, Any]) -> bytes | None:
    """The record of the run in a folder that goes on, as it stands there; None where none has begun.

    Raises UserError where it is another experiment's, or cannot go on.
    """
    if not (folder / RECORD).exists():
        return None
    there = read_record(folder)
    ended = there["status"] != "running" and not (folder / RESULTS).exists() and not has_trained(folder)
    if there["status"] == CLAIMED or ended:  # nothing was trained, so nothing can be another experiment's
        return None
    arms = there.get("arms", [])
    other = f"name another folder, or remove {folder}"
    if (folder / RESULTS).exists() and not (folder / TILES).is_dir():
        raise UserError(f"--workdir {folder} holds a run already, without the tiles that it could go on from: {other}")
    if arms and not set(arms) & set(record["arms"]):
        raise UserError(f"--workdir {folder} holds a run of other arms, {', '.join(map(str, arms))}: {other}")
    for name in ("steps", "evaluations"):
        if there.get(name) and record[name] and there[name] != record[name]:  # without a number a tile says it
            raise UserError(
                f"--workdir {folder} holds a run with {there[name]} {name}, and this one has {record[name]}: schedules "
                f"depend on the length and metrics on how often they are taken, so that is another run; {other}"
            )
    return read_inside(folder, RECORD)


@contextmanager
def recorded(folder: Path, earlier: bytes | None = None) -> Generator[None]:
    """Record the error that ends a block, and leave a report of what there is.

    Bad input leaves an `earlier` record as it was, and whatever ends the block leaves it while the results are its.
    """

    def stays(error: BaseException) -> bool:
        if earlier is None:
            return False
        bad_input = isinstance(error, UserError) and not isinstance(error, UnwritableError)
        return bad_input or ((folder / RESULTS).exists() and read_inside(folder, RECORD) == earlier)

    def interrupted() -> str:
        if leaves_nothing(folder, KeyboardInterrupt()):
            (folder / RECORD).unlink()
            return "nothing was trained"
        if not stays(KeyboardInterrupt()):
            seal(folder, {**read_record(folder), "status": "interrupted"})
        return f"what was trained so far is in {folder}"

    with will(interrupted):
        try:
            yield
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                ending()
            with suppress(UserError, OSError):  # no disk, no folder: what ended the run is told, not that it cannot be
                if earlier is not None and stays(error):
                    write_whole(folder / RECORD, earlier)
                elif leaves_nothing(folder, error):
                    (folder / RECORD).unlink()
                else:
                    status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
                    errors = {status: "".join(traceback.format_exception(error))}
                    write_record(folder, {**read_record(folder), "status": status, "errors": errors})
            raise


def leaves_nothing(folder: Path, error: BaseException) -> bool:
    """Whether a run ended before it trained anything, by bad input or before it began: its folder is free again."""
    if (folder / RESULTS).exists() or has_trained(folder):
        return False
    with suppress(UserError):
        if read_record(folder)["status"] == CLAIMED:
            return True
    return isinstance(error, UserError) and not isinstance(error, UnwritableError)  # then what was trained is lost


def has_trained(folder: Path) -> bool:
    """Whether there is a tile in a folder, finished or not."""
    return any((folder / TILES).glob("*/*.n[cp]*"))
