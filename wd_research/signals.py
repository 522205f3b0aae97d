"""Signals: a run that is told to end records that it was, and ends with the code that says by what."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


class Signalled(KeyboardInterrupt):
    """The process was told to end by a signal; as Ctrl-C, by another key."""

    def __init__(self, number: int) -> None:
        """By the signal of this number."""
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


@contextmanager
def heeded() -> Iterator[None]:
    """Let SIGTERM and SIGHUP interrupt a block as Ctrl-C does, unless they are ignored, as under nohup."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        del frame
        raise Signalled(number)

    asked = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) == signal.SIG_DFL]
    for number in asked:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in asked:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def after() -> Iterator[None]:
    """Let Ctrl-C interrupt behind a block, not in it: libraries that are being imported swallow it, or fall over it."""
    noted: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: noted.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if noted:
        raise KeyboardInterrupt
