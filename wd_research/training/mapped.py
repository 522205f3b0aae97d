"""How a function of one member is mapped over the members of a device: all together, or in turn.

In turn, how many of them there are is a number at run time: one program trains a whole grid, and later a few chosen
points of it on other seeds.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from wd_research.types import Array

AXIS = "points"  # of the mesh
FIRST = np.int32(0)
Block = int | None  # points of a seed that advance together on a device; None: all points of all seeds


class Used(NamedTuple):
    """How many of a population's members are trained: the first seeds, and of each device the first points."""

    seeds: Any  # i32[]
    points: Any  # i32[], of all devices together


def share_of(points: Any, devices: int, device: Any) -> Any:
    """How many of so many points a device has; the first ones have one more where they do not divide."""
    return points // devices + (device < points % devices)


def all_at_once(
    begin: Callable[[Any], Any], function: Callable[[Any, Any, Any], Any], seeds: Any, members: Any, points: Any
) -> Any:  # fmt: skip
    """function(begin(a seed), a member, its point) of all members [s, h] together."""

    def of_seed(seed: Any, members: Any) -> Any:
        return jax.vmap(partial(function, begin(seed)))(members, points)

    return jax.vmap(of_seed)(seeds, members)


def in_turn(
    begin: Callable[[Any], Any], function: Callable[[Any, Any, Any], Any], block: int, used: Used, seeds: Any,
    members: Any, points: Any, in_place: bool = False,
) -> Any:  # fmt: skip
    """function(begin(a seed), a member, its point), `block` points of a seed at a time, of the members that are used.

    `in_place`: what it makes takes the members' place. Members that are not used stay as they are, and of what is made
    beside them they have zeros.
    """

    def grouped(leaf: Array, axis: int) -> Array:
        return leaf if block == 1 else leaf.reshape(*leaf.shape[:axis], -1, block, *leaf.shape[axis + 1 :])

    points = jax.tree.map(partial(grouped, axis=0), points)
    members = jax.tree.map(partial(grouped, axis=1), members)
    of_group = function if block == 1 else jax.vmap(function, in_axes=(None, 0, 0))  # no vmap over one

    def made(seed: Any, number: Any, group: Any, members: Any) -> Any:
        return of_group(seed, _at(members, number, group), _at(points, group))

    def of_seed(number: Array, results: Any) -> Any:
        seed = begin(_at(seeds, number))

        def of_points(group: Array, results: Any) -> Any:
            return _written(results, made(seed, number, group, results if in_place else members), number, group)

        return jax.lax.fori_loop(0, groups, of_points, results)

    def nothing() -> Any:
        one = jax.eval_shape(lambda: made(begin(_at(seeds, FIRST)), FIRST, FIRST, members))
        shape = jax.tree.leaves(members)[0].shape[:2]
        return jax.tree.map(lambda leaf: jnp.zeros((*shape, *leaf.shape), leaf.dtype), one)

    groups = -(-share_of(used.points, jax.lax.axis_size(AXIS), jax.lax.axis_index(AXIS)) // block)
    results = jax.lax.fori_loop(0, used.seeds, of_seed, members if in_place else nothing())
    return jax.tree.map(lambda leaf: leaf if block == 1 else leaf.reshape(leaf.shape[0], -1, *leaf.shape[3:]), results)


def _at(tree: Any, *indices: Any) -> Any:
    """The entries of a tree at indices of its first axes."""

    def of_leaf(leaf: Array) -> Array:
        inner = leaf.shape[len(indices) :]
        at, sizes = (*indices, *(FIRST,) * len(inner)), (*(1,) * len(indices), *inner)
        return jax.lax.dynamic_slice(leaf, at, sizes).reshape(inner)

    return jax.tree.map(of_leaf, tree)


def _written(tree: Any, entries: Any, *indices: Any) -> Any:
    """A tree with other entries at indices of its first axes."""

    def of_leaf(leaf: Array, entry: Array) -> Array:
        at = *indices, *(FIRST,) * entry.ndim
        return jax.lax.dynamic_update_slice(leaf, entry.reshape(*(1,) * len(indices), *entry.shape), at)

    return jax.tree.map(of_leaf, tree, entries)
