"""Preprocessing: four preparations that are what they are called and share a program, and the experiment in small."""

import io
import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from rich.console import Console

from experiments.article.preprocessing import (
    CLAIMS,
    IRRELEVANT,
    KEPT,
    METHODS,
    PREPARATIONS,
    SPREAD,
    TRIALS,
    above,
    experiment,
    l1_above_decay,
    prepared,
    select,
)
from experiments.article.rows import ROWS, row_of
from tests.article.test_data_regimes import known, means
from wd_research.flags import UserError
from wd_research.running import run
from wd_research.training.data import digits, draw_split

PIXELS = digits().inputs.shape[1]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("preprocessing") / "small"
    small = replace(experiment(seeds=2, steps=20), confirm=3)
    return run(small, folder, tensorboard=False, console=Console(file=io.StringIO()))


@pytest.fixture(scope="module")
def tasks():
    return prepared(0.2)


def train_inputs(task, seed=0):
    """The standardised training inputs, f32[n, 161]."""
    return np.asarray(task.splits(task.data, task.split(seed))["train"].inputs)


def test_every_method_has_as_many_trials():
    for arm in experiment(seeds=2, steps=20).trained.values():
        points = np.stack([np.asarray(leaf) for leaf in arm.points], axis=1)
        assert np.unique(points, axis=0).shape == points.shape == (TRIALS, 3)
        # one method at a time, and it can be switched off
        assert (points[:, 1:] > 0).sum(axis=1).max() <= 1
        assert (np.asarray(getattr(arm.points, arm.axis)) == 0).any()


def test_all_preparations_are_one_program(finished):
    assert json.loads((finished.folder / "experiment.json").read_text())["programs"] == 1


def test_every_preparation_has_the_same_digits_and_labels(tasks):
    plain = draw_split(digits(), 3, 200, 400, 0.2)
    for task in tasks.values():
        split = task.split(3)
        for name in ("train", "validation", "test", "train_targets"):
            np.testing.assert_array_equal(getattr(split, name), getattr(plain, name))


def test_the_reference_is_the_digits_standardised(tasks):
    inputs, plain = train_inputs(tasks["standardised"]), draw_split(digits(), 0, 200, 400, 0.2)
    np.testing.assert_allclose(
        inputs[:, :PIXELS], (digits().inputs[plain.train] - plain.mean) * plain.scale, rtol=1e-4, atol=1e-5
    )
    assert not inputs[:, PIXELS:].any()


def test_irrelevant_features_are_there_and_say_nothing_about_the_class(tasks):
    task = tasks["irrelevant features"]
    inputs = train_inputs(task)
    np.testing.assert_array_equal(inputs[:, :PIXELS], train_inputs(tasks["standardised"])[:, :PIXELS])
    assert inputs.shape[1] == PIXELS + IRRELEVANT
    np.testing.assert_allclose(inputs[:, PIXELS:].std(axis=0), 1, rtol=1e-4)
    noise, targets = np.asarray(task.data.inputs)[:, PIXELS:], np.asarray(task.data.targets)
    # the mean of a column over some 180 digits of a class has a standard error of 0.075
    of_classes = np.array([noise[targets == label].mean(axis=0) for label in range(10)])
    assert of_classes.std() == pytest.approx(0.075, rel=0.1)


def test_selection_keeps_pixels_and_depends_on_the_training_examples_only(tasks):
    task = tasks["features selected"]
    kept = np.flatnonzero(task.split(0).scale)
    assert len(kept) == KEPT
    assert (kept < PIXELS).mean() > 0.9
    amid = train_inputs(tasks["irrelevant features"])
    np.testing.assert_array_equal(train_inputs(task)[:, kept], amid[:, kept])
    # with other test data the same columns are kept
    split = tasks["irrelevant features"].split(0)
    inputs = np.asarray(task.data.inputs).copy()
    inputs[np.concatenate([split.validation, split.test])] = 7.0
    np.testing.assert_array_equal(np.flatnonzero(select(task.data._replace(inputs=inputs), split).scale), kept)


def test_a_column_that_tells_the_classes_apart_is_kept_and_a_constant_one_is_not(tasks):
    task = tasks["irrelevant features"]
    inputs = np.asarray(task.data.inputs).copy()
    split = task.split(0)
    inputs[split.train, -1] = split.train_targets + 0.1 * inputs[split.train, -1]
    selected = np.flatnonzero(select(task.data._replace(inputs=inputs), split).scale)
    assert inputs.shape[1] - 1 in selected
    scale = split.scale.copy()
    scale[selected[0]] = 0
    assert selected[0] not in np.flatnonzero(select(task.data, split._replace(scale=scale)).scale)


def test_inputs_as_they_come_are_pixels_in_units_of_their_own(tasks):
    task, plain = tasks["not standardised"], tasks["standardised"]
    inputs, pixels = train_inputs(task), np.asarray(plain.data.inputs)[plain.split(0).train]
    used = np.flatnonzero(pixels[:, :PIXELS].any(axis=0))
    factors = inputs[:, used].max(axis=0) / pixels[:, used].max(axis=0)
    np.testing.assert_allclose(inputs[:, used], pixels[:, used] * factors, rtol=1e-4, atol=1e-4)
    assert (np.abs(np.log10(factors)) <= SPREAD + 1e-4).all()
    assert np.log10(factors).std() == pytest.approx(2 * SPREAD / 12**0.5, rel=0.2)
    assert not inputs[:, PIXELS:].any()
    # no seed has units of its own
    other = train_inputs(task, seed=1)[:, used].max(axis=0)
    here = np.asarray(plain.data.inputs)[plain.split(1).train][:, used].max(axis=0)
    np.testing.assert_allclose(other, here * factors, rtol=1e-4)


def results(values, accuracies, axis="decay"):
    """Known results of an accuracy for each value of the axis."""
    ends = [[accuracy] for accuracy in accuracies]
    return known(values, axis, validation_accuracy=ends, test_accuracy=ends)


def test_methods_are_compared_by_their_best_trials_and_an_edge_decides_nothing():
    arms = {
        "noise, none": results([0, 0, 0], [0.5, 0.6, 0.55]),
        "noise, weight decay": results([0, 1, 2, 3], [0.5, 0.6, 0.7, 0.4]),
        "noise, L1": results([0, 1, 2, 3], [0.5, 0.6, 0.7, 0.8], "l1_strength"),
    }
    measure = partial(above, "noise, {}", "noise, none")
    assert means(measure, arms) == pytest.approx({"weight decay": 0.1, "L1": 0.2})
    assert {name: scores.edges for name, scores in measure(arms).items()} == {
        "weight decay": (),
        "L1": ("l1_strength",),
    }
    amid = {name.replace("noise", "irrelevant features"): arm for name, arm in arms.items()}
    assert means(l1_above_decay, amid) == pytest.approx({"irrelevant features": 0.1})


def test_every_claim_has_a_row_and_a_verdict(finished):
    claims = {claim["id"]: claim for claim in finished.summary["claims"]}
    assert list(claims) == [claim.id for claim in CLAIMS]
    assert {row_of(name) for name in claims} == {"B3"} <= set(ROWS)
    assert {claim["verdict"] for claim in claims.values()} <= {"holds", "fails", "undecided"}
    assert set(finished.arms) == {f"{name}, {method}" for name in PREPARATIONS for method in METHODS}
    assert (finished.folder / "figures" / "preprocessing.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"seeds": 0}, "--seeds 0 is too few"),
        ({"steps": 0}, "--steps 0 is too few"),
        ({"label_noise": 2.0}, "label_noise 2.0 is not a share"),
    ],
)
def test_bad_flags_get_one_sentence(flags, says):
    with pytest.raises(UserError, match=says) as refused:
        experiment(**flags)
    assert "\n" not in str(refused.value)
