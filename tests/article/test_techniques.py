"""Techniques: images that move as said, the share that moves, equal trials, and the experiment to its end in small."""

import io
from dataclasses import replace

import jax
import numpy as np
import pytest
from rich.console import Console

from experiments.article.techniques import CLAIMS, TRIALS, accuracy, experiment, in_five_places, over_the_best, shifted
from tests.article.test_data_regimes import known, means
from tests.training import cases
from wd_research.running import run
from wd_research.types import Batch

pytestmark = pytest.mark.slow  # the experiment itself, in little

EXAMPLES = cases.EXAMPLES


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("techniques")
    small = replace(experiment(seeds=2, steps=20, width=8), confirm=2)
    return run(small, folder, console=Console(file=io.StringIO()))


def test_every_technique_has_as_many_trials():
    arms = experiment(seeds=2, steps=20).arms
    assert {len(arm.points.learning_rate) for arm in arms.values()} == {TRIALS}
    points = [np.stack([np.asarray(leaf) for leaf in arm.points], axis=1) for arm in arms.values()]
    assert all(len(np.unique(table, axis=0)) == TRIALS for table in points)


def test_four_programs_train_all_arms(finished):
    assert '"programs": 4' in (finished.folder / "experiment.json").read_text()


def test_the_five_places_are_the_image_and_its_neighbours():
    places = in_five_places(EXAMPLES)
    np.testing.assert_array_equal(places[:, 0], EXAMPLES.inputs)
    # ink is lost over the rim and never made
    assert (places.sum(axis=-1) <= EXAMPLES.inputs.sum(axis=-1)[:, None]).all()
    from sklearn.datasets import load_digits

    images = load_digits().images
    varying = images.reshape(len(images), -1).std(axis=0) > 0
    up = np.zeros_like(images)
    up[:, :-1] = images[:, 1:]
    left = np.zeros_like(images)
    left[:, :, :-1] = images[:, :, 1:]
    np.testing.assert_array_equal(places[:, 1], up.reshape(len(images), -1)[:, varying])
    np.testing.assert_array_equal(places[:, 3], left.reshape(len(images), -1)[:, varying])


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_that_moves_is_the_one_asked_for(share):
    """A loss that counts how many inputs are those of a moved place, places being known by their number."""

    def counting(hypers):
        return lambda params, extras, batch, key: (batch.inputs[:, 0].mean(), ((), {}))

    task = shifted(cases.task()._replace(loss=counting), EXAMPLES)
    places = np.broadcast_to(np.array([0.0, 1, 1, 1, 1])[:, None], (4000, 5, 1)).astype(np.float32)
    hypers = experiment(seeds=2, steps=20).arms["none"].points._replace(shift=np.float32(share))
    value, _ = task.loss(hypers)({}, (), Batch(places, np.zeros(4000, np.int32)), jax.random.key(0))
    assert float(value) == pytest.approx(share, abs=0.03)


def test_a_batch_holds_the_places_of_its_examples_standardised():
    base = cases.task()
    task, split = shifted(base, EXAMPLES), cases.task().split(0)
    indices = np.arange(5)
    batch, plain = task.gather(task.data, split, indices), base.gather(base.data, split, indices)
    assert batch.inputs.shape == (5, 5, EXAMPLES.inputs.shape[1])
    np.testing.assert_allclose(batch.inputs[:, 0], plain.inputs, rtol=1e-6)
    np.testing.assert_array_equal(batch.targets, plain.targets)


def test_every_row_has_a_verdict_and_a_figure(finished):
    claims = {claim["id"]: claim for claim in finished.summary["claims"]}
    assert set(claims) == {claim.id for claim in CLAIMS}
    assert {name[:2] for name in claims} == {"A5", "A9", "C9"}
    assert {claim["verdict"] for claim in claims.values()} <= {"holds", "fails", "undecided", "equal here"}
    assert (finished.folder / "figures" / "techniques.png").exists()


def test_early_stopping_takes_the_best_evaluation_of_a_net_without_technique():
    none = known([0, 0], validation_accuracy=[[0.5, 0.9, 0.6], [0.7] * 3], test_accuracy=[[0.1, 0.8, 0.2], [0.3] * 3])
    found = means(lambda arms: {name: accuracy(arms, name) for name in ("none", "early stopping")}, {"none": none})
    assert found == pytest.approx({"none": 0.3, "early stopping": 0.8})


def test_the_best_alone_is_the_one_that_validation_data_prefer():
    accuracies = {"L2": (0.8, 0.7), "L1": (0.9, 0.6), "batch normalization": (0.7, 0.9), "all three": (0.5, 0.65)}
    arms = {name: known([0], validation_accuracy=[[v]], test_accuracy=[[t]]) for name, (v, t) in accuracies.items()}
    assert means(over_the_best, arms) == pytest.approx({"all three - best alone": 0.05})


def test_bad_flags_get_one_sentence():
    with pytest.raises(ValueError, match="train_size 9000 does not fit"):
        experiment(train_size=9000)
    with pytest.raises(ValueError, match="--seeds 0 is too few"):
        experiment(seeds=0)
