"""Folders that take nothing more, that cannot be written, that are gone, and clocks that are set: in real processes.

What fails says so in a sentence, and what was trained is not trained again: the same command goes on from it.
"""

import os
import shutil
import subprocess
import sys
import time

import pytest

from tests.test_resuming import FAST, ROOT, SCRIPT, SEQUENTIAL, assert_as
from wd_research import leases

pytestmark = pytest.mark.slow

can_mount = pytest.mark.skipif(
    subprocess.run(["unshare", "-rm", "sh", "-c", "mount -t tmpfs tmpfs /mnt"], capture_output=True, check=False)
    .returncode != 0 if shutil.which("unshare") else True,
    reason="no file system can be mounted here",
)  # fmt: skip
GIVEN = ("--workdir", "run", *SEQUENTIAL)


def in_namespace(folder, *lines):
    """What a script printed and said, whose mounts nobody else sees; `RUN` in it is the experiment."""
    (folder / "net.py").write_text(SCRIPT)
    (folder / "run").mkdir()
    run = f"{sys.executable} -W error net.py {' '.join(GIVEN)}"
    here = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
    script = "\n".join(lines).replace("RUN", run)
    return subprocess.run(["unshare", "-rm", "bash", "-c", script], cwd=folder, env=here, text=True,
                          capture_output=True)  # fmt: skip


def assert_sentences(said):
    """Nothing but warnings and errors, each of one line."""
    assert all(line.startswith(("warning: ", "error: ")) for line in said.splitlines()), said


@can_mount
@pytest.mark.parametrize("size", ["8k", "90k", "220k", "400k"])
def test_a_disk_that_is_full_sooner_or_later_costs_a_sentence_and_no_finished_tile(tmp_path, undisturbed, size):
    done = in_namespace(
        tmp_path,
        f"mount -t tmpfs -o size={size} tmpfs run",
        f"RUN {' '.join(FAST)} > first; echo $? > code; find run -name 's*.nc' > finished",
        "mount -o remount,size=200m run",
        "RUN > second && cp -r run after",
    )
    assert done.returncode == 0, done.stderr
    assert_sentences(done.stderr)
    code = int((tmp_path / "code").read_text())
    assert code in (0, 2)
    assert (code == 2) == ("error: " in done.stderr)
    assert "No space left on device" in done.stderr
    trained = (tmp_path / "second").read_text()
    for name in ("net", "norm"):
        if f"run/tiles/{name}/" in (tmp_path / "finished").read_text() and code == 2:
            assert f"training {name} " not in trained
    assert_as(tmp_path / "after", undisturbed)


@can_mount
def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    done = in_namespace(tmp_path, "mount -t tmpfs -o ro tmpfs run", "RUN")
    assert done.returncode == 2
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("error: --workdir run cannot be written: Read-only file system")


@can_mount
def test_a_folder_that_can_no_longer_be_written_costs_a_sentence_and_no_finished_tile(tmp_path, undisturbed):
    done = in_namespace(
        tmp_path,
        "mount -t tmpfs tmpfs run",
        f"RUN --no-tensorboard {' '.join(FAST)} > first &",  # open files would keep it from being so
        "while kill -0 $! && ! ls run/tiles/norm/*.step*.npz > /dev/null 2>&1; do sleep 0.01; done",
        "until mount -o remount,ro run 2> /dev/null; do sleep 0.01; done; wait $!; echo $? > code",
        "mount -o remount,rw run; RUN > second && cp -r run after",
    )
    assert done.returncode == 0, done.stderr
    assert_sentences(done.stderr)
    assert (tmp_path / "code").read_text() == "2\n"
    assert "Read-only file system" in done.stderr
    assert "training net " not in (tmp_path / "second").read_text()
    assert_as(tmp_path / "after", undisturbed)


def test_a_folder_that_is_removed_while_its_run_trains_costs_a_sentence(tmp_path):
    (tmp_path / "net.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    run = subprocess.Popen([sys.executable, "-W", "error", "net.py", *GIVEN, *FAST], cwd=tmp_path, text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)  # fmt: skip
    while not [*tmp_path.glob("run/tiles/net/*.step*.npz")]:
        assert run.poll() is None
        time.sleep(0.01)
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
    _, said = run.communicate()
    assert_sentences(said)
    assert run.returncode in (0, 2), said


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_a_clock_that_is_set_while_a_run_goes_on_changes_nothing(tmp_path, undisturbed, seconds):
    """Every second reading of the clock is another hour, for this process and for those that look at its leases."""
    (tmp_path / "jumping.py").write_text(
        "import itertools, time\n"
        "now, number = time.time, itertools.count()\n"
        f"time.time = lambda: now() + ({seconds} if next(number) % 2 else 0)\n"
    )
    (tmp_path / "net.py").write_text("import jumping\n" + SCRIPT)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = subprocess.run([sys.executable, "-W", "error", "net.py", *GIVEN, *FAST], cwd=tmp_path, text=True,
                          capture_output=True, env=environment)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert_as(tmp_path / "run", undisturbed)


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_whose_machine_sets_its_clock_is_not_taken_for_gone(tmp_path, monkeypatch, seconds):
    """The kernel then says of every process, and of the machine itself, that it was started at another time."""
    import psutil

    mine, other = leases.Leases(), leases.Leases()
    with mine.taken(tmp_path / "tile.claim") as taken:
        assert taken
        created, booted = psutil.Process.create_time, psutil.boot_time
        monkeypatch.setattr(psutil.Process, "create_time", lambda self: created(self) + seconds)
        monkeypatch.setattr(psutil, "boot_time", lambda: booted() + seconds)
        assert other.owner_is(tmp_path / "tile.claim") == "alive"
