"""The rule and the question's formula: what algebra says of them, what is measured, and the experiment to its end."""

import io
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rich.console import Console

from experiments.article.conventions import all_places, converted
from experiments.article.formula import Hypers, by_rule, descent, kindly, literally
from experiments.article.known_cases import LINE_DECAYS, RATE, common_shift, critical, descend, draw_line, draw_targets
from experiments.article.outliers import displacement, log_slope, moved
from experiments.article.update_rule import experiment
from wd_research.decay.units import UNITS
from wd_research.running import run

pytestmark = pytest.mark.slow  # the experiment itself, in little

ROOT = Path(__file__).parents[2]
SMALL = {"decays": (0.0, 2.0, 20.0, 60.0), "numbers": (0.0, 1e-7, 3e-7, 1e-3), "seeds": 4, "steps": 160}
SETTING = {"learning_rate": 0.1, "steps": 40, "batch_size": 20, "examples": 100}
NAMES = list(converted(3.0, **SETTING))


# What algebra says


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [0.3, 0.8, 0.99])
def test_the_formula_adds_the_solved_number_to_weights_of_either_sign(seed, share):
    target = draw_targets(seed)
    number = share * critical(target)
    solved = common_shift(number, target)
    fixed = target + solved
    assert solved > 0
    np.testing.assert_allclose(RATE * solved, number * np.sum(fixed**2), rtol=1e-9)
    np.testing.assert_allclose(descend(kindly, number, target, 2_000)[-1], fixed, rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_beyond_the_critical_number_there_is_no_fixed_point_and_weights_diverge(seed):
    target = draw_targets(seed)
    assert np.isfinite(common_shift(0.999 * critical(target), target))
    assert np.isnan(common_shift(1.001 * critical(target), target))
    assert descend(kindly, 1.2 * critical(target), target, 1_000)[-1].min() > 100


def test_the_rule_ends_between_zero_and_what_the_data_want():
    target = np.array([2.0, 0.5, -0.5, -2.0])
    end = descend(by_rule, 0.05, target, 500)[-1]
    np.testing.assert_allclose(end, target * RATE / (RATE + 0.05), rtol=1e-9)


def test_the_literal_reading_ends_at_zero_whatever_the_data_want():
    np.testing.assert_allclose(descend(literally, 1e-3, draw_targets(0), 50)[-1], 0, atol=1e-12)


# What is measured


@pytest.mark.parametrize(("literal", "reading"), [(0.0, kindly), (1.0, literally)])
def test_descent_applies_a_reading_to_matrices_and_plain_steps_to_biases(literal, reading):
    params = {"kernel": jnp.array([[1.0, -2.0]]), "bias": jnp.array([3.0])}
    gradients = {"kernel": jnp.array([[0.5, 0.25]]), "bias": jnp.array([1.0])}
    optimizer = descent(Hypers(*map(jnp.float32, (0.0, 0.01, literal, 0.1))))
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    after = optax.apply_updates(params, updates)
    expected = reading(0.01 * 5, np.array([[1.0, -2.0]]), -0.1 * np.array([[0.5, 0.25]]))
    np.testing.assert_allclose(after["kernel"], expected, rtol=1e-6)
    np.testing.assert_allclose(after["bias"], [2.9], rtol=1e-6)


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_the_slope_of_the_logarithms_is_the_power_and_zeros_do_not_count(power):
    size = jnp.array([0.0, 0.01, 0.1, 0.5, 3.0])
    assert float(log_slope(size, size**power)) == pytest.approx(power, abs=1e-5)


def test_a_linear_net_moves_by_its_weights_times_the_change_of_the_input():
    inputs = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    weights = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    seen = moved(lambda x: x @ weights, jnp.asarray(inputs))
    # each of the three pixels is the outlying one in two of the six images, by ten standard deviations
    assert float(seen["pixel_logits"]) == pytest.approx(10 * np.linalg.norm(weights, axis=1).mean(), rel=1e-5)
    assert float(seen["scaled_logits"]) == pytest.approx(2 * np.linalg.norm(inputs @ weights, axis=1).mean(), rel=1e-5)
    assert float(seen["scaled_class"]) == 0
    assert 0 < float(seen["scaled_probabilities"]) < 1


def test_displacement_tells_weights_by_the_sign_they_began_with():
    seen = displacement(jnp.array([1.5, 2.0, -0.5]), jnp.array([1.0, 2.0, -1.0]))
    assert float(seen["rise_of_positive"]) == pytest.approx(0.25)
    assert float(seen["rise_of_negative"]) == pytest.approx(0.5)


# Conventions


def test_every_convention_that_is_followed_is_one_that_the_library_knows():
    """The others divide by numbers that one of these divides by too; the library's own tests follow them all."""
    assert len(NAMES) == 16
    assert set(NAMES) <= {unit.name for unit in UNITS}


@pytest.mark.parametrize("name", NAMES)
def test_every_convention_removes_the_share_of_the_cost_with_lambda_over_2n(name):
    """Without data a step removes eta lambda/n, in the loss or by a link."""
    links = converted(3.0, **SETTING)[name]
    params = {"kernel": jnp.ones((2, 2))}
    optimizer = all_places(links)
    gradients = jax.tree.map(lambda weight: float(links.in_loss) * weight, params)
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    np.testing.assert_allclose(-updates["kernel"], 0.1 * 3 / 100, rtol=1e-6)


# The experiment


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The experiment in small form."""
    folder = tmp_path_factory.mktemp("run") / "small"
    return run(experiment(**SMALL), folder, tensorboard=False, console=Console(file=io.StringIO()))


def test_every_claim_has_a_verdict_and_those_that_a_small_run_can_decide_hold(finished):
    verdicts = {claim["id"]: claim["verdict"] for claim in finished.summary["claims"]}
    assert set(verdicts.values()) <= {"holds", "fails", "undecided"}
    assert {name.partition("-")[0] for name in verdicts} == {"D1", "D2", "D3", "D4", "D5", "D6"}
    for claim in ("D1-exact", "D1-decay-inward", "D2-negative", "D3-both-signs-rise", "D3-rule-lowers-positive",
                  "D3-rule-raises-negative", "D3-as-solved", "D3-diverges", "D3-literally-forgets", "D4-converts",
                  "D6-l2", "D6-l1"):  # fmt: skip
        assert verdicts[claim] == "holds", claim


def test_trajectories_part_where_the_decay_is_not_the_same(finished):
    """The last point of the conventions has no decay at all."""
    apart = finished.arms["conventions"]["apart"].to_numpy()[..., -1]
    assert apart[:, :-1].max() < 1e-9
    assert apart[:, -1].min() > 1e-2


def test_without_decay_the_rule_and_the_formula_read_kindly_are_one(finished):
    rule, formula = (finished.arms[name]["train_loss"].to_numpy()[:, 0] for name in ("rule", "formula, kindly"))
    np.testing.assert_allclose(rule, formula, rtol=1e-4)


def test_the_formula_diverges_where_its_number_is_large_and_the_rule_does_not(finished):
    assert (finished.arms["formula, kindly"]["diverged_at"].to_numpy()[:, -1] >= 0).all()
    assert (finished.arms["rule"]["diverged_at"].to_numpy() < 0).all()


def test_the_solved_line_is_the_minimum_of_its_cost(finished):
    """By the normal equations with an intercept that the penalty leaves out."""
    solved = finished.arms["line, solved"]["slope"].to_numpy()[..., 0]
    for seed in range(4):
        line = draw_line(seed)
        design = np.column_stack([line.inputs[:, 0], np.ones(len(line.targets))])
        for k, decay in enumerate(LINE_DECAYS):
            slope, _ = np.linalg.solve(design.T @ design + np.diag([decay, 0.0]), design.T @ line.targets)
            assert solved[seed, k] == pytest.approx(slope, rel=1e-4)


def test_it_leaves_its_figure(finished):
    assert (finished.folder / "figures" / "update_rule.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"decays": (1.0, 2.0)}, "--decays has no 0"),
        ({"decays": (0.0,)}, "--decays holds 0 alone"),
        ({"numbers": (0.0,)}, "--numbers holds 0 alone"),
        ({"numbers": (0.0, -1.0)}, "--numbers -1.0 cannot be"),
        ({"decays": (0.0, 1_000.0)}, "--decays 1000 times --learning-rate 0.2 is 200 training examples or more"),
        ({"convention": 2_000.0}, "--convention 2000 times --learning-rate 0.2"),
        ({"convention": 0.0}, "--convention 0.0 cannot be"),
        ({"learning_rate": -0.1}, "--learning-rate -0.1 cannot be"),
        ({"train_size": 5}, "train_size 5 does not fit"),
        ({"label_noise": 2.0}, "label_noise 2.0 is not a share"),
        ({"steps": 0}, "--steps 0 is too few"),
        ({"seeds": 0}, "--seeds 0 is too few"),
    ],
)
def test_bad_flags_get_one_sentence(flags, says):
    with pytest.raises(ValueError, match=says) as refused:
        experiment(**flags)
    assert "\n" not in str(refused.value)


def test_a_bad_flag_ends_the_process_with_2_and_leaves_no_folder(tmp_path):
    words = ["--decays", "0", "--workdir", str(tmp_path / "never")]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "experiments.article.update_rule", *words],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: --decays holds 0 alone")
    assert not (tmp_path / "never").exists()
