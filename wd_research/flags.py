"""Flags: checks of what a person typed, each of which says in one sentence what is wrong and what would be right."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np


class UserError(ValueError):
    """Bad input, as one sentence for a person; the command line prints it and exits with code 2, without a traceback.

    Every other exception is a bug, ours or a fork's, and keeps its traceback.
    """


MOST = 2**31 - 1  # that a counter of steps holds


def counts(**flags: int) -> None:
    """Raise UserError unless every number is a whole one, at least 1, that 32 bits hold."""
    for name, value in flags.items():
        whole(name, value)
        if not 1 <= value <= MOST:
            few = "few" if value < 1 else "many"
            raise UserError(f"{flag(name)} {value} is too {few}: give 1 or more, up to {MOST:,}")


def seeds(count: int) -> None:
    """Raise UserError unless there is a seed; one is a smoke test, intervals need more."""
    counts(seeds=count)


def whole(name: str, value: object) -> None:
    """Raise UserError unless the value is a whole number, of Python or NumPy."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise UserError(f"{flag(name)} {value!r} is no whole number: give one, such as 8")


def confirming_seeds(confirm: int, until_decided: int | None = None) -> None:
    """Raise UserError unless confirming seeds are enough for an interval, or none, and MAX is a multiple of them."""
    whole("confirm", confirm)
    if until_decided is not None:
        whole("until_decided", until_decided)
    if confirm < 0 or confirm == 1:
        raise UserError(f"--confirm {confirm} is too few: give 2 or more, or 0 to score choices by halves of the seeds")
    if until_decided is not None and (not confirm or until_decided < confirm or until_decided % confirm):
        step = confirm or 16
        raise UserError(
            f"--until-decided {until_decided} is no multiple of --confirm {confirm}, which is how many seeds are added "
            f"at a time: give {step}, {2 * step}, {3 * step} or more with --confirm {step}"
        )


def positive(**flags: Sequence[float]) -> None:
    """Raise UserError unless every list has values, each once, all of them finite and above 0."""
    _values(flags, lambda value: value > 0, "above 0")


def decays(**flags: Sequence[float]) -> None:
    """Raise UserError unless every list has values, each once, all of them finite, none negative, and 0 among them."""
    _values(flags, lambda value: value >= 0, "0 or more")
    for name, values in flags.items():
        if 0 not in values:
            raise UserError(f"{flag(name)} has no 0: include it, gains are measured against no decay")


def _values(flags: Mapping[str, Sequence[float]], allowed: Callable[[float], bool], wanted: str) -> None:
    for name, values in flags.items():
        if not values:
            raise UserError(f"{flag(name)} is empty: give at least one number, e.g. {flag(name)} 0.01")
        with np.errstate(over="ignore", under="ignore"):
            as_trained = [float(np.float32(value)) for value in values]
        for value, single in zip(values, as_trained, strict=True):
            if not (np.isfinite(single) and allowed(single) and (single != 0) == (value != 0)):
                raise UserError(f"{flag(name)} {value} cannot be: give finite numbers {wanted} that float32 can hold")
        if len(set(as_trained)) < len(values):
            raise UserError(f"{flag(name)} names a value twice: give each once")


def flag(name: str) -> str:
    """`learning_rates` -> `--learning-rates`."""
    return "--" + name.replace("_", "-")
