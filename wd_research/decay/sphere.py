"""Training on a sphere: the norm of a weight stays what it was at the start, and a step turns it by a given angle.

Decay and gradients balance at a norm and at an angle per step; where the norm is held, the angle is what is left of
both. Weights of all leaves that are not held train as they would.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from wd_research.decay.masks import DecayError, coefficients, leaf_name
from wd_research.decay.places import descend
from wd_research.decay.transforms import kernels_unless
from wd_research.types import Array, Mask, Number, Params


def on_sphere(
    core: optax.GradientTransformation, learning_rate: Number, schedule: optax.Schedule, mask: Mask | Any = None
) -> optax.GradientTransformation:
    """Steps on the sphere: w <- R v / |v|, v = w - eta s_t R u / |u|, with R = |w_0| and u the step of the core.

    |.| is the Euclidean norm of a whole leaf, so that eta is about the angle of a step, in rad. Leaves that the mask,
    `kernels` unless another is given, leaves out take the step of the core times eta s_t.

    Source: Hyperball, 2606.16899.
    """
    steps = relative_steps(mask), optax.scale(learning_rate), optax.scale_by_schedule(schedule), descend
    return optax.chain(core, *steps, keep_norm(mask))


def relative_steps(mask: Mask | Any = None) -> optax.GradientTransformation:
    """A step as large as its weight: u <- |w| u / |u| for every leaf of the mask, to stand behind a core.

    A step of zeros stays one. Raises DecayError, at init, for a mask that does not fit or takes a part of a leaf;
    ValueError when it is used without params.
    """

    def of_leaf(taken: bool, u: Array, w: Array) -> Array:
        size = _norm(u)
        return (u * (_norm(w) / jnp.where(size == 0, 1.0, size))).astype(u.dtype) if taken else u

    def init(params: Params) -> optax.EmptyState:
        _whole_leaves(mask, params)
        return optax.EmptyState()

    def update(updates: optax.Updates, state: optax.OptState, params: Params | None = None):
        if params is None:
            raise ValueError("relative_steps needs the params: call optimizer.update(gradients, state, params)")
        return jax.tree.map(of_leaf, _whole_leaves(mask, params), updates, params), state

    return optax.GradientTransformation(init, update)


class NormState(NamedTuple):
    """The norms that stay."""

    norms: Params  # f32[] for every leaf


def keep_norm(mask: Mask | Any = None) -> optax.GradientTransformation:
    """Weights whose norm stays what it was at init: u <- |w_0| v / |v| - w, v = w + u, for every leaf of the mask.

    It stands last, after the descent. A leaf that starts at zero has no direction to keep, and trains as it would.
    Raises DecayError, at init, for a mask that does not fit or takes a part of a leaf; ValueError when it is used
    without params.

    Source: the norm that is held in the experiments of Omnigrok, Liu et al. (2210.01117).
    """

    def of_leaf(taken: bool, u: Array, w: Array, norm: Array) -> Array:
        if not taken:
            return u
        landed = (w + u).astype(jnp.promote_types(w.dtype, jnp.float32))
        size = _norm(landed)
        kept = landed * (norm / jnp.where(size == 0, 1.0, size)) - w
        return jnp.where((norm == 0) | (size == 0), u, kept).astype(u.dtype)

    def init(params: Params) -> NormState:
        _whole_leaves(mask, params)
        return NormState(jax.tree.map(_norm, params))

    def update(updates: optax.Updates, state: Any, params: Params | None = None):
        if params is None:
            raise ValueError("keep_norm needs the params: call optimizer.update(gradients, state, params)")
        return jax.tree.map(of_leaf, _whole_leaves(mask, params), updates, params, state.norms), state

    return optax.GradientTransformation(init, update)


def _norm(leaf: Array) -> Array:
    """The Euclidean norm of a leaf, in float32 at least; f32[]."""
    sizes = jnp.abs(leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)))
    largest = jnp.max(sizes, initial=0.0)  # whose square may be beyond what a float holds, above or below
    unit = jnp.where(largest == 0, 1.0, largest)
    return largest * jnp.sqrt(jnp.sum(jnp.square(sizes / unit)))


def _whole_leaves(mask: Mask | Any, params: Params) -> Params:
    """For every leaf whether the mask takes it. Raises DecayError where it takes a part of one."""
    if not jax.tree.leaves(params):  # optax.tree.map_params asks with a tree that has none
        return params

    def whole(path: Any, taken: Any) -> bool:
        if not isinstance(taken, bool):
            raise DecayError(f"a norm is that of a whole leaf, and the mask of {leaf_name(path)} is {taken}: give True "
                             "or False")  # fmt: skip
        return taken

    return jax.tree_util.tree_map_with_path(whole, coefficients(kernels_unless(mask), params))
