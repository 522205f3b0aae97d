"""The place of decay is the order of the links in one chain.

    coupled      decay core  lr    sched descend    L2 in the loss
    decoupled    core  decay lr    sched descend    optax.adamw, torch.optim.AdamW
    independent  core  lr    decay sched descend    Loshchilov & Hutter
    constant     core  lr    sched decay descend    untouched by either
    proximal     core  lr    sched descend prox     after the step

`core` is an optimizer without learning rate (`optax.scale_by_adam()`, `optax.trace(0.9)`, `optax.identity()`),
`decay` a link that decays (`transforms.decay_weights`), `learning_rate` f32[], traced or not, and `schedule` step ->
factor with peak 1. With eta the learning rate, s_t the schedule, and a pull toward zero at the given rate, the weights
shrink per step by the factor that each docstring states.
"""

from functools import partial

import jax
import optax

from wd_research.decay.transforms import proximal_step, scheduled
from wd_research.types import Number, Prox

descend = optax.scale(-1.0)
as_gradients = optax.stateless(lambda updates, params: jax.tree.map(lambda u, w: u.astype(w.dtype), updates, params))


def coupled(
    core: optax.GradientTransformation,
    decay: optax.GradientTransformation,
    learning_rate: Number,
    schedule: optax.Schedule,
) -> optax.GradientTransformation:
    """The gradient becomes g + rate * w before the core sees it: L2 in the loss. No factor of its own under Adam.

    It keeps the dtype of the weights, so that a core's memory does too.

    Source: Loshchilov & Hutter (1711.05101), algorithm 2, the variant with L2 regularization.
    """
    return optax.chain(
        decay, as_gradients, core, optax.scale(learning_rate), optax.scale_by_schedule(schedule), descend
    )


def decoupled(
    core: optax.GradientTransformation,
    decay: optax.GradientTransformation,
    learning_rate: Number,
    schedule: optax.Schedule,
) -> optax.GradientTransformation:
    """Weights shrink by 1 - s_t * eta * rate: the convention of optax.adamw and torch.optim.AdamW."""
    return optax.chain(core, decay, optax.scale(learning_rate), optax.scale_by_schedule(schedule), descend)


def independent(
    core: optax.GradientTransformation,
    decay: optax.GradientTransformation,
    learning_rate: Number,
    schedule: optax.Schedule,
) -> optax.GradientTransformation:
    """Weights shrink by 1 - s_t * rate, whatever the learning rate.

    Source: Loshchilov & Hutter (1711.05101), algorithm 2, line 12 (AdamW; their SGDW keeps the schedule inside the
    momentum as well, which a chain does not).
    """
    return optax.chain(core, optax.scale(learning_rate), decay, optax.scale_by_schedule(schedule), descend)


def constant(
    core: optax.GradientTransformation,
    decay: optax.GradientTransformation,
    learning_rate: Number,
    schedule: optax.Schedule,
) -> optax.GradientTransformation:
    """Weights shrink by 1 - rate at every step, whatever the learning rate and the schedule."""
    return optax.chain(core, optax.scale(learning_rate), optax.scale_by_schedule(schedule), decay, descend)


def proximal(
    core: optax.GradientTransformation,
    prox: Prox,
    strength: Number,
    learning_rate: Number,
    schedule: optax.Schedule,
) -> optax.GradientTransformation:
    """After each step the weights take the proximal one: w <- prox(w + u, s_t * eta * strength).

    With a core of gradient descent it minimises loss + strength * penalty, and l1 leaves exact zeros; after Adam, whose
    steps are not the gradient's, it ends elsewhere.

    Source: Parikh & Boyd (2014), section 4.2, the proximal gradient method.
    """
    shrinking = scheduled(partial(proximal_step, prox), lambda step: learning_rate * strength * schedule(step))
    return optax.chain(core, optax.scale(learning_rate), optax.scale_by_schedule(schedule), descend, shrinking)
