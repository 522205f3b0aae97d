"""The ledger: how large every leaf of the weights is, and how far each step moves and turns it."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from wd_research.decay.masks import coefficients, kernels
from wd_research.types import Array, Mask, Metrics, Number, Observe, Params


def ledger(predicted: Number | None = None, mask: Mask | Any = kernels) -> Observe:
    """For every leaf w its norm, its relative step and the angle by which it turns: `LEAF_norm` = |w'|, `LEAF_ratio` =
    |w' - w| / |w|, and `LEAF_angle` = the angle between w and w', in rad; f32[] each.

    `Arm(..., observe=lambda h: ledger())` records all three as means over the steps between two evaluations. A leaf of
    zeros has neither size nor direction: its ratio and angle are 0. Steps of small nets on a CPU took 1.4 to 1.8 times
    as long with it.

    Where an angle is `predicted`, in rad (`equilibrium.adam(h.learning_rate, h.decay)`), `LEAF_turning` = angle /
    predicted stands beside them for the leaves of the mask, those that decay: 1 in equilibrium. It is NaN where none is
    predicted because nothing decays.

    Source: the angular updates of Kosson et al. (2305.17212).
    """

    def observe(before: Params, gradients: optax.Updates, after: Params) -> Metrics:
        del gradients
        metrics: Metrics = {}
        decaying = jax.tree.leaves(
            jax.tree.map(lambda leaf: False, before) if predicted is None else coefficients(mask, before)
        )
        paths = jax.tree_util.tree_leaves_with_path(before)
        for (path, old), new, decays in zip(paths, jax.tree.leaves(after), decaying, strict=True):
            old, new, name = _wide(old), _wide(new), leaf_label(path)
            metrics[f"{name}_norm"] = _norm(new)
            metrics[f"{name}_ratio"] = _divided(_norm(new - old), _norm(old))
            metrics[f"{name}_angle"] = turned(old, new)
            if predicted is not None and np.any(decays):
                metrics[f"{name}_turning"] = jnp.where(predicted == 0, jnp.nan, metrics[f"{name}_angle"] / predicted)
        return metrics

    return observe


def turned(old: Array, new: Array) -> Array:
    """The angle between two weights of one shape, in rad; f32[], 0 where either is zero.

    2 arcsin(|u' - u| / 2) for their directions u and u': in float32 the difference of two close directions is exact,
    where 1 - <u, u'> is lost in rounding.
    """
    old, new = _wide(old), _wide(new)
    chord = _norm(_divided(new, _norm(new)) - _divided(old, _norm(old)))
    angle = 2 * jnp.arcsin(jnp.minimum(chord / 2, 1.0))
    return jnp.where(jnp.minimum(_norm(old), _norm(new)) == 0, 0.0, angle)


def leaf_label(path: Any) -> str:
    """`Dense_0.kernel`: a leaf's path as part of the name of a metric, in the characters that netCDF and TensorBoard
    allow; a tree that is one leaf is called `weights`.
    """
    name = jax.tree_util.keystr(path, simple=True, separator=".")
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name) or "weights"


def _wide(leaf: Array) -> Array:
    """The leaf in float32 at least: half precision can hold neither squares nor angles."""
    return leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))


def _norm(tensor: Array) -> Array:
    """The root of the sum of squares, f32[]."""
    return jnp.sqrt(jnp.sum(tensor * tensor))


def _divided(amount: Array, by: Array) -> Array:
    """amount / by, and 0 where `by` is 0."""
    return jnp.where(by == 0, 0.0, amount / jnp.where(by == 0, 1.0, by))
