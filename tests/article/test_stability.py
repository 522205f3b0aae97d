"""Stability: quantities over decay and learning rate of results that are known, and the experiment in small."""

import io
import json
from functools import partial

import numpy as np
import pytest
import xarray as xr
from rich.console import Console

from experiments.article.stability import (
    CLAIMS,
    RATES,
    against_none,
    experiment,
    finite,
    mean_size,
    mean_size_where_no_decay_learns,
    reach,
)
from tests.article.test_data_regimes import means
from wd_research.flags import UserError
from wd_research.running import run

DECAYS, FEW = np.float32([0, 0.1, 1]), np.float32([0.01, 0.1, 1])


def made_up(accuracy, diverged, size=1.0):
    """Two seeds over three decays by three learning rates, from tables [decay][rate], the points in disorder."""
    order = np.random.default_rng(0).permutation(9)
    decay, rate = (axis.ravel()[order] for axis in np.meshgrid(DECAYS, FEW, indexing="ij"))

    def members(table):
        return np.broadcast_to(np.broadcast_to(table, (3, 3)).ravel()[order], (2, 9))

    dims, gone = ("seed", "point", "step"), members(diverged)
    return xr.Dataset(
        {
            "train_accuracy": (dims, members(np.float64(accuracy))[..., None]),
            "train_loss": (dims, np.ones((2, 9, 1))),
            "size": (dims, members(np.float64(size))[..., None]),
            "diverged_at": (dims[:2], np.where(gone, 3, -1)),
        },
        {"decay": ("point", decay), "learning_rate": ("point", rate)},
        {"axis": "decay"},
    )


NEVER = np.zeros((3, 3), bool)


def test_the_reach_is_the_largest_rate_that_learns_and_below_the_grid_where_none_does():
    results = made_up([[1, 0.9, 0.2], [0.2, 0.6, 0.7], [0.1, 0.1, 0.1]], NEVER)
    np.testing.assert_allclose(reach(results), [[-1, 0, -3]] * 2, atol=1e-6)
    assert means(partial(against_none, reach), {"P": results}) == pytest.approx({"P 0.1": 1, "P 1": -2}, abs=1e-6)


def test_a_net_that_is_not_finite_does_not_learn():
    results = made_up(1.0, [[0, 1, 1], [0, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(finite(results)[0], [[1, 0, 0], [1, 1, 0], [1, 1, 1]])
    np.testing.assert_allclose(reach(results), [[-2, -1, 0]] * 2, atol=1e-6)


def test_sizes_are_compared_where_all_nets_are_finite():
    sizes = [[1.0, 2.0, 9.0], [np.exp(-1), 2 * np.exp(-1), 9.0], [np.exp(-2), 2 * np.exp(-3), np.inf]]
    results = made_up(1.0, NEVER, sizes)
    changed = means(partial(against_none, mean_size), {"P": results})
    assert changed == pytest.approx({"P 0.1": -1, "P 1": -2.5}, abs=1e-6)


def test_sizes_are_compared_where_the_net_without_decay_learns():
    accuracy = [[0.9, 0.9, 0.1], [0.1, 0.1, 0.1], [0.9, 0.9, 0.9]]
    sizes = [[1.0, 2.0, 9.0], [np.exp(-1), 2 * np.exp(-1), 1.0], [np.exp(-2), 2 * np.exp(-3), 1.0]]
    changed = means(partial(against_none, mean_size_where_no_decay_learns), {"P": made_up(accuracy, NEVER, sizes)})
    assert changed == pytest.approx({"P 0.1": -1, "P 1": -2.5}, abs=1e-6)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stability")
    small = experiment(decays=(0.0, 0.1, 1.0), layers=2, width=8, seeds=2, steps=20)
    return run(small, folder, tensorboard=False, console=Console(file=io.StringIO()))


def test_both_places_are_one_program_at_all_rates(finished):
    assert json.loads((finished.folder / "experiment.json").read_text())["programs"] == 1
    for arm in experiment(seeds=2, steps=20).trained.values():
        np.testing.assert_allclose(np.unique(arm.points.learning_rate), np.float32(RATES))


def test_the_size_of_the_weights_is_one_metric_whatever_the_split(finished):
    for results in finished.arms.values():
        assert (results["size"] > 0).all()
        assert not [name for name in results if str(name).endswith("_size")]


def test_every_claim_is_judged_and_decay_keeps_weights_small_even_in_small(finished):
    claims = {claim["id"]: claim for claim in finished.summary["claims"]}
    assert set(claims) == {claim.id for claim in CLAIMS}
    assert all(name.startswith("B1-") for name in claims)
    small = claims["B1-small"]["cells"]
    assert set(small) == {f"{place} {value:g}" for place in ("L2", "weight decay") for value in (0.1, 1)}
    assert all(cell["mean"] < 0 for cell in small.values())
    assert (finished.folder / "figures" / "stability.png").exists()


def test_bad_flags_get_one_sentence():
    with pytest.raises(UserError, match="--layers 0 is too few"):
        experiment(layers=0)
    with pytest.raises(UserError, match="--decays has no 0"):
        experiment(decays=(0.1,))
