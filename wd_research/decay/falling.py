"""Decay that falls: it begins large, and becomes smaller when the training loss has risen."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from wd_research.decay.masks import DecayError
from wd_research.decay.transforms import check_rate, decay_weights, is_function
from wd_research.flags import counts
from wd_research.types import Array, Mask, Number, Params

REFRACTORY = 0.1  # of a time scale of decay, after a fall, in which the loss may take its time


class FallingState(NamedTuple):
    """The rate, and what is known of the loss."""

    step: Array  # i32[]
    rate: Array  # f32[]
    total: Array  # f32[]: of the loss, since it was measured last
    least: Array  # f32[]: the least that was measured
    risen: Array  # f32[]: measurements in a row that were above it; no i32[], which an audit would take for a clock
    until: Array  # f32[]: the step before which the rate does not fall again


def falling_decay(
    rate: Number,
    every: int,
    factor: Number = 10.0,
    patience: int = 2,
    learning_rate: Number = 1.0,
    mask: Mask | Any = None,
) -> optax.GradientTransformationExtraArgs:
    """Add decay whose rate is divided by `factor` when the training loss has risen: u <- u + rate_t * c * w.

    The loss is measured as its mean over `every` steps. Where it was above the least so far `patience` times in a row,
    rate <- rate / factor, and the rate stays for .1 / (learning_rate * rate) steps: a tenth of the time scale of the
    new decay, if later links of the chain multiply it by `learning_rate`. It stands in any place for decay (`places`);
    the optimizer must be given the loss: `optimizer.update(gradients, state, params, value=loss)`. `mask` is that of
    `decay_weights`.

    Raises UserError for counts below one; DecayError for a rate that is no number, and for a factor of 1 or less;
    ValueError without params or value.

    Source: AutoL2, Lewkowycz & Gur-Ari (2006.08643), which begins at .1 with SGD of learning rate .1, measures the loss
    and the error of all training data, and whose tenth this is; the mean over steps and the patience are ours.
    """
    counts(every=every, patience=patience)
    check_rate(rate)
    if is_function(rate) or not jax.tree_util.all_leaves([rate]) or np.ndim(rate):
        raise DecayError(f"the rate is {rate}: give the one number that decay begins with")
    if isinstance(factor, int | float) and not factor > 1:
        raise DecayError(f"the factor is {factor}: give a number above 1, by which the rate is divided")

    def init(params: Params) -> FallingState:
        decay_weights(rate, mask=mask).init(params)
        first, nothing = jnp.asarray(rate, jnp.float32), jnp.zeros((), jnp.float32)
        return FallingState(jnp.zeros((), jnp.int32), first, nothing, jnp.full((), jnp.inf), nothing, nothing)

    def update(updates: optax.Updates, state: Any, params: Params | None = None, *, value: Any = None, **extra: Any):
        del extra
        if value is None:
            raise ValueError("falling_decay needs the loss: optimizer.update(gradients, state, params, value=loss)")
        updates, _ = decay_weights(state.rate, mask=mask).update(updates, optax.EmptyState(), params)
        return updates, measured(
            state._replace(step=state.step + 1, total=(state.total + value).astype(state.total.dtype))
        )

    def measured(state: FallingState) -> FallingState:
        now, mean = state.step % every == 0, state.total / every
        risen = jnp.where(mean > state.least, state.risen + 1, 0.0)
        falls = (risen >= patience) & (state.step >= state.until)
        rate = jnp.where(falls, state.rate / factor, state.rate)
        after = FallingState(
            state.step,
            rate,
            jnp.zeros_like(state.total),
            jnp.minimum(state.least, mean),
            jnp.where(falls, 0.0, risen),
            jnp.where(falls, state.step + jnp.round(REFRACTORY / (learning_rate * rate)), state.until),
        )
        return jax.tree.map(lambda new, old: jnp.where(now, new, old).astype(old.dtype), after, state)

    return optax.GradientTransformationExtraArgs(init, update)
