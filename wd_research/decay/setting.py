"""The run that a decay belongs to: its learning rate and schedule, its steps, its batches, the type of its weights."""

import math
from typing import Literal, NamedTuple

import numpy as np

from wd_research.flags import UserError

Schedule = Literal["constant", "cosine", "linear", "wsd", "inverse-root"]
MOST = 10**15  # of whatever is counted


class Setting(NamedTuple):
    """The run that a decay belongs to; None where a number is not known."""

    learning_rate: float | None = None
    """The learning rate at the peak of its schedule."""
    steps: int | None = None
    """Steps of the run."""
    schedule: Schedule = "constant"
    """What follows the warm-up: nothing, a fall to 0 at the end, such a fall in the last share of the run alone (wsd),
    or one by the root of the step."""
    warmup: int = 0
    """Steps in which the learning rate rises linearly from 0."""
    optimizer: Literal["sgd", "momentum", "adam"] = "adam"
    """SGD without momentum, SGD with it, or Adam and its kin."""
    batch_size: int | None = None
    """Examples in a batch."""
    examples: int | None = None
    """Training examples."""
    width: int | None = None
    """Width of the hidden layers."""
    cooldown: float = 0.2
    """The last share of the run, in which wsd falls to 0."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """The type of the weights that decay is taken from."""


def schedule(step: np.ndarray, setting: Setting) -> np.ndarray:
    """The learning rate as a share of its peak at steps f64[t]; f64[t].

    Those of `optax.warmup_constant_schedule`, `optax.warmup_cosine_decay_schedule`, and of `schedules.linear`, `stable`
    and `inverse_root`; `setting.steps` must be known.
    """
    assert setting.steps is not None
    done = (step - setting.warmup) / (setting.steps - setting.warmup)
    rest = setting.steps - setting.warmup
    falls = {
        "constant": np.ones_like(done),
        "cosine": (1 + np.cos(math.pi * done)) / 2,
        "linear": 1 - done,
        "wsd": np.minimum(1, (1 - done) * rest / max(1, round(setting.cooldown * setting.steps))),
        "inverse-root": np.sqrt(setting.warmup / np.maximum(step, max(setting.warmup, 1))),
    }
    return np.where(step < setting.warmup, step / max(setting.warmup, 1), falls[setting.schedule])


def is_constant(setting: Setting) -> bool:
    """Whether the learning rate is at its peak in every step."""
    return setting.schedule == "constant" and not setting.warmup


def check(setting: Setting) -> None:
    """Raise UserError, with one sentence, unless the numbers that are given can be those of a run."""
    rate = setting.learning_rate
    if rate is not None and not (math.isfinite(rate) and rate > 0):
        raise UserError(f"the learning rate {rate:g} cannot be: give a finite number above 0")
    for name in ("steps", "batch_size", "examples", "width"):
        count = getattr(setting, name)
        if count is not None and not 1 <= count <= MOST:
            raise UserError(f"the {words((name,))} cannot be {count}: give a whole number from 1 to {MOST:g}")
    if not 0 <= setting.warmup < (setting.steps or math.inf):
        raise UserError(f"the warm-up cannot take {setting.warmup} steps: give 0 or more, and fewer than the run has")
    if setting.schedule == "inverse-root" and not setting.warmup:
        raise UserError("an inverse root falls from the end of the warm-up on, and there is none: give --warmup")
    free = 1 - setting.warmup / setting.steps if setting.steps else 1.0
    if setting.schedule == "wsd" and not 0 < setting.cooldown <= free:
        raise UserError(
            f"a cool-down of {setting.cooldown:g} does not fit the run: give a share above 0, up to {free:.2g}"
        )
    if setting.batch_size and setting.examples and setting.batch_size > setting.examples:
        raise UserError(f"a batch of {setting.batch_size} cannot be drawn from {setting.examples} training examples")


def words(names: tuple[str, ...]) -> str:
    """`learning rate and the number of steps`: fields of a setting, as a sentence has them."""
    counted = {"steps": "number of steps", "examples": "number of training examples"}
    return " and the ".join(counted.get(name, name.replace("_", " ")) for name in names)
