"""Laws of decay that a bound switches on, that falls with the loss, in units of Adam's step, and by chance."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wd_research.audit.leaves import audit_decay
from wd_research.decay.bounds import bounded
from wd_research.decay.chance import decay_at_random
from wd_research.decay.falling import falling_decay
from wd_research.decay.masks import DecayError, everything
from wd_research.decay.places import decoupled, descend
from wd_research.decay.stable import stable_decay
from wd_research.decay.transforms import decay_weights
from wd_research.flags import UserError
from wd_research.updates import update


@pytest.fixture(autouse=True, scope="module")
def _double_precision():
    with jax.enable_x64(True):
        yield


def drawn(seed):
    draw = np.random.default_rng(seed).standard_normal
    return {"kernel": draw((4, 3)), "bias": draw(3)}


# Bounds


@settings(max_examples=15)
@given(st.integers(0, 2**31 - 1), st.integers(1, 6), st.floats(0.001, 0.05))
def test_a_bound_is_kept_by_a_multiplier_that_grows_while_it_is_broken(seed, warmup, gain):
    """The formula, written out in NumPy."""
    optimizer, params = bounded(warmup, gain), drawn(seed)
    state, (w, bias, mu, kappa) = optimizer.init(params), (params["kernel"], params["bias"], 0.0, np.inf)
    for step in range(1, 12):
        push = drawn(seed + step)
        updates, state = optimizer.update(push, state, params)
        params = optax.apply_updates(params, updates)
        v = w + push["kernel"]
        square = np.mean(v**2)
        kappa = square if step == warmup else kappa
        mu = max(0.0, mu + gain * (square - kappa))
        w, bias = v - 2 * mu * v, bias + push["bias"]
        np.testing.assert_allclose(params["kernel"], w, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(params["bias"], bias, rtol=1e-12)


def test_weights_that_are_pushed_outward_for_ever_end_on_their_bound():
    optimizer, params = bounded(warmup=10, gain=0.05), {"kernel": np.full((3, 3), 0.1)}

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.tree.map(lambda w: 0.01 * jnp.sign(w), params), state, params)
        return (optax.apply_updates(params, updates), state), None

    (params, state), _ = jax.lax.scan(step, (params, optimizer.init(params)), length=3_000)
    assert float(state.bounds["kernel"]) == pytest.approx((0.1 + 10 * 0.01) ** 2)
    landed = np.abs(params["kernel"]) + 0.01  # what is bounded, before it decays
    assert np.mean(landed**2) == pytest.approx(float(state.bounds["kernel"]), rel=1e-3)
    assert 2 * state.multipliers["kernel"] * 0.2 == pytest.approx(0.01, rel=0.01)  # it takes what the push brings


def test_a_gain_of_0_switches_it_off_traced_or_not():
    params = drawn(0)
    for optimizer in (bounded(2, 0), bounded(2, jnp.zeros(()))):
        after = path(optimizer, params, 5)[-1]
        pushed = path(optax.identity(), params, 5)[-1]
        jax.tree.map(np.testing.assert_array_equal, after, pushed)


def test_a_warm_up_below_one_step_or_a_gain_below_0_is_refused():
    with pytest.raises(UserError, match="warmup 0"):
        bounded(0)
    for gain in (-0.1, float("nan")):
        with pytest.raises(DecayError, match="give a number"):
            bounded(1, gain)


# Falling with the loss


def fed(optimizer, losses, params):
    """The rates after each of the losses, of weights that are held, and gradients of 0."""
    still, state, rates = jax.tree.map(np.zeros_like, params), optimizer.init(params), []
    for loss in losses:
        updates, state = optimizer.update(still, state, params, value=loss)
        rates.append(np.mean(updates["kernel"] / params["kernel"]))
        assert not updates["bias"].any()
    return np.array(rates)


@settings(max_examples=15)
@given(st.integers(0, 2**31 - 1), st.integers(1, 4), st.integers(1, 3), st.floats(1.5, 10))
def test_a_rate_falls_where_the_mean_loss_was_above_the_least(seed, every, patience, factor):
    """The rule, written out in Python."""
    losses = np.random.default_rng(seed).normal(size=60)
    rate, least, risen, until, expected = 0.19, np.inf, 0, 0.0, []
    for step in range(1, len(losses) + 1):
        expected.append(rate)
        if step % every:
            continue
        mean = np.mean(losses[step - every : step])
        risen, least = (risen + 1 if mean > least else 0), min(least, mean)
        if risen >= patience and step >= until:
            rate, risen = rate / factor, 0
            until = step + round(0.1 / rate)
    rates = fed(falling_decay(0.19, every, factor, patience), losses, drawn(seed))
    np.testing.assert_allclose(rates, expected, rtol=1e-5)


def test_a_loss_that_falls_keeps_the_rate_and_one_that_rises_is_given_time():
    params = drawn(0)
    np.testing.assert_allclose(fed(falling_decay(0.1, 5), -np.arange(100.0), params), 0.1, rtol=1e-6)
    rising = fed(falling_decay(0.1, 5, patience=1, learning_rate=0.5), np.arange(300.0), params)
    falls = np.flatnonzero(np.diff(np.log10(rising)) < -0.5) + 1
    # a tenth of the time scale of a rate of .01 at this learning rate are 20 steps, and of .001 200
    assert falls.tolist() == [10, 30, 230]


def test_a_decay_that_falls_decays_a_training():
    """It goes through a chain and the engine's update, which hands it the loss, with rates that are traced."""
    params = drawn(0)

    def after(rate, losses):
        optimizer = decoupled(optax.identity(), falling_decay(rate, 1, patience=1), 0.1, optax.constant_schedule(1.0))

        def step(carry, loss):
            params, state = carry
            still = jax.tree.map(jnp.zeros_like, params)
            updates, state = update(optimizer, still, state, params, loss)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), losses)[0][0]["kernel"] / params["kernel"]

    falling, rising = jnp.arange(0.0, -50.0, -1.0), jnp.arange(50.0)
    rates = jnp.array([0.0, 0.5])
    held, let = (jax.jit(jax.vmap(after, (0, None)))(rates, losses) for losses in (falling, rising))
    np.testing.assert_allclose(held[0], 1.0)
    np.testing.assert_allclose(held[1], 0.95**50, rtol=1e-6)
    assert (let[1] > 1.5 * held[1]).all()


def test_what_cannot_fall_is_refused():
    params = drawn(0)
    for rate in (lambda step: 0.1, None, float("nan"), np.ones(3), {"kernel": 0.1}):
        with pytest.raises(DecayError, match="give"):
            falling_decay(rate, 5)
    for factor in (1.0, 0.5, float("nan")):
        with pytest.raises(DecayError, match="above 1"):
            falling_decay(0.1, 5, factor)
    for every, patience in ((0, 2), (5, 0)):
        with pytest.raises(UserError, match="0"):
            falling_decay(0.1, every, patience=patience)
    optimizer = falling_decay(0.1, 5)
    with pytest.raises(ValueError, match="value=loss"):
        optimizer.update(params, optimizer.init(params), params)
    with pytest.raises(ValueError, match="needs the params"):
        optimizer.update(params, optimizer.init(params), value=1.0)


# In units of Adam's step


@pytest.mark.parametrize("b2", [0.9, 0.999])
def test_the_rate_is_divided_by_the_root_of_adams_mean_second_moment(b2):
    adam, params, rate = optax.scale_by_adam(b2=b2), drawn(0), 0.3
    optimizer, state, own = stable_decay(adam, rate, b2), None, adam.init(params)
    state = optimizer.init(params)
    for step in range(1, 9):
        gradients = drawn(step)
        updates, state = optimizer.update(gradients, state, params)
        plain, own = adam.update(gradients, own, params)
        moments = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(own.nu)]) / (1 - b2**step)
        decay = rate / np.sqrt(np.mean(moments)) * params["kernel"]
        np.testing.assert_allclose(updates["kernel"], plain["kernel"] + decay, rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(updates["bias"], plain["bias"])


def test_gradients_that_are_larger_by_a_factor_decay_less_by_it():
    """Adam's step does not change, so the weights that it balances grow by the factor's root: AdamW's would not."""
    params = drawn(0)
    for factor in (1.0, 10.0):
        optimizer, gradients = stable_decay(optax.scale_by_adam(), 0.3), {k: factor * g for k, g in drawn(1).items()}
        updates, _ = optimizer.update(gradients, optimizer.init(params), params)
        plain, _ = optax.scale_by_adam().update(drawn(1), optax.scale_by_adam().init(params), params)
        taken = (updates["kernel"] - plain["kernel"]) / params["kernel"]
        size = np.sqrt(np.mean(np.concatenate([np.ravel(leaf) for leaf in drawn(1).values()]) ** 2))
        np.testing.assert_allclose(taken, 0.3 / (factor * size), rtol=1e-4)


def test_a_schedule_or_a_tree_of_rates_is_that_of_a_link():
    params, gradients = drawn(0), drawn(1)
    plain, _ = optax.scale_by_adam().update(gradients, optax.scale_by_adam().init(params), params)
    size = np.sqrt(np.mean(np.concatenate([np.ravel(leaf) for leaf in gradients.values()]) ** 2))
    for rate, at_first in ((lambda step: 0.1 / (step + 2), 0.05), ({"kernel": 0.2, "bias": None}, 0.2)):
        optimizer = stable_decay(optax.scale_by_adam(), rate)
        updates, _ = optimizer.update(gradients, optimizer.init(params), params)
        expected = plain["kernel"] + at_first / size * params["kernel"]
        np.testing.assert_allclose(updates["kernel"], expected, rtol=1e-6)
        np.testing.assert_allclose(updates["bias"], plain["bias"], rtol=1e-6)


@pytest.mark.parametrize("steps", [1_000, 30_000])
def test_an_audit_sees_the_same_decay_however_long_the_run(steps):
    optimizer = optax.chain(stable_decay(optax.scale_by_adam(), 0.1), optax.scale(1e-3), descend)
    with jax.enable_x64(False):
        weights = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), drawn(0))

        def loss(params, batch):
            return jnp.mean((batch @ params["kernel"] + params["bias"]) ** 2)

        audit = audit_decay(loss, optimizer, weights, np.ones((8, 4), np.float32), steps)
        gradients = jax.tree.leaves(jax.grad(loss)(weights, jnp.ones((8, 4))))
    size = np.sqrt(np.mean(np.concatenate([np.ravel(leaf) for leaf in gradients]) ** 2))
    (kernel,) = [row for row in audit.rows if row.path == "kernel"]
    assert kernel.coefficient == pytest.approx(1e-3 * 0.1 / size, rel=0.05)


def test_without_a_gradient_so_far_nothing_decays():
    optimizer, params = stable_decay(optax.scale_by_adam(), 0.3), drawn(0)
    updates, _ = optimizer.update(jax.tree.map(np.zeros_like, params), optimizer.init(params), params)
    jax.tree.map(lambda u: np.testing.assert_array_equal(u, 0), updates)


# By chance


def path(optimizer, params, steps):
    state, seen = optimizer.init(params), [params]
    for step in range(steps):
        updates, state = optimizer.update(drawn(step), state, params)
        params = optax.apply_updates(params, updates)
        seen.append(params)
    return seen


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_as_many_entries_decay_as_the_share_says_each_wholly_or_not(share):
    params = {"kernel": np.full((200, 100), 2.0), "bias": np.ones(3)}
    link = decay_at_random(0.3, jax.random.key(0), share)
    state, zeros, seen = link.init(params), jax.tree.map(np.zeros_like, params), []
    for _ in range(3):
        updates, state = link.update(zeros, state, params)
        assert set(np.unique(updates["kernel"])) <= {0.0, 0.6}
        np.testing.assert_array_equal(updates["bias"], 0)
        seen.append(np.asarray(updates["kernel"]) > 0)
    assert np.mean(seen) == pytest.approx(share, abs=0.01)
    if 0 < share < 1:
        assert (seen[0] != seen[1]).mean() == pytest.approx(2 * share * (1 - share), abs=0.02)  # drawn anew
    again, _ = link.update(zeros, link.init(params), params)
    np.testing.assert_array_equal(np.asarray(again["kernel"]) > 0, seen[0])


def test_a_share_of_one_is_plain_decay_and_other_keys_draw_others():
    schedule = optax.constant_schedule(1.0)

    def trained(link):
        return path(decoupled(optax.scale_by_adam(), link, 0.1, schedule), drawn(7), 5)[-1]

    whole, plain = trained(decay_at_random(0.4, jax.random.key(1), 1.0)), trained(decay_weights(0.4))
    jax.tree.map(np.testing.assert_array_equal, whole, plain)
    one, other = (trained(decay_at_random(0.4, jax.random.key(key))) for key in (1, 2))
    assert not np.array_equal(one["kernel"], other["kernel"])
    np.testing.assert_array_equal(one["bias"], other["bias"])


def test_a_share_that_is_none_is_refused():
    for share in (-0.1, 1.5, float("nan")):
        with pytest.raises(DecayError, match="give a part of the weights, from 0 to 1"):
            decay_at_random(0.1, jax.random.key(0), share)


@pytest.mark.parametrize(
    "optimizer",
    [optax.chain(optax.scale_by_adam(), descend, bounded(3, mask=everything)),
     optax.chain(stable_decay(optax.scale_by_adam(), 0.1), descend),
     optax.chain(decay_at_random(0.1, jax.random.key(0)), descend)],
    ids=["bounded", "stable_decay", "decay_at_random"],
)  # fmt: skip
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_step_changes_no_type(optimizer, dtype):
    """Neither shape nor dtype nor weak type: `scan` works."""
    with jax.enable_x64(False):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), drawn(0))
        before = params, optimizer.init(params)
        updates, state = optimizer.update(params, before[1], params)
        after = optax.apply_updates(params, updates), state
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        assert (old.shape, old.dtype) == (new.shape, new.dtype)
        assert getattr(old, "weak_type", False) == getattr(new, "weak_type", False)
