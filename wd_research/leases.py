"""Leases: processes that share a folder tell each other by small files what they are at.

A file is created exclusively and renewed while its owner is alive. Who finds one that has not changed for ten renewals,
by its own clock, takes it over, and at once where the owner ran on this machine and is gone. No lock is asked for:
network file systems keep none. Were two processes to hold one lease, they would do the same work twice and to the same
end, for a tile's result depends on nothing else.
"""

import json
import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from wd_research.flags import UserError
from wd_research.reporting.files import read_text, unwritable

RENEWAL = 5.0  # seconds
MISSED = 10  # renewals after which an owner is taken for gone


class Leases:
    """The leases of a run in this process, and what those of others were when they were first seen."""

    def __init__(self) -> None:
        """Without any."""
        self.token = secrets.token_hex(8)
        self.seen: dict[Path, tuple[str, float]] = {}

    @contextmanager
    def taken(self, path: Path) -> Generator[bool]:
        """Hold a lease in a block; False where somebody else does. Raises UnwritableError where the disk does.

        A lease that is held already is held until the outer block ends.
        """
        if self.is_mine(path):
            yield True
            return
        if not (create(path, self.content(0)) or (self.owner_is(path) == "gone" and self.take_over(path))):
            yield False
            return
        ended = threading.Event()
        renewing = threading.Thread(target=self.renew, args=(path, ended), daemon=True)
        renewing.start()
        try:
            yield True
        finally:
            ended.set()
            renewing.join()
            if self.is_mine(path):
                with suppress(OSError):
                    path.unlink()

    def content(self, renewals: int) -> str:
        """What stands in the file of a lease."""
        owner = {"host": socket.gethostname(), "process": os.getpid(), "space": process_space(), "started": started()}
        return json.dumps({**owner, "token": self.token, "renewals": renewals})

    def renew(self, path: Path, ended: threading.Event) -> None:
        """Renew a lease until its block ends, or somebody else has taken it."""
        renewals = 0
        while not ended.wait(RENEWAL) and self.is_mine(path):
            renewals += 1
            with suppress(OSError):  # a full disk: should others take it over, the work is done twice
                fresh = path.with_name(f".{path.name}.{self.token}")
                fresh.write_text(self.content(renewals))
                os.replace(fresh, path)

    def is_mine(self, path: Path) -> bool:
        """Whether this run holds a lease."""
        return owner_of(path).get("token") == self.token

    def owner_is(self, path: Path) -> str:
        """Whether the owner of a lease is "alive" or "gone", or that is "unknown" as yet: then look again."""
        owner, text, now = owner_of(path), read(path), time.monotonic()
        if owner.get("host") == socket.gethostname() and owner.get("space") == process_space():
            return "alive" if started(owner.get("process")) == owner.get("started") else "gone"
        first, since = self.seen.setdefault(path, (text, now))
        if text != first:
            self.seen[path] = text, now
            return "alive"
        return "gone" if now - since > RENEWAL * MISSED else "unknown"

    def take_over(self, path: Path) -> bool:
        """Take the lease of one who is gone; of several processes that try one succeeds."""
        self.seen.pop(path, None)
        gone = path.with_name(f".{path.name}.{self.token}.gone")
        try:
            os.rename(path, gone)
        except OSError:
            return False
        with suppress(OSError):
            shutil.rmtree(gone) if gone.is_dir() and not gone.is_symlink() else gone.unlink()
        return create(path, self.content(0))


def create(path: Path, content: str) -> bool:
    """Create a file that is not there yet; False where it is. Raises UnwritableError where the disk does."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path.parent, error) from error
    try:
        with open(path, "x") as file:
            file.write(content)
    except FileExistsError:
        return False
    except OSError as error:
        raise unwritable(path, error) from error
    return True


def read(path: Path) -> str:
    """What stands in the file of a lease; "" where there is none, it is just being written, or it is no file."""
    try:
        return read_text(path.parent, path.name)
    except (OSError, UserError):
        return ""


def owner_of(path: Path) -> dict[str, object]:
    """Who holds a lease, {} if nobody can be read."""
    with suppress(ValueError):
        owner = json.loads(read(path))
        if isinstance(owner, dict):
            return owner
    return {}


def describe_owner(path: Path) -> str:
    """`process 12 on HOST`."""
    owner = owner_of(path)
    return f"process {owner.get('process')} on {owner.get('host')}" if owner else f"somebody unknown, by {path.name}"


def process_space() -> str:
    """The numbers of processes that this one is among: in containers they are others."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def started(process: object = None) -> float | None:
    """When a process of this machine was started, by default this one; None where it is gone.

    In seconds since the machine was: its clock may be set meanwhile.
    """
    import psutil

    if not isinstance(process, int | None):
        return None
    try:
        return round(psutil.Process(process).create_time() - psutil.boot_time(), 2)
    except (psutil.Error, ValueError, OverflowError):
        return None
