"""Ridge regression: exact where algebra has the answer, as predicted where theory has it; the experiment to its end."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from experiments.literature.double_descent import CLOSED_FORM, experiment, table
from experiments.literature.linear import Setting, draw, predicted_risk, risk_without_decay
from experiments.literature.ridge import Ridge, closed_form, risks
from wd_research.points import grid
from wd_research.running import run

ROOT = Path(__file__).parents[2]
SMALL = {"dimension": 60, "ratios": (0.5, 0.8, 1.25, 3.0), "factors": (0.0, 0.25, 1.0, 4.0),
         "trained_ratios": (0.5, 3.0), "seeds": 16, "steps": 300}  # fmt: skip
SETTING = Setting(dimension=60, noise=0.5)


def estimate(sample, penalty):
    """Ridge by its normal equations; without penalty the pseudoinverse."""
    inputs, targets, _ = sample
    if penalty == 0:
        return np.linalg.pinv(inputs) @ targets
    return np.linalg.solve(inputs.T @ inputs + penalty * np.eye(inputs.shape[1]), inputs.T @ targets)


@pytest.mark.parametrize("examples", [10, 55, 60, 80])
def test_one_decomposition_gives_the_risks_of_the_normal_equations(examples):
    sample, penalties = draw(SETTING, seed=3, examples=examples), np.array([0, 0.1, 15, 1000])
    errors = [np.sum((estimate(sample, penalty) - sample.teacher) ** 2) for penalty in penalties]
    np.testing.assert_allclose(risks(sample, penalties, SETTING.noise), np.array(errors) + 0.25, rtol=1e-6)


def test_the_risk_is_the_squared_error_on_new_examples():
    sample = draw(SETTING, seed=0, examples=90)
    rng = np.random.default_rng(1)
    new = rng.normal(size=(100_000, 60))
    targets = new @ sample.teacher + 0.5 * rng.normal(size=len(new))
    measured = np.mean((new @ estimate(sample, 15) - targets) ** 2)
    assert measured == pytest.approx(risks(sample, np.array([15.0]), 0.5)[0], rel=0.02)


def test_more_examples_begin_with_the_same_ones():
    few, more = draw(SETTING, 5, 20), draw(SETTING, 5, 70)
    np.testing.assert_array_equal(few.inputs, more.inputs[:20])
    np.testing.assert_allclose(few.targets, more.targets[:20], rtol=1e-12)
    np.testing.assert_array_equal(few.teacher, more.teacher)
    assert np.linalg.norm(few.teacher) == pytest.approx(1)
    assert not np.allclose(few.inputs, draw(SETTING, 6, 20).inputs)


@pytest.fixture(scope="module")
def many():
    """The mean risk over 100 samples, by examples and penalty."""
    points = grid(Ridge, examples=(20, 40, 60, 90, 180), penalty=(0, 3.75, 7.5, 15, 30, 60))
    return table(SETTING, closed_form(SETTING, points)(100))


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_theory_predicts_the_mean_risk_with_decay(many, k):
    predicted = predicted_risk(SETTING, many.examples, many.penalties[k])
    np.testing.assert_allclose(many.risk[..., k].mean(axis=0), predicted, rtol=0.04)


def test_theory_predicts_the_mean_risk_without_decay_away_from_the_peak(many):
    away = many.examples != 60
    predicted = risk_without_decay(SETTING, many.examples)
    np.testing.assert_allclose(many.risk[..., 0].mean(axis=0)[away], predicted[away], rtol=0.06)
    assert np.isposinf(predicted[~away])
    np.testing.assert_allclose(predicted_risk(Setting(60_000, 0.5), np.array([90_000]), 1e-9),
                               risk_without_decay(Setting(60_000, 0.5), np.array([90_000])), rtol=1e-4)  # fmt: skip


def test_the_best_lambda_is_d_sigma_squared_at_every_number_of_examples(many):
    assert SETTING.best == 15
    assert (many.penalties[many.risk.mean(axis=0)[:, 1:].argmin(axis=1) + 1] == 15).all()
    line = np.geomspace(1, 225, 401)
    for examples in many.examples:
        assert line[predicted_risk(SETTING, examples, line).argmin()] == pytest.approx(15, rel=0.02)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The experiment in small form."""
    declared = experiment(**SMALL)
    return run(declared, tmp_path_factory.mktemp("run") / "small", console=Console(file=io.StringIO()))


def test_every_claim_has_a_verdict_and_those_that_a_small_run_can_decide_hold(finished):
    verdicts = {claim["id"]: claim["verdict"] for claim in finished.summary["claims"]}
    assert set(verdicts.values()) <= {"holds", "fails", "undecided"}
    for claim in ("best-decay-helps", "descends-twice", "descends-once", "descent-finds-it"):
        assert verdicts[claim] == "holds"
    assert verdicts["one-best-decay"] != "fails"


def test_descent_finds_the_closed_form_where_its_strength_is_lambda_over_n(finished):
    exact = table(SETTING, finished.arms[CLOSED_FORM])
    for name, place in (("descent, n = 30", 0), ("descent, n = 180", -1)):
        trained = table(SETTING, finished.arms[name])
        np.testing.assert_allclose(trained.penalties, exact.penalties)
        np.testing.assert_allclose(trained.risk[:, 0], exact.risk[:, place], rtol=1e-3)


def test_it_leaves_its_figure_and_its_audit(finished):
    assert (finished.folder / "figures" / "double_descent.png").read_bytes()[:4] == b"\x89PNG"
    assert "in the loss" in (finished.folder / "audit.txt").read_text()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"noise": 0.0}, "--noise 0.0 cannot be"),
        ({"dimension": 0}, "--dimension 0 is too few"),
        ({"seeds": 0}, "--seeds 0 is too few"),
        ({"factors": (1.0, 2.0)}, "--factors has no 0"),
        ({"factors": (0.0, 0.5, 2.0)}, "--factors needs 1"),
        ({"factors": (0.0, 1.0, 2.0)}, "values above 0 on both sides"),
        ({"factors": (0.0,)}, "--factors needs 1"),
        ({"ratios": (0.6, 1.5, 2.0)}, "--ratios needs two or more from 0.5 to 1"),
        ({"ratios": (0.6, 0.8, 1.5)}, "two or more from 1 on"),
        ({"ratios": (0.6, 1.0, 1.5, 1.501), "dimension": 40}, "give ratios that differ by an example"),
        ({"trained_ratios": (0.55,)}, "--trained-ratios 0.55 is not among --ratios"),
        ({"trained_ratios": ()}, "--trained-ratios is empty"),
        ({"trained_ratios": (1.0,)}, "--steps 300 is too few at --trained-ratios 1.0"),
    ],
)
def test_bad_flags_get_one_sentence(flags, says):
    with pytest.raises(ValueError, match=says) as refused:
        experiment(**flags)
    assert "\n" not in str(refused.value)


def test_a_bad_flag_ends_the_process_with_2_and_leaves_no_folder(tmp_path):
    words = ["--factors", "0", "2", "--workdir", str(tmp_path / "never")]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "experiments.literature.double_descent", *words],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: --factors needs 1")
    assert not (tmp_path / "never").exists()
