"""Which leaves decay, and how much: functions from params to a tree of coefficients, or such a tree itself."""

import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from wd_research.decay.roles import Keys, named, roles
from wd_research.flags import UserError
from wd_research.types import Array, Mask, Number, Params


class DecayError(UserError):
    """A decay that does not fit the params: a mask that matches nothing, rates for other leaves."""


def leaf_name(path: tuple[Any, ...]) -> str:
    """The name of a leaf as patterns see it: `Dense_0/kernel`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def per_leaf(values: Any, params: Params, what: str = "mask") -> Params:
    """The value of every leaf of the params, from a tree that may be coarser: a number for a whole subtree, or for all.

    Trees meet by names, so that a FrozenDict fits a dict; None is False; bools, numbers and arrays that broadcast
    against the leaf stay. `what` the values are ("mask", "rate") stands in the errors. Raises DecayError for an entry
    without a leaf, a leaf without a value, and an array of another shape.
    """
    known = named(params)
    leaves = {keys: leaf for keys, leaf in known.items() if jax.tree.leaves(leaf)}
    subtrees = {keys[:length] for keys in known for length in range(len(keys) + 1)}
    given = {keys: value for keys, value in named(values).items() if value is None or jax.tree.leaves(value)}
    for keys in given:
        if keys not in subtrees:
            raise DecayError(f"the {what} has an entry {'/'.join(keys)}, and the params nothing there: {_are(params)}")

    def of_leaf(keys: Keys, leaf: Any) -> Any:
        above = [keys[:length] for length in range(len(keys) + 1) if keys[:length] in given]
        if not above:
            raise DecayError(
                f"the {what} says nothing of {'/'.join(keys)}: give a value to it or to a subtree that it is in; "
                f"{_are(params)}"
            )
        return _value(given[above[0]], leaf, f"the {what} of {'/'.join(keys) or 'the only leaf'}")

    return jax.tree.unflatten(jax.tree.structure(params), [of_leaf(*pair) for pair in leaves.items()])


def _value(value: Any, leaf: Any, which: str) -> Any:
    if value is None or isinstance(value, bool | np.bool_):
        return bool(value)
    if callable(value):
        raise DecayError(f"{which} is a function: a schedule is one function of the step that returns the whole tree")
    if not isinstance(value, int | float | np.number | np.ndarray | jax.Array):
        raise DecayError(f"{which} is {value!r}: give True, False, None, a number or an array of numbers")
    try:
        fits = np.broadcast_shapes(np.shape(value), np.shape(leaf)) == np.shape(leaf)
    except ValueError:
        fits = False
    if not fits:
        raise DecayError(
            f"{which} has shape {np.shape(value)}, which does not broadcast against the leaf's, {np.shape(leaf)}: give "
            "a number, or an array with 1 on the axes along which it is the same"
        )
    return value


def _are(params: Params) -> str:
    names = ["/".join(keys) or "one without a name" for keys, leaf in named(params).items() if jax.tree.leaves(leaf)]
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"the leaves are: {', '.join(names[:20])}{more}"


def coefficients(mask: Mask | Any, params: Params) -> Params:
    """The coefficients of a mask: a tree shaped like the params of bools, numbers, and arrays that fit the leaf.

    The mask is a function of the params or a tree for `per_leaf`. Raises DecayError when it does not fit them, and when
    it is False or 0 for every leaf.
    """
    tree = per_leaf(_tree(mask, params), params)
    found = jax.tree.leaves(tree)
    if found and all(map(_is_none, found)):
        raise DecayError(f"the mask takes in no leaf, so nothing would decay: give one that does; {_are(params)}")
    return tree


def _is_none(coefficient: Any) -> bool:
    """Whether nothing decays by a coefficient; one that is traced may be anything."""
    return not isinstance(coefficient, Tracer) and not np.any(coefficient)


def of_whole_leaves(mask: Mask | Any) -> Mask:
    """The mask, for what takes leaves or groups as a whole: it raises DecayError where a coefficient is an array."""

    def numbers(params: Params) -> Params:
        tree = coefficients(mask, params)
        for keys, c in named(tree).items():
            if np.ndim(c):
                raise DecayError(
                    f"the mask of {'/'.join(keys)} is an array, and leaves are penalized as a whole here: give a number"
                )
        return tree

    return numbers


def _tree(mask: Mask | Any, params: Params) -> Any:
    # a tree of modules (Equinox, nnx) can be called too, and is none the less a tree
    return mask(params) if callable(mask) and jax.tree_util.all_leaves([mask]) else mask


def kernels(params: Params) -> Params:
    """Leaves that multiply their inputs decay; biases, gains of norms and tables do not: c = [role is kernel].

    The role is told by names (`roles`), so that layers decay alike, stacked or not. Source: the usual practice, e.g. He
    et al. (1812.01187), section 3.1, and what the recipes of `docs/leaves.md` have in common.
    """
    return _of_kind("kernel", params)


def biases(params: Params) -> Params:
    """Leaves that are added to the output of a layer, the offsets of norms among them: c = [role is bias]."""
    return _of_kind("bias", params)


def norms(params: Params) -> Params:
    """The gains of norms, and other gains of one number per unit, such as layer scales: c = [role is norm]."""
    return _of_kind("norm", params)


def embeddings(params: Params) -> Params:
    """Tables and tokens that are looked up or added, of positions too: c = [role is embedding]."""
    return _of_kind("embedding", params)


def _of_kind(kind: str, params: Params) -> Params:
    return jax.tree.unflatten(jax.tree.structure(params), [role.kind == kind for role in roles(params).values()])


def everything(params: Params) -> Params:
    """Every leaf decays: c = 1."""
    return jax.tree.map(lambda leaf: True, params)


def matrices(params: Params) -> Params:
    """Leaves with two or more axes decay, whatever they are: c = [ndim(w) >= 2].

    It takes in the biases [heads, dim] of an attention, everything in stacked layers, and tables; `kernels` does not.
    Source: Karpathy's nanoGPT, flax's ImageNet example, timm.
    """
    return jax.tree.map(lambda leaf: np.ndim(leaf) >= 2, params)


def matching(pattern: str) -> Mask:
    """Leaves whose name holds a match of the regular expression decay: c = [search(pattern, name(w))].

    Raises DecayError, a ValueError, when the mask meets its params and no leaf matches.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise DecayError(f"the mask pattern {pattern!r} is no regular expression: {error}") from error

    def mask(params: Params) -> Params:
        leaves = [keys for keys, leaf in named(params).items() if jax.tree.leaves(leaf)]
        matched = [expression.search("/".join(keys)) is not None for keys in leaves]
        if leaves and not any(matched):
            raise DecayError(f"the mask pattern {pattern!r} matches no leaf; {_are(params)}")
        return jax.tree.unflatten(jax.tree.structure(params), matched)

    return mask


def all_but(*masks: Mask | Any) -> Mask:
    """Leaves decay that none of the masks takes in: c = 1 - [any c_k is not 0], for masks of bools.

    Raises DecayError without masks.
    """
    if not masks:
        raise DecayError("all_but wants masks to leave out, such as `all_but(biases)`: for every leaf say `everything`")

    def mask(params: Params) -> Params:
        taken = [jax.tree.leaves(per_leaf(_tree(left_out, params), params)) for left_out in masks]
        left = [not any(of_leaf) for of_leaf in zip(*taken, strict=True)]
        return jax.tree.unflatten(jax.tree.structure(params), left)

    return mask


def describe(mask: Mask | Any, params: Params) -> str:
    """A table of what a mask does: every leaf, its shape, its role, the rule that tells it, and whether it decays.

    A coefficient that is a number stands in place of "yes". The leaves may be `jax.ShapeDtypeStruct`, so that
    `jax.eval_shape` of a net's init is enough. Raises DecayError as `coefficients` does.
    """
    found, leaves = jax.tree.leaves(coefficients(mask, params)), jax.tree.leaves(params)
    rows = [("leaf", "shape", "role", "by", "decays")] + [
        ("/".join(keys), "x".join(map(str, np.shape(leaf))) or "number", role.kind, role.rule, _said(c))
        for (keys, role), leaf, c in zip(roles(params).items(), leaves, found, strict=True)
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    sizes = [math.prod(np.shape(leaf)) for leaf in leaves]
    decaying = [size for size, c in zip(sizes, found, strict=True) if c is not False]
    last = f"{len(decaying)} of {len(sizes)} leaves decay, {sum(decaying):,} of {sum(sizes):,} weights"
    return "\n".join([*lines, last])


def _said(coefficient: Any) -> str:
    if isinstance(coefficient, bool):
        return "yes" if coefficient else "no"
    if np.size(coefficient) != 1:
        return "x".join(map(str, np.shape(coefficient)))
    try:
        return f"{float(coefficient):g}"
    except jax.errors.ConcretizationTypeError:
        return "traced"


def entries(params: Params, mask: Mask | Any = kernels) -> Array:
    """All entries of the leaves that a mask of bools takes in, one after the other; f32[k]."""
    chosen = zip(jax.tree.leaves(coefficients(mask, params)), jax.tree.leaves(params), strict=True)
    return jnp.concatenate([jnp.ravel(leaf) for taken, leaf in chosen if taken])


def weighted(coefficient: bool | Number, amount: Number) -> Number:
    """c * amount, leaving `amount` as it is where c is True, so that a mask of bools costs and rounds nothing."""
    return amount if coefficient is True else coefficient * amount
