"""The answer in words: which seeds its numbers are of, its units, what is equal, and what lies on an edge."""

import re
from dataclasses import replace

import numpy as np
import pytest

from tests.evidence.cases import diverged
from tests.reporting.cases import CURVE, HELPS, SHAPES, arm, evidence, looked, regression, summary
from wd_research.evidence.choices import gain_over_none
from wd_research.evidence.claims import NUMBER, PERCENT, POINTS, Unit
from wd_research.evidence.selection import best_point, winner_of
from wd_research.reporting.seeds import interval, of_stage, seeds_of
from wd_research.reporting.sentences import format_estimate, format_range, sentence, verdicts, why_undecided
from wd_research.reporting.table import arms_rows
from wd_research.results import judged_by


def answer(arms, **how):
    return sentence(summary(evidence(arms, **how)))


def test_the_answer_says_what_was_chosen_on_which_seeds_and_scored_on_which():
    said = answer({"decoupled": arm()})
    assert said.startswith(
        "The arm that generalises best on the validation data of 8 exploring seeds is decoupled, "
        "with decay 0.1 and learning rate 0.01: "
    )
    assert re.search(r": on 16 fresh confirming seeds test accuracy 8[78]\.\d % \[", said)
    assert "the 95 % confidence set of the best decay is only 0.1 (8 exploring seeds)" in said
    assert "of 4 neighbours on the grid are worse" in said
    assert "nats" not in said
    assert said.endswith(".")


def test_by_halves_the_answer_says_so():
    said = answer({"decoupled": arm(seeds=8)}, looks=())
    assert "each half of the 8 exploring seeds scored at what the other half chose" in said
    assert "confirming" not in said


@pytest.mark.parametrize("looks", [(), (16,)], ids=["halves", "fresh seeds"])
def test_the_arm_is_chosen_on_exploring_seeds_as_its_point_is(looks):
    """Confirming seeds are a point of accuracy better for the one arm, exploring ones for the other."""
    exploring, fresh = (np.arange(24) < 8)[:, None, None], (np.arange(24) >= 8)[:, None, None]
    arms = {name: arm(seed=seed) for seed, name in enumerate(("chosen", "lucky"))}
    for made, better in zip(arms.values(), (exploring, fresh), strict=True):
        made["validation_accuracy"] = made.validation_accuracy + 0.01 * better
    best = summary(evidence(arms, looks=looks))["best"]
    assert winner_of(best) == "chosen"
    assert winner_of({**best, "chosen": {**best["chosen"], "exploring_validation": None}}) == "lucky"
    assert "is chosen, with" in answer(arms, looks=looks)


def test_one_seed_is_scored_at_what_it_chooses_and_has_no_interval():
    said = answer({"net": arm(seeds=1)}, exploring=1, looks=())
    assert "validation data of 1 exploring seed is net" in said
    assert re.search(r"test accuracy 8\d\.\d %, \+\d\.\d points against no decay \(the one seed", said)
    assert "nan" not in said
    assert "undecided, because fewer than 3 seeds decide nothing" in said


def test_shares_have_intervals_inside_0_and_1():
    """Two seeds that are far apart: Student's interval has a half-width of twelve standard errors."""
    apart = arm(seeds=10, noise=0.2)
    apart = apart.assign({name: apart[name].clip(max=1) for name in apart.data_vars if name.endswith("accuracy")})
    found = summary(evidence({"net": apart, "other": apart.isel(point=slice(None, None, -1))}, looks=(2,)))
    entry, difference = found["best"]["net"], found["comparisons"]["net - other"]["accuracy"]
    raw = apart.isel(seed=slice(8, None)).test_accuracy.std("seed").max()
    assert 12 * raw > 1
    for metric in ("train_accuracy", "validation_accuracy", "test_accuracy", "without"):
        assert 0 <= entry[metric]["low"] <= entry[metric]["mean"] <= entry[metric]["high"] <= 1
    assert -1 <= entry["gain"]["low"] <= entry["gain"]["high"] <= 1
    assert -1 <= difference["low"] <= difference["high"] <= 1


def test_what_the_grid_got_beyond_its_edges_is_said():
    made = arm(effects=SHAPES["rises"])
    of_largest = made.decay.to_numpy() == 10
    order = np.r_[np.flatnonzero(~of_largest), np.flatnonzero(of_largest)]
    said = answer({"net": made.isel(point=order).assign_attrs(declared=int((~of_largest).sum()))})
    assert "; beyond its edges the grid got decay 10; its best decay lies on the edge" in said
    assert said.endswith(": extend the grid.")
    assert "beyond its edges" not in answer({"net": made})


UNDECIDED = {"verdict": "undecided", "on_edge": False, "seeds": 16, "measured": 0.0, "low": -1.0, "high": 1.0,
             "expected": [0.0, None], "cells": {"a": {}, "b": {}}, "quantifier": "everywhere"}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, ""),
        ({"low": 0.5, "quantifier": "somewhere"}, "not after Holm's correction for 2 cells"),
        ({"high": -0.5, "quantifier": "somewhere"}, "other cells may still lie in the range"),
        ({"high": -0.5}, "not after Holm's correction for 2 cells"),
        ({"expected": [-0.5, 0.5]}, ""),
        ({"expected": [-2, 2], "quantifier": "somewhere"}, "not after Holm's correction for 2 cells"),
        ({"seeds": 2, "low": 0.5}, "fewer than 3 seeds decide nothing"),
        ({"seeds": 2}, "fewer than 3 seeds decide nothing"),
        ({"measured": np.inf, "low": np.nan, "high": np.nan}, "some seeds have no finite number"),
        ({"low": 0.5, "on_edge": True}, ""),
        ({"low": 0.5, "verdict": "holds"}, ""),
    ],
)
def test_a_claim_that_its_interval_would_decide_says_why_it_does_not(changes, says):
    assert why_undecided({**UNDECIDED, **changes}) == says


@pytest.mark.parametrize(
    ("numbers", "unit", "says"),
    [
        ((-0.00001, -0.01, 0.00001), POINTS, "+0.00 points [-1.00, +0.00]"),
        ((-0.0, 0.0, 0.5), Unit("nats", 1.0, ".1f"), "0.0 nats [0.0, 0.5]"),
        ((-1e-9, np.nan, np.nan), NUMBER, "-1e-09"),
        ((np.nan, np.nan, np.nan), PERCENT, "no number"),
        ((-np.inf, np.nan, np.nan), PERCENT, "-inf %"),
    ],
)
def test_no_zero_is_negative_and_what_is_not_there_is_left_out(numbers, unit, says):
    assert format_estimate(dict(zip(("mean", "low", "high"), numbers, strict=True)), unit) == says


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


@pytest.mark.parametrize(
    ("decay", "equal", "says", "never"),
    [
        (0.0, True, "no other value of decay is better on validation data; the 95 %", "against no decay"),
        (0.0, False, "no other value of decay is better on validation data; what a part of the seeds chooses instead "
                     "differs from no decay by -0.4 points [-0.9, +0.1]; the 95 %", "against no decay"),
        (0.1, False, "-0.4 points [-0.9, +0.1] against no decay", "no other value of decay"),
        (0.1, True, "decay changes nothing here", "against no decay"),
    ],
)  # fmt: skip
def test_no_gain_over_no_decay_is_said_of_no_decay(decay, equal, says, never):
    """By halves a choice is no decay on all seeds and another value on half of them, so that the gain is not 0."""
    found = summary(evidence({"arm": arm(seeds=8)}, looks=()))
    gain = {"mean": -0.004, "low": -0.009, "high": 0.001}
    found["best"]["arm"] |= {"decay": decay, "equal": equal, "gain": gain}
    said = sentence(found)
    assert says in said
    assert never not in said


@pytest.mark.parametrize("rate", [0, 2])
def test_an_edge_of_any_tuned_hyperparameter_is_said(rate):
    """The middle learning rate is dropped: the best one, with decay and without, is an end of what is left."""
    at = lambda k: slice(5 * k, 5 * k + 5)
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


def test_a_confidence_set_may_be_empty():
    assert format_range({"low": None, "high": None, "values": []}) == "empty, for members diverged at every point"


def without_a_number(made):
    """The validation data are beyond what is finite, and no member has diverged."""
    return made.assign({name: np.nan * made[name] for name in made.data_vars if name.startswith("validation")})


def judged_gains(arms):
    return {name: gain_over_none(results, f"test_{judged_by(results)}") for name, results in arms.items()}


NO_ANSWER = {
    "all members": ({"a": diverged(arm(), slice(None))}, "all members diverged, the first at step 3"),
    "all but some seeds": ({"a": diverged(arm(), slice(None), 2)}, "members diverged at every point of the grid, the "
                           "first at step 3"),
    "all members of two arms": ({"a": diverged(arm(), slice(None)), "b": diverged(arm(), slice(None))},
                                "all members diverged, the first at step 3"),
    "all members of one of two arms": ({"a": diverged(arm(), slice(None)), "b": diverged(arm(), slice(None), 1)},
                                       "members diverged at every point of the grid, the first at step 3"),
    "without accuracies": ({"a": diverged(regression(), slice(None))}, "all members diverged, the first at step 3"),
    "no number": ({"a": without_a_number(arm())}, "no validation accuracy is a finite number"),
    "no loss": ({"a": without_a_number(regression())}, "no validation loss is a finite number"),
}  # fmt: skip


@pytest.mark.parametrize("looks", [(), (16,)], ids=["halves", "fresh seeds"])
@pytest.mark.parametrize(("arms", "why"), NO_ANSWER.values(), ids=NO_ANSWER)
def test_where_no_point_can_be_chosen_there_is_no_answer_and_nothing_contradicts_it(arms, why, looks):
    helps = replace(HELPS, measure=judged_gains)
    measured = evidence(arms, looks=looks, claims=[helps])
    found = summary(measured, [helps])
    assert sentence(found) == f"No answer: {why}."
    shown = {row[0]: row[1:] for rows in arms_rows(found["best"], seeds_of(found)).sections for row in rows}
    assert {cell for name in shown for cell in shown[name] if name.startswith("best")} == {"none"}
    scores = [name for name in shown if re.match("train|validation|test|gain|minimum", name)]
    assert len(scores) >= 6
    assert {cell for name in scores for cell in shown[name]} == {"no number"}
    assert not {"worse neighbours", "on the grid's edge"} & set(shown)
    assert [claim["verdict"] for claim in found["claims"]] == ["undecided"]
    assert why_undecided(found["claims"][0]) == "some seeds have no finite number"
    for name in arms:
        with pytest.raises(ValueError, match="no point is the best one"):
            best_point(measured[name])


def test_an_arm_without_a_choice_is_not_compared():
    broken = diverged(arm(seed=1).map(lambda values: values + 0.5), slice(None))
    found = summary(evidence({"good": arm(), "broken": broken}))
    said = sentence(found)
    assert "exploring seeds is good, with decay 0.1" in said
    assert "; broken is not compared: all members diverged, the first at step 3" in said
    assert "no number" not in said
    assert said.count("broken") == 1
    shown = {row[0]: row[1:] for rows in arms_rows(found["best"], seeds_of(found)).sections for row in rows}
    assert (shown["best"][1], shown["worse neighbours"]) == ("none", ["4 of 4", "no neighbours"])


def test_the_verdicts_say_on_which_seeds_they_rest():
    rows = summary(evidence({"arm": arm()}), [CURVE])["claims"]
    assert verdicts(rows) == "1 of 1 claims holds (judged on 8 exploring seeds)."
    more = [{**rows[0], "stage": "confirming", "seeds": n, "verdict": v}
            for n, v in ((16, "fails"), (32, "undecided"), (32, "equal here"))]  # fmt: skip
    assert verdicts([*rows, *more]) == (
        "1 of 4 claims holds (judged 1 on 8 exploring seeds, 3 on up to 32 confirming seeds); "
        "fails: A curve; undecided: A curve; equal here: A curve."
    )
