"""Progress: where training stands, how fast it goes, how long it will take."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from wd_research.types import Observer, Position


class Shown(NamedTuple):
    """What keeps people informed."""

    announce: Callable[..., None]  # (what begins now, how many member-steps come with it = 0)
    observe: Observer


@contextmanager
def progress(console: Console) -> Iterator[Shown]:
    """Show what is going on, and how many of the announced member-steps are trained.

    On a terminal a bar moves; elsewhere (a log file) a line comes when something new begins and every two seconds.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=0, rate="")
        total, done, training, since, spoken, before, step = 0, 0, 0.0, monotonic(), -2.0, "", 0

        def show(what: str, member_steps: int) -> None:
            nonlocal done, spoken, before
            done += member_steps
            rate = done / training if training else 0
            speed = f"{rate:,.0f} member-steps/s, {(total - done) / rate:.0f} s left" if rate else ""
            bar.update(task, total=total, advance=member_steps, description=what, rate=speed)
            if not console.is_terminal and (what != before or monotonic() - spoken >= 2 or done == total):
                share = f"{done / total:.0%}" if total else ""  # nothing to train: an arm that is only computed
                console.print(f"{what}  {share}  {speed}".rstrip(), soft_wrap=True, markup=False)
                spoken, before = monotonic(), what

        def announce(what: str, member_steps: int = 0) -> None:
            nonlocal since, step, total
            since, step, total = monotonic(), 0, total + member_steps
            show(what, 0)

        def observe(name: str, position: Position) -> None:
            nonlocal training, since, step
            if position.members is None:  # computed, not trained
                return
            now = monotonic()
            training, since = training + now - since, now
            steps = position.step - step if position.step > step else position.step  # the next wave begins anew
            step = position.step
            show(f"training {name}", steps * position.results["diverged_at"].size)

        yield Shown(announce, observe)
