"""The decay that an optimizer has of its own, with a mask and with rates.

Optimizers that estimate their step or keep a second set of weights fit no place of a chain, because a link beside them
knows neither. With eta the step that they take at that time, their decay is right where this table puts it:

    prodigy, dadapt_adamw       own      a step removes eta * rate; gradients of the loss alone enter the estimate
    schedule_free(base)         in base  the sequence z loses eta * rate of the weights, and their average follows
    mechanize(base)             in base  the decay of the base, times the scale that is learned
    dog, dowg, cocob, madgrad   coupled  a link in front: what they estimate is the way to the optimum with decay

"own" is `decayed` around the optimizer; "in base" a link in the chain of the base, or `decayed` around all of it. An
estimated eta may come near the distance to the optimum, so the rate has to stay well below 1 / distance.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.interpreters.partial_eval import dce_jaxpr

from wd_research.decay.masks import DecayError, coefficients, per_leaf, weighted
from wd_research.decay.transforms import check_rate, is_function, kernels_unless, scheduled
from wd_research.types import Mask, Number, Params, Rate

EXAMPLE = "such as `lambda decay: optax.contrib.prodigy(weight_decay=decay)`"


def decayed(
    optimizer: Callable[[Number], optax.GradientTransformation], rate: Rate, mask: Mask | Any = None
) -> optax.GradientTransformation:
    """An optimizer's own decay, leaf by leaf: its step without decay + rate * c * (d step / d decay).

    `optimizer` is a function of its decay, `lambda decay: optax.contrib.prodigy(weight_decay=decay)`. Where the step
    is linear in the decay, as in AdamW and its kin, this is exact: with one rate for all leaves it is the optimizer
    at that rate, and a leaf that the mask leaves out moves as at decay 0. What the state keeps for each leaf, such as
    the second weights of `optax.contrib.schedule_free`, goes the same way. The size stays the optimizer's own, rate
    times the step that it has estimated; a share of the weights that does not know the estimate would shrink them
    while that is still near 0, and lead to an optimum that depends on it. Rate and mask are those of `decay_weights`.

    Raises DecayError when `optimizer` is no function, for a rate that is no number or NaN and, while tracing, when the
    step does not depend on the decay or is not linear in it leaf by leaf; ValueError when it is used without params.
    """
    if not callable(optimizer):
        raise DecayError(f"decayed wants a function of the decay, {EXAMPLE}; to an optimizer as it is, add a link")
    if is_function(rate):
        return scheduled(lambda now: decayed(optimizer, now, mask), rate)
    check_rate(rate)
    chosen = kernels_unless(mask)

    def init(params: Params) -> optax.OptState:
        if jax.tree.leaves(params):
            per_leaf(rate, params, "rate")
            coefficients(chosen, params)
        return optimizer(0.0).init(params)

    def update(updates: optax.Updates, state: optax.OptState, params: Params | None = None, **extra: Any):
        if params is None:
            raise ValueError("decayed needs the params: call optimizer.update(gradients, state, params)")

        def step(decay: Any):
            return optax.with_extra_args_support(optimizer(decay)).update(updates, state, params, **extra)

        def with_slope(decay: Any):
            return jax.jvp(step, (decay,), (1.0,))

        is_like = _is_like(params)
        _check(with_slope, is_like)
        trees = per_leaf(rate, params, "rate"), coefficients(chosen, params)

        def moved(still: Any, slope: Any) -> Any:
            return jax.tree.map(_along, *trees, still, slope) if is_like(still) else still

        return jax.tree.map(moved, *with_slope(0.0), is_leaf=is_like)

    return optax.GradientTransformationExtraArgs(init, update)


def _along(rate: Any, coefficient: Any, still: Any, slope: Any) -> Any:
    if rate is False or coefficient is False or slope.dtype == jax.dtypes.float0:
        return still
    return (still + weighted(coefficient, rate * slope)).astype(still.dtype)


def _is_like(params: Params) -> Callable[[Any], bool]:
    """Whether a node of a state is a tree like the params: an array for each leaf, of its shape."""
    structure, shapes = jax.tree.structure(params), list(map(jnp.shape, jax.tree.leaves(params)))
    return lambda node: jax.tree.structure(node) == structure and list(map(jnp.shape, jax.tree.leaves(node))) == shapes


def _check(with_slope: Callable[[Number], Any], is_like: Callable[[Any], bool]) -> None:
    """Raise DecayError unless the step is linear in the decay, leaf by leaf.

    Then its slope does not depend on the decay, nor does what is kept of all leaves together. Which of the outputs
    depend on it is seen in the program, because numbers may be traced.
    """
    program, (step, _) = jax.make_jaxpr(with_slope, return_shape=True)(0.0)
    nodes = jax.tree.leaves(step, is_leaf=is_like)
    of_all = [not is_like(node) for node in nodes for _ in jax.tree.leaves(node)]
    updates, none = len(jax.tree.leaves(step[0])), [False] * len(of_all)

    def depends(on: list[bool]) -> bool:
        return dce_jaxpr(program.jaxpr, on)[1][0]

    if updates and not depends([True] * updates + none[updates:] + none):
        raise DecayError(
            "the step of this optimizer does not depend on its decay, so nothing would decay: give a function that "
            f"builds it from the decay, {EXAMPLE}"
        )
    if depends(of_all + none) or depends(none + [True] * len(none)):
        raise DecayError(
            "the step of this optimizer is not linear in its decay, leaf by leaf (it divides the gradient by its size, "
            "or takes a norm of all leaves, with the decay in them): leave out its own decay, and put `decay_weights` "
            "in front of it"
        )
