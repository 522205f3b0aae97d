"""Simplicity: a net whose zeros are known, choices on known results, and the experiment in small."""

import io
import json
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from experiments.article.rows import ROWS, row_of
from experiments.article.simplicity import (
    CLAIMS,
    CORES,
    METHODS,
    Hypers,
    alive,
    complexity,
    controlled,
    experiment,
    falls,
    left,
    lower,
    matched,
    shrinking,
)
from tests.article.test_data_regimes import known, means
from wd_research.flags import UserError
from wd_research.running import run
from wd_research.training.data import Examples, Split
from wd_research.training.models import Mlp
from wd_research.training.tasks import classification
from wd_research.types import Batch

pytestmark = pytest.mark.slow  # the experiment itself, in little

INPUTS = np.random.default_rng(0).uniform(-1, 1, (200, 4)).astype(np.float32) * np.float32([1, 1, 1, 0])
TARGETS = np.zeros(200, np.int32)
SPLIT = Split(*np.split(np.arange(200), (100, 150)), TARGETS[:100], np.zeros(4), np.ones(4))
NET = Mlp((3,), 10)
TASK = classification(NET, Examples(INPUTS, TARGETS), lambda seed: SPLIT, 50)


def a_net():
    """Four inputs, the last of them constant; three units, the last of them never above 0; ten outputs."""
    first = np.array([[1, 0, 5], [1e-4, 2, 0], [0, 3, 0], [0, 0, 0]], np.float32)
    last = np.zeros((3, 10), np.float32)
    last[0], last[1, :5] = 1e-5, 1.0
    return {
        "Dense_0": {"kernel": first, "bias": np.array([9, 9, -99], np.float32)},
        "Dense_1": {"kernel": last, "bias": np.zeros(10, np.float32)},
    }


def test_zeros_are_counted_among_the_weights_that_are_alive():
    """3 inputs times 2 units, 2 of these weights zero, and 2 units times 10 outputs, 5 of these zero."""
    seen = jax.jit(partial(complexity, TASK, name="train"))(a_net(), {}, Batch(INPUTS, TARGETS))
    assert float(seen["zero"]) == pytest.approx((2 + 5) / 26)
    assert float(seen["small"]) == pytest.approx((3 + 5 + 10) / 26)
    assert (float(seen["constant"]), float(seen["dead"])) == (1, 1)
    assert float(seen["norm"]) == pytest.approx(np.sqrt(1 + 25 + 1e-8 + 4 + 9 + 10 * 1e-10 + 5))


def test_what_is_dead_is_what_gets_no_gradient():
    params, inputs = a_net(), jnp.float32(INPUTS)

    def loss(params):
        return jnp.sum(jnp.asarray(NET.apply({"params": params}, inputs)) ** 3)

    gradient = jax.grad(loss)(params)["Dense_0"]["kernel"]
    varies, opens = alive(params, inputs)
    np.testing.assert_array_equal(np.asarray(gradient) != 0, np.outer(varies, opens))


@pytest.mark.parametrize("name", ["validation", "test"])
def test_only_the_training_split_is_measured(name):
    assert complexity(TASK, a_net(), {}, Batch(INPUTS, TARGETS), name) == {}


def under(optimizer, weight, gradient, steps=300):
    """Where a weight of a matrix goes under a gradient that is a function of it."""
    params = {"kernel": jnp.full((1, 1), weight)}
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    for _ in range(steps):
        updates, state = update({"kernel": gradient(params["kernel"])}, state, params)
        params = jax.tree.map(jnp.add, params, updates)
    return float(params["kernel"][0, 0])


def numbers(**values):
    return Hypers(**{**dict.fromkeys(Hypers._fields, 0.0), "learning_rate": 0.1, **values})


@pytest.mark.parametrize(("core", "threshold"), [("descent", 0.2), ("Adam", 2.0)])
def test_a_weight_that_the_loss_hardly_wants_becomes_zero_by_the_proximal_step_alone(core, threshold):
    """The loss is (w - 0.1)^2 / 2, whose pull at zero, 0.1, is below the strength of L1."""

    def wanted(w):
        return w - 0.1

    assert under(shrinking(core, 1000, numbers(threshold=threshold)), 1.0, wanted) == 0
    by_l1 = under(shrinking(core, 1000, numbers()), 1.0, lambda w: wanted(w) + 0.2 * jnp.sign(w))
    by_decay = under(shrinking(core, 1000, numbers(decay=0.2)), 1.0, wanted)
    assert 0 < abs(by_l1) < 0.05
    assert 0.01 < by_decay < 0.1


def test_after_adam_the_proximal_step_solves_something_else():
    """Adam's first steps are of size 1 whatever the gradient, so that a threshold below 1 holds no weight at zero."""
    assert under(shrinking("Adam", 1000, numbers(threshold=0.2)), 0.0, lambda w: w - 0.1) > 0.05


def test_after_descent_the_proximal_step_solves_the_lasso():
    """argmin (w - 1)^2 / 2 + 0.2 |w| = 0.8."""
    assert under(shrinking("descent", 1000, numbers(threshold=0.2)), 3.0, lambda w: w - 1) == pytest.approx(0.8)


def in_both(results):
    """The same results for every arm."""
    return {f"{core}, {method}": results for core in CORES for method in METHODS}


def test_the_strongest_that_costs_nothing_is_compared_to_the_best_without():
    """0.6 is the best without decay; 3 still reaches it, at the second learning rate, and 9 does not."""
    results = known(
        [0, 0, 1, 3, 3, 9],
        validation_accuracy=[[0.5], [0.6], [0.9], [0.65], [0.7], [0.55]],
        train_norm=[[9.0], [10.0], [7.0], [6.0], [4.0], [1.0]],
    )
    assert matched(results).point == 4
    measure = partial(lower, "norm", ("L1",))
    assert means(measure, in_both(results)) == pytest.approx({f"{core}, L1": 0.6 for core in CORES})
    assert not any(scores.edges for scores in measure(in_both(results)).values())
    assert means(partial(controlled, "norm"), in_both(results))["Adam, L2"] == pytest.approx(0.3)


def test_the_strongest_of_the_grid_decides_nothing():
    results = known([0, 1, 3], validation_accuracy=[[0.5], [0.5], [0.6]], train_norm=[[3.0], [2.0], [1.0]])
    found = lower("norm", ("L2",), in_both(results))
    assert {name: scores.edges for name, scores in found.items()} == {f"{core}, L2": ("decay",) for core in CORES}


def test_a_member_that_diverged_is_never_the_strongest():
    results = known([0, 1, 3], validation_accuracy=[[0.5], [0.6], [0.7]])
    results.diverged_at[:, 2] = 5
    assert matched(results).point == 1


def test_what_is_left_is_measured_after_each_third_of_training():
    course = np.array([0.1, 0.2, 0.3, 0.3, 0.5, 0.9])
    results = known([0, 1], validation_accuracy=np.tile([[0.5], [0.6]], 6), train_zero=[np.zeros(6), course])
    assert means(partial(left, "zero"), in_both(results)) == pytest.approx(
        {f"{core}, third {k}": share for core in CORES for k, share in ((1, 0.8), (2, 0.7), (3, 0.1))}
    )
    fallen = means(partial(falls, "zero"), in_both(results))
    assert fallen["Adam, third 1 to 2"] == pytest.approx(0.1)
    assert fallen["descent, third 2 to 3"] == pytest.approx(0.6)


def test_methods_have_as_many_trials_and_an_optimizer_is_a_program(finished):
    arms = finished.experiment.trained
    assert list(arms) == list(in_both(None))
    assert {len(np.unique(np.stack(arm.points, axis=1), axis=0)) for arm in arms.values()} == {42}
    assert json.loads((finished.folder / "experiment.json").read_text())["programs"] == len(CORES)


def test_an_arm_has_one_kind_of_decay_and_none_of_it_among_its_trials():
    for arm in experiment(seeds=2, steps=20).trained.values():
        used = {name for name, values in arm.points._asdict().items() if np.any(values)}
        assert used == {"learning_rate", arm.axis}
        assert 0 in getattr(arm.points, arm.axis)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simplicity")
    small = replace(experiment(seeds=2, steps=12), evaluations=3, confirm=3)
    return run(small, folder, tensorboard=False, console=Console(file=io.StringIO()))


def test_every_claim_of_the_three_rows_is_judged(finished):
    claims = {claim["id"]: claim for claim in finished.summary["claims"]}
    assert set(claims) == {claim.id for claim in CLAIMS}
    assert {row_of(name) for name in claims} == {"A0b", "A7", "C2"} <= set(ROWS)
    assert {claim["verdict"] for claim in claims.values()} <= {"holds", "fails", "undecided"}
    assert (finished.folder / "figures" / "simplicity.png").exists()


def test_zeros_come_of_the_proximal_step_even_in_small_and_nothing_is_measured_of_test_data(finished):
    for name, results in finished.arms.items():
        zeros = results.train_zero.isel(step=-1).max("seed").to_numpy()
        made = name.endswith("proximal") & (results[results.attrs["axis"]].to_numpy() > 0)
        assert (zeros[~made] == 0).all()
        assert zeros.max() > 0.1 or not made.any()
        assert "test_zero" not in results
        assert ((results.train_constant > 0) & (results.train_constant < 61)).all()


@pytest.mark.parametrize(("flags", "says"), [({"seeds": 0}, "--seeds 0 is too few"), ({"steps": 0}, "--steps 0 is")])
def test_bad_flags_get_one_sentence(flags, says):
    with pytest.raises(UserError, match=says) as refused:
        experiment(**flags)
    assert "\n" not in str(refused.value)
