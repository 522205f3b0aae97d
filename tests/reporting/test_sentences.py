"""The answer in words: which seeds its numbers are of, its units, what is equal, and what lies on an edge."""

import re

import numpy as np
import pytest

from tests.evidence.cases import diverged
from tests.reporting.cases import CURVE, SHAPES, arm, evidence, looked, regression, summary
from wd_research.reporting.seeds import interval, of_stage
from wd_research.reporting.sentences import format_range, sentence, verdicts


def answer(arms, **how):
    return sentence(summary(evidence(arms, **how)))


def test_the_answer_says_what_was_chosen_on_which_seeds_and_scored_on_which():
    said = answer({"decoupled": arm()})
    assert said.startswith("Decoupled generalises best on validation data, with decay 0.1 and learning rate 0.01: ")
    assert re.search(r": on 16 fresh confirming seeds test accuracy 8[78]\.\d % \[", said)
    assert "the 95 % confidence set of the best decay is only 0.1 (8 exploring seeds)" in said
    assert "of 4 neighbours on the grid are worse" in said
    assert "nats" not in said
    assert said.endswith(".")


def test_by_halves_the_answer_says_so():
    said = answer({"decoupled": arm(seeds=8)}, looks=())
    assert "each half of the 8 exploring seeds scored at what the other half chose" in said
    assert "confirming" not in said


def test_several_looks_have_an_interval_of_their_level():
    assert "(97.8 % interval, 3 looks)" in sentence(looked())
    assert (interval(0.05, [16]), of_stage("exploring", 8)) == ("95 % interval", "8 exploring seeds")


def test_a_loss_has_the_unit_that_its_task_gave_it():
    in_nats = arm().drop_vars([name for name in arm().data_vars if name.endswith("accuracy")])
    assert "test loss 0.1" in answer({"arm": in_nats})
    assert answer({"arm": in_nats}).count(" nats [") == 2
    assert "nats" not in answer({"arm": regression()})


def test_what_is_equal_is_said_to_be():
    """Beyond decay 0 all values do the same here, exactly, and validation data prefer one of them by a hair."""
    same = arm(effects=SHAPES["nothing"], noise=0)
    hair = same.validation_accuracy.copy()
    hair[:, 7] += 1e-9
    said = answer({"first": same.assign(validation_accuracy=hair), "second": same})
    assert "; decay changes nothing here: the results are equal; " in said
    assert "equal to second here" in said
    assert "against no decay" not in said
    assert "no other value of decay is better on validation data" in answer({"arm": same})


@pytest.mark.parametrize("rate", [0, 2])
def test_an_edge_of_any_tuned_hyperparameter_is_said(rate):
    """The middle learning rate is dropped: the best one, with decay and without, is an end of what is left."""
    at = lambda k: slice(5 * k, 5 * k + 5)  # noqa: E731
    made = arm()
    kept = np.r_[at(1), at(rate)] if rate else np.r_[at(0), at(1)]
    said = answer({"arm": made.isel(point=kept)})
    assert "; with decay and without, its best learning rate lies on the edge of the grid: extend the grid" in said
    assert "--grow" in said
    assert "edge" not in answer({"arm": made})


def test_other_edges_with_decay_than_without_are_both_said():
    found = summary(evidence({"arm": arm()}))
    found["best"]["arm"] |= {"edges": ["decay", "learning_rate"], "edges_without": ["learning_rate"]}
    assert (
        "; its best decay and learning rate lie on the edge of the grid, and "
        "without decay the best learning rate lies on the edge of the grid: extend the grid, or give --grow."
    ) in sentence(found)


def test_the_edge_of_the_axis_is_said_and_zero_is_none():
    assert "its best decay lies on the edge of the grid: extend" in answer({"arm": arm(effects=SHAPES["rises"])})
    assert "edge" not in answer({"arm": arm(effects=SHAPES["falls"])})


def test_stopping_is_said_where_the_best_step_is_not_the_last():
    late = arm(evaluations=3)
    assert "stopping" not in answer({"arm": late})
    early = late.assign({name: late[name][..., [0, 2, 1]].assign_coords(step=late.step) for name in late.data_vars
                         if name.endswith(("accuracy", "loss"))})  # fmt: skip
    assert "; stopping at step 200, where validation data are best, its gain would be +" in answer({"arm": early})


def test_an_arm_whose_members_all_diverged_has_an_empty_confidence_set():
    assert format_range({"low": None, "high": None, "values": []}).startswith("empty")
    assert "empty, for members diverged at every point" in answer({"arm": diverged(arm(), slice(None))})


def test_the_verdicts_say_on_which_seeds_they_rest():
    rows = summary(evidence({"arm": arm()}), [CURVE])["claims"]
    assert verdicts(rows) == "1 of 1 claims holds (judged on 8 exploring seeds)."
    more = [{**rows[0], "stage": "confirming", "seeds": n, "verdict": v}
            for n, v in ((16, "fails"), (32, "undecided"), (32, "equal here"))]  # fmt: skip
    assert verdicts([*rows, *more]) == (
        "1 of 4 claims holds (judged 1 on 8 exploring seeds, 3 on up to 32 confirming seeds); "
        "fails: A curve; undecided: A curve; equal here: A curve."
    )
