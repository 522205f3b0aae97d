"""Decay in units of Adam's step: the rate divided by the root of the mean second moment of all gradients."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from wd_research.decay.transforms import decay_weights
from wd_research.types import Array, Mask, Number, Params, Rate


class StableState(NamedTuple):
    """The core's state, and what the decay is divided by."""

    moment: Array  # f32[]: a running sum of the mean square of the gradients, older ones weighing less
    weight: Array  # f32[]: the running sum of as many ones; no count of steps, which an audit would take for a clock
    core: optax.OptState
    link: optax.OptState  # of the decay


def stable_decay(
    core: optax.GradientTransformation, rate: Rate, b2: Number = 0.999, mask: Mask | Any = None
) -> optax.GradientTransformation:
    """A core and its decay by one number for all weights: u = core(g) + rate / sqrt(v_t) c w, the decay of AdamS.

    v_t is the mean over all entries of Adam's second moment without its bias, sum_k (1 - b2) b2^(t-k) mean(g_k^2) /
    (1 - b2^t), so `b2` is the core's. Learning rate and schedule follow as in the decoupled place:
    `optax.chain(stable_decay(...), optax.scale(learning_rate), optax.scale_by_schedule(schedule), wd.descend)`. Rate
    and mask are those of `decay_weights`, and so is what is raised.

    Source: AdamS, Xie et al. (2011.11152).
    """
    link = decay_weights(rate, mask=mask)

    def init(params: Params) -> StableState:
        nothing = jnp.zeros((), jnp.float32)
        return StableState(nothing, nothing, core.init(params), link.init(params))

    def update(updates: optax.Updates, state: Any, params: Params | None = None, **extra: Any):
        leaves = [leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)) for leaf in jax.tree.leaves(updates)]
        squares = sum((jnp.sum(jnp.square(jnp.abs(leaf))) for leaf in leaves), jnp.zeros(()))
        mean = squares / max(1, sum(leaf.size for leaf in leaves))
        moment, weight = (
            (b2 * old + (1 - b2) * new).astype(old.dtype) for old, new in ((state.moment, mean), (state.weight, 1.0))
        )
        stepped, inner = optax.with_extra_args_support(core).update(updates, state.core, params, **extra)
        pulled, after = link.update(jax.tree.map(jnp.zeros_like, stepped), state.link, params)
        size = jnp.sqrt(moment / weight)
        # before the first gradient there is no unit, and nothing decays
        share = jnp.where(size > 0, 1 / jnp.where(size > 0, size, 1.0), 0.0)
        decayed = jax.tree.map(lambda u, pull: (u + share * pull).astype(u.dtype), stepped, pulled)
        return decayed, StableState(moment, weight, inner, after)

    return optax.GradientTransformationExtraArgs(init, update)
