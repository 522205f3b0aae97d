"""Decay as one link of a chain of gradient transformations, and what a link may be wrapped in."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from wd_research.decay.masks import DecayError, coefficients, kernels, leaf_name, per_leaf, weighted
from wd_research.decay.pulls import toward, toward_zero
from wd_research.decay.roles import named
from wd_research.types import Array, Mask, Number, Params, Prox, Pull, Rate


def decay_weights(rate: Rate, pull: Pull | None = None, mask: Mask | Any = None) -> optax.GradientTransformation:
    """Add the decay of the weights to what flows through the chain: u <- u + rate * c * pull(u, w).

    The chain carries ascent directions until it descends (`places`), hence the plus; where the link stands in it
    decides what later links multiply the rate by. `rate` is f32[], traced or not; or a tree of rates for
    `masks.per_leaf`, coarser than the params or with arrays that broadcast against a leaf; or a schedule, a function
    of the step with such rates, which counts its own steps. `mask` is for `masks.coefficients`, which gives c. Unless
    others are given, the pull is `toward_zero` and the mask `kernels`.

    `optax.inject_hyperparams` takes functions for schedules, which a rate may be; a pull or a mask must be named:
    `optax.inject_hyperparams(decay_weights, static_args=("pull", "mask"))(0.1, mask=everything)`.

    Raises DecayError for a rate that is no number or NaN, for a mask that is one value and, at init, when rate, pull or
    mask do not fit the params or nothing would decay; ValueError when it is used without params.
    """
    if is_function(rate):
        return scheduled(lambda now: decay_weights(now, pull, mask), rate)
    check_rate(rate)
    # None stands for them in the signature, where inject_hyperparams would take functions for schedules
    along, chosen = toward_zero if pull is None else pull, kernels_unless(mask)

    def init(params: Params) -> optax.EmptyState:
        if jax.tree.leaves(params):  # optax.tree.map_params asks with a tree that has none
            per_leaf(rate, params, "rate")
            coefficients(chosen, params)
            jax.eval_shape(along, params, params)  # a target that does not fit raises
        return optax.EmptyState()

    def update(updates: optax.Updates, state: optax.OptState, params: Params | None = None):
        if params is None:
            raise ValueError("decay_weights needs the params: call optimizer.update(gradients, state, params)")

        def of_leaf(rate: Any, coefficient: Any, update: Array, direction: Array) -> Array:
            if rate is False or coefficient is False:
                return update
            return update + weighted(coefficient, rate * direction)

        trees = per_leaf(rate, params, "rate"), coefficients(chosen, params)
        return jax.tree.map(of_leaf, *trees, updates, along(updates, params)), state

    return optax.GradientTransformation(init, update)


def check_rate(rate: Any) -> None:
    """Raise DecayError for a rate that cannot be meant: one bool or None for all leaves, True or NaN for any."""
    if rate is None or isinstance(rate, bool | np.bool_):
        raise DecayError(f"the rate is {rate}: give a number, a tree of numbers or a schedule, a function of the step")
    for keys, value in named(rate).items():
        which = f"the rate of {'/'.join(keys)}" if keys else "the rate"
        if value is True:
            raise DecayError(f"{which} is True: give a number, or None for no decay")
        known = isinstance(value, float | np.floating | np.ndarray | jax.Array) and not isinstance(value, Tracer)
        if known and np.isnan(value).any():
            raise DecayError(f"{which} is NaN: give a number")


def kernels_unless(mask: Mask | Any) -> Mask | Any:
    """The mask, or `kernels` where none is given. Raises DecayError for one value, which is no mask by intention."""
    if mask is None:
        return kernels
    if not callable(mask) and jax.tree_util.all_leaves([mask]) and np.ndim(mask) == 0:
        raise DecayError(
            f"the mask is one value, {mask}: give a function of the params, such as `everything`, or a tree; where it "
            "was a function, optax.inject_hyperparams took it for a schedule, so say "
            'inject_hyperparams(decay_weights, static_args=("pull", "mask"))'
        )
    return mask


def is_function(what: Any) -> bool:
    """Whether it can be called and is no tree: modules of Equinox are both."""
    return callable(what) and jax.tree_util.all_leaves([what])


def frozen(mask: Mask | Any) -> optax.GradientTransformation:
    """Weights that stay: u <- 0 where the mask takes a leaf in, else u, exactly, whatever u is.

    It stands last, after the descent and after a proximal step, because every link behind it moves the weights again.
    Zeros in front of an optimizer (`optax.masked(optax.set_to_zero(), mask)`) stop the gradients alone, not what a
    momentum remembers, and no decay; `optax.partition` keeps the decay of its own groups apart, and not that of a
    link behind it. The mask is for `masks.coefficients`, with bools alone; an array of them keeps a part of a leaf,
    such as the old rows of a token table.

    An optimizer with a second set of weights (`optax.contrib.schedule_free`) moves that all the same, and so the
    weights that are evaluated: there let `frozen` be the last link of its base optimizer.

    Raises DecayError, at init, when the mask does not fit the params, takes in no leaf or holds a number; ValueError
    when it is used without params.
    """

    def init(params: Params) -> optax.EmptyState:
        if jax.tree.leaves(params):
            _bools(mask, params)
        return optax.EmptyState()

    def update(updates: optax.Updates, state: optax.OptState, params: Params | None = None):
        if params is None:
            raise ValueError("frozen needs the params: call optimizer.update(gradients, state, params)")

        def held(taken: Any, update: Array) -> Array:
            return jnp.where(taken, jnp.zeros_like(update), update)

        return jax.tree.map(held, _bools(mask, params), updates), state

    return optax.GradientTransformation(init, update)


def _bools(mask: Mask | Any, params: Params) -> Params:
    """The coefficients of a mask that says yes or no."""
    chosen = coefficients(mask, params)
    for path, value in jax.tree_util.tree_leaves_with_path(chosen):
        if jnp.result_type(value) != jnp.bool_:
            raise DecayError(
                f"frozen wants True or False, and the mask of {leaf_name(path)} is {value}: a weight stays or moves"
            )
    return chosen


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

    `scheduled(partial(proximal_step, soft_threshold), schedule)` takes smaller proximal steps while the schedule falls.
    """

    def init(params: Params) -> ScheduledState:
        start = jnp.zeros((), jnp.int32)
        return ScheduledState(start, link(schedule(start)).init(params))

    def update(updates: optax.Updates, state: Any, params: Params | None = None, **extra: Any):
        now = optax.with_extra_args_support(link(schedule(state.step)))
        updates, inner = now.update(updates, state.link, params, **extra)
        return updates, ScheduledState(state.step + 1, inner)

    return optax.GradientTransformationExtraArgs(init, update)


def corrected(rate: Number, schedule: optax.Schedule, mask: Mask | Any = None) -> optax.GradientTransformation:
    """The decay of AdamC, for weights that a norm follows: in the decoupled place they shrink by eta s_t^2 * rate.

    The chain multiplies by eta s_t, so the link's own rate is rate * s_t, `schedule` being the chain's with peak 1.
    Then |g| / |w| keeps its equilibrium while the learning rate falls, instead of growing as 1 / sqrt(s_t).

    Source: Defazio (2506.02285).
    """
    return decay_weights(lambda step: rate * schedule(step), mask=mask)


def normalized(
    norm: Number, batch_size: int, examples: int, epochs: Number, mask: Mask | Any = None
) -> optax.GradientTransformation:
    """Normalized decay, for the independent place: rate = norm * sqrt(b / (n epochs)) = norm / sqrt(steps).

    Its best `norm` is meant to depend less on the length of training than the best rate does.

    Source: Loshchilov & Hutter (1711.05101), appendix B.1.
    """
    return decay_weights(norm * (batch_size / (examples * epochs)) ** 0.5, mask=mask)


class StartState(NamedTuple):
    """The weights that training started from, and the state of the link that decays toward them."""

    start: Params
    link: optax.OptState


def decay_toward_start(rate: Rate, mask: Mask | Any = None) -> optax.GradientTransformation:
    """Decay toward the weights w_0 that training started from: u <- u + rate * c * (w - w_0); the state keeps w_0.

    In the coupled place it equals `penalties.distance` to w_0 in the loss. Rate and mask are those of `decay_weights`.

    Source: Li, Grandvalet & Davoine (1802.01483), L2-SP.
    """

    def init(params: Params) -> StartState:
        start = jax.tree.map(jnp.copy, params)  # a buffer cannot be donated twice
        return StartState(start, decay_weights(rate, toward(start), mask).init(params))

    def update(updates: optax.Updates, state: Any, params: Params | None = None):
        updates, link = decay_weights(rate, toward(state.start), mask).update(updates, state.link, params)
        return updates, StartState(state.start, link)

    return optax.GradientTransformation(init, update)
