"""Decay in units of Adam's step: the rate divided by the root of the mean second moment of all gradients."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from wd_research.decay.transforms import decay_weights
from wd_research.types import Array, Mask, Number, Params


class StableState(NamedTuple):
    """The core's state, and what the decay is divided by."""

    step: Array  # i32[]
    moment: Array  # f32[]: a running mean of the mean square of the gradients
    core: optax.OptState


def stable_decay(
    core: optax.GradientTransformation, rate: Number, b2: Number = 0.999, mask: Mask | Any = None
) -> optax.GradientTransformation:
    """A core and its decay by one number for all weights: u = core(g) + rate / sqrt(v_t) c w, the decay of AdamS.

    v_t is the mean over all entries of Adam's second moment without its bias, sum_k (1 - b2) b2^(t-k) mean(g_k^2) /
    (1 - b2^t), so `b2` is the core's. Learning rate and schedule follow as in the decoupled place:
    `optax.chain(stable_decay(...), optax.scale(learning_rate), optax.scale_by_schedule(schedule), wd.descend)`. Rate
    and mask are those of `decay_weights`, and so is what is raised.

    Source: AdamS, Xie et al. (2011.11152).
    """
    decay_weights(rate, mask=mask)  # what cannot be a rate or a mask is said at once

    def init(params: Params) -> StableState:
        decay_weights(rate, mask=mask).init(params)
        return StableState(jnp.zeros((), jnp.int32), jnp.zeros(()), core.init(params))

    def update(updates: optax.Updates, state: Any, params: Params | None = None, **extra: Any):
        leaves = [leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)) for leaf in jax.tree.leaves(updates)]
        squares = sum((jnp.sum(jnp.square(jnp.abs(leaf))) for leaf in leaves), jnp.zeros(()))
        mean = squares / max(1, sum(leaf.size for leaf in leaves))
        step, moment = state.step + 1, b2 * state.moment + (1 - b2) * mean
        stepped, inner = optax.with_extra_args_support(core).update(updates, state.core, params, **extra)
        size = jnp.sqrt(moment / (1 - b2**step))
        # before the first gradient there is no unit, and nothing decays
        now = jnp.where(size > 0, rate / jnp.where(size > 0, size, 1.0), 0.0)
        decayed, _ = decay_weights(now, mask=mask).update(stepped, optax.EmptyState(), params)
        return decayed, StableState(step, moment, inner)

    return optax.GradientTransformationExtraArgs(init, update)
