"""The valley: what a step removes by either convention, the best decay of a map, its slope, and a short run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wd_research as wd
from experiments.literature.linear import Setting
from experiments.literature.valley import (
    LOSSES,
    PLACES,
    Hypers,
    adam,
    claims_of,
    experiment,
    ridge,
    separability,
)

RATES, DECAYS = np.geomspace(1e-3, 1e-1, 5), np.geomspace(1e-4, 1e2, 13)


@pytest.mark.parametrize(("place", "removed"), [("decoupled", 0.1 * 0.5), ("independent", 0.5)])
def test_without_gradients_a_step_removes_the_decay_with_or_without_the_learning_rate(place, removed):
    params = {"kernel": jnp.eye(3)}
    optimizer = adam(PLACES[place], 10)(Hypers(jnp.float32(0.1), jnp.float32(0.5)))
    state, left = optimizer.init(params), [1.0]
    for _ in range(10):
        updates, state = optimizer.update(jax.tree.map(jnp.zeros_like, params), state, params)
        params = jax.tree.map(jnp.add, params, updates)
        left.append(float(params["kernel"][0, 0]))
    np.testing.assert_allclose(left[1:], np.cumprod(1 - removed * np.linspace(1, 0, 10, endpoint=False)), rtol=1e-5)


def test_an_epoch_of_the_regression_has_every_example_once():
    order = ridge(Setting(30, 0.5)).order(jax.random.key(0), jnp.int32(0), 20)
    assert order.shape == (20, 20)
    for epoch in np.asarray(order).reshape(2, -1):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(200))


def bowl(slope):
    """The logarithm of a loss with its best decay at .1 (rate / .01)^slope; f64[1, r, d]."""
    return (np.log(DECAYS) - np.log(0.1) - slope * np.log(RATES / 0.01)[:, None])[None] ** 2 / 100


def test_a_sum_is_separable_and_a_product_is_not():
    a, b = np.arange(5.0)[:, None], np.arange(4.0) ** 2
    assert separability((a + b)[None])[0] == pytest.approx(1)
    assert separability((a * b)[None])[0] < 0.9
    assert separability(bowl(0))[0] == pytest.approx(1)
    assert separability(bowl(-1))[0] < 0.9


def test_a_claim_compares_what_it_says():
    def arm(name, metric, slope):
        decays = np.append(0, DECAYS)
        grid = wd.grid(Hypers, learning_rate=RATES, decay=decays)
        log_loss = np.concatenate([np.full((1, len(RATES), 1), 9.0), bowl(slope)], axis=-1)
        values = np.exp(np.tile(log_loss.reshape(1, -1), (4, 1)))
        return wd.labelled(grid, "decay", 10, {metric: values})

    given = {"decoupled": -0.9, "independent": 0.1}
    arms = wd.Evidence({f"{what}, {place}": arm(what, LOSSES[what], slope)
                        for what in LOSSES for place, slope in given.items()})  # fmt: skip
    found = {claim.id: {name: cell.values[0] for name, cell in arms.score(claim.measure).items()}
             for claim in claims_of()}  # fmt: skip
    assert found["diagonal"] == pytest.approx({"ridge": -0.9, "digits": -0.9}, abs=1e-4)
    assert found["parallel"] == pytest.approx({"ridge": 0.1, "digits": 0.1}, abs=1e-4)
    assert all(more > 0 for more in found["separable"].values())


@pytest.mark.parametrize(
    ("given", "says"),
    [({"decays": (0.1, 0.3, 1)}, "--decays has no 0"),
     ({"shrinking": (0, 0.3, 1)}, "--shrinking has fewer than three values above 0"),
     ({"net_rates": (0.1,)}, "--net-rates has fewer than three values above 0"),
     ({"ridge_rates": (0.0, 0.1)}, "--ridge-rates 0.0 cannot be"),
     ({"steps": 0}, "--steps 0 is too few")],
)  # fmt: skip
def test_flags_that_cannot_be_are_one_sentence(given, says):
    with pytest.raises(wd.UserError) as raised:
        experiment(**given)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_a_short_run_answers_and_draws(tmp_path):
    declared = experiment(inputs=50, ridge_rates=(1e-3, 1e-2, 1e-1), net_rates=(1e-3, 1e-2, 1e-1),
                          shrinking=(0, 1e-3, 1e-2, 1e-1), decays=(0, 0.1, 1, 10), seeds=2, steps=30)  # fmt: skip
    result = wd.run(declared, tmp_path, wd.How(audit=False), tensorboard=False)
    assert [claim["id"] for claim in result.summary["claims"]] == [claim.id for claim in claims_of()]
    assert (tmp_path / "figures" / "valley.png").exists()
