"""Selection, and the answer, from results of which both are known."""

import numpy as np
import pytest

from tests.evidence.cases import diverged, results
from wd_research.evidence.selection import (
    best_among,
    best_axis_values,
    best_point,
    edges,
    gain_cell,
    summarise,
    summary_of_arm,
    tuned,
)
from wd_research.reporting.sentences import describe, sentence
from wd_research.results import final, has_value, stopped_early, surviving


def test_the_best_point_is_found_with_its_gain_and_its_interval():
    found = summary_of_arm(results())
    assert (found["decay"], found["learning_rate"]) == pytest.approx((0.1, 0.01))
    assert found["test_accuracy"]["low"] < 0.88 < found["test_accuracy"]["high"]
    assert found["gain"]["low"] < 0.08 < found["gain"]["high"]
    assert found["gain"]["low"] > 0.07
    assert found["best_values"]["values"] == pytest.approx([0.1])
    assert found["edges"] == []
    assert describe(found) == "decay 0.1 and learning rate 0.01"


def test_by_loss_a_gain_is_a_lower_loss():
    found = summary_of_arm(results(), by="loss")
    assert found["gain"]["low"] > 0
    assert found["test_loss"]["mean"] < found["without"]["mean"]


def test_without_decay_is_tuned_too():
    """The baseline gets its own best learning rate: the gain is not that of tuning."""
    assert summary_of_arm(results())["without"]["mean"] == pytest.approx(0.8, abs=0.01)


def test_an_optimum_on_the_edge_is_said_to_be_one_and_zero_is_no_edge():
    rising, falling = results((0, 0.01, 0.02, 0.05, 0.1)), results((0, -0.01, -0.02, -0.05, -0.1))
    assert edges(rising) == ["decay"]
    assert gain_cell(rising, "test_accuracy").on_edge
    assert "on the edge of the grid" in sentence(summarise({"arm": rising}))
    assert edges(falling) == []
    assert "undecided" in sentence(summarise({"arm": falling}))


def test_what_is_not_distinguishable_from_the_best_is_in_the_set():
    values = best_axis_values(results((0, 0.06, 0.08, 0.079, -0.1), noise=0.02))
    assert set(np.float32([0.1, 1])) <= set(np.float32(values))
    assert 10 not in values


def test_diverged_members_are_never_chosen():
    arm = results()
    best = best_among(arm)
    for broken in (diverged(arm, best), diverged(arm, best, seed=2)):
        assert best_among(broken) != best
        assert np.isnan(surviving(broken, "test_accuracy")[2, best])
        assert summary_of_arm(broken)["gain"]["low"] > 0
    assert summary_of_arm(diverged(arm, best))["diverged"] == 8


def test_only_the_members_without_decay_are_the_baseline():
    arm = results()
    assert has_value(arm, 0).sum() == 3
    assert best_among(arm, has_value(arm, 0)) in np.flatnonzero(has_value(arm, 0))


@pytest.mark.parametrize(
    ("second", "says"),
    [
        ((0, 0.01, 0.05, 0.03, -0.4), "ahead of second by +2"),
        ((0, 0.01, 0.08, 0.03, -0.4), "not distinguishable from"),
    ],
)
def test_one_sentence_answers_and_compares(second, says):
    arms = {"first": results(), "second": results(second, axis="strength", seed=1)}
    summary = summarise(arms)
    said = sentence(summary)
    assert says in said
    assert said.endswith(".")
    assert "\n" not in said
    assert set(summary["comparisons"]) == {"first - second"}
    assert best_point(arms["second"])["strength"] == pytest.approx(0.1)


def test_a_member_that_stops_early_is_taken_where_its_own_validation_was_best():
    arm = results(evaluations=4)
    arm.validation_accuracy[0, 0] = [0.1, 0.9, 0.3, 0.2]
    stopped = stopped_early(arm)
    assert stopped.stopped_at[0, 0, 0] == 200
    assert stopped.test_accuracy[0, 0, 0] == arm.test_accuracy[0, 0, 1]
    assert dict(stopped.sizes) == {**arm.sizes, "step": 1}
    assert stopped.step.values.tolist() == arm.step.values[-1:].tolist()
    assert (final(stopped, "validation_accuracy") == arm.validation_accuracy.max("step").values).all()
    assert (tuned(stopped, "test_accuracy") <= 1).all()
    np.testing.assert_array_equal(stopped.diverged_at, arm.diverged_at)


def test_by_loss_it_stops_where_the_loss_was_lowest():
    arm = results(evaluations=4)
    arm.validation_loss[2, 3] = [0.5, 0.4, 0.1, 0.3]
    assert stopped_early(arm, by="loss").stopped_at[2, 3, 0] == 300
