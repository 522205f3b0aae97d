"""One name for two things: the chain of both decays, distances of known results, the experiment in small."""

import io
import json
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rich.console import Console

from experiments.article.one_name import (
    CLAIMS,
    CORES,
    FACTORS,
    LEARNING_RATES,
    PLACES,
    Factor,
    Hypers,
    at_any_factor,
    at_the_same_factor,
    at_the_same_number,
    both_places,
    experiment,
)
from tests.article.test_data_regimes import known, means
from wd_research.evidence.measured import Evidence
from wd_research.flags import UserError
from wd_research.results import labelled
from wd_research.running import run

pytestmark = pytest.mark.slow  # the experiment itself, in little


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one_name")
    small = replace(experiment(numbers=(0.0, 0.1, 1.0), seeds=3, steps=20), confirm=3)
    return run(small, folder, tensorboard=False, console=Console(file=io.StringIO()))


@pytest.mark.parametrize("core", CORES)
def test_the_chain_holds_l2_before_the_optimizer_and_decay_after_it(core):
    """Against the two of optax, one step from weights of either sign."""
    params = {"kernel": jnp.array([[2.0, -3.0]])}
    gradients = jax.tree.map(lambda w: 0.1 * w + 0.05, params)

    def step(optimizer, gradients):
        return optimizer.update(gradients, optimizer.init(params), params)[0]["kernel"]

    plain = optax.chain(CORES[core](), optax.scale(-0.1))
    penalised = jax.tree.map(lambda g, w: g + 0.4 * w, gradients, params)
    in_gradient = step(both_places(core, 10, Hypers(0.1, 0.4, 0.0)), gradients)
    np.testing.assert_allclose(in_gradient, step(plain, penalised), rtol=1e-6)
    after = step(both_places(core, 10, Hypers(0.1, 0.0, 0.4)), gradients)
    np.testing.assert_allclose(after, step(plain, gradients) - 0.1 * 0.4 * params["kernel"], rtol=1e-6)


def test_both_places_of_an_optimizer_share_a_program_and_a_grid(finished):
    arms = finished.experiment.trained
    assert len(arms) == 2 * len(LEARNING_RATES)
    assert json.loads((finished.folder / "experiment.json").read_text())["programs"] == len(LEARNING_RATES)
    for core in LEARNING_RATES:
        l2, decay = (arms[f"{core}, {place}"].points for place in PLACES)
        np.testing.assert_array_equal(l2.strength, decay.decay)
        np.testing.assert_array_equal(l2.learning_rate, decay.learning_rate)
        assert not np.any(l2.decay)
        assert not np.any(decay.strength)


def test_distances_are_taken_at_the_same_value_or_where_the_other_half_of_the_seeds_is_nearest():
    distances = np.tile([0.5, 0.9, 0.2, 0.7], (4, 1)) + 0.01 * np.arange(4)[:, None]
    distances[0] = [0.5, 0.1, 0.4, 0.7]  # its own nearest one is not that of the other half
    arms = {"SGD, followed": labelled(Factor(np.array([1.0, 0.1, 1, 10])), "factor", 1, {"apart": distances})}
    np.testing.assert_allclose(at_the_same_factor("SGD", arms)["the same number"], [0.5, 0.51, 0.52, 0.53])
    (cell,) = Evidence(arms).score(partial(at_any_factor, "SGD")).values()
    np.testing.assert_allclose(cell.values, [0.4, 0.21, 0.22, 0.23])


def test_the_same_value_is_the_one_that_is_best_for_l2_in_whatever_order_the_points_are():
    rates, arms = {"learning_rate": ("point", np.float32([3, 3, 3, 4]))}, {}
    for core in LEARNING_RATES:
        arms[f"{core}, L2"] = known([0, 1, 2, 1], "strength", validation_accuracy=[[0.1], [0.9], [0.5], [0.6]],
                                    test_accuracy=[[0.1], [0.8], [0.5], [0.6]]).assign_coords(rates)  # fmt: skip
        decay = known([0, 2, 1, 1], validation_accuracy=[[0.1], [0.9], [0.2], [0.4]],
                      test_accuracy=[[0.1], [0.9], [0.3], [0.4]])  # fmt: skip
        arms[f"{core}, weight decay"] = decay.assign_coords(rates)
    assert means(at_the_same_number, arms) == pytest.approx(dict.fromkeys(LEARNING_RATES, -0.5))


def test_they_are_the_same_under_sgd_and_not_under_adam_even_in_small(finished):
    claims = {claim["id"]: claim for claim in finished.summary["claims"]}
    assert set(claims) == {claim.id for claim in CLAIMS}
    assert claims["C0-sgd"]["verdict"] == "holds"
    assert claims["C0-adam"]["verdict"] == "fails"
    assert finished.summary["answer"].startswith("1 of 6 claims holds")
    assert (finished.folder / "figures" / "one_name.png").exists()


def test_no_other_rate_is_as_near_under_sgd(finished):
    distances = finished.arms["SGD, followed"].apart[:, :, -1].to_numpy()
    far = np.abs(np.log(FACTORS)) > 0.01
    assert (distances[:, far] > 100 * distances[:, :1]).all()


def test_bad_flags_get_one_sentence():
    with pytest.raises(UserError, match="--numbers has no 0: include it"):
        experiment(numbers=(0.1, 1.0))
    with pytest.raises(UserError, match="--seeds 0 is too few"):
        experiment(seeds=0)
