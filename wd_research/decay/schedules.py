"""Schedules: the learning rate as a share of its peak, a function of the step, for runs of `steps` steps.

    cosine        s = (1 + cos(pi x)) / 2          with x the share of the run behind the warm-up that is done
    linear        s = 1 - x
    stable        s = 1, and in the last share of the run 1 - (x - 1 + share) / share: "WSD"
    inverse_root  s = sqrt(w / t)                  from the end w of the warm-up on
    inverse       s = 1 / (1 + x / scale)

All rise linearly from 0 in `warmup` steps, and have the peak 1: the learning rate, which may be traced, multiplies.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax

from wd_research.flags import UserError, whole


def cosine(steps: int, warmup: int = 0) -> optax.Schedule:
    """A cosine to 0. Source: Loshchilov & Hutter (1608.03983), equation 5, without restarts."""
    return _after(warmup, steps, lambda rest: optax.cosine_decay_schedule(1.0, rest))


def linear(steps: int, warmup: int = 0) -> optax.Schedule:
    """A line to 0. Source: Defazio et al. (2310.07831)."""
    return _after(warmup, steps, lambda rest: optax.linear_schedule(1.0, 0.0, rest))


def stable(steps: int, warmup: int = 0, cooldown: float = 0.2) -> optax.Schedule:
    """The peak, and in the last share `cooldown` of the run a line to 0. Source: Hu et al. (2404.06395), section 4.

    Raises UserError where warm-up and cool-down take more than the run.
    """

    def falling_last(rest: int) -> optax.Schedule:
        falling = round(cooldown * steps)
        if not 0 < falling <= rest:
            raise UserError(f"a warm-up of {warmup} steps and a cool-down of {cooldown:g} do not fit a run of {steps}: "
                            f"give a share of it above 0, up to {1 - warmup / steps:.2g}")  # fmt: skip
        return optax.linear_schedule(1.0, 0.0, falling, rest - falling)

    return _after(warmup, steps, falling_last)


def inverse_root(steps: int, warmup: int) -> optax.Schedule:
    """A fall by the root of the step. Source: Vaswani et al. (2017), equation 3, divided by its peak.

    Raises UserError without a warm-up, which sets its scale.
    """
    if not warmup:
        raise UserError("an inverse root falls from the end of its warm-up on, and this has none: give some steps")
    return _after(warmup, steps, lambda rest: lambda step: jnp.sqrt(warmup / (warmup + step)))


def inverse(steps: int, warmup: int = 0, scale: float = 0.1) -> optax.Schedule:
    """A fall by the step, to half of the peak after the share `scale` of what is behind the warm-up."""
    if not scale > 0:
        raise UserError(f"a scale of {scale:g} cannot be: give a share of the run above 0")
    return _after(warmup, steps, lambda rest: lambda step: 1 / (1 + step / (scale * rest)))


def _after(warmup: int, steps: int, make: Callable[[int], optax.Schedule]) -> optax.Schedule:
    """A schedule of so many steps behind a warm-up. Raises UserError where the warm-up takes all of the run."""
    whole("warmup", warmup)
    whole("steps", steps)
    if steps < 1:
        raise UserError(f"a run of {steps} steps has no schedule: give at least 1 step")
    if not 0 <= warmup < steps:
        raise UserError(f"a warm-up of {warmup} steps does not fit a run of {steps}: give 0 or more, and fewer than it "
                        "has")  # fmt: skip
    schedule = make(steps - warmup)

    def share(step: Any) -> Any:
        behind = schedule(jnp.maximum(step - warmup, 0))
        return jnp.where(step < warmup, step / warmup, behind) if warmup else behind

    return share
