"""Combinations: three techniques on or off, equal trials, and what one gains beside the others."""

import io
from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest
import xarray as xr
from rich.console import Console

from experiments.article.combinations import (
    CLAIMS,
    CLEAN,
    CLEAN_DECAY,
    TRIALS,
    Hypers,
    best_beside_others,
    experiment,
    gap,
    interactions,
)
from experiments.article.rows import ROWS, row_of
from tests.article.test_data_regimes import means
from wd_research.evidence.measured import Evidence
from wd_research.flags import UserError
from wd_research.running import run

pytestmark = pytest.mark.slow  # the experiment itself, in little

COMBINATIONS = {
    "none", "decay", "dropout", "batch norm", "decay + dropout", "decay + batch norm", "dropout + batch norm",
    "decay + dropout + batch norm",
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The experiment for a few steps."""
    folder = tmp_path_factory.mktemp("combinations") / "small"
    small = replace(experiment(seeds=2, steps=8), confirm=2)
    return run(small, folder, tensorboard=False, console=Console(file=io.StringIO()))


def known(test, train=None, best=1):
    """Results of four seeds, alike but for rounding, at strengths 1, 2, 3, 4; validation prefers the point `best`."""
    wiggle = 1e-9 * np.arange(4)[:, None]
    validation = np.where(np.arange(4) == best, 0.9, 0.1)
    metrics = {"test": test, "train": test if train is None else train, "validation": validation}
    return xr.Dataset(
        {
            f"{split}_accuracy": (("seed", "point", "step"), (np.broadcast_to(values, (4, 4)) + wiggle)[..., None])
            for split, values in metrics.items()
        }
        | {"diverged_at": (("seed", "point"), np.full((4, 4), -1))},
        {"strength": ("point", np.float32([1, 2, 3, 4])), "dropout": ("point", np.zeros(4, np.float32)), "step": [10]},
        {"axis": "strength"},
    )


def test_every_combination_has_as_many_trials_and_the_techniques_of_its_name():
    arms = experiment().trained
    assert set(arms) == COMBINATIONS | {CLEAN, CLEAN_DECAY}
    for name, arm in arms.items():
        techniques = name.replace(", clean labels", "").split(" + ")
        assert len(set(zip(*arm.points, strict=True))) == TRIALS
        assert (arm.points.strength > 0).all() == ("decay" in techniques) == (arm.points.strength > 0).any()
        assert (arm.points.dropout > 0).all() == ("dropout" in techniques) == (arm.points.dropout > 0).any()
        variables = jax.eval_shape(arm.task.init, jax.random.key(0))[0]
        assert ("BatchNorm_0" in variables) == ("batch norm" in techniques)


def test_clean_labels_differ_by_their_labels_alone():
    arms = experiment().trained
    noisy, clean = arms["none"].task, arms[CLEAN].task
    seen, unseen = noisy.split(0), clean.split(0)
    np.testing.assert_array_equal(seen.train, unseen.train)
    truth = np.asarray(clean.data.targets)[unseen.train]
    assert (unseen.train_targets == truth).all()
    assert (seen.train_targets != truth).sum() == 40


def test_decay_is_l2_in_the_loss_and_in_nothing_else():
    arm = experiment(steps=10).trained["none"]
    task, split = arm.task, arm.task.split(0)
    params, extras = task.init(jax.random.key(0))
    batch = task.gather(task.data, split, np.arange(5))

    def value(strength):
        return float(arm.minimised(Hypers(1e-3, strength, 0.0))(params, extras, batch, jax.random.key(1))[0])

    squares = sum(float((layer["kernel"] ** 2).sum()) for layer in params.values())
    assert value(2.0) - value(0.0) == pytest.approx(squares, rel=1e-4)
    zero = jax.tree.map(np.zeros_like, params)
    optimizer = arm.optimizer(Hypers(1e-3, 2.0, 0.0))
    updates, _ = optimizer.update(zero, optimizer.init(params), params)
    assert not any(np.asarray(update).any() for update in jax.tree.leaves(updates))


def test_the_interaction_is_the_gain_beside_less_the_gain_alone():
    accuracies = {
        "none": 0.80, "decay": 0.83, "dropout": 0.81, "decay + dropout": 0.85, "batch norm": 0.70,
        "decay + batch norm": 0.69, "dropout + batch norm": 0.75, "decay + dropout + batch norm": 0.78,
    }  # fmt: skip
    arms = {name: known([0.0, value, 0.0, 0.0]) for name, value in accuracies.items()}
    assert means(interactions, arms) == pytest.approx(
        {"dropout": 0.01, "batch norm": -0.04, "dropout + batch norm": 0.0}, abs=1e-6
    )


def test_the_best_trial_is_chosen_among_all_combinations_by_validation_data():
    arms = {name: known([0.5, 0.6, 0.5, 0.5]) for name in COMBINATIONS}
    arms["decay + batch norm"] = known([0.5, 0.7, 0.5, 0.9])
    arms["decay + batch norm"]["validation_accuracy"] += 0.05
    assert means(best_beside_others, arms) == pytest.approx({"best trial - decay": 0.1})


def test_overfitting_is_training_above_test_accuracy_of_the_tuned_decay():
    arms = {CLEAN_DECAY: known([0.5, 0.8, 0.5, 0.5], train=[1.0, 0.95, 1.0, 1.0])}
    assert means(partial(gap, CLEAN_DECAY), arms) == pytest.approx({CLEAN_DECAY: 0.15})


@pytest.mark.parametrize(("best", "at_the_end"), [(1, False), (3, True)])
def test_a_best_strength_at_the_end_of_its_range_decides_nothing(best, at_the_end):
    (cell,) = Evidence({"decay": known(np.full(4, 0.5), best=best)}).score(partial(gap, "decay")).values()
    assert cell.on_edge == at_the_end


def test_two_programs_train_every_arm(finished):
    assert '"programs": 2' in (finished.folder / "experiment.json").read_text()
    assert experiment().members == 8 * TRIALS * 10


def test_every_claim_has_a_verdict_and_a_row(finished):
    claims = {claim["id"]: claim for claim in finished.summary["claims"]}
    assert set(claims) == {claim.id for claim in CLAIMS}
    assert {row_of(name) for name in claims} == {"B5", "C6"} <= set(ROWS)
    for claim in claims.values():
        assert claim["verdict"] in ("holds", "fails", "undecided", "equal here")
        assert claim["low"] <= claim["measured"] <= claim["high"]
    assert set(claims["C6-better-together"]["cells"]) == {
        "decay + dropout - decay", "decay + dropout - dropout", "decay + batch norm - decay",
        "decay + batch norm - batch norm",
    }  # fmt: skip


def test_the_penalty_is_in_the_loss_where_decay_is(finished):
    for name, results in finished.arms.items():
        penalty = (results.running_objective - results.running_loss).to_numpy()
        assert (np.abs(penalty) > 1e-4).all() == ("decay" in name) == (np.abs(penalty) > 1e-5).any()


def test_the_picture_is_the_first_figure(finished):
    assert (finished.folder / "figures" / "combinations.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("flags", "says"), [({"seeds": 0}, "--seeds 0 is too few"), ({"steps": 0}, "--steps 0 is too few")]
)
def test_bad_flags_get_one_sentence(flags, says):
    with pytest.raises(UserError, match=says) as refused:
        experiment(**flags)
    assert "\n" not in str(refused.value)
