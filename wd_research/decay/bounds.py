"""Decay that a bound switches on: every matrix has an upper bound of its own in place of a rate."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from wd_research.decay.masks import DecayError, coefficients, weighted
from wd_research.decay.transforms import kernels_unless
from wd_research.flags import counts
from wd_research.types import Array, Mask, Number, Params


class BoundState(NamedTuple):
    """What each leaf is held by."""

    step: Array  # i32[]
    bounds: Params  # f32[] each: the mean square that a leaf may have; infinite before it is known
    multipliers: Params  # f32[] each


def bounded(warmup: int, gain: Number = 1.0, mask: Mask | Any = None) -> optax.GradientTransformation:
    """Constrained parameter regularization (CPR), with m(w) the mean square of a leaf and v = w + u after the step.

        mu <- max(0, mu + gain * (m(v) - kappa)),    w <- v - 2 c mu v,

    where kappa is m of the leaf after `warmup` steps, before which nothing decays; c is the mask's coefficient. It
    stands last, after the descent. At gain 0 nothing decays. Raises UserError for a warm-up below one step; DecayError
    for a gain below 0 or NaN and, at init, when the mask does not fit the params; ValueError when it is used without
    params.

    Source: Franke et al. (2311.09058), with kappa by "warm start".
    """
    counts(warmup=warmup)
    if not isinstance(gain, Tracer) and np.ndim(gain) == 0 and not gain >= 0:
        raise DecayError(f"the gain is {gain}: give a number from 0 on")

    def init(params: Params) -> BoundState:
        if jax.tree.leaves(params):
            coefficients(kernels_unless(mask), params)
        return BoundState(
            jnp.zeros((), jnp.int32),
            jax.tree.map(lambda leaf: jnp.full((), jnp.inf, _real(leaf)), params),
            jax.tree.map(lambda leaf: jnp.zeros((), _real(leaf)), params),
        )

    def update(updates: optax.Updates, state: Any, params: Params | None = None):
        if params is None:
            raise ValueError("bounded needs the params: call optimizer.update(gradients, state, params)")
        step = state.step + 1
        landed = jax.tree.map(jnp.add, params, updates)
        squares = jax.tree.map(_mean_square, landed)
        bounds = jax.tree.map(lambda kappa, square: jnp.where(step == warmup, square, kappa), state.bounds, squares)

        def multiplied(mu: Array, square: Array, kappa: Array) -> Array:
            over = jnp.where(step < warmup, 0.0, square - kappa)  # an infinite bound times a gain of 0 would be NaN
            return jnp.maximum(0.0, mu + gain * over).astype(mu.dtype)

        multipliers = jax.tree.map(multiplied, state.multipliers, squares, bounds)

        def of_leaf(coefficient: Any, update: Array, landed: Array, multiplier: Array) -> Array:
            if coefficient is False:
                return update
            return (update - weighted(coefficient, 2 * multiplier * landed)).astype(update.dtype)

        chosen = coefficients(kernels_unless(mask), params)
        moved = jax.tree.map(of_leaf, chosen, updates, landed, multipliers)
        return moved, BoundState(step, bounds, multipliers)

    return optax.GradientTransformation(init, update)


def _mean_square(leaf: Array) -> Array:
    """The mean of |w|^2 over the entries of a leaf, in float32 at least; f32[]."""
    return jnp.mean(jnp.square(jnp.abs(leaf).astype(_real(leaf))))


def _real(leaf: Array) -> Any:
    """The type of a leaf's norm: float32 at least."""
    return jnp.promote_types(jnp.finfo(leaf.dtype).dtype, jnp.float32)
