"""The setting in which the article's rows are decided: few digits, some of them mislabelled, and Adam with a cosine."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import optax

from wd_research.decay.penalties import l1, l2, penalized
from wd_research.decay.places import decoupled
from wd_research.decay.transforms import decay_weights
from wd_research.training.data import Split, check_sizes, digits, draw_split
from wd_research.training.tasks import classification, no_settings
from wd_research.types import Array, Hypers, Loss, Params, Task

TRAIN_SIZE, VALIDATION_SIZE, FLIPPED, BATCH_SIZE, WIDTH = 200, 400, 0.2, 50, 32


def digits_task(
    net: nn.Module,
    train_size: int = TRAIN_SIZE,
    flipped: float = FLIPPED,
    batch_size: int = BATCH_SIZE,
    settings: Callable[[Hypers], Mapping[str, Any]] = no_settings,
) -> Task:
    """Learn `train_size` digits, a share of them mislabelled; 400 are for validation and the rest for testing.

    Raises ValueError when the sizes do not fit the 1,797 digits.
    """
    examples = digits()
    check_sizes(examples, train_size, VALIDATION_SIZE, flipped)

    def split(seed: int) -> Split:
        return draw_split(examples, seed, train_size, VALIDATION_SIZE, flipped)

    return classification(net, examples, split, batch_size, settings)


def adam(steps: int) -> Callable[[Hypers], optax.GradientTransformation]:
    """Adam with decoupled decay at the rate h.decay; the learning rate falls from h.learning_rate to 0 by a cosine."""
    cosine = optax.cosine_decay_schedule(1.0, steps)

    def optimizer(hypers: Hypers) -> optax.GradientTransformation:
        return decoupled(optax.scale_by_adam(), decay_weights(hypers.decay), hypers.learning_rate, cosine)

    return optimizer


def with_penalties(task: Task, hypers: Hypers) -> Loss:
    """The loss with L2 of strength h.strength and L1 of strength h.l1_strength."""

    def penalty(params: Params) -> Array:
        return hypers.strength * l2(params) + hypers.l1_strength * l1(params)

    return penalized(task.loss(hypers), penalty, 1.0)
