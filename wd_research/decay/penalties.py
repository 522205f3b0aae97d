"""Penalties: functions from params to one number that is added to the loss.

Every penalty is a plain function `penalty(params, ..., mask=kernels) -> f32[]`. Its numbers may be traced, and a
lambda binds them: `penalized(loss, lambda params: huber(params, h.threshold), h.strength)`. In what follows c_i are
the coefficients of the mask, a function or a tree (`masks.coefficients`), and w_i a leaf or an entry of it.

Of complex weights they take the magnitude |w|. JAX's gradient of a real function of them is the conjugate of what the
formulas here say, in the data term too: conjugate the gradients before optax sees them, or descent climbs in the
imaginary parts. A decoupled pull needs nothing.
"""

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wd_research.decay.masks import coefficients, kernels, of_whole_leaves, per_leaf, weighted
from wd_research.decay.roles import stacks
from wd_research.types import Array, Batch, Extras, Key, Loss, Mask, Number, Params, Penalty


def summed(of_leaf: Callable[..., Array], mask: Mask | Any, params: Params, *others: Any) -> Array:
    """sum_i c_i of_leaf(w_i, ...) over the leaves, with the matching leaves of further trees; f32[].

    Where c_i is an array, of_leaf is asked entry by entry. Raises DecayError when the mask does not fit.
    """
    trees = zip(*map(jax.tree.leaves, (coefficients(mask, params), params, *others)), strict=True)
    terms = [
        weighted(c, of_leaf(*leaves)) if np.ndim(c) == 0 else jnp.sum(c * jnp.vectorize(of_leaf)(*leaves))
        for c, *leaves in trees
        if c is not False
    ]
    return reduce(jnp.add, terms, jnp.zeros(()))


def magnitudes(w: Array) -> Array:
    """|w| of complex weights, and real ones as they are, for functions of the magnitude alone; like w."""
    return jnp.abs(w) if jnp.iscomplexobj(w) else w


def l2(params: Params, mask: Mask | Any = kernels) -> Array:
    """Half the squared norm: sum_i c_i |w_i|^2 / 2, whose gradient is c w; f32[].

    On the factors of a product W = A B it is the nuclear norm of W, because the smallest (|A|^2 + |B|^2) / 2 among all
    factors of W is the sum of W's singular values.

    Source: Krogh & Hertz (1991), eq. 2, with the half; Srebro, Rennie & Jaakkola (2004) for the factors.
    """
    return summed(lambda w: 0.5 * jnp.sum(magnitudes(w) * magnitudes(w)), mask, params)


def l1(params: Params, mask: Mask | Any = kernels) -> Array:
    """The sum of magnitudes: sum_i c_i |w_i|, whose (sub)gradient is c sign(w), 0 at 0; f32[].

    Source: Tibshirani (1996), the lasso.
    """
    # w sign(w) rather than |w|, because JAX differentiates |w| at 0 to 1
    return summed(lambda w: jnp.sum(magnitudes(w) * jnp.sign(magnitudes(w))), mask, params)


def elastic_net(params: Params, share: Number, mask: Mask | Any = kernels) -> Array:
    """A mixture of l1 and l2: a * l1 + (1 - a) * l2 for the share a; its gradient is c (a sign(w) + (1 - a) w); f32[].

    Source: Zou & Hastie (2005), in the parameters of Friedman, Hastie & Tibshirani (2010).
    """
    return share * l1(params, mask) + (1 - share) * l2(params, mask)


def huber(params: Params, threshold: Number, mask: Mask | Any = kernels) -> Array:
    """l2 near zero and l1 far from it: sum_i c_i h(w_i), h = w^2 / 2 up to the threshold t > 0, t |w| - t^2 / 2 beyond.

    The gradient is c w clipped to [-t, t], so that no weight is pulled harder than t. f32[].

    Source: Huber (1964).
    """

    def of_leaf(w: Array) -> Array:
        w = magnitudes(w)
        inner = jnp.clip(w, -threshold, threshold)
        return jnp.sum(inner * (w - 0.5 * inner))

    return summed(of_leaf, mask, params)


def group_lasso(params: Params, axis: int | tuple[int, ...] = -1, mask: Mask | Any = kernels) -> Array:
    """The norms of groups of weights: sum over groups c sqrt(p) |w_g|, p being the size of a group; f32[].

    A group runs along `axis`. In a kernel [in, out], axis -1 makes a group of all weights that leave one input (a row),
    axis 0 of all that enter one unit (a column). The gradient is c sqrt(p) w_g / |w_g|, 0 for a group of zeros. In a
    kernel of stacked layers (`roles.stacks`) the axes are those of one layer.

    Source: Yuan & Lin (2006). Raises DecayError when a coefficient of the mask is an array.
    """

    def of_leaf(w: Array, layers: int) -> Array:
        squares = jnp.sum(magnitudes(w) * magnitudes(w), axis=behind(axis, layers))
        # a root has no derivative at 0, so the argument is exchanged before and the value after
        norms = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1.0)), 0.0)
        return math.sqrt(w.size / squares.size) * jnp.sum(norms)

    return summed(of_leaf, of_whole_leaves(mask), params, stacks(params))


def behind(axis: int | tuple[int, ...], layers: int) -> tuple[int, ...]:
    """Axes of one layer as those of a stack: axes from the end stay."""
    axes = axis if isinstance(axis, tuple) else (axis,)
    return tuple(number + layers if number >= 0 else number for number in axes)


def orthogonality(params: Params, mask: Mask | Any = kernels) -> Array:
    """How far matrices are from orthonormal columns (rows, where those are fewer): sum_i c_i |W'W - I|^2 / 4; f32[].

    The gradient is c W (W'W - I), W' being the conjugate transpose. A leaf with more axes is taken as the matrix [all
    but the last, last], and stacked layers (`roles.stacks`) as one each.

    Source: Brock et al. (1609.07093), with the quarter that makes the gradient's factor 1. Raises ValueError, while
    tracing, for a leaf that is no matrix, and DecayError when a coefficient of the mask is an array.
    """

    def of_leaf(w: Array, layers: int) -> Array:
        if w.ndim - layers < 2:
            raise ValueError(f"orthogonality needs matrices, but its mask takes in a leaf of shape {w.shape}")
        w = w.reshape(math.prod(w.shape[:layers]), -1, w.shape[-1])
        other = jnp.conj(jnp.swapaxes(w, 1, 2))
        gram = other @ w if w.shape[1] >= w.shape[2] else w @ other
        return 0.25 * jnp.sum(magnitudes(gram - jnp.eye(gram.shape[-1], dtype=w.dtype)) ** 2)

    return summed(of_leaf, of_whole_leaves(mask), params, stacks(params))


def distance(params: Params, target: Params, mask: Mask | Any = kernels) -> Array:
    """Half the squared distance to another tree: sum_i c_i (w_i - v_i)^2 / 2, whose gradient is c (w - v); f32[].

    The target is the weights that training starts from, or any others by the same names. Raises DecayError when they
    do not fit.

    Source: Li, Grandvalet & Davoine (1802.01483), L2-SP.
    """
    target = per_leaf(target, params, "target")
    return summed(lambda w, v: 0.5 * jnp.sum(magnitudes(w - v) ** 2), mask, params, target)


def penalized(loss: Loss, penalty: Penalty, strength: Number) -> Loss:
    """The loss with a penalty: L(w) + strength * penalty(w).

    The metrics keep the two terms apart: what `loss` reports, and "penalty" = strength * penalty(w).
    """

    def with_penalty(params: Params, extras: Extras, batch: Batch, key: Key):
        value, (extras, metrics) = loss(params, extras, batch, key)
        amount = strength * penalty(params)
        return value + amount, (extras, {**metrics, "penalty": amount})

    return with_penalty
