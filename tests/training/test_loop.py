"""The loop: what it records of steps, evaluations and waves."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from tests.training.cases import LEARNING_RATE, TARGETS, parabola
from wd_research.training.loop import told_of_pieces, train_arm
from wd_research.training.plan import Limits, make_plan
from wd_research.training.population import all_devices

SEEDS, SEGMENTS = 2, [(0, 4), (4, 4), (8, 1)]
DECAYS = (0.0, 0.5, 1.0, 1.5, 2.0)


def size_of_step(before, gradients, after):
    return {"moved": jnp.sum(jnp.abs(after["w"] - before["w"])), "gradient": jnp.sum(jnp.abs(gradients["w"]))}


ARM = replace(
    parabola(DECAYS, measure=lambda params, extras: {"first": params["w"][0], "all": params["w"].sum()}),
    observe=size_of_step,
)


@pytest.fixture(scope="module")
def plan():
    return make_plan(ARM, SEEDS, 4, 9, all_devices(), Limits(blocks=(1,)))


def trained(plan, points_per_wave=None):
    """The results, and what observers were told."""
    told = []
    plan = plan._replace(points_per_wave=points_per_wave or plan.points_per_wave)
    results = train_arm("arm", ARM, plan, SEGMENTS, [lambda name, position: told.append((name, position))], {})
    return results, told


def by_hand(start):
    """Weights and metrics of every step, in NumPy, from the weights f64[s, h, 3] after no step."""
    w, rows = start, []
    for time in range(9):
        gradient = w - TARGETS[time % len(TARGETS)]
        after = w - LEARNING_RATE * (gradient + np.array(DECAYS)[:, None] * w)
        rows.append({"loss": (gradient**2).sum(-1), "moved": np.abs(after - w).sum(-1),
                     "gradient": np.abs(gradient).sum(-1)})  # fmt: skip
        w = after
    return w, rows


def test_what_is_observed_of_steps_is_recorded_as_means_over_a_segment(plan):
    results, _ = trained(plan)
    inputs = plan.population.put(ARM)
    start = plan.population.fetch(plan.population.init(inputs).state.params["w"])
    end, rows = by_hand(start.astype(float))
    for name in ("moved", "gradient", "loss"):
        means = [np.mean([row[name] for row in rows[first : first + length]], axis=0) for first, length in SEGMENTS]
        np.testing.assert_allclose(results[f"running_{name}"], np.stack(means, axis=-1), rtol=1e-4)
    np.testing.assert_allclose(results["first"][..., -1], end[..., 0], rtol=1e-4)
    assert results["step"].values.tolist() == [4, 8, 9]


def test_what_is_measured_of_the_weights_keeps_its_name(plan):
    results, _ = trained(plan)
    named = {"first", "all", "weights_norm", "weights_below", "diverged_at"}
    assert set(results.data_vars) == named | {f"running_{name}" for name in ("moved", "gradient", "loss", "objective")}


def test_waves_are_told_one_after_the_other_and_joined():
    two = make_plan(replace(ARM, points=type(ARM.points)(ARM.points.decay[:2])), SEEDS, 4, 9, all_devices(),
                    Limits(blocks=(1,)))  # fmt: skip
    results, told = trained(two)
    whole, _ = trained(make_plan(ARM, SEEDS, 4, 9, all_devices(), Limits(blocks=(1,))))
    assert [position.step for _, position in told] == [4, 8, 9] * 3
    assert [position.results.sizes["point"] for _, position in told] == [2] * 6 + [1] * 3
    assert [position.results.sizes["step"] for _, position in told] == [1, 2, 3] * 3
    assert results["decay"].values.tolist() == list(DECAYS)
    for name in whole.data_vars:
        np.testing.assert_allclose(results[name], whole[name], rtol=1e-5, atol=1e-6)


def test_pieces_are_told_and_change_nothing(plan):
    whole, _ = trained(plan)
    told = []
    with told_of_pieces(told.append):
        cut, _ = trained(plan._replace(seconds_per_step=0.4))  # two steps a second
    assert told == [2 * SEEDS * len(DECAYS)] * 4 + [SEEDS * len(DECAYS)]
    for name in whole.data_vars:
        np.testing.assert_allclose(cut[name], whole[name], rtol=1e-6)
    trained(plan)
    assert len(told) == 5


def test_of_a_wave_that_is_filled_up_the_points_alone_are_told():
    two = make_plan(replace(ARM, points=type(ARM.points)(ARM.points.decay[:2])), SEEDS, 4, 9, all_devices(),
                    Limits(blocks=(1,)))  # fmt: skip
    told = []
    with told_of_pieces(told.append):
        trained(two)
    assert sum(told) == 9 * SEEDS * len(DECAYS)
