"""Preprocessing: worlds that are what they are called, and share a program; the experiment in small."""

import io

import numpy as np
import pytest
from rich.console import Console

from experiments.article.preprocessing import CLAIMS, IRRELEVANT, KEPT, METHODS, WORLDS, experiment, short_of, worlds
from tests.article.test_worlds import known, means
from wd_research.experiment import program_of, run
from wd_research.training.data import digits
from wd_research.training.population import all_devices, place

PIXELS = digits().inputs.shape[1]


@pytest.fixture(scope="module")
def batches():
    """The training part of seed 0 in every world, and the labels of all."""
    parts = {name: task.parts(task.data, task.split(0))["train"] for name, task in worlds(0.2).items()}
    for part in parts.values():
        np.testing.assert_array_equal(part.targets, parts["standardised"].targets)
    return {name: np.asarray(part.inputs) for name, part in parts.items()}


def test_noise_is_there_in_one_world_and_off_in_the_others(batches):
    amid = batches["irrelevant features"][:, PIXELS:]
    assert amid.shape[1] == IRRELEVANT
    np.testing.assert_allclose(amid.std(axis=0), 1, rtol=1e-4)
    assert not batches["standardised"][:, PIXELS:].any()
    assert not batches["not standardised"][:, PIXELS:].any()
    np.testing.assert_array_equal(batches["standardised"][:, :PIXELS], batches["irrelevant features"][:, :PIXELS])


def test_selection_keeps_few_columns_as_they_are_and_hardly_any_noise(batches):
    selected, amid = batches["features selected"], batches["irrelevant features"]
    kept = selected.any(axis=0)
    assert kept.sum() == KEPT
    assert kept[PIXELS:].sum() <= 4
    np.testing.assert_array_equal(selected[:, kept], amid[:, kept])


def test_as_they_come_inputs_are_the_pixels_times_factors_of_their_own(batches):
    raw, standardised = batches["not standardised"][:, :PIXELS], batches["standardised"][:, :PIXELS]
    assert (raw >= 0).all()
    spread = raw.std(axis=0)
    spread = spread[spread > 0]
    assert spread.max() / spread.min() > 100
    for column in np.flatnonzero(raw.std(axis=0))[:5]:
        assert np.corrcoef(raw[:, column], standardised[:, column])[0, 1] == pytest.approx(1, abs=1e-4)


def test_all_worlds_and_methods_are_one_program_with_as_many_trials():
    arms = experiment(seeds=2, steps=20).trained
    assert set(arms) == {f"{world}, {method}" for world in WORLDS for method in METHODS}
    programs = {program_of(arm, place(arm, 2, all_devices(), 1)) for arm in arms.values()}
    assert len(programs) == 1
    assert {len(arm.points.decay) for arm in arms.values()} == {28}


def test_a_world_falls_short_of_another_by_the_difference_of_the_tuned_accuracies():
    def results(best):
        return known([0, 1, 2], validation_accuracy=[[0.1], [best], [0.2]], test_accuracy=[[0.1], [best], [0.2]])

    arms = {f"{world}, {method}": results(best) for world, best in (("a", 0.6), ("b", 0.9)) for method in METHODS}
    assert means(short_of("a", "b", arms)) == pytest.approx(dict.fromkeys(METHODS, -0.3))


def test_every_claim_is_judged(tmp_path):
    done = run(
        experiment(seeds=2, steps=20), tmp_path, audit="", tensorboard=False, console=Console(file=io.StringIO())
    )
    claims = {claim["id"]: claim for claim in done.summary["claims"]}
    assert set(claims) == {claim.id for claim in CLAIMS}
    assert set(claims["B3-in-part"]["cells"]) == set(METHODS)
    assert (tmp_path / "figures" / "preprocessing.png").exists()


def test_bad_flags_get_one_sentence():
    with pytest.raises(ValueError, match="--steps 0 is too few"):
        experiment(steps=0)
