"""Files: each appears whole under a name that nobody can guess before, and is read only where it lies itself."""

import errno
import os
import secrets
import stat
from contextlib import suppress
from io import BufferedReader
from pathlib import Path

from wd_research.flags import UserError

LARGEST = 2**28  # bytes of a text or a picture: what a page can still show


class UnwritableError(UserError):
    """A file could not be written, as one sentence: the disk is at fault or the folder gone, and the input right."""


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all: what stands there afterwards is on the disk, and no link is followed.

    Raises UnwritableError, with one sentence, where that fails; what stood there before stays.
    """
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}.unfinished")
    try:
        with open(unfinished, "xb") as file:  # fails on any file or link that is there already
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
        sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            unfinished.unlink()
        if isinstance(error, OSError):
            raise unwritable(path, error) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all (see `write_whole`); what UTF-8 cannot say stands escaped in it."""
    write_whole(path, text.encode(errors="backslashreplace"))


def write_first(path: Path, text: str) -> None:
    """Write a text file, whole, unless there is one already: of several processes the first writes it.

    Raises UnwritableError, with one sentence, where that fails.
    """
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}.first")
    write_text(unfinished, text)
    try:
        os.link(unfinished, path)
    except FileExistsError:
        pass
    except OSError as error:  # a file system without links: the last of those at one moment writes it
        if not path.exists():
            try:
                os.replace(unfinished, path)
            except OSError:
                raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            unfinished.unlink()


def unwritable(path: Path, error: OSError) -> UnwritableError:
    """The sentence that says which file could not be written, and why."""
    reason = error.strerror or str(error)
    return UnwritableError(f"{path} could not be written: {reason}; make room, or name a folder that can be written")


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk, too, where the file system knows how."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def plain(name: str) -> bool:
    """Whether a text is the name of a file in a folder, and leads nowhere else."""
    return name not in ("", ".", "..") and len(name) <= 200 and name.isprintable() and not set(name) & {"/", "\\"}


def open_inside(folder: Path, name: str, largest: int = LARGEST) -> BufferedReader:
    """Open `folder/name` to read it; the name may have folders in it, and no part of it may be a link.

    Raises FileNotFoundError where there is none, and UserError, with one sentence, unless it is a regular file in that
    folder, no larger than `largest` bytes.
    """
    parts = name.split("/")
    if not all(map(plain, parts)):
        raise UserError(f"{folder} names a file {name[:80]!r}, which leads out of it: only files in it are read")
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
    opened: list[int] = []
    try:
        opened.append(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))
        for part in parts[:-1]:  # one by one, because only the last part of a path is kept from being a link
            opened.append(os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=opened[-1]))
        # a pipe must not wait for somebody who fills it
        opened.append(os.open(parts[-1], os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW, dir_fd=opened[-1]))
        file = os.fstat(opened[-1])
        if not stat.S_ISREG(file.st_mode):
            raise UserError(f"{folder / name} is no regular file: put the file itself there")
        if file.st_size > largest:
            raise UserError(f"{folder / name} has {file.st_size:,} bytes, and at most {largest:,} are read")
        return os.fdopen(opened.pop(), "rb")
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):  # a link, a file or link for a folder, a socket
            raise UserError(f"{folder / name} is a link or no regular file: put the file itself there") from error
        raise UserError(f"{folder / name} cannot be read: {error.strerror or error}") from error
    finally:
        for descriptor in opened:
            os.close(descriptor)


def read_inside(folder: Path, name: str, largest: int = LARGEST) -> bytes:
    """The content of `folder/name`. Raises what `open_inside` raises."""
    with open_inside(folder, name, largest) as file:
        return file.read()


def read_text(folder: Path, name: str) -> str:
    """The text in `folder/name`. Raises what `open_inside` raises, and UserError where it is no UTF-8."""
    try:
        return read_inside(folder, name).decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{folder / name} is damaged, for it is no UTF-8: take it from where it is whole") from error


def memory() -> int:
    """The bytes of this machine's memory: no file that is read whole can be larger."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
