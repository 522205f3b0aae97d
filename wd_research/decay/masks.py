"""Which leaves decay, and how much: functions from params to a tree of coefficients."""

import re

import jax
import jax.numpy as jnp

from wd_research.flags import UserError
from wd_research.types import Array, Mask, Number, Params


class DecayError(UserError):
    """A decay that does not fit the params: a mask that matches nothing, rates for other leaves."""


def leaf_name(path: tuple) -> str:
    """The name of a leaf as patterns see it: `Dense_0/kernel`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def everything(params: Params) -> Params:
    """Every leaf decays: c = 1."""
    return jax.tree.map(lambda leaf: True, params)


def matrices(params: Params) -> Params:
    """Leaves with two or more axes decay; biases and the scales of norms do not: c = [ndim(w) >= 2].

    Source: the usual practice, e.g. He et al. (1812.01187), section 3.1.
    """
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) >= 2, params)


def matching(pattern: str) -> Mask:
    """Leaves whose name holds a match of the regular expression decay: c = [search(pattern, name(w))].

    Raises DecayError, a ValueError, when the mask meets its params and no leaf matches.
    """
    expression = re.compile(pattern)

    def mask(params: Params) -> Params:
        matched = jax.tree_util.tree_map_with_path(
            lambda path, leaf: expression.search(leaf_name(path)) is not None, params
        )
        if not any(jax.tree.leaves(matched)):
            names = ", ".join(leaf_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params))
            raise DecayError(f"the mask pattern {pattern!r} matches no leaf; the leaves are: {names}")
        return matched

    return mask


def entries(params: Params, mask: Mask = matrices) -> Array:
    """All entries of the leaves that a mask of bools takes in, one after the other; f32[k]."""
    chosen = zip(jax.tree.leaves(mask(params)), jax.tree.leaves(params), strict=True)
    return jnp.concatenate([jnp.ravel(leaf) for taken, leaf in chosen if taken])


def weighted(coefficient: bool | Number, amount: Number) -> Number:
    """c * amount, leaving `amount` as it is where c is True, so that a mask of bools costs and rounds nothing."""
    return amount if coefficient is True else coefficient * amount
