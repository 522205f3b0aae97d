"""Choosing: how searches cover their range, what they find in a table whose best is known, the experiment in small."""

import io

import numpy as np
import pytest
import xarray as xr
from rich.console import Console

from experiments.article.choosing import BUDGETS, CLAIMS, KINDS, TRAINED, Hypers, experiment, found, regrets, table_of
from wd_research.flags import UserError
from wd_research.points import grid
from wd_research.results import labelled
from wd_research.running import run

SIDE, SEEDS = 16, 6


def made_up(slope=0.01, noise=0.0):
    """A table whose accuracy falls with the distance from the cell (8, 8), in cells; without decay by 10 of them."""
    points = grid(Hypers, learning_rate=tuple(np.geomspace(1, 2, SIDE)), decay=(0.0, *np.geomspace(1, 2, SIDE)))
    row, column = np.divmod(np.arange(SIDE * (SIDE + 1)), SIDE + 1)
    distance = np.where(column == 0, 10.0, np.hypot(row - 8, column - 1 - 8))
    rng = np.random.default_rng(0)
    metrics = {f"{split}_accuracy": 0.9 - slope * distance + noise * rng.normal(size=(SEEDS, len(distance)))
               for split in ("validation", "test")}  # fmt: skip
    return {TRAINED: labelled(points, "decay", 1, metrics).assign_attrs(arm=TRAINED)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("budget", BUDGETS)
def test_a_search_has_its_trials_inside_the_square_and_its_seed_makes_it_another(kind, budget):
    first, again, other = KINDS[kind](budget, 0), KINDS[kind](budget, 0), KINDS[kind](budget, 1)
    assert first.shape == (budget, 2)
    assert (first > -1e-6).all()
    assert (first < 1 + 1e-6).all()
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("kind", ["grid", "quasi-random"])
def test_even_searches_have_as_many_trials_in_every_quarter(kind):
    for number in range(5):
        quarters = np.floor(2 * np.clip(KINDS[kind](16, number), 0, 1 - 1e-9)).astype(int) @ [2, 1]
        np.testing.assert_array_equal(np.bincount(quarters, minlength=4), 4)


def test_a_table_has_its_best_point_and_its_best_without_decay():
    table = table_of(made_up())
    assert table.test.shape == (SEEDS, SIDE, SIDE)
    np.testing.assert_allclose(table.best, 0.9)
    np.testing.assert_allclose(table.without, 0.8)


@pytest.mark.parametrize("kind", KINDS)
def test_more_trials_lose_less_and_without_noise_no_more_than_the_spacing_of_the_search(kind):
    table = table_of(made_up())
    lost = [float((table.best - found(kind, budget, table)).mean()) for budget in BUDGETS]
    assert lost[0] > lost[1] > lost[2] >= 0
    # the nearest of 32 even trials is at most about two and a half cells away
    assert lost[2] < 0.03


def test_a_search_uses_the_validation_data_of_the_seed_and_not_its_test_data():
    arms = made_up(noise=0.02)
    worse = {TRAINED: arms[TRAINED].assign(test_accuracy=arms[TRAINED].test_accuracy * 0 + 0.5)}
    np.testing.assert_allclose(found("random", 8, table_of(worse)), 0.5)
    assert {name: lost.mean() for name, lost in regrets((8,), worse).items()} == dict.fromkeys(
        [f"{kind}, 8 trials" for kind in KINDS], 0.0
    )


def test_a_diverged_point_is_never_found():
    arms = made_up()
    results = arms[TRAINED].copy(deep=True)
    best = int(results.test_accuracy[0, :, 0].to_numpy().argmax())
    results.diverged_at[:, best] = 3
    table = table_of({TRAINED: results})
    assert float(found("grid", 32, table).max()) < 0.9


def test_the_experiment_judges_every_claim(tmp_path):
    small = experiment(side=6, seeds=2, steps=10, width=8)
    result = run(small, tmp_path, tensorboard=False, console=Console(file=io.StringIO()))
    assert [claim["id"] for claim in result.summary["claims"]] == [claim.id for claim in CLAIMS]
    assert (tmp_path / "figures" / "choosing.png").exists()
    with xr.open_datatree(tmp_path / "results.nc") as tree:
        assert tree[TRAINED].sizes["point"] == 6 * 7


@pytest.mark.parametrize(("flags", "says"), [({"side": 5}, "--side 5 is too few: give 6"), ({"seeds": 0}, "--seeds 0")])
def test_bad_flags_get_one_sentence(flags, says):
    with pytest.raises(UserError, match=says):
        experiment(**flags)
