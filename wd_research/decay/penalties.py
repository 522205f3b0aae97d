"""Penalties: functions from params to one number that is added to the loss."""

from functools import reduce

import jax
import jax.numpy as jnp

from wd_research.decay.masks import matrices, weighted
from wd_research.types import Array, Batch, Extras, Key, Loss, Mask, Params, Penalty


def _summed(leaf_penalty: Penalty, params: Params, mask: Mask) -> Array:
    coefficients, leaves = jax.tree.leaves(mask(params)), jax.tree.leaves(params)
    terms = [weighted(c, leaf_penalty(leaf)) for c, leaf in zip(coefficients, leaves, strict=True) if c is not False]
    return reduce(jnp.add, terms, jnp.zeros(()))


def l2(params: Params, mask: Mask = matrices) -> Array:
    """Half the squared norm: sum_i c_i w_i^2 / 2, whose gradient is c w; f32[].

    Source: Krogh & Hertz (1991), eq. 2, with the half.
    """
    return _summed(lambda w: 0.5 * jnp.sum(w * w), params, mask)


def l1(params: Params, mask: Mask = matrices) -> Array:
    """The sum of magnitudes: sum_i c_i |w_i|, whose (sub)gradient is c sign(w), 0 at 0; f32[].

    Source: Tibshirani (1996), the lasso.
    """
    # w sign(w) rather than |w|, because JAX differentiates |w| at 0 to 1
    return _summed(lambda w: jnp.sum(w * jnp.sign(w)), params, mask)


def penalized(loss: Loss, penalty: Penalty, strength: Array | float) -> Loss:
    """The loss with a penalty: L(w) + strength * penalty(w).

    The metrics keep the two terms apart: what `loss` reports, and "penalty" = strength * penalty(w).
    """

    def with_penalty(params: Params, extras: Extras, batch: Batch, key: Key):
        value, (extras, metrics) = loss(params, extras, batch, key)
        amount = strength * penalty(params)
        return value + amount, (extras, {**metrics, "penalty": amount})

    return with_penalty
