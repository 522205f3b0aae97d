"""Selection, and the answer, from results of which both are known."""

import numpy as np
import pytest

from tests.evidence.cases import confirming, diverged, results
from wd_research.evidence.choices import choose
from wd_research.evidence.measured import Evidence, points_wanted
from wd_research.evidence.selection import (
    best_point,
    best_values,
    likely_best,
    measures_of,
    neighbours,
    summarise,
    summary_of_arm,
)
from wd_research.reporting.sentences import describe, sentence
from wd_research.results import final, has_value, stopped_early, surviving


def confirmed(arm, **others):
    """The evidence of an arm whose every choice was confirmed on sixteen fresh seeds."""
    return Evidence({"arm": arm}, {"arm": [confirming(range(15), **others)]}, [16])


@pytest.mark.parametrize("evidence", [Evidence({"arm": results()}), confirmed(results())])
def test_the_best_point_is_found_with_its_gain_and_its_interval(evidence):
    found = summary_of_arm(evidence, "arm", "accuracy")
    assert (found["decay"], found["learning_rate"]) == pytest.approx((0.1, 0.01))
    assert found["test_accuracy"]["low"] < 0.88 < found["test_accuracy"]["high"]
    assert found["gain"]["low"] < 0.08 < found["gain"]["high"]
    assert found["gain"]["low"] > 0.07
    assert found["best_values"]["values"] == pytest.approx([0.1])
    assert found["edges"] == found["edges_without"] == []
    assert found["neighbours"] == {"worse": 4, "all": 4}
    assert describe(found) == "decay 0.1 and learning rate 0.01"


def test_the_entry_says_which_seeds_its_numbers_are_of():
    by_halves, fresh = (
        summary_of_arm(evidence, "arm", "accuracy") for evidence in (Evidence({"arm": results()}), confirmed(results()))
    )
    assert (by_halves["stage"], by_halves["seeds"]) == ("halves", 8)
    assert (fresh["stage"], fresh["seeds"]) == ("confirming", 16)


def test_what_fresh_seeds_say_counts_and_not_what_exploring_seeds_flattered():
    evidence = confirmed(results(), effects=(0.0, 0.0, 0.0, 0.0, 0.0))
    gain = summary_of_arm(evidence, "arm", "accuracy")["gain"]
    assert gain["low"] < 0.01 < 0.08


def test_by_loss_a_gain_is_a_lower_loss():
    found = summary_of_arm(Evidence({"arm": results()}), "arm", by="loss")
    assert found["gain"]["low"] > 0
    assert found["test_loss"]["mean"] < found["without"]["mean"]


@pytest.mark.parametrize(("unit", "by", "said"), [("nats", "loss", "nats"), ("", "loss", ""), ("nats", "accuracy", "")])
def test_a_loss_has_the_unit_of_its_task(unit, by, said):
    evidence = Evidence({"arm": results().assign_attrs(loss_unit=unit)})
    assert summary_of_arm(evidence, "arm", by)["unit"] == said


def test_without_decay_is_tuned_too():
    """The baseline gets its own best learning rate: the gain is not that of tuning."""
    without = summary_of_arm(Evidence({"arm": results()}), "arm", "accuracy")["without"]
    assert without["mean"] == pytest.approx(0.8, abs=0.01)


def test_training_may_end_at_the_step_that_validation_data_choose():
    arm = results(evaluations=4)
    arm["validation_accuracy"][:, 7, 1] = arm["test_accuracy"][:, 7, 1] = 0.99
    found = summary_of_arm(Evidence({"arm": arm}), "arm", "accuracy", any_step=True)
    assert found["step"] == 200
    assert found["test_accuracy"]["mean"] == pytest.approx(0.99)
    assert summary_of_arm(Evidence({"arm": arm}), "arm", "accuracy")["step"] == 400


def test_equal_results_are_said_to_be_equal():
    evidence = confirmed(results((0.0, 0.0, 0.05, 0.0, 0.0)), effects=(0.0,) * 5, noise=0.0)
    fresh = evidence.confirming["arm"][0]
    fresh["test_accuracy"][:] = 0.8
    assert summary_of_arm(evidence, "arm", "accuracy")["equal"]
    assert not summary_of_arm(Evidence({"arm": results()}), "arm", "accuracy")["equal"]


def test_what_is_not_distinguishable_from_the_best_is_in_the_set():
    values = best_values(results((0, 0.06, 0.08, 0.079, -0.1), noise=0.02))
    assert set(np.float32([0.1, 1])) <= set(np.float32(values))
    assert 10 not in values


def test_the_set_has_the_values_of_all_points_that_may_be_best():
    arm = results(noise=0.05)
    likely = likely_best(arm)
    np.testing.assert_array_equal(best_values(arm), np.unique(arm["decay"].to_numpy()[likely]))
    assert likely[choose(arm).point]


def test_the_neighbours_are_next_on_the_grid_in_one_axis():
    arm = results()
    centre, corner = choose(arm), choose(arm)._replace(point=0)
    assert sorted(neighbours(arm, centre)) == sorted([centre.point - 1, centre.point + 1, centre.point - 5,
                                                      centre.point + 5])  # fmt: skip
    assert sorted(neighbours(arm, corner)) == [1, 5]


def test_few_test_examples_are_no_certainty():
    """With two examples right or wrong, three seeds that agree by luck exclude nothing."""
    arm = results(seeds=3, noise=0.0)
    arm["test_accuracy"][:] = 0.5
    arm["test_accuracy"][:, 3] = 1.0
    assert likely_best(arm).sum() == 1
    assert likely_best(arm.assign_attrs(test_examples=2)).all()


def test_diverged_members_are_never_chosen():
    arm = results()
    best = choose(arm).point
    for broken in (diverged(arm, best), diverged(arm, best, seed=2)):
        assert choose(broken).point != best
        assert np.isnan(surviving(broken, "test_accuracy")[2, best])
        assert not likely_best(broken)[best]
        assert summary_of_arm(Evidence({"arm": broken}), "arm", "accuracy")["gain"]["low"] > 0
    assert summary_of_arm(Evidence({"arm": diverged(arm, best)}), "arm", "accuracy")["diverged"] == 8


def test_an_arm_of_which_every_member_diverged_has_an_entry_all_the_same():
    entry = summary_of_arm(Evidence({"arm": diverged(results(), slice(None))}), "arm", "accuracy")
    assert entry["best_values"]["values"] == []


def test_only_the_members_without_decay_are_the_baseline():
    arm = results()
    assert has_value(arm, 0).sum() == 3
    assert choose(arm, has_value(arm, 0)).point in np.flatnonzero(has_value(arm, 0))


def test_all_that_the_summary_scores_is_wanted_and_enough():
    arm = results(evaluations=4)
    wanted = points_wanted({"arm": arm.assign_attrs(arm="arm")}, measures_of({"arm": arm}))
    evidence = Evidence({"arm": arm}, {"arm": [confirming(sorted(wanted["arm"]), evaluations=4)]}, [16])
    assert summarise(evidence)["best"]["arm"]["by_step"]["stage"] == "confirming"


@pytest.mark.parametrize(
    ("second", "says"),
    [
        ((0, 0.01, 0.05, 0.03, -0.4), "ahead of second by +"),
        ((0, 0.01, 0.08, 0.03, -0.4), "not distinguishable from"),
    ],
)
def test_one_sentence_answers_and_compares(second, says):
    arms = {"first": results(), "second": results(second, axis="strength", seed=1)}
    summary = summarise(Evidence(arms))
    said = sentence({"seeds": {"exploring": 8, "confirming": 0}, **summary})
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
    np.testing.assert_array_equal(stopped.diverged_at, arm.diverged_at)


def test_by_loss_it_stops_where_the_loss_was_lowest():
    arm = results(evaluations=4)
    arm.validation_loss[2, 3] = [0.5, 0.4, 0.1, 0.3]
    assert stopped_early(arm, by="loss").stopped_at[2, 3, 0] == 300
