"""The time to the best: what a step removes, when the best is reached, what the claims compare, and a short run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wd_research as wd
from experiments.literature.slopes import power
from experiments.literature.time_to_best import (
    Hypers,
    claims_of,
    descent,
    experiment,
    mean_of_known,
    pairs_of,
    steps_to_best,
)

STEPS = np.arange(100, 3_201, 100)


def test_without_gradients_a_step_removes_learning_rate_times_decay():
    params = {"kernel": jnp.eye(3)}
    optimizer = descent(Hypers(jnp.float32(0.1), jnp.float32(0.5)))
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -0.05 * params["kernel"], rtol=1e-6)


def results_of(grid, accuracy, loss):
    """Results of four like seeds, from f64[h, t] each."""
    parts = []
    for k, step in enumerate(STEPS):
        metrics = {"test_accuracy": accuracy[:, k], "validation_loss": loss[:, k]}
        tiled = {name: np.tile(values, (4, 1)) for name, values in metrics.items()}
        parts.append(wd.labelled(grid, "decay", step, tiled))
    joined = wd.joined([part.drop_vars("diverged_at") for part in parts], "step")
    return joined.assign(diverged_at=parts[0].diverged_at)


def test_the_best_is_reached_when_it_is_within_the_tolerance_and_not_at_the_last_evaluation():
    rising = np.linspace(0.5, 0.9, len(STEPS))
    reached = np.where(STEPS >= 700, 0.899, rising * 0.5)
    reached[20] = 0.9
    grid = wd.grid(Hypers, learning_rate=(0.1,), decay=(0, 1))
    times = steps_to_best(results_of(grid, np.stack([rising, reached]), np.zeros((2, len(STEPS)))))
    np.testing.assert_array_equal(times, np.tile([np.nan, 700], (4, 1)))


def test_a_slope_leaves_out_what_is_not_known_and_wants_three():
    x = np.array([1.0, 2, 4, 8])
    rows = np.array([[8, 4, 2, 1], [8, np.nan, 2, 1], [np.nan, np.nan, 2, 1]])
    np.testing.assert_allclose(power(x, rows), [-1, -1, np.nan])
    np.testing.assert_allclose(mean_of_known(np.array([[1.0, np.nan], [np.nan, np.nan]])), [1, np.nan])


def test_pairs_share_their_product():
    assert pairs_of(np.array([0.05, 0.1, 0.2]), np.array([0, 0.01, 0.04])) == [(0.2, 0.01, 0.04)]


def test_a_claim_compares_what_it_says():
    grid = wd.grid(Hypers, learning_rate=(0.05, 0.2), decay=(0, *0.001 * 2.0 ** np.arange(9)))
    products = grid.learning_rate * grid.decay
    times = np.where(products > 0, 0.15 / np.maximum(products, 1e-9), 3_200)
    accuracy = np.where(np.ceil(times / 100)[:, None] * 100 <= STEPS, 0.9, 0.5)
    best = 0.5 / (STEPS * grid.learning_rate[:, None])  # a decay that falls as one over the steps
    loss = (np.log(np.maximum(grid.decay, 1e-9))[:, None] - np.log(best)) ** 2
    arms = wd.Evidence({"digits": results_of(grid, accuracy, loss)})
    found = {claim.id: {name: cell.values[0] for name, cell in arms.score(claim.measure).items()}
             for claim in claims_of()}  # fmt: skip
    assert found["alike"] == pytest.approx({"learning rates 0.2, 0.05": 1}, rel=1e-6)
    first = (np.ceil(times / 100) * 100)[(grid.learning_rate < 0.1) & (grid.decay > 0)]
    expected = np.polyfit(np.log(2.0) * np.arange(8), np.log(first[:8]), 1)[0]  # the ninth is faster than evaluations
    assert found["growth"]["learning rate 0.05"] == pytest.approx(expected, rel=1e-4)
    assert found["budget"] == pytest.approx({"learning rate 0.05": -1, "learning rate 0.2": -1}, abs=1e-3)


@pytest.mark.parametrize(
    ("given", "says"),
    [({"decays": (0.01, 0.04, 0.1)}, "--decays has no 0"),
     ({"decays": (0, 0.01, 0.04)}, "--decays has fewer than three values above 0"),
     ({"steps": 1_000}, "--steps 1000 is too few for learning rate 0.05 and decay 0.001: give 20000"),
     ({"learning_rates": (0.1, 0.2), "steps": 20_000}, "have no product that two learning rates four times apart"),
     ({"train_size": 5_000}, "train"),
     ({"seeds": 0}, "--seeds 0 is too few")],
)  # fmt: skip
def test_flags_that_cannot_be_are_one_sentence(given, says):
    with pytest.raises(wd.UserError) as raised:
        experiment(**given)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_a_short_run_answers_and_draws(tmp_path):
    declared = experiment(learning_rates=(0.1, 0.4), decays=(0, 0.1, 0.2, 0.4), train_size=200, seeds=2, steps=200)
    result = wd.run(declared, tmp_path, wd.How(audit=False), tensorboard=False)
    assert [claim["id"] for claim in result.summary["claims"]] == [claim.id for claim in claims_of()]
    assert (tmp_path / "figures" / "time_to_best.png").exists()
