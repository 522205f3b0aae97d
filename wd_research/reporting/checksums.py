"""Checksums: the record of a run holds the SHA-256 of every file that it stands for, and of itself."""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from wd_research.flags import UserError
from wd_research.reporting.files import LARGEST, UnwritableError, memory, open_inside
from wd_research.reporting.folder import AUDIT, CONFIRMING, RECORD, RESULTS, SUMMARY, finite, write_json

MEASURED = (RESULTS, CONFIRMING, AUDIT)  # concluding again writes none of them
CHECKSUM, FILES = "sha256", "files"  # keys of the record


def seal(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the record of a run, with the SHA-256 of every file that it stands for and of its own content.

    What a record says already of a file that measuring wrote stays: sealing again hides no change of it. On a full disk
    the record is written over the earlier one, in place and without its errors. Raises UnwritableError where that
    fails, too.
    """
    try:
        write_json(folder / RECORD, sealed(folder, record))
    except UnwritableError:
        if not write_over(folder / RECORD, sealed(folder, {**record, "errors": {}})):
            raise


def sealed(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with its checksums, as JSON holds it."""
    there = {name: digest(folder, name) for name in names_in(folder)}
    earlier = {name: said for name, said in record.get(FILES, {}).items() if name in MEASURED and name in there}
    content = json.loads(json.dumps(finite({**record, FILES: there | earlier}), default=str))
    content.pop(CHECKSUM, None)
    return {**content, CHECKSUM: digest_of(content)}


def write_over(path: Path, content: Mapping[str, Any]) -> bool:
    """Write JSON over a longer file, which takes no new room on the disk; whether that could be done."""
    text = json.dumps(content, separators=(",", ":")).encode()
    with suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
        try:
            if len(text) > os.fstat(descriptor).st_size:
                return False
            os.pwrite(descriptor, text, 0)
            os.truncate(descriptor, len(text))
            os.fsync(descriptor)
            return True
        finally:
            os.close(descriptor)
    return False


def names_in(folder: Path) -> list[str]:
    """The files of a run that its record stands for, as far as they are there."""
    drawn = sorted(path.name for kind in ("png", "svg") for path in (folder / "figures").glob(f"*.{kind}"))
    names = [*MEASURED, SUMMARY, *(f"figures/{name}" for name in drawn)]
    return [name for name in names if (folder / name).is_file()]


def digest(folder: Path, name: str) -> str:
    """The SHA-256 of a file. Raises what `open_inside` raises."""
    with open_inside(folder, name, memory() if name in (RESULTS, CONFIRMING) else LARGEST) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(content: Mapping[str, Any]) -> str:
    """The SHA-256 of what JSON says, however it is spaced."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def check_record(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """The record without its own checksum. Raises UserError unless that fits; older versions wrote none."""
    content = {key: value for key, value in record.items() if key != CHECKSUM}
    if (CHECKSUM in record or FILES in record) and record.get(CHECKSUM) != digest_of(content):
        raise UserError(f"{folder / RECORD} is not as the run wrote it, by its SHA-256: {way_out(RECORD, folder)}")
    return content


def check_files(folder: Path, record: Mapping[str, Any], *names: str) -> None:
    """Raise UserError, naming the file, unless the files are as the record says; by default all that it names."""
    for name, said in record.get(FILES, {}).items():
        if not names or name in names:
            try:
                found = digest(folder, name)
            except FileNotFoundError as error:
                raise UserError(f"{folder / name} is gone, which {RECORD} names: {way_out(name, folder)}") from error
            if found != said:
                raise UserError(f"{folder / name} is not as the run wrote it, by its SHA-256 in {RECORD}: "
                                f"{way_out(name, folder)}")  # fmt: skip


def way_out(name: str, folder: Path) -> str:
    """What to do about a file that was changed."""
    again = "run it again" if name in (RECORD, *MEASURED) else f"give the experiment --conclude {folder}"
    return f"take it from where it is whole, or {again}"
