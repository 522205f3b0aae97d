"""Files: whole, synced, of unguessable names, and read only where they lie themselves."""

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reporting.folders import names, small_disk
from wd_research.flags import UserError
from wd_research.reporting.files import UnwritableError, open_inside, plain, read_text, write_text, write_whole

ROOT = Path(__file__).parent.parent.parent


def calls(monkeypatch, *functions):
    """The calls of functions of `os`, in their order, with the names of what they were given."""
    seen, true = [], {name: getattr(os, name) for name in functions}

    def told(name):
        def call(*given, **others):
            seen.append((name, *(os.readlink(f"/proc/self/fd/{g}") if isinstance(g, int) else str(g) for g in given)))
            return true[name](*given, **others)

        return call

    for name in functions:
        monkeypatch.setattr(os, name, told(name))
    return seen


# Writing


def test_a_text_is_written_whole(tmp_path):
    for text in ("old and long", "new \ud800"):
        write_text(tmp_path / "page", text)
    assert names(tmp_path) == ["page"]
    assert (tmp_path / "page").read_text() == "new \\ud800"


def test_it_is_on_the_disk_before_it_has_its_name_and_then_the_name_is(tmp_path, monkeypatch):
    seen = calls(monkeypatch, "fsync", "replace")
    write_whole(tmp_path / "page", b"content")
    (first, unfinished), (second, *moved), (third, folder) = seen
    assert (first, second, third) == ("fsync", "replace", "fsync")
    assert moved == [unfinished, str(tmp_path / "page")]
    assert folder == str(tmp_path)


def test_its_unfinished_name_is_another_each_time(tmp_path, monkeypatch):
    seen = calls(monkeypatch, "replace")
    for _ in range(100):
        write_whole(tmp_path / "page", b"")
    assert len({unfinished for _, unfinished, _ in seen}) == 100


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_its_permissions_are_the_usual_ones(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_whole(tmp_path / "page", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "page").stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("name", ["page", ".page.unfinished", ".writable"])
def test_a_link_that_was_laid_beforehand_is_not_written_through(tmp_path, name):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / name).symlink_to(tmp_path / "mine")
    write_whole(tmp_path / "page", b"page")
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / "page").read_bytes() == b"page"


def test_a_link_of_the_unfinished_name_itself_is_not_written_through(tmp_path, monkeypatch):
    monkeypatch.setattr("secrets.token_hex", lambda count: "guessed")
    (tmp_path / "mine").write_text("mine")
    (tmp_path / ".page.guessed.unfinished").symlink_to(tmp_path / "mine")
    with pytest.raises(UnwritableError, match="page could not be written: File exists"):
        write_whole(tmp_path / "page", b"page")
    assert (tmp_path / "mine").read_text() == "mine"


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def interrupted(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("function", ["fsync", "replace"])
@pytest.mark.parametrize(("how", "error"), [(full, UnwritableError), (interrupted, KeyboardInterrupt)])
def test_what_fails_leaves_what_was_there_and_nothing_unfinished(tmp_path, monkeypatch, function, how, error):
    write_whole(tmp_path / "page", b"old")
    monkeypatch.setattr(os, function, how)
    with pytest.raises(error) as raised:
        write_whole(tmp_path / "page", b"new")
    assert names(tmp_path) == ["page"]
    assert (tmp_path / "page").read_bytes() == b"old"
    if error is UnwritableError:
        assert str(raised.value) == (
            f"{tmp_path}/page could not be written: No space left on device; make room, or name a folder that can be "
            "written"
        )


def test_a_disk_that_takes_no_more_is_one_sentence(tmp_path):
    write_whole(tmp_path / "page", b"old")
    with small_disk(100), pytest.raises(UnwritableError, match="page could not be written: File too large"):
        write_whole(tmp_path / "page", bytes(101))
    assert names(tmp_path) == ["page"]
    assert (tmp_path / "page").read_bytes() == b"old"


def test_a_folder_that_is_gone_is_one_sentence(tmp_path):
    with pytest.raises(UnwritableError, match="page could not be written: No such file or directory"):
        write_whole(tmp_path / "gone" / "page", b"")


WRITER = """
import sys
from pathlib import Path
from wd_research.reporting.files import write_whole
for k in range(10**9):
    write_whole(Path(sys.argv[1]), bytes([65 + k % 26]) * 300_000)
    print(k, flush=True)
"""


@pytest.mark.parametrize("writes", range(1, 6))
def test_a_process_that_is_killed_leaves_a_whole_file(tmp_path, writes):
    with subprocess.Popen([sys.executable, "-c", WRITER, tmp_path / "page"], cwd=ROOT, stdout=subprocess.PIPE) as run:
        for _ in range(writes):
            run.stdout.readline()
        run.send_signal(signal.SIGKILL)
    content = (tmp_path / "page").read_bytes()
    assert len(content) == 300_000
    assert len(set(content)) == 1


# Reading


def fifo(path):
    os.mkfifo(path)


def sparse(path):
    path.touch()
    os.truncate(path, 2**40)


@pytest.mark.parametrize(("make", "says"), [
    (fifo, "is no regular file"),
    (os.mkdir, "is no regular file"),
    (lambda path: path.symlink_to("/etc/hostname"), "is a link"),
    (lambda path: path.symlink_to(path.parent / "real"), "is a link"),
    (lambda path: path.symlink_to("/dev/zero"), "is a link"),
    (lambda path: path.symlink_to(path), "is a link"),
    (sparse, "has 1,099,511,627,776 bytes, and at most 268,435,456 are read"),
    (lambda path: path.write_bytes(b"\xff"), "is damaged, for it is no UTF-8"),
], ids=["pipe", "folder", "link out", "link inside", "device", "link to itself", "huge", "no UTF-8"])  # fmt: skip
@pytest.mark.parametrize("name", ["page", "inner/page", "page/page"])
def test_only_files_that_lie_there_are_read(tmp_path, make, says, name):
    (tmp_path / "real").write_text("real")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    make(tmp_path / name)
    with pytest.raises(UserError, match=says) as raised:
        read_text(tmp_path, name)
    assert str(tmp_path / name) in str(raised.value)


def test_no_folder_on_the_way_is_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "page").write_text("secret")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "figures").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="figures/page is a link"):
        read_text(tmp_path / "run", "figures/page")


@pytest.mark.parametrize(
    "name", ["/etc/hostname", "../page", "inner/../../page", "", ".", "..", "a//b", "a\0b", "a\nb", "x" * 10**6]
)
def test_a_name_that_leads_out_is_not_read(tmp_path, name):
    (tmp_path / "page").write_text("secret")
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError, match="which leads out of it: only files in it are read") as raised:
        open_inside(tmp_path / "run", name)
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize("where", ["nowhere", "file", "."])
def test_what_is_not_there_is_not_found(tmp_path, where):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError):
        open_inside(tmp_path / where, "page")


def test_no_descriptor_is_left_open(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "page").write_text("text")
    before = os.listdir("/proc/self/fd")
    assert read_text(tmp_path, "inner/page") == "text"
    for name in ("inner", "inner/none", "inner/page/none"):
        with pytest.raises((UserError, FileNotFoundError)):
            read_text(tmp_path, name)
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("name", ["accuracy", "a b", "heat_map.v2", "Größe", "(a)", "-wd"])
def test_names_of_files(name):
    assert plain(name)
