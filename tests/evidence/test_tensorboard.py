"""Event files as the real tensorboard server shows them."""

import contextlib
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

import pytest

from tests.evidence.worlds import results
from wd_research.evidence.answer import best_among
from wd_research.evidence.figures import all_figures
from wd_research.evidence.statistics import paired_t
from wd_research.evidence.tensorboard import ArmRuns, EventFile, write_summary
from wd_research.folder import write_figures


@pytest.fixture(scope="module")
def arm():
    return results(looks=3)


@pytest.fixture(scope="module")
def ask(tmp_path_factory, arm):
    """Ask the real server about a folder that was written as a run writes it: look by look, then the end."""
    folder = tmp_path_factory.mktemp("tensorboard")
    runs = ArmRuns(folder, "decoupled")
    for look in range(3):
        runs.look(arm.isel(step=[look]))
    runs.close(arm)
    figures = all_figures({"decoupled": arm})
    write_figures(folder / "figures", figures)
    pictures = {name: (folder / "figures" / f"{name}.png").read_bytes() for name in figures}
    write_summary(folder, "Which decay?", "That one.", pictures, 300)
    with served(folder) as address:
        yield lambda path, **query: fetch(f"{address}/data/{path}?{urllib.parse.urlencode(query)}")


@contextlib.contextmanager
def served(folder):
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--port", "0", "--host", "127.0.0.1",
               "--reload_interval", "1"]  # fmt: skip
    server = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stderr
        for line in server.stderr:
            if found := re.search(r"(http://127\.0\.0\.1:\d+)/", line):
                yield found[1]
                break
        else:
            raise AssertionError("tensorboard did not start")
    finally:
        server.terminate()
        server.communicate(timeout=20)


def fetch(address):
    with urllib.request.urlopen(address, timeout=20) as answer:
        return answer.read()


def eventually(condition):
    """The server loads in the background: ask until it has."""
    import time

    for _ in range(100):
        if found := condition():
            return found
        time.sleep(0.2)
    raise AssertionError("the server never showed it")


def test_the_server_shows_every_run(ask):
    runs = eventually(lambda: (r := set(json.loads(ask("runs")))) and len(r) >= 4 and r)
    assert runs == {".", "decoupled", "decoupled without decay", "decoupled over decay"}


@pytest.mark.parametrize("key", ["mean", "low", "high"])
def test_the_curve_over_steps_is_the_best_points(ask, arm, key):
    tag = f"test_accuracy/{key}"
    curve = eventually(lambda: scalars(ask, "decoupled", tag, 3))
    assert [step for _, step, _ in curve] == [100, 200, 300]
    for look, (_, _, value) in enumerate(curve):
        now = arm.isel(step=[look])
        expected = paired_t(now.test_accuracy[:, best_among(now), 0].to_numpy())
        assert value == pytest.approx(getattr(expected, key), rel=1e-5)


def test_the_curve_over_decays_has_a_step_per_value(ask):
    curve = eventually(lambda: scalars(ask, "decoupled over decay", "over_decay/test_accuracy/mean", 5))
    assert [step for _, step, _ in curve] == [0, 1, 2, 3, 4]
    assert max(curve, key=lambda row: row[2])[1] == 2


def scalars(ask, run, tag, count):
    try:
        curve = json.loads(ask("plugin/scalars/scalars", run=run, tag=tag))
    except urllib.error.HTTPError:
        return None
    return curve if len(curve) == count else None


def test_the_figures_are_images(ask):
    tags = eventually(lambda: json.loads(ask("plugin/images/tags")).get("."))
    assert set(tags) == {"figures/accuracy", "figures/heat_map", "figures/time_scale"}
    listed = json.loads(ask("plugin/images/images", run=".", tag="figures/accuracy", sample=0))
    png = ask("plugin/images/individualImage", **dict(urllib.parse.parse_qsl(listed[0]["query"])))
    assert png[:4] == b"\x89PNG"


def test_the_answer_is_a_text(ask):
    found = eventually(lambda: json.loads(ask("plugin/text/tags")).get("."))
    assert any("answer" in tag for tag in found)


def test_a_full_disk_raises_and_does_not_hang(tmp_path, arm):
    """/dev/full takes the file and refuses its content."""
    file = EventFile(tmp_path)
    file.writer._writer.close()
    file.writer._writer = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
    with pytest.raises(OSError, match="No space left"):
        file.band("x", paired_t(arm.test_accuracy[:, 0, 0].to_numpy()), 1)
    file.writer._writer.close()


def test_where_pytorch_is_installed_nobody_waits_for_it(tmp_path):
    (tmp_path / "torch.py").write_text("raise RuntimeError('imported')")
    program = "import sys, wd_research.experiment; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(tmp_path)},
                          capture_output=True, text=True)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
