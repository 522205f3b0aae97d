"""Decay as one link of a chain of gradient transformations, and what a link may be wrapped in."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from wd_research.decay.masks import DecayError, leaf_name, matrices, weighted
from wd_research.decay.pulls import toward, toward_zero
from wd_research.types import Array, Mask, Number, Params, Prox, Pull, Rate


def decay_weights(rate: Rate, pull: Pull = toward_zero, mask: Mask = matrices) -> optax.GradientTransformation:
    """Add the decay of the weights to what flows through the chain: u <- u + rate * c * pull(u, w).

    The chain carries ascent directions until it descends (`places`), hence the plus. `rate` is f32[], traced or not, or
    a tree of such numbers, one per leaf or per subtree of the params; where it stands in the chain decides what later
    links multiply it by.

    Raises ValueError when it is used without params, and, at init, DecayError when a tree of rates or a mask does not
    fit them.
    """

    def init(params: Params) -> optax.EmptyState:
        _per_leaf(rate, params)
        mask(params)
        return optax.EmptyState()

    def update(updates: optax.Updates, state: optax.OptState, params: Params | None = None):
        if params is None:
            raise ValueError("decay_weights needs the params: call optimizer.update(gradients, state, params)")

        def decayed(rate, coefficient, update, direction):
            return update if coefficient is False else update + weighted(coefficient, rate * direction)

        return jax.tree.map(decayed, _per_leaf(rate, params), mask(params), updates, pull(updates, params)), state

    return optax.GradientTransformation(init, update)


def _per_leaf(rate: Rate, params: Params) -> Params:
    """The rate of every leaf."""
    try:
        return jax.tree.broadcast(rate, params)
    except ValueError as error:
        has, wants = ([leaf_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(t)] for t in (rate, params))
        raise DecayError(
            f"the tree of rates ({', '.join(has)}) does not fit the params: give a rate to every leaf or subtree of "
            + ", ".join(wants)
        ) from error


def proximal_step(prox: Prox, amount: Number) -> optax.GradientTransformation:
    """After the step to w + u, take the proximal one: u <- prox(w + u, amount) - w. It stands last, after the descent.

    Raises ValueError when it is used without params.
    """

    def update(updates: optax.Updates, params: Params | None = None) -> optax.Updates:
        if params is None:
            raise ValueError("proximal_step needs the params: call optimizer.update(gradients, state, params)")
        landed = prox(jax.tree.map(jnp.add, params, updates), amount)
        return jax.tree.map(jnp.subtract, landed, params)

    return optax.stateless(update)


class ScheduledState(NamedTuple):
    """The clock of a link, and the link's own state."""

    step: Array  # i32[]
    link: optax.OptState


def scheduled(
    link: Callable[[Any], optax.GradientTransformation], schedule: Callable[[Array], Rate]
) -> optax.GradientTransformation:
    """A link with a schedule of its own: link(schedule(t)) at step t.

    `scheduled(decay_weights, lambda t: rate * halving(t))` multiplies the decay, and only the decay, by `halving`.
    """

    def init(params: Params) -> ScheduledState:
        start = jnp.zeros((), jnp.int32)
        return ScheduledState(start, link(schedule(start)).init(params))

    def update(updates: optax.Updates, state: Any, params: Params | None = None):
        updates, inner = link(schedule(state.step)).update(updates, state.link, params)
        return updates, ScheduledState(state.step + 1, inner)

    return optax.GradientTransformation(init, update)


def corrected(rate: Number, schedule: optax.Schedule, mask: Mask = matrices) -> optax.GradientTransformation:
    """The decay of AdamC, for weights that a norm follows: in the decoupled place they shrink by eta s_t^2 * rate.

    The chain multiplies by eta s_t, so the link's own rate is rate * s_t, `schedule` being the chain's with peak 1.
    Then |g| / |w| keeps its equilibrium while the learning rate falls, instead of growing as 1 / sqrt(s_t).

    Source: Defazio (2506.02285).
    """
    return scheduled(lambda now: decay_weights(rate * now, mask=mask), schedule)


def normalized(
    norm: Number, batch_size: int, examples: int, epochs: Number, mask: Mask = matrices
) -> optax.GradientTransformation:
    """Normalized decay, for the independent place: rate = norm * sqrt(b / (n epochs)) = norm / sqrt(steps).

    Its best `norm` is meant to depend less on the length of training than the best rate does.

    Source: Loshchilov & Hutter (1711.05101), appendix B.1.
    """
    return decay_weights(norm * (batch_size / (examples * epochs)) ** 0.5, mask=mask)


class StartState(NamedTuple):
    """The weights that training started from."""

    start: Params


def decay_toward_start(rate: Rate, mask: Mask = matrices) -> optax.GradientTransformation:
    """Decay toward the weights w_0 that training started from: u <- u + rate * c * (w - w_0); the state keeps w_0.

    In the coupled place it equals `penalties.distance` to w_0 in the loss.

    Source: Li, Grandvalet & Davoine (1802.01483), L2-SP.
    """

    def init(params: Params) -> StartState:
        return StartState(jax.tree.map(jnp.copy, params))  # a buffer cannot be donated twice

    def update(updates: optax.Updates, state: Any, params: Params | None = None):
        link = decay_weights(rate, toward(state.start), mask)
        return link.update(updates, optax.EmptyState(), params)[0], state

    return optax.GradientTransformation(init, update)
