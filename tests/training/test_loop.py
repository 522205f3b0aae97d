"""The loop: what it records of steps and evaluations, and that it can stop and go on anywhere."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.training.cases import LEARNING_RATE, TARGETS, parabola
from wd_research.training.loop import Pace, train_tile
from wd_research.training.plan import Limits, call_length, make_plan
from wd_research.training.population import all_devices

SEEDS, SEGMENTS = 2, [(0, 4), (4, 4), (8, 1)]
DECAYS = (0.0, 0.5, 1.0, 1.5, 2.0)


def size_of_step(before, gradients, after):
    return {"moved": jnp.sum(jnp.abs(after["w"] - before["w"])), "gradient": jnp.sum(jnp.abs(gradients["w"]))}


ARM = replace(
    parabola(DECAYS, measure=lambda params, extras: {"first": params["w"][0], "all": params["w"].sum()}),
    observe=lambda hypers: size_of_step,
)


@pytest.fixture(scope="module")
def plan():
    return planned(ARM)


def planned(arm):
    return make_plan(arm, SEEDS, 4, 9, all_devices(), Limits(blocks=(1,)))


@pytest.fixture(autouse=True)
def _steady(monkeypatch):
    monkeypatch.setattr(Pace, "learn", lambda *measured: None)


def positions(plan, numbers=(0, 1, 2, 3, 4), piece=4, **where):
    """The positions of a tile, the results of which are copies, for the next piece takes its members away."""
    trained = train_tile(plan.population, ARM, numbers, SEGMENTS, {}, pace=Pace(piece), **where)
    return [position._replace(members=jax.tree.map(np.asarray, position.members)) for position in trained]


def trained(plan, **where):
    return positions(plan, **where)[-1].results


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
    results = trained(plan)
    inputs = plan.population.put(ARM)
    start = plan.population.fetch(plan.population.init(inputs).state.params["w"])
    end, rows = by_hand(start.astype(float))
    for name in ("moved", "gradient", "loss"):
        means = [np.mean([row[name] for row in rows[first : first + length]], axis=0) for first, length in SEGMENTS]
        np.testing.assert_allclose(results[f"running_{name}"], np.stack(means, axis=-1), rtol=1e-4)
    np.testing.assert_allclose(results["first"][..., -1], end[..., 0], rtol=1e-4)
    assert results["step"].values.tolist() == [4, 8, 9]


def test_what_is_measured_of_the_weights_keeps_its_name(plan):
    results = trained(plan)
    named = {"first", "all", "weights_norm", "weights_below", "diverged_at"}
    assert set(results.data_vars) == named | {f"running_{name}" for name in ("moved", "gradient", "loss", "objective")}


def test_there_is_a_position_after_every_piece_and_an_evaluation_after_every_segment(plan):
    told = positions(plan, piece=3)
    assert [position.step for position in told] == [3, 4, 7, 8, 9]
    assert [position.evaluated for position in told] == [False, True, False, True, True]
    assert [position.results and position.results.sizes["step"] for position in told] == [None, 1, 1, 2, 3]


def test_it_does_not_matter_how_a_segment_is_cut_into_pieces(plan):
    whole = trained(plan)
    for piece in (1, 2, 3):
        assert trained(plan, piece=piece).identical(whole)


@pytest.mark.parametrize("piece", [1, 3, 4])
def test_from_every_position_training_goes_on_as_if_it_had_never_stopped(plan, piece):
    whole = trained(plan)
    for position in positions(plan, piece=piece)[:-1]:
        assert trained(plan, piece=2, since=position).identical(whole)


@pytest.mark.parametrize("block", [1, 2, None])
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 2)])
@pytest.mark.parametrize(
    ("numbers", "seeds"), [((1, 3), range(1)), ((4, 0, 2), range(1, 2)), ((0, 1, 2, 3, 4), range(2))]
)
def test_members_go_on_on_other_devices_as_if_they_had_never_stopped(numbers, seeds, before, after, block):
    plans = [
        make_plan(ARM, SEEDS, 4, 9, all_devices(jax.devices()[:count]), Limits(blocks=(block,)))
        for count in (before, after)
    ]
    where = {"numbers": numbers, "seeds": seeds}
    whole = trained(plans[1], **where)
    for position in positions(plans[0], piece=3, **where)[:-1]:
        members = plans[0].population.cut(position.members, len(seeds), len(numbers))
        assert members.diverged_at.shape == (len(seeds), len(numbers))
        moved = position._replace(members=plans[1].population.filled(members))
        end = trained(plans[1], since=moved, **where)
        for name in whole.data_vars:
            np.testing.assert_allclose(end[name], whole[name], rtol=1e-5, atol=1e-6)


def test_a_tile_that_is_filled_up_has_the_results_of_its_points_alone(plan):
    two = planned(replace(ARM, points=type(ARM.points)(ARM.points.decay[:2])))
    whole = trained(plan)
    for numbers in ([0, 1], [3, 1], [4]):
        tile = trained(two, numbers=numbers)
        assert tile["point"].values.tolist() == numbers
        assert tile["decay"].values.tolist() == [DECAYS[number] for number in numbers]
        for name in whole.data_vars:
            np.testing.assert_allclose(tile[name], whole[name].sel(point=numbers), rtol=1e-5, atol=1e-6)


def test_seeds_are_those_from_the_first_on(plan):
    later = trained(plan, seeds=range(1, 3))
    assert later["seed"].values.tolist() == [1, 2]
    assert later.sel(seed=1).drop_attrs().identical(trained(plan).sel(seed=1).drop_attrs())


def test_a_call_takes_about_a_second_and_learns_how_many_steps_that_are(monkeypatch):
    monkeypatch.undo()
    pace = Pace()
    for _ in range(12):
        pace.learn(pace.steps, pace.steps * 0.003)
    assert pace.steps == 333
    pace.learn(333, 333 * 0.3)  # another process came
    assert pace.steps == 3
    pace.learn(3, 10.0)
    assert pace.steps == 1


def test_long_segments_are_called_by_parts_of_which_the_order_is_drawn():
    """The order of the data is drawn for a whole call, of which a piece may take little."""
    assert call_length([(0, 10**6), (10**6, 5)]) == 1_000
    assert call_length([(0, 40), (40, 3)]) == 40
