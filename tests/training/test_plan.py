"""However a population is cut, it trains the same nets; and what is said of its memory is so."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.cases import parabola
from wd_research.training.hosts import compile_here
from wd_research.training.plan import (
    FEW,
    Limits,
    PlanError,
    evened,
    format_block,
    make_plan,
    make_plans,
    points_of,
)
from wd_research.training.population import all_devices

SEEDS, STEPS = 2, 6


def wide(count=7, **changes):
    return parabola(tuple(np.linspace(0, 2, count)), weights=500, **changes)


def trained(arm, plan):
    """The weights of all points after some steps, tile after tile."""
    ends = []
    for first in range(0, arm.size, plan.population.points):
        inputs = plan.population.put(points_of(arm, first, plan.population.points))
        when = np.int32(0), np.int32(STEPS), np.bool_(True)
        members = plan.population.advance(plan.population.init(inputs), inputs, *when)
        ends.append(plan.population.fetch(members.state.params))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1)[:, : arm.size], *ends)


def planned(arm, blocks=(1,), memory=None, steps=STEPS, compiled=None):
    return make_plan(arm, SEEDS, STEPS, steps, all_devices(), Limits(memory, blocks), compiled)


@pytest.mark.parametrize("block", [1, None])
def test_tiles_train_the_same_nets_to_rounding(block):
    arm = wide()
    whole = planned(arm, (block,))
    assert (whole.tiles, whole.population.points, whole.block) == (1, 7, block)
    budget = (whole.population.memory + planned(wide(2), (block,)).population.memory) / 2
    tiles = planned(arm, (block,), budget)
    assert tiles.tiles > 1
    assert tiles.population.memory <= budget
    for mine, yours in zip(jax.tree.leaves(trained(arm, whole)), jax.tree.leaves(trained(arm, tiles)), strict=True):
        np.testing.assert_allclose(mine, yours, rtol=1e-5, atol=1e-6)


def test_a_budget_for_nothing_gets_one_sentence():
    with pytest.raises(PlanError, match=r"^--memory 1e-09 is not enough: .* so give that or take fewer seeds$"):
        planned(wide(3), memory=1.0)


def test_the_block_is_chosen_in_long_runs_alone():
    compiled = {}
    short = planned(wide(17), (1, FEW), compiled=compiled)
    assert short.block == 1
    assert len(compiled) == 3  # nothing was compiled for the other block
    long = planned(wide(17), (1, FEW), steps=10**9, compiled=compiled)
    assert len(compiled) > 3
    assert long.block in (1, evened(FEW, 17 // all_devices().size + 1))
    assert long.compile_seconds > 0
    assert short.record()["block"] == format_block(1) == "sequential"


def timed_as(monkeypatch, sequential, few):
    """The steps of every call by which a block is chosen, where calls take so long."""
    calls = []

    def seconds(population, inputs, steps):
        calls.append(steps)
        # three calls say what a step takes, and from then on the two take turns
        return steps * (few if len(calls) > 3 and len(calls) % 2 else sequential)

    monkeypatch.setattr("wd_research.training.plan.seconds_of_call", seconds)
    return calls


@pytest.mark.parametrize(
    ("few", "steps", "called", "block"),
    [(0.5, 10**5, [5] * 6, 4), (1.5, 10**5, [5] * 6, 1), (2.1, 10**5, [5, 5], 1), (0.5, 300, [2] * 6, 4)],
)
def test_a_block_that_is_twice_as_slow_is_tried_once_and_a_short_run_tries_few_steps(
    monkeypatch, few, steps, called, block
):
    calls = timed_as(monkeypatch, 1e3, few * 1e3)  # compiling costs nothing beside it
    assert planned(wide(), (1, FEW), steps=steps).block == block
    assert calls[3:] == called


def test_a_block_that_would_not_fit_in_memory_is_not_taken(monkeypatch):
    calls = timed_as(monkeypatch, 1e3, 1.0)
    enough = planned(wide()).population.memory

    def heavier(arm, seeds, length, mesh, block, compiled):
        population = compile_here(arm, seeds, length, mesh, block, compiled)
        return population._replace(memory=enough + (block != 1))

    monkeypatch.setattr("wd_research.training.plan.compile_here", heavier)
    assert planned(wide(), (1, FEW), memory=enough, steps=10**5).block == 1
    assert len(calls) == 3


@given(st.integers(1, 200), st.integers(1, 200))
def test_a_block_is_filled_evenly_by_as_many_groups(block, points):
    even = evened(block, points)
    assert 1 <= even <= min(block, points)
    assert -(-points // even) == -(-points // block)
    assert even * -(-points // even) - points < -(-points // even)  # a group lacks one at most
    assert evened(even, points) == even
    assert evened(None, points) is None


def test_every_tile_has_the_same_size_and_the_last_is_filled_with_its_last_point():
    tiles = [points_of(wide(7), first, 4) for first in (0, 4)]
    assert [tile.size for tile in tiles] == [4, 4]
    assert tiles[1].points.decay[2] == tiles[1].points.decay[3] == 2


def test_arms_of_one_size_choose_their_block_once(monkeypatch):
    told = []

    def make(arm, seeds, length, steps, mesh, limits, *shared):
        told.append((steps, limits.blocks))
        return make_plan(arm, seeds, length, steps, mesh, limits, *shared)

    monkeypatch.setattr("wd_research.training.plan.make_plan", make)
    arms = {"a": wide(), "b": wide(constant=2.0), "fewer": wide(3)}
    segments = [(0, STEPS), (STEPS, 10**9 - STEPS)]
    plans = make_plans(arms, dict.fromkeys(arms, SEEDS), lambda arm: segments, Limits(blocks=(1, FEW)), lambda *_: None)
    both = (1, FEW)
    assert told == [(2 * 10**9, both), (2 * 10**9, (plans["a"].block,)), (10**9, both)]
    assert plans["a"].block == plans["b"].block


def test_arms_that_compute_the_same_share_plan_and_program():
    arms = {"a": wide(), "b": wide()}
    plans = make_plans(arms, dict.fromkeys(arms, SEEDS), lambda arm: [(0, STEPS)], Limits(blocks=(1,)), lambda *_: None)
    assert plans["a"].population.text == plans["b"].population.text
    assert plans["a"].seconds_per_step == plans["b"].seconds_per_step


def test_an_arm_is_cut_into_as_many_tiles_as_are_asked_for():
    plan = make_plan(wide(7), SEEDS, STEPS, STEPS, all_devices(), Limits(blocks=(1,), tiles=3))
    assert (plan.tiles, plan.population.points) == (3, 3)
