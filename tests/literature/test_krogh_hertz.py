"""A linear net that decays: what its splits measure, the minimum that it ends at, and the experiment to its end."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from experiments.literature.krogh_hertz import course, experiment, penalties_of
from experiments.literature.linear import Setting
from experiments.literature.null_space import sampled, splits
from wd_research.running import run

ROOT = Path(__file__).parents[2]
SMALL = {"inputs": 40, "few": 20, "many": 120, "noise": 0.5, "factors": (0.0, 0.25, 1.0, 4.0), "seeds": 4, "steps": 400}


def error(weights, batch):
    return np.mean((np.asarray(batch.inputs) @ weights - np.asarray(batch.targets)) ** 2)


@pytest.mark.parametrize("examples", [12, 50])
def test_a_sample_has_inputs_of_length_1_and_a_teacher_of_mean_square_1(examples):
    sample = sampled(Setting(400, 0.5), 0, examples)
    assert np.mean(np.sum(sample.inputs**2, axis=1)) == pytest.approx(1, rel=0.05)
    assert np.mean(sample.teacher**2) == pytest.approx(1, rel=1e-5)


def test_the_null_space_holds_the_directions_that_no_example_has():
    sample = sampled(Setting(30, 0.5), 0, 12)
    assert sample.null_space.shape == (18, 30)
    np.testing.assert_allclose(sample.null_space @ sample.null_space.T, np.eye(18), atol=1e-6)
    np.testing.assert_allclose(sample.null_space @ sample.inputs.T, 0, atol=1e-6)
    assert set(splits((), sample)) == {"train", "test", "null_space"}
    assert set(splits((), sampled(Setting(30, 0.5), 0, 31))) == {"train", "test"}


def test_the_splits_measure_the_error_on_new_examples_and_the_null_space_component():
    sample, rng = sampled(Setting(30, 0.5), 1, 12), np.random.default_rng(0)
    weights, new = rng.normal(size=30), rng.normal(size=(100_000, 30)) / np.sqrt(30)
    seen = splits((), sample)
    assert error(weights, seen["test"]) == pytest.approx(np.mean((new @ (weights - sample.teacher)) ** 2), rel=0.03)
    in_row_space = weights - sample.null_space.T @ (sample.null_space @ weights)
    assert error(in_row_space, seen["null_space"]) == pytest.approx(0, abs=1e-10)
    assert error(weights, seen["null_space"]) == pytest.approx(np.sum((weights - in_row_space) ** 2) / 18, rel=1e-5)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The experiment in small form."""
    declared = experiment(**SMALL)
    return run(declared, tmp_path_factory.mktemp("run") / "small", console=Console(file=io.StringIO()))


def test_every_claim_has_a_verdict_and_those_that_a_small_run_can_decide_hold(finished):
    verdicts = {claim["id"]: claim["verdict"] for claim in finished.summary["claims"]}
    assert set(verdicts.values()) <= {"holds", "fails", "undecided"}
    for claim in ("null-space-stays", "null-space-vanishes", "null-space-course", "nothing-to-gain",
                  "decay-harms-without-noise"):  # fmt: skip
        assert verdicts[claim] == "holds"
    assert verdicts["best-is-noise-over-teacher"] != "fails"


def test_training_ends_at_the_minimum_of_the_energy(finished):
    """Sum of squares / 2 + lambda |w|^2 / 2: the decay of the mean loss is lambda / p."""
    results = finished.arms["noisy, p = 120"]
    for seed in range(4):
        sample = sampled(Setting(40, 0.5), seed, 120)
        for k, penalty in enumerate(penalties_of(results)):
            gram = sample.inputs.T @ sample.inputs + penalty * np.eye(40)
            minimum = np.linalg.solve(gram, sample.inputs.T @ sample.targets)
            expected = np.mean((minimum - sample.teacher) ** 2)
            assert results["test_error"].to_numpy()[seed, k, -1] == pytest.approx(expected, rel=1e-3)


def test_the_null_space_component_of_clean_and_noisy_labels_is_the_same(finished):
    """No gradient reaches it, and both arms start from the same weights."""
    clean, noisy = (course(finished.arms[f"{labels}, p = 20"])[1] for labels in ("clean", "noisy"))
    np.testing.assert_allclose(clean, noisy, atol=1e-5)


def test_it_leaves_its_figure(finished):
    assert (finished.folder / "figures" / "krogh_hertz.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"noise": 0.0}, "--noise 0.0 cannot be"),
        ({"few": 200}, "--few 200, --inputs 200, --many 400: give fewer examples than inputs, and more"),
        ({"many": 150}, "give fewer examples than inputs, and more"),
        ({"few": 0}, "--few 0 is too few"),
        ({"seeds": 0}, "--seeds 0 is too few"),
        ({"factors": (1.0, 2.0)}, "--factors has no 0"),
        ({"factors": (0.0, 1.0)}, "--factors needs 1"),
        ({"steps": 100}, "--steps 100 does not show the smallest decay: give 866 or more"),
        ({"steps": 100_000}, "--steps 100000 does not show the smallest decay"),
    ],
)
def test_bad_flags_get_one_sentence(flags, says):
    with pytest.raises(ValueError, match=says) as refused:
        experiment(**flags)
    assert "\n" not in str(refused.value)


def test_a_bad_flag_ends_the_process_with_2_and_leaves_no_folder(tmp_path):
    words = ["--few", "300", "--workdir", str(tmp_path / "never")]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "experiments.literature.krogh_hertz", *words],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: --few 300, --inputs 200")
    assert not (tmp_path / "never").exists()
