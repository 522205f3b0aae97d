"""Choices and their scores: made on exploring seeds, computed on others, and the same arithmetic as that of arrays."""

import numpy as np
import pytest

from tests.evidence.cases import confirming, diverged, results
from wd_research.evidence.choices import (
    Scores,
    choice_of,
    choose,
    difference,
    gain_over_none,
    measured,
    score,
    tuned,
)
from wd_research.evidence.measured import Evidence, points_wanted, score_by_halves
from wd_research.results import final, has_value, stopped_early

ARM = results().assign_attrs(arm="arm")


def on(arm):
    """What trains a choice: results of all points, on whichever seeds they have."""
    return lambda choice: arm.sel(point=[choice.point], step=slice(choice.step))


def test_the_choice_is_the_best_mean_on_validation_data():
    choice = choose(ARM)
    assert choice.arm == "arm"
    assert choice.point == final(ARM, "validation_accuracy").mean(axis=0).argmax()
    assert choice.validation == pytest.approx(final(ARM, "validation_accuracy")[:, choice.point].mean())
    assert choice.step == 200


def test_a_choice_among_some_points_keeps_the_number_of_its_point():
    few = ARM.isel(point=np.flatnonzero(has_value(ARM, 0)))
    assert choose(few).point == choose(ARM, has_value(ARM, 0)).point


def test_a_diverged_member_makes_its_point_the_worst():
    best = choose(ARM).point
    for broken in (diverged(ARM, best), diverged(ARM, best, seed=2)):
        assert choose(broken).point != best
    only = choose(diverged(ARM, slice(None)), has_value(ARM, 10))
    assert has_value(ARM, 10)[only.point]  # where all are as bad, it is one of those that are allowed


def test_any_step_chooses_a_point_and_a_step_that_all_seeds_share():
    arm = results(evaluations=4).assign_attrs(arm="arm")
    arm["validation_accuracy"][:, 7, 1] = 0.99
    choice = choose(arm, any_step=True)
    assert (choice.point, choice.step) == (7, 200)
    np.testing.assert_array_equal(score(arm, choice, "test_accuracy").of(on(arm)), arm.test_accuracy[:, 7, 1])
    assert choose(arm).step == 400


def test_other_scores_can_choose():
    wanted = np.zeros((8, 15))
    wanted[:, 4] = 1
    assert choose(ARM, scores=wanted).point == 4


@pytest.mark.parametrize(
    ("effects", "edges"),
    [
        ((0.0, 0.01, 0.08, 0.03, -0.4), ()),
        ((0.0, 0.01, 0.02, 0.05, 0.1), ("decay",)),
        ((0.0, 0.08, 0.01, 0.03, -0.4), ("decay",)),  # the smallest that is not 0
        ((0.1, 0.01, 0.02, 0.05, 0.0), ()),  # below 0 lies nothing
    ],
)
def test_the_end_of_a_tuned_axis_is_an_edge(effects, edges):
    arm = results(effects)
    assert choose(arm).edges == edges
    assert tuned(arm, "test_accuracy").edges == edges


def test_an_edge_is_one_of_any_axis_and_only_of_those_that_are_tuned():
    rates = ARM["learning_rate"].to_numpy()
    best = choose(ARM, rates >= np.float32(0.01))
    assert best.edges == ("learning_rate",)
    assert not best.on_edge  # the axis in question is decay
    assert choose(results((0.0, 0.01, 0.02, 0.05, 0.1))).on_edge
    assert choose(ARM, has_value(ARM, 10)).edges == ()  # one value of decay: it is not tuned
    assert choice_of(ARM, 14).edges == ("learning_rate", "decay")


def test_scores_are_arithmetic_with_arrays():
    first, second = tuned(ARM, "test_accuracy"), tuned(ARM, "test_accuracy", has_value(ARM, 0))
    a, b = first.of(on(ARM)), second.of(on(ARM))
    for made, as_arrays in [
        (first - second, a - b),
        (-first + 2 * second, -a + 2 * b),
        (1 - first / second, 1 - a / b),
        (np.log(first), np.log(a)),
        (np.maximum(first, 0.5), np.maximum(a, 0.5)),
        (gain_over_none(ARM, "test_accuracy"), a - b),
        (difference(ARM, ARM), a - a),
    ]:
        assert isinstance(made, Scores)
        np.testing.assert_array_equal(made.of(on(ARM)), as_arrays)
    assert set((first - second).choices) == {choose(ARM), choose(ARM, has_value(ARM, 0))}


def test_accuracies_have_the_resolution_of_their_examples():
    counted = ARM.assign_attrs(test_examples=100)
    accuracy, loss = tuned(counted, "test_accuracy"), tuned(counted, "test_loss")
    assert (accuracy.resolution, loss.resolution, tuned(ARM, "test_accuracy").resolution) == (0.01, 0, 0)
    assert (accuracy - accuracy).resolution == 0.01
    assert (-2 * accuracy).resolution == 0.02
    assert (accuracy / 4).resolution == 0.0025
    assert abs(accuracy).resolution == 0.01
    assert (accuracy / accuracy).resolution == (4 / accuracy).resolution == 0


def test_curves_of_choices_are_measured_by_any_function():
    arm = results(evaluations=4).assign_attrs(arm="arm")
    stopped = measured(lambda at: final(stopped_early(at), "test_accuracy")[:, 0], choose(stopped_early(arm)))
    np.testing.assert_array_equal(
        stopped.of(on(arm)), final(stopped_early(arm), "test_accuracy")[:, stopped.choices[0].point]
    )


def gains(arms):
    return {"gain": gain_over_none(arms["arm"], "test_accuracy"), "curve": arms["arm"].test_accuracy[:, 0, -1].data}


def test_what_follows_a_choice_is_scored_on_confirming_seeds_and_the_rest_on_exploring_ones():
    best, without = choose(ARM).point, choose(ARM, has_value(ARM, 0)).point
    fresh = confirming([best, without])
    cells = Evidence({"arm": ARM}, {"arm": [fresh]}, [16]).score(gains)
    expected = fresh.test_accuracy[:, 0, -1] - fresh.test_accuracy[:, 1, -1]
    np.testing.assert_array_equal(cells["gain"].values, expected)
    assert (cells["gain"].stage, cells["curve"].stage) == ("confirming", "exploring")
    np.testing.assert_array_equal(cells["curve"].values, ARM.test_accuracy[:, 0, -1])
    assert points_wanted({"arm": ARM}, [gains]) == {"arm": {best, without}}


def test_points_that_went_on_longer_are_paired_by_the_seeds_that_both_have():
    best, without = choose(ARM).point, choose(ARM, has_value(ARM, 0)).point
    tiles = [confirming([best, without]), confirming([best], first=24, seed=7)]
    evidence = Evidence({"arm": ARM}, {"arm": tiles}, [16, 32])
    assert len(evidence.score(gains)["gain"].values) == 16
    assert len(evidence.score(lambda arms: {"a": tuned(arms["arm"], "test_accuracy")})["a"].values) == 32
    assert len(evidence.score(gains, seeds=4)["gain"].values) == 4


def test_what_was_not_confirmed_is_named():
    evidence = Evidence({"arm": ARM}, {"arm": [confirming([0])]}, [16])
    with pytest.raises(
        LookupError, match=r"arm at learning rate 0\.01, decay 0\.1 was not trained on confirming seeds"
    ):
        evidence.score(gains)


@pytest.mark.parametrize("seeds", [2, 5, 8])
def test_by_halves_no_seed_is_scored_at_its_own_choice(seeds):
    arm = results(seeds=seeds).assign_attrs(arm="arm")
    values = score_by_halves({"arm": arm}, lambda arms: {"a": tuned(arms["arm"], "test_accuracy")})["a"]
    for mine, others in ((slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2))):
        choice = choose(arm.isel(seed=others))
        np.testing.assert_array_equal(values[mine], final(arm, "test_accuracy")[mine, choice.point])
    cells = Evidence({"arm": arm}).score(gains)
    assert (cells["gain"].stage, cells["curve"].stage) == ("halves", "exploring")
