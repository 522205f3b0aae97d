"""Cautious decay does not bias the end: as the learning rate falls to 0, it rests at the minimum of the loss alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from wd_research.decay.masks import everything
from wd_research.decay.places import decoupled
from wd_research.decay.pulls import cautious, toward_zero
from wd_research.decay.transforms import decay_weights

STEPS, RATE = 5_000, 2.0
FALLING = optax.linear_schedule(1.0, 0.0, STEPS)
SQUARE_ROOT = np.random.default_rng(0).normal(size=(6, 6))
HESSIAN = SQUARE_ROOT @ SQUARE_ROOT.T / 6 + 0.3 * np.eye(6)
CENTRE = np.array([1.0, -0.7, 0.5, 0.3, -0.2, 0.1])  # beyond 1 / RATE, where AdamW and Lion cannot follow


def slope(w):
    """The gradient of (w - c)'H(w - c) / 2, and with it the loss's own, without decay."""
    return HESSIAN @ (w - CENTRE)


@pytest.mark.parametrize(
    "core",
    [optax.identity(), optax.trace(0.9), optax.scale_by_adam(b2=0.99), optax.scale_by_lion()],
    ids=["sgd", "momentum", "adam", "lion"],
)
def test_cautious_decay_rests_at_a_stationary_point_of_the_loss_without_decay(core):
    """At the end no gradient is left; under the same rate of plain decay one is.

    Source: Cautious Weight Decay (2510.12402).
    """

    def end(pull):
        optimizer = decoupled(core, decay_weights(RATE, pull, everything), 0.02, FALLING)

        def step(carry, _):
            w, state = carry
            updates, state = optimizer.update(slope(w), state, w)
            return (w + updates, state), None

        start = jnp.zeros(6)
        return np.asarray(jax.jit(lambda: jax.lax.scan(step, (start, optimizer.init(start)), length=STEPS)[0][0])())

    with jax.enable_x64(True):
        resting, biased = end(cautious(toward_zero)), end(toward_zero)
    np.testing.assert_allclose(slope(resting), 0, atol=1e-3)
    assert np.abs(slope(biased)).max() > 0.05
