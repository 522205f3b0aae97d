"""Decay after a sign-like optimizer is a constraint: full batches end at the minimiser within a ball.

The ball is that of the norm in which the optimizer takes its steps: the largest entry for Adam and Lion, the largest
singular value for Muon. Its radius follows the place: 1/lambda decoupled, eta/lambda independent.
Source: Xie & Li (2404.04454).
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize

from wd_research.decay.masks import everything
from wd_research.decay.places import decoupled, independent
from wd_research.decay.transforms import decay_weights

STEPS, LEARNING_RATE, RADIUS = 20_000, 0.02, 0.8
FALLING = optax.linear_schedule(1.0, 0.0, STEPS)
RATES = {decoupled: 1 / RADIUS, independent: LEARNING_RATE / RADIUS}  # both keep the weights within RADIUS

SQUARE_ROOT = np.random.default_rng(0).normal(size=(6, 6))
CORES = {
    "adam": optax.scale_by_adam(b2=0.99),  # the way to the end takes many times 1 / (1 - b2) steps
    "lion": optax.scale_by_lion(),
}
HESSIAN = SQUARE_ROOT @ SQUARE_ROOT.T / 6 + 0.1 * np.eye(6)
CENTRE = np.array([3.0, -2.0, 1.0, 0.3, -0.2, 0.1])


@pytest.fixture(autouse=True, scope="module")
def _double_precision():
    with jax.enable_x64(True):
        yield


def slope(w):
    """The gradient of the convex loss (w - c)'H(w - c) / 2."""
    return HESSIAN @ (w - CENTRE)


def end(optimizer, gradient, start):
    """The weights after the whole run."""

    def step(carry, _):
        w, state = carry
        updates, state = optimizer.update(gradient(w), state, w)
        return (w + updates, state), None

    return np.asarray(jax.jit(lambda w: jax.lax.scan(step, (w, optimizer.init(w)), length=STEPS)[0][0])(start))


@pytest.mark.parametrize("place", RATES, ids=lambda place: place.__name__)
@pytest.mark.parametrize("core", CORES.values(), ids=CORES)
def test_adam_and_lion_with_decay_minimise_within_a_box(core, place):
    best = scipy.optimize.minimize(
        lambda w: 0.5 * (w - CENTRE) @ slope(w),
        np.zeros(6),
        jac=slope,
        method="L-BFGS-B",
        bounds=[(-RADIUS, RADIUS)] * 6,
        options={"ftol": 1e-15, "gtol": 1e-12},
    ).x
    assert 0 < (np.abs(best) == RADIUS).sum() < 6
    decay = decay_weights(RATES[place], mask=everything)
    w = end(place(core, decay, LEARNING_RATE, FALLING), slope, jnp.zeros(6))
    np.testing.assert_allclose(w, best, atol=1e-3)


def nearest_orthogonal():
    """Muon's step without momentum, by an exact decomposition: U S V' becomes U V'.

    Its Newton-Schulz iteration would leave singular values up to about 1.2, and so a wider ball.
    """

    def update(updates, params):
        left, _, right = jnp.linalg.svd(updates, full_matrices=False)
        return left @ right

    return optax.stateless(update)


@pytest.mark.parametrize("place", RATES, ids=lambda place: place.__name__)
def test_muon_with_decay_minimises_within_a_ball_of_the_spectral_norm(place):
    """Of |W - D|^2 / 2: D with its singular values cut at the radius."""
    left, _, right = np.linalg.svd(np.random.default_rng(1).normal(size=(3, 3)))
    target = left * np.array([2.0, 1.0, 0.3]) @ right
    best = left * np.array([RADIUS, RADIUS, 0.3]) @ right
    core = optax.chain(optax.ema(0.9, debias=False), nearest_orthogonal())
    optimizer = place(core, decay_weights(RATES[place]), LEARNING_RATE, FALLING)
    np.testing.assert_allclose(end(optimizer, lambda w: w - target, jnp.eye(3)), best, atol=1e-3)
