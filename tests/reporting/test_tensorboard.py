"""Event files as the real tensorboard server shows them."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.evidence.cases import confirming, results
from wd_research.evidence.choices import choose
from wd_research.evidence.statistics import paired_t
from wd_research.reporting.tensorboard import EventFile, event_files, write_summary
from wd_research.types import Position

# Two rounds of confirming seeds of the same points.
CONFIRMED = [confirming([2, 7], seeds=3, first=first, seed=first, evaluations=3) for first in (8, 11)]


@pytest.fixture(scope="module")
def arm():
    return results(evaluations=3)


@pytest.fixture(scope="module")
def ask(tmp_path_factory, arm):
    """Ask the real server about a folder that was written as a run writes it, evaluation by evaluation."""
    folder = tmp_path_factory.mktemp("tensorboard")
    with event_files(folder) as observe:
        for position in positions(arm):
            observe("decoupled", position)
        for tile in CONFIRMED:
            for position in positions(tile):
                observe("decoupled, confirming", position)
    write_summary(folder, "Which decay?", "That one.", {"accuracy": picture(), "heat_map": picture()}, 300)
    with served(folder) as address:
        yield lambda path, **query: fetch(f"{address}/data/{path}?{urllib.parse.urlencode(query)}")


def positions(results):
    """What an observer is told of points that train together."""
    steps = results["step"].to_numpy().tolist()
    for number, step in enumerate(steps, start=1):
        yield Position(step, None, results.isel(step=slice(number)).assign_attrs(steps=steps[-1]))


def picture():
    """A PNG file."""
    png = io.BytesIO()
    Figure(figsize=(1, 1)).savefig(png, format="png", dpi=20)
    return png.getvalue()


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
        server.communicate()


def fetch(address):
    with urllib.request.urlopen(address) as answer:
        return answer.read()


def eventually(condition):
    """The server loads in the background: ask until it has, for so long that no loaded machine fails."""
    for _ in range(6_000):
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("the server never showed it")


def test_the_server_shows_every_run(ask):
    runs = eventually(lambda: (r := set(json.loads(ask("runs")))) and len(r) >= 6 and r)
    confirmed = {f"decoupled, confirming, seeds {seeds}" for seeds in ("8-10", "11-13")}
    assert runs == {".", "decoupled", "decoupled without decay", "decoupled over decay"} | confirmed


def test_every_round_of_confirming_seeds_is_a_curve_that_goes_forward(ask):
    tag = "test_accuracy_confirming/learning_rate_0.01__decay_0.1/mean"
    for tile, seeds in zip(CONFIRMED, ("8-10", "11-13"), strict=True):
        curve = eventually(lambda seeds=seeds: scalars(ask, f"decoupled, confirming, seeds {seeds}", tag, 3))
        assert [step for _, step, _ in curve] == [100, 200, 300]
        expected = tile.sel(point=7).test_accuracy.mean("seed").to_numpy()
        assert [value for _, _, value in curve] == pytest.approx(expected, rel=1e-5)


def test_every_run_says_which_seeds_it_is_of(ask):
    for run in ("decoupled", "decoupled without decay", "decoupled over decay"):
        assert "8 exploring seeds" in words_of(ask, run)
    for seeds in ("8-10", "11-13"):
        assert "3 confirming seeds" in words_of(ask, f"decoupled, confirming, seeds {seeds}")


def words_of(ask, run):
    """The text that TensorBoard shows of a run."""
    eventually(lambda: run in json.loads(ask("plugin/text/tags")))
    (tag,) = json.loads(ask("plugin/text/tags"))[run]
    return json.loads(ask("plugin/text/text", run=run, tag=tag))[0]["text"]


@pytest.mark.parametrize("key", ["mean", "low", "high"])
def test_the_curve_over_steps_is_the_best_points(ask, arm, key):
    tag = f"test_accuracy/{key}"
    curve = eventually(lambda: scalars(ask, "decoupled", tag, 3))
    assert [step for _, step, _ in curve] == [100, 200, 300]
    for number, (_, _, value) in enumerate(curve):
        now = arm.isel(step=[number])
        expected = paired_t(now.test_accuracy[:, choose(now).point, 0].to_numpy())
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
    assert set(tags) == {"figures/accuracy", "figures/heat_map"}
    listed = json.loads(ask("plugin/images/images", run=".", tag="figures/accuracy", sample=0))
    png = ask("plugin/images/individualImage", **dict(urllib.parse.parse_qsl(listed[0]["query"])))
    assert png[:4] == b"\x89PNG"


def test_the_answer_is_a_text(ask):
    found = eventually(lambda: json.loads(ask("plugin/text/tags")).get("."))
    assert any("answer" in tag for tag in found)


@pytest.mark.parametrize("judged", [True, False])
def test_a_run_that_goes_on_has_every_evaluation_once(tmp_path, arm, judged):
    """It is told of what there was before, and what its earlier process wrote is removed."""
    arm = arm if judged else arm.drop_vars(["validation_accuracy", "validation_loss"])
    for until in (2, 3):
        with event_files(tmp_path / "run") as observe:
            for position in list(positions(arm))[:until]:
                observe("arm", position)
    runs = sorted((tmp_path / "run").iterdir())
    assert len(runs) == (3 if judged else 1)
    rows = [(run.name, *row) for run in runs for row in rows_of(run)]
    of_one = sorted(row[2] for row in rows if row[:2] == ("arm", "test_loss/mean" if judged else LAST_POINT))
    assert of_one == [100, 200, 300]


def test_a_server_that_runs_meanwhile_sees_neither_a_gap_nor_a_duplicate(tmp_path, arm):
    """Both of TensorBoard's readers: that of its server, and the one where that has no binary."""
    events = EventAccumulator(str(tmp_path / "run" / "arm"), {"scalars": 0})
    with served(tmp_path / "run") as address:
        for until, expected in ((2, [100, 200]), (3, [100, 200, 300])):
            with event_files(tmp_path / "run") as observe:
                for position in list(positions(arm))[:until]:
                    observe("arm", position)
            events.Reload()
            assert [event.step for event in events.Scalars("test_loss/mean")] == expected
            for _ in range(600):
                with contextlib.suppress(urllib.error.HTTPError, KeyError):
                    query = urllib.parse.urlencode({"run": "arm", "tag": "test_loss/mean"})
                    said = fetch(f"{address}/data/plugin/scalars/scalars?{query}")
                    shown = [step for _, step, _ in json.loads(said)]
                    if shown == expected:
                        break
                time.sleep(0.1)
            assert shown == expected


def test_a_grown_grid_has_runs_of_its_own_and_none_without_decay(tmp_path, arm):
    with event_files(tmp_path) as observe:
        for position in positions(arm.isel(point=[3, 8])):
            observe("arm, growth 1", position)
    assert [run.name for run in tmp_path.iterdir()] == ["arm, growth 1"]
    assert ("test_loss/mean", 300) in {row[:2] for row in rows_of(tmp_path / "arm, growth 1")}


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_the_curve_over_decays_is_there_however_few_the_seeds(tmp_path, arm, seeds):
    few = arm.isel(seed=slice(seeds))
    with event_files(tmp_path) as observe:
        for position in positions(few):
            observe("arm", position)
    curve = [value for tag, _, value in rows_of(tmp_path / "arm over decay") if tag == "over_decay/test_accuracy/mean"]
    assert len(curve) == 5
    if seeds == 1:  # at each decay the rate that the seed itself chooses
        last = few.isel(step=[-1])
        chosen = [choose(last, last.decay.to_numpy() == decay).point for decay in dict.fromkeys(last.decay.to_numpy())]
        assert sorted(curve) == pytest.approx(sorted(last.test_accuracy.to_numpy()[0, chosen, 0]), rel=1e-5)


LAST_POINT = "test_loss/learning_rate_0.1__decay_10/mean"


def rows_of(run):
    """Tag, step and value of every scalar of a run; each is there once."""
    events = EventAccumulator(str(run), {"scalars": 0}).Reload()
    rows = [(tag, event.step, event.value) for tag in events.Tags()["scalars"] for event in events.Scalars(tag)]
    assert len(rows) == len({row[:2] for row in rows})
    return rows


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
    program = "import sys, wd_research.running; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(tmp_path)},
                          capture_output=True, text=True)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
