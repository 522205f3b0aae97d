"""Checks of what a person typed: one clear sentence, before anything is compiled."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np


def counts(**flags: int) -> None:
    """Raise ValueError unless every number is at least 1."""
    for name, value in flags.items():
        if value < 1:
            raise ValueError(f"{flag(name)} {value} is too few: give 1 or more")


def seeds(count: int) -> None:
    """Raise ValueError unless there are seeds enough for an interval."""
    if count < 2:
        raise ValueError(
            f"--seeds {count} is too few: the decay for one seed is chosen on the others, so give 2 or more"
        )


def positive(**flags: Sequence[float]) -> None:
    """Raise ValueError unless every list has values, each once, all of them finite and above 0."""
    _values(flags, lambda value: value > 0, "above 0")


def decays(**flags: Sequence[float]) -> None:
    """Raise ValueError unless every list has values, each once, all of them finite, none negative, and 0 among them."""
    _values(flags, lambda value: value >= 0, "0 or more")
    for name, values in flags.items():
        if 0 not in values:
            raise ValueError(f"{flag(name)} has no 0: include it, gains are measured against no decay")


def _values(flags: Mapping[str, Sequence[float]], allowed: Callable[[float], bool], wanted: str) -> None:
    for name, values in flags.items():
        if not values:
            raise ValueError(f"{flag(name)} is empty: give at least one number, e.g. {flag(name)} 0.01")
        with np.errstate(over="ignore", under="ignore"):
            as_trained = [float(np.float32(value)) for value in values]
        for value, single in zip(values, as_trained, strict=True):
            if not (np.isfinite(single) and allowed(single) and (single != 0) == (value != 0)):
                raise ValueError(f"{flag(name)} {value} cannot be: give finite numbers {wanted} that float32 can hold")
        if len(set(as_trained)) < len(values):
            raise ValueError(f"{flag(name)} names a value twice: give each once")


def flag(name: str) -> str:
    """`learning_rates` -> `--learning-rates`."""
    return "--" + name.replace("_", "-")
