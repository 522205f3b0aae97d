"""The setting in which the article's rows are decided: few digits, some of them mislabelled, and Adam with a cosine."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import optax

import wd_research as wd

TRAIN_SIZE, VALIDATION_SIZE, LABEL_NOISE, BATCH_SIZE, WIDTH = 200, 400, 0.2, 50, 32


def digits_task(
    net: nn.Module,
    train_size: int = TRAIN_SIZE,
    label_noise: float = LABEL_NOISE,
    batch_size: int = BATCH_SIZE,
    settings: Callable[[wd.Hypers], Mapping[str, Any]] = wd.no_settings,
    validation_size: int = VALIDATION_SIZE,
) -> wd.Task:
    """Learn `train_size` digits, a share of them mislabelled; some are for validation and the rest for testing.

    Raises UserError when the sizes do not fit the 1,797 digits.
    """
    examples = wd.digits()
    wd.check_sizes(examples, train_size, validation_size, label_noise)

    def split(seed: int) -> wd.Split:
        return wd.draw_split(examples, seed, train_size, validation_size, label_noise)

    return wd.classification(net, examples, split, batch_size, settings)


def adam(steps: int) -> Callable[[wd.Hypers], optax.GradientTransformation]:
    """Adam with decoupled decay at the rate h.decay; the learning rate falls from h.learning_rate to 0 by a cosine."""
    cosine = optax.cosine_decay_schedule(1.0, steps)

    def optimizer(hypers: wd.Hypers) -> optax.GradientTransformation:
        return wd.decoupled(optax.scale_by_adam(), wd.decay_weights(hypers.decay), hypers.learning_rate, cosine)

    return optimizer


def with_penalties(task: wd.Task, hypers: wd.Hypers) -> wd.Loss:
    """The loss with L2 of strength h.strength and L1 of strength h.l1_strength."""

    def penalty(params: wd.Params) -> wd.Array:
        return hypers.strength * wd.l2(params) + hypers.l1_strength * wd.l1(params)

    return wd.penalized(task.loss(hypers), penalty, 1.0)
