"""Decay of entries that are drawn anew at every step: the control of rules that choose entries for a reason."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer

from wd_research.decay.masks import DecayError
from wd_research.decay.transforms import decay_weights
from wd_research.types import Array, Key, Mask, Number, Params, Rate


class ChanceState(NamedTuple):
    """What the next draw depends on, and the state of the link that decays."""

    key: Key
    step: Array  # i32[]
    link: optax.OptState


def decay_at_random(
    rate: Rate, key: Key, share: Number = 0.5, mask: Mask | Any = None
) -> optax.GradientTransformation:  # fmt: skip
    """Decay of a random part of the weights: u <- u + rate * c * b * w, b = 1 with probability `share`, else 0.

    b is drawn for every entry, leaf and step from fold_in(key, step). The cautious rule decays about a half of the
    entries, those where u w >= 0: this one decays as many, whichever they are. In an arm all seeds draw alike, from
    this key, so that intervals over seeds are for these draws. Rate and mask are those of `decay_weights`, and so is
    what is raised; DecayError for a share beyond 0 to 1 too.
    """
    known = not isinstance(share, Tracer)
    if known and not 0 <= float(share) <= 1:
        raise DecayError(f"the share is {share}: give a part of the weights, from 0 to 1")

    def drawn(now: Key) -> Any:
        def pull(updates: optax.Updates, params: Params) -> optax.Updates:
            del updates
            leaves, treedef = jax.tree.flatten(params)
            keys = jax.random.split(now, max(1, len(leaves)))
            taken = [jax.random.uniform(k, leaf.shape) < share for k, leaf in zip(keys, leaves, strict=False)]
            return jax.tree.unflatten(treedef, [jnp.where(b, w, 0) for b, w in zip(taken, leaves, strict=True)])

        return decay_weights(rate, pull, mask)

    def init(params: Params) -> ChanceState:
        return ChanceState(key, jnp.zeros((), jnp.int32), drawn(key).init(params))

    def update(updates: optax.Updates, state: Any, params: Params | None = None):
        updates, link = drawn(jax.random.fold_in(state.key, state.step)).update(updates, state.link, params)
        return updates, ChanceState(state.key, state.step + 1, link)

    return optax.GradientTransformation(init, update)
