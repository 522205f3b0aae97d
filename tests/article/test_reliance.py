"""Reliance: the importance of pixels to a known net, changes of known results, and the experiment in small."""

import io
import json
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from experiments.article.reliance import CLAIMS, METHODS, TENTH, changed, experiment, importance, random_ranks
from experiments.article.rows import row_of
from tests.article.test_data_regimes import known, means
from wd_research.flags import UserError
from wd_research.running import run
from wd_research.training.data import Examples, Split
from wd_research.training.models import Mlp
from wd_research.training.tasks import classification
from wd_research.types import Batch


def test_the_importance_to_a_net_that_depends_on_two_of_ten_pixels():
    """Its two units pass on pixels 3 and 7; pixel 9 is constant, so that its large weights do not count."""
    first, last = np.zeros((10, 2), np.float32), np.eye(2, dtype=np.float32)
    first[3, 0], first[7, 1], first[9] = 2.0, 1.0, 50.0
    params = {
        "Dense_0": {"kernel": first, "bias": jnp.full(2, 10.0)},
        "Dense_1": {"kernel": last, "bias": jnp.zeros(2)},
    }
    inputs = np.random.default_rng(0).uniform(-1, 1, (200, 10)).astype(np.float32)
    inputs[:, 9] = 0
    targets = (inputs[:, 7] > 2 * inputs[:, 3]).astype(np.int32)
    split = Split(*np.split(np.arange(200), (100, 150)), targets[:100], np.zeros(10), np.ones(10))
    task = classification(Mlp((2,), 2), Examples(inputs, targets), lambda seed: split, 50)
    seen = jax.jit(partial(importance, task, name="test"))(params, {}, Batch(inputs, targets))
    assert float(seen["features"]) == pytest.approx(9 / 5)  # saliencies 2 and 1
    assert float(seen["weights"]) == pytest.approx(5**2 / (4 + 1 + 1 + 1))
    only_7 = np.mean((inputs[:, 7] > 0) == targets)
    assert float(seen["without_top_pixel"]) == pytest.approx(1 - only_7, abs=1e-6)
    all_equal = np.mean(targets == 0)  # the first class is taken where both are as large
    assert float(seen["without_top_tenth"]) == pytest.approx(1 - all_equal, abs=1e-6)
    kept = random_ranks(10) >= TENTH
    left = [np.mean((kept[k, 7] * inputs[:, 7] > 2 * kept[k, 3] * inputs[:, 3]) == targets) for k in range(len(kept))]
    assert float(seen["without_random_tenth"]) == pytest.approx(1 - np.mean(left), abs=1e-6)


def test_random_tenths_are_tenths_and_differ():
    taken = random_ranks(61) < TENTH
    np.testing.assert_array_equal(taken.sum(axis=1), 6)
    assert len(np.unique(taken, axis=0)) == len(taken)


def test_changes_are_against_the_tuned_net_without_decay():
    arms = {"L1": known([0, 1, 2], validation_accuracy=[[0.5], [0.9], [0.6]], test_features=[[10.0], [8.0], [1.0]])}
    assert means(partial(changed, "features", ("L1",), False), arms) == pytest.approx({"L1": -2})
    assert means(partial(changed, "features", ("L1",), True), arms) == pytest.approx({"L1": -0.2})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reliance")
    small = replace(experiment(seeds=2, steps=20), confirm=3)
    return run(small, folder, tensorboard=False, console=Console(file=io.StringIO()))


def test_the_methods_are_one_program_with_as_many_trials_each(finished):
    assert json.loads((finished.folder / "experiment.json").read_text())["programs"] == 1
    assert {arm.size for arm in finished.experiment.trained.values()} == {36}


def test_every_claim_is_judged(finished):
    claims = {claim["id"]: claim for claim in finished.summary["claims"]}
    assert set(claims) == {claim.id for claim in CLAIMS}
    assert {row_of(name) for name in claims} == {"B6"}
    assert {claim["stage"] for claim in claims.values()} == {"confirming"}
    assert set(claims["B6-single"]["cells"]) == set(METHODS)
    features = finished.arms["L1"].test_features
    assert ((features > 1) & (features < 61)).all()
    assert (finished.folder / "figures" / "reliance.png").exists()


@pytest.mark.parametrize(("flags", "says"), [({"seeds": 0}, "--seeds 0 is too few"), ({"steps": 0}, "--steps 0 is")])
def test_bad_flags_get_one_sentence(flags, says):
    with pytest.raises(UserError, match=says) as refused:
        experiment(**flags)
    assert "\n" not in str(refused.value)
