"""Signals: a run that is told to end records that it was, and ends with the code that says by what."""

import atexit
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

PATIENCE = 2.0  # seconds that the interpreter has to begin to end: inside a compilation it does not hear a signal
GRACE = 1.0  # seconds that a program which has ended has to end its threads: a compilation goes on to its own end

_heard: list[int] = []  # the signals that this process was told to end by, the first of which gives its code
_ending = threading.Event()  # whether the interpreter has heard the signal and writes what is to be written
_wills: list[Callable[[], str]] = []


class Signalled(KeyboardInterrupt):
    """The process was told to end by a signal; as Ctrl-C, by another key."""

    def __init__(self, number: int) -> None:
        """By the signal of this number."""
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


@contextmanager
def heeded() -> Generator[None]:
    """Let SIGTERM and SIGHUP interrupt a block as Ctrl-C does, unless they are ignored, as under nohup.

    The process ends two seconds after a signal, or at once at a second one, even where the interpreter does not come to
    it: what `will` was told is then done on a thread.
    """

    def end(number: int, frame: FrameType | None) -> NoReturn:
        del frame
        raise Signalled(number)

    asked = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) == signal.SIG_DFL]
    for number in asked:
        signal.signal(number, end)
    received, sent = socket.socketpair()  # written to by the signal itself, whatever the interpreter is doing
    sent.setblocking(False)
    _ending.clear()
    _heard.clear()
    atexit.unregister(_leave)
    atexit.register(_leave)
    before = signal.set_wakeup_fd(sent.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(received, {signal.SIGINT, *asked}), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        sent.close()
        for number in asked:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def held() -> Generator[Callable[[], bool]]:
    """Let signals interrupt behind a block, not in it; what is yielded says whether one has come.

    Once it has said so the block has the time that it takes to write what is to be written. Libraries that are being
    imported swallow a Ctrl-C, or fall over it; and training must come to where it can go on from.
    """
    noted: list[int] = []
    before: dict[int, Callable[[int, FrameType | None], object]] = {}

    def has_come() -> bool:
        if noted:
            ending()
        return bool(noted)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        handler = signal.getsignal(number)
        if callable(handler) and threading.current_thread() is threading.main_thread():
            before[number] = handler
            signal.signal(number, lambda number, frame: noted.append(number))
    try:
        yield has_come
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if noted:
        before[noted[0]](noted[0], None)


@contextmanager
def will(act: Callable[[], str]) -> Generator[None]:
    """Have `act` called where a signal ends the process inside a block and nothing else does; it returns a sentence."""
    _wills.append(act)
    try:
        yield
    finally:
        _wills.remove(act)


def ending() -> None:
    """Say that a signal was heard: what is left to write is being written, and takes the time that it takes."""
    _ending.set()


def _watch(received: socket.socket, heeded: Collection[int]) -> None:
    """End the process where a signal does not."""
    while True:
        received.settimeout(PATIENCE if _heard and not _ending.is_set() else None)
        try:
            number = received.recv(1)
        except TimeoutError:
            if not _ending.is_set():
                _end()
            continue
        if not number:
            break
        if number[0] in heeded:
            _heard.append(number[0])
        if len(_heard) > 1:
            _end()
    received.close()
    if _heard:
        threading.main_thread().join()
        time.sleep(GRACE)
        _leave()


def _leave() -> None:
    """Leave without waiting for what XLA computes, if a signal has ended this process."""
    if _heard:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(128 + _heard[0])


def _end() -> NoReturn:
    """Do on this thread what `will` was told, say so, and leave."""
    said = "interrupted"
    for act in _wills:
        with suppress(Exception):
            said = f"{said}; {act()}"
    with suppress(OSError):
        if os.isatty(1):
            os.write(1, b"\x1b[?25h\n")  # the cursor, which a progress bar hides
        os.write(2, f"error: {said}\n".encode())
    os._exit(128 + _heard[0])
