"""Progress: where training stands, how fast it goes, how long it will take."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

Advance = Callable[[str, int, float], None]


@contextmanager
def progress(console: Console, total: int) -> Iterator[Advance]:
    """Yield advance(what is going on, member-steps done since, seconds they took).

    On a terminal a bar moves; elsewhere (a log file) a line comes when something new begins and every two seconds.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total, rate="")
        done, training, spoken, before = 0, 0.0, -2.0, ""

        def advance(what: str, member_steps: int, seconds: float) -> None:
            nonlocal done, training, spoken, before
            done, training = done + member_steps, training + seconds
            rate = done / training if training else 0
            said = f"{rate:,.0f} member-steps/s, {(total - done) / rate:.0f} s left" if rate else ""
            bar.update(task, advance=member_steps, description=what, rate=said)
            if not console.is_terminal and (what != before or monotonic() - spoken >= 2 or done == total):
                share = f"{done / total:.0%}" if total else ""  # nothing to train: an arm that is only computed
                console.print(f"{what}  {share}  {said}".rstrip(), soft_wrap=True)
                spoken, before = monotonic(), what

        yield advance
