"""However a population is cut, it trains the same nets; and what is said of its memory is so."""

import jax
import numpy as np
import pytest

from tests.training.worlds import arm, points
from wd_research.arms import make_plans
from wd_research.training.plan import Cut, PlanError, in_waves, make_plan, words
from wd_research.training.population import all_devices, fetch, place

SEEDS, STEPS = 2, 6


def wide(count=7):
    return arm()._replace(points=points(decays=tuple(np.linspace(0, 2, count)), learning_rates=(0.01,)))


def trained(world, plan):
    """The weights of all points after some steps, wave after wave."""
    ends = []
    for wave in in_waves(world, plan.height):
        inputs = place(wave, SEEDS, all_devices(), plan.block)
        members, _ = plan.programs.advance(plan.programs.init(inputs), inputs, np.int32(0), np.int32(STEPS))
        ends.append(fetch(members.state.params, wave))
    height = len(world.points.decay)
    return jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1)[:, :height], *ends)


def planned(world, blocks=(1,), memory=None, steps=STEPS):
    return make_plan(world, SEEDS, STEPS, steps, all_devices(), Cut(blocks, memory))


@pytest.mark.parametrize("block", [1, pytest.param(None, marks=pytest.mark.slow)])
def test_waves_train_the_same_nets_to_rounding(block):
    world = wide()
    whole = planned(world, (block,))
    assert (whole.waves, whole.height, whole.block) == (1, 7, block)
    budget = (whole.memory + planned(wide(2), (block,)).memory) / 2
    waves = planned(world, (block,), budget)
    assert waves.waves > 1
    assert waves.memory <= budget
    for mine, yours in zip(jax.tree.leaves(trained(world, whole)), jax.tree.leaves(trained(world, waves)), strict=True):
        np.testing.assert_allclose(mine, yours, rtol=1e-4, atol=1e-6)


def test_a_budget_for_nothing_gets_one_sentence():
    with pytest.raises(PlanError, match=r"^--memory 1e-09 is not enough: .* so give that or take fewer seeds$"):
        planned(wide(), memory=1.0)


def test_the_block_is_chosen_in_long_runs_alone():
    short, long = planned(wide(), (1, None)), planned(wide(), (1, None), steps=10**9)
    assert short.block == 1
    assert long.compile_seconds > 0
    each = {block: planned(wide(), (block,)).seconds_per_step for block in (1, None)}
    assert long.block in each
    assert short.record()["block"] == words(1) == "one by one"


def test_every_wave_has_the_same_size_and_the_last_is_filled_with_its_last_point():
    waves = in_waves(wide(7), 4)
    assert [len(wave.points.decay) for wave in waves] == [4, 4]
    assert waves[1].points.decay[2] == waves[1].points.decay[3] == 2


def test_arms_of_one_size_choose_their_block_once(monkeypatch):
    told = []

    def make(arm, seeds, length, steps, mesh, cut):
        told.append((steps, cut.blocks))
        return make_plan(arm, seeds, length, steps, mesh, cut)

    monkeypatch.setattr("wd_research.arms.make_plan", make)
    arms = {"a": wide(), "b": arm("coupled")._replace(points=wide().points), "fewer": wide(3)}
    segments = [(0, STEPS), (STEPS, 10**9 - STEPS)]
    plans = make_plans(arms, SEEDS, segments, all_devices(), Cut((1, None)), lambda *_: None)
    both = (1, None)
    assert told == [(2 * 10**9, both), (2 * 10**9, (plans["a"].block,)), (10**9, both)]
    assert plans["a"].block == plans["b"].block
