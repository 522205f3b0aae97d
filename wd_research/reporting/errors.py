"""Errors that must not end a run: each is kept under the name of what raised it, and raised when all else is done."""

import traceback
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from wd_research.types import Observer, Position


@contextmanager
def kept(errors: dict[str, Exception], what: str) -> Generator[None]:
    """Keep what a block raises under the name of what it was to do, and go on."""
    try:
        yield
    except Exception as error:
        error.add_note(f"raised by: {what}")
        errors[f"{what} ({len(errors) + 1})" if what in errors else what] = error


def forgiven(observe: Observer, errors: dict[str, Exception]) -> Observer:
    """The observer, which is not called again once it has raised: an error in it costs no training."""
    failed = False

    def told(name: str, position: Position) -> None:
        nonlocal failed
        if not failed:
            failed = True  # unless it comes to its end
            with kept(errors, f"observer {getattr(observe, '__qualname__', observe)}"):
                observe(name, position)
                failed = False

    return told


def formatted(errors: Mapping[str, Exception]) -> dict[str, str]:
    """The errors with their tracebacks, as text."""
    return {name: "".join(traceback.format_exception(error)) for name, error in errors.items()}
