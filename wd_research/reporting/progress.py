"""Progress: what is going on, how far it is, how fast it goes, how long it will take."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread
from time import monotonic
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

OFTEN, SELDOM = 2.0, 10.0  # seconds between two lines of a log: at least, and at most


class Shown(NamedTuple):
    """What keeps people informed."""

    announce: Callable[..., None]  # (what begins now, how many member-steps come with it = 0)
    advance: Callable[[int], None]  # (how many member-steps are trained, after each piece)


@contextmanager
def progress(console: Console) -> Generator[Shown]:
    """Show what is going on, and how many of the announced member-steps are trained.

    On a terminal a bar moves; elsewhere (a log file) a line comes when something new begins, every two seconds of
    training, and every ten of whatever else. Where lines cannot be written any more, the rest goes on without them.
    """
    course = Course()
    with on_terminal(console) if console.is_terminal else in_log(console, course) as show:

        def announce(what: str, member_steps: int = 0) -> None:
            course.begin(what, member_steps)
            show(course)

        def advance(member_steps: int) -> None:
            course.advance(member_steps)
            show(course)

        yield Shown(announce, advance)


class Course:
    """Where a run stands: what is going on since when, and how many member-steps are trained in how many seconds."""

    def __init__(self) -> None:
        """At the beginning of a run."""
        self.what, self.begun = "", monotonic()
        self.total, self.done = 0, 0
        self.seconds, self.since = 0.0, monotonic()  # of training, and since when it goes on

    def begin(self, what: str, member_steps: int) -> None:
        """Something new begins, with which so many more member-steps are to be trained."""
        self.what, self.total = what, self.total + member_steps
        self.begun = self.since = monotonic()

    def advance(self, member_steps: int) -> None:
        """So many member-steps are trained."""
        now = monotonic()
        self.done, self.seconds, self.since = self.done + member_steps, self.seconds + now - self.since, now

    @property
    def complete(self) -> bool:
        """Whether all that was announced is trained."""
        return self.done == self.total

    @property
    def share(self) -> str:
        """How much of what was announced is trained; empty where nothing is."""
        return f"{self.done / self.total:.0%}" if self.total else ""

    @property
    def speed(self) -> str:
        """How fast training goes, and how long it will take at that; empty before it begins."""
        if not self.done or not self.seconds:
            return ""
        rate = self.done / self.seconds
        return f"{rate:,.0f} member-steps/s, {(self.total - self.done) / rate:.0f} s left"


@contextmanager
def on_terminal(console: Console) -> Generator[Callable[[Course], None]]:
    """A bar that moves, with the time since it began."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=0, rate="")

        def show(course: Course) -> None:
            bar.update(task, total=course.total, completed=course.done, description=course.what, rate=course.speed)

        yield show


@contextmanager
def in_log(console: Console, course: Course) -> Generator[Callable[[Course], None]]:
    """Lines, and a thread that writes one where nothing else has for long."""
    log, ended = Log(console), Event()

    def watch() -> None:
        while not ended.wait(1.0):
            log.remind(course)

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield log.show
    finally:
        ended.set()
        watcher.join()


class Log:
    """Lines that say where a run stands, as long as somebody reads them."""

    def __init__(self, console: Console) -> None:
        """On this console."""
        self.console, self.lock = console, Lock()
        self.said, self.at, self.unread = "", -OFTEN, False

    def show(self, course: Course) -> None:
        """Write a line, unless it says the same as one that was written just now."""
        if course.what != self.said or course.complete or monotonic() - self.at >= OFTEN:
            self.write(course, course.speed)

    def remind(self, course: Course) -> None:
        """Write a line after a long silence: what is still going on, and since when."""
        if course.what and monotonic() - self.at >= SELDOM:
            self.write(course, f"for {monotonic() - course.begun:.0f} s")

    def write(self, course: Course, *more: str) -> None:
        """Write a line; where that fails it was the last, for a log costs no training."""
        with self.lock:
            self.said, self.at = course.what, monotonic()
            if self.unread:
                return
            try:
                line = "  ".join(filter(None, (course.what, course.share, *more)))
                self.console.print(line, soft_wrap=True, markup=False)
            except SystemExit:  # what rich does at a broken pipe, behind which nobody reads
                self.unread = True
            except (OSError, ValueError) as error:  # a full disk, a closed file
                self.unread = True
                with suppress(OSError, ValueError, AttributeError):
                    print(f"progress is not written any more ({error}); the run goes on", file=sys.stderr)
