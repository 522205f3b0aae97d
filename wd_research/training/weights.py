"""What is measured of every net's weights, whatever net it is: their norm, and how they are distributed."""

import jax
import jax.numpy as jnp
import numpy as np

from wd_research.types import Array, Params

MAGNITUDES = np.float32(10) ** np.arange(-4, 1.01, 0.25, dtype=np.float32)
EDGES = np.concatenate([-MAGNITUDES[::-1], MAGNITUDES])  # f32[42], so that what lies about 0 has a bin of its own


def of_weights(params: Params) -> dict[str, Array]:
    """The Euclidean norm of all weights, f32[], and the share of them below each of EDGES, f32[42].

    The second is the empirical distribution function: bins are its differences, a NaN is below no edge, and shares of
    members or seeds can be averaged. By comparisons, which fuse: no sort and no scatter.
    """
    leaves = [leaf.ravel() for leaf in jax.tree.leaves(params)]
    below = sum((jnp.sum(leaf[:, None] < EDGES, axis=0, dtype=jnp.float32) for leaf in leaves), jnp.zeros(len(EDGES)))
    squares = sum((jnp.sum(leaf * leaf, dtype=jnp.float32) for leaf in leaves), jnp.zeros(()))
    return {"norm": jnp.sqrt(squares), "below": below / max(1, sum(leaf.size for leaf in leaves))}
