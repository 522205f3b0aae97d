"""Decay of weights in bfloat16: what a step removes, what the remainder keeps, what the claims compare, a short run."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import wd_research as wd
from experiments.language.bfloat16 import (
    FULL,
    KEPT,
    ROUNDED,
    SHORT,
    WEIGHTS,
    claims_of,
    experiment,
    in_float32,
    points_of,
    with_remainder,
)
from experiments.language.setting import OFTEN, ONCE

STEPS, START = 500, np.random.default_rng(0).normal(size=1_000)


def after(weights, share, noise=0.0):
    """Weights, and what they lack, after steps that take a share of them and add noise of a size; f64[n] both."""
    dtype, keeping = WEIGHTS[weights]
    optimizer = keeping(wd.decoupled(optax.identity(), wd.decay_weights(share, mask=wd.everything), 1.0, lambda _: 1.0))
    params = {"w": jnp.asarray(START, dtype)}

    def step(number, carried):
        params, state = carried
        drawn = noise * jax.random.normal(jax.random.fold_in(jax.random.key(0), number), START.shape)
        updates, state = optimizer.update({"w": drawn.astype(dtype)}, state, params)
        return optax.apply_updates(params, updates), state

    final, state = jax.jit(lambda: jax.lax.fori_loop(0, STEPS, step, (params, optimizer.init(params))))()
    assert final["w"].dtype == dtype
    lacking = state.remainder["w"] if weights == KEPT else jnp.zeros_like(final["w"])
    return np.asarray(final["w"], float), np.asarray(lacking, float)


def test_without_gradients_bfloat16_loses_a_small_share_and_the_remainder_keeps_it():
    share, rounded = 1e-3, np.asarray(jnp.asarray(START, jnp.bfloat16), float)
    assert np.array_equal(after(ROUNDED, share)[0], rounded)  # below 2^-9 nothing moves
    assert after(FULL, share)[0] == pytest.approx(START * (1 - share) ** STEPS, rel=1e-4)
    weights, lacking = after(KEPT, share)
    assert weights + lacking == pytest.approx(rounded * (1 - share) ** STEPS, rel=2e-3)
    assert (np.abs(lacking) <= 2.0**-8 * np.abs(weights)).all()


def test_with_gradients_weights_and_remainder_together_follow_float32():
    full, (weights, lacking) = after(FULL, 1e-3, 1e-3)[0], after(KEPT, 1e-3, 1e-3)
    away = np.abs(weights + lacking - full)
    assert away.max() < 0.005
    assert np.abs(after(ROUNDED, 1e-3, 1e-3)[0] - full).mean() > 20 * away.mean()


@pytest.mark.parametrize("keeping", [in_float32, with_remainder])
def test_moments_are_float32(keeping):
    state = keeping(wd.cores.adam()).init({"w": jnp.ones(3, jnp.bfloat16)})
    inner = state.optimizer if keeping is with_remainder else state
    assert inner.mu["w"].dtype == inner.nu["w"].dtype == jnp.float32


GRID = points_of((0, 0.1, 1, 10), 0.03, 0.1)


def arm(none, best, high=(0.0, 0.0)):
    """An arm with these losses without decay and at the best one, and training losses at the high learning rate."""
    loss = np.float32([[none, none - 0.01, best, none, 9, 9]] * 4)
    train = np.float32([[1, 1, 1, 1, *high]] * 4)
    return wd.labelled(GRID, "decay", 10, {"validation_loss": loss, "test_loss": loss, "train_loss": train})


def test_a_claim_compares_what_it_says():
    of = {FULL: arm(2.0, 1.5), ROUNDED: arm(2.1, 1.9, high=(0.6, 0.4)), KEPT: arm(2.0, 1.505)}
    arms = wd.Evidence({f"{seen}, {weights}": results for seen in (OFTEN, ONCE) for weights, results in of.items()})
    found = {claim.id: {name: cell.values[0] for name, cell in arms.score(claim.measure).items()}
             for claim in claims_of()}  # fmt: skip
    assert found["rounding"] == pytest.approx({OFTEN: 0.4, ONCE: 0.4})
    assert found["remainder"] == pytest.approx({OFTEN: 0.005, ONCE: 0.005}, abs=1e-6)
    assert found["less-gain"] == pytest.approx({OFTEN: 0.3})
    assert found["divergence"] == {OFTEN: 1, ONCE: 1}  # .6 nats above float32 is lost, .4 is not


def test_a_training_that_is_not_finite_has_diverged():
    arms = {f"{seen}, {weights}": arm(2.0, 1.5) for seen in (OFTEN, ONCE) for weights in WEIGHTS}
    diverged = arms[f"{ONCE}, {ROUNDED}"]["diverged_at"].copy()
    diverged[:, 4] = 7
    arms[f"{ONCE}, {ROUNDED}"] = arms[f"{ONCE}, {ROUNDED}"].assign(diverged_at=diverged)
    prevented = {claim.id: claim for claim in claims_of()}["divergence"].measure(arms)
    assert {seen: list(values) for seen, values in prevented.items()} == {OFTEN: [0] * 4, ONCE: [1] * 4}


@pytest.mark.parametrize(
    ("given", "says"),
    [({"often": 65_536, "once": 65_536}, "--often 65536 is not below --once 65536"),
     ({"decays": (0, 1)}, "--decays has no 0.1"),
     ({"decays": (0.1, 1)}, "--decays has no 0"),
     ({"high_learning_rate": 0.03}, "--high-learning-rate 0.03 is not above --learning-rate 0.03"),
     ({"learning_rate": 0.0}, "--learning-rate 0.0 cannot be"),
     ({"steps": 0}, "--steps 0 is too few")],
)  # fmt: skip
def test_flags_that_cannot_be_are_one_sentence(given, says):
    with pytest.raises(wd.UserError) as raised:
        experiment(**given)
    assert says in str(raised.value)


@pytest.mark.slow
def test_a_short_run_answers_and_draws(tmp_path):
    declared = experiment(**SHORT)
    result = wd.run(declared, tmp_path, wd.How(audit=False), tensorboard=False)
    assert [claim["id"] for claim in result.summary["claims"]] == [claim.id for claim in claims_of()]
    assert {"loss_over_decay", "loss_above_float32"} <= {path.stem for path in (tmp_path / "figures").glob("*.png")}
