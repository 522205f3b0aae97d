"""Probes: one number that says something of a trained net, as pure functions of its weights or of its function.

They are traced inside the compiled evaluation; nothing here depends on a net or a data set.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from wd_research.results import EDGES
from wd_research.types import Array, Params


def effective_rank(matrix: Array) -> Array:
    """|W|_F^4 / |W'W|_F^2 of f32[i, o], the effective number of the squared singular values; f32[], 1 to min(i, o).

    A matrix of zeros has 0. By products alone: LAPACK's decompositions do not return where several devices of one CPU
    run them at once (seen with jax 0.10.2).

    Source: the participation ratio, Bell & Dean (1970), of the spectrum.
    """
    gram = matrix.T @ matrix
    squares = jnp.sum(gram * gram)
    return jnp.where(squares > 0, jnp.trace(gram) ** 2 / jnp.where(squares > 0, squares, 1.0), 0.0)


def effective_number(amounts: Array) -> Array:
    """(sum a)^2 / sum a^2 of amounts a >= 0, f32[k]; f32[]: how many of them would hold as much if all were alike.

    1 where one holds all, k where all are alike; 0 for amounts of zero. Source: the participation ratio, Bell & Dean
    (1970).
    """
    squares = jnp.sum(amounts * amounts)
    return jnp.where(squares > 0, jnp.sum(amounts) ** 2 / jnp.where(squares > 0, squares, 1.0), 0.0)


def sensitivity(function: Callable[[Array], Array], inputs: Array) -> Array:
    """Root mean square over examples of the size of the Jacobian: sqrt(mean_n |df/dx at x_n|_F^2), x f32[b, i]; f32[].

    The function takes f32[b, i] to f32[b, o], example by example. By one backward pass per output.

    Source: Novak et al. (1802.08760), who find it in line with generalization.
    """
    return jnp.sqrt(jnp.mean(jnp.sum(_jacobian(function, inputs) ** 2, axis=(0, 2))))


def saliency(function: Callable[[Array], Array], inputs: Array) -> Array:
    """How much each input matters: a_i = sqrt(mean_n sum_o (df_o/dx_i at x_n)^2), from x f32[b, i]; f32[i].

    Source: Simonyan, Vedaldi & Zisserman (1312.6034), gradients with respect to inputs.
    """
    return jnp.sqrt(jnp.mean(jnp.sum(_jacobian(function, inputs) ** 2, axis=0), axis=0))


def _jacobian(function: Callable[[Array], Array], inputs: Array) -> Array:
    """df_o/dx_i of every example, f32[o, b, i]; examples do not mix, so a sum over them separates again."""
    outputs, backward = jax.vjp(function, inputs)
    seeds = jnp.eye(outputs.shape[-1], dtype=outputs.dtype)
    return jax.vmap(lambda seed: backward(jnp.broadcast_to(seed, outputs.shape))[0])(seeds)


def weight_statistics(params: Params) -> dict[str, Array]:
    """The Euclidean norm of all weights, f32[], and the share of them below each of `results.EDGES`, f32[42].

    The second is the empirical distribution function: bins are its differences, a NaN is below no edge, and shares of
    members or seeds can be averaged. By comparisons, which fuse: no sort and no scatter.
    """
    # One row of all weights: leaf by leaf, a transformer's would take as long to compile as its evaluation.
    weights = jnp.concatenate([jnp.zeros(0), *(leaf.ravel() for leaf in jax.tree.leaves(params))])
    below = jnp.sum(weights[:, None] < EDGES, axis=0, dtype=jnp.float32)
    squares = jnp.sum(weights * weights, dtype=jnp.float32)
    return {"norm": jnp.sqrt(squares), "below": below / max(1, weights.size)}
