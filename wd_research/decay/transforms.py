"""Decay as one link of a chain of gradient transformations."""

import jax
import optax

from wd_research.decay.masks import matrices, weighted
from wd_research.decay.pulls import toward_zero
from wd_research.types import Array, Mask, Params, Pull


def decay_weights(rate: Array | float, pull: Pull = toward_zero, mask: Mask = matrices) -> optax.GradientTransformation:
    """Add the decay of the weights to what flows through the chain: u <- u + rate * c * pull(u, w).

    The chain carries ascent directions until it descends (`places`), hence the plus. `rate` is f32[], traced or not;
    where it stands in the chain decides what later links multiply it by.

    Raises ValueError when it is used without params.
    """

    def init(params: Params) -> optax.EmptyState:
        del params
        return optax.EmptyState()

    def update(updates: optax.Updates, state: optax.OptState, params: Params | None = None):
        if params is None:
            raise ValueError("decay_weights needs the params: call optimizer.update(gradients, state, params)")

        def decayed(coefficient, update, direction):
            return update if coefficient is False else update + weighted(coefficient, rate * direction)

        return jax.tree.map(decayed, mask(params), updates, pull(updates, params)), state

    return optax.GradientTransformation(init, update)
