"""Proximal operators: prox(w) = argmin_v amount * penalty(v) + |v - w|^2 / 2, where it has a closed form.

Every operator is a plain function `prox(params, amount, ..., mask=kernels) -> params`, whose `amount` is f32[], traced
or not. Leaves that the mask leaves out stay as they are; for the others amount is c_i * amount. Each is the minimiser
for the penalty of the same name in `penalties`, for complex weights too, whose sign is w / |w|. Source: Parikh & Boyd
(2014), chapter 6.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from wd_research.decay.masks import coefficients, kernels, of_whole_leaves, weighted
from wd_research.decay.penalties import behind, magnitudes
from wd_research.decay.roles import stacks
from wd_research.types import Array, Mask, Number, Params


def shrink(params: Params, amount: Number, mask: Mask | Any = kernels) -> Params:
    """The proximal operator of l2: w / (1 + amount)."""
    return _mapped(lambda w, amount: w / (1 + amount), params, amount, mask)


def soft_threshold(params: Params, amount: Number, mask: Mask | Any = kernels) -> Params:
    """The proximal operator of l1: sign(w) max(|w| - amount, 0); it leaves exact zeros."""
    return _mapped(lambda w, amount: jnp.sign(w) * jnp.maximum(jnp.abs(w) - amount, 0), params, amount, mask)


def elastic_threshold(params: Params, amount: Number, share: Number, mask: Mask | Any = kernels) -> Params:
    """The proximal operator of the elastic net: soft_threshold(w, share * amount) / (1 + (1 - share) * amount)."""
    return shrink(soft_threshold(params, share * amount, mask), (1 - share) * amount, mask)


def group_threshold(
    params: Params, amount: Number, axis: int | tuple[int, ...] = -1, mask: Mask | Any = kernels
) -> Params:
    """The proximal operator of the group lasso: w_g max(1 - amount sqrt(p) / |w_g|, 0); whole groups become zero.

    Raises DecayError when a coefficient of the mask is an array.
    """

    def of_leaf(w: Array, amount: Number, layers: int) -> Array:
        squares = jnp.sum(magnitudes(w) * magnitudes(w), axis=behind(axis, layers), keepdims=True)
        norms = jnp.sqrt(jnp.where(squares > 0, squares, 1.0))  # the root of 0 has no derivative
        left = jnp.maximum(1 - amount * math.sqrt(w.size / squares.size) / norms, 0)
        return w * jnp.where(squares > 0, left, 0.0)

    return _mapped(of_leaf, params, amount, of_whole_leaves(mask), stacks(params))


def _mapped(of_leaf: Callable[..., Array], params: Params, amount: Number, mask: Mask | Any, *others: Any) -> Params:
    def at_leaf(c: bool | Number, w: Array, *other: Any) -> Array:
        return w if c is False else of_leaf(w, weighted(c, amount), *other)

    return jax.tree.map(at_leaf, coefficients(mask, params), params, *others)
