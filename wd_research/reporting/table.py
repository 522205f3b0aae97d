"""The answer on the terminal: a table of the arms, the claims with their verdicts, and the sentence."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wd_research.reporting.sentences import (
    describe,
    format_expected,
    format_gain,
    format_level,
    format_measured,
    format_range,
)
from wd_research.results import humanize


def print_answer(console: Console, summary: Mapping[str, Any], folder: Path) -> None:
    """Print the arms, the claims with their verdicts, the speed, the folder, the question and the answer."""
    if summary["best"]:
        console.print(arms_table(summary["best"]))
    if summary["claims"]:
        console.print(claims_table(summary["claims"]))
    console.print(f"{speed(summary['speed'])}Everything is in {folder}", soft_wrap=True, highlight=False)
    console.print(f"\n{summary['question']}\n[bold]{summary['answer']}[/bold]", soft_wrap=True, highlight=False)


def speed(speed: Mapping[str, Any]) -> str:
    """Members, member-steps per second, and the seconds of compiling and training; empty where nothing was trained."""
    if not speed["members"]:
        return ""
    return (
        f"{speed['members']:,} members at {speed['member_steps_per_s']:,.0f} member-steps/s: "
        f"{speed['compile_s']:.1f} s to compile, {speed['train_s']:.1f} s to train. "
    )


TITLE = "points chosen on the validation data of the other seeds; mean [95 % interval] over seeds"


class Rows(NamedTuple):
    """A table as text: its head, and its rows under it."""

    head: list[str]
    rows: list[list[str]]


def arms_table(best: Mapping[str, dict[str, Any]]) -> Table:
    """Best points, metrics and gains of the arms, in 80 columns."""
    head, rows = arms_rows(best)
    table = Table(*head, title=TITLE)
    for row in rows:
        table.add_row(*row)
    return table


def arms_rows(best: Mapping[str, dict[str, Any]]) -> Rows:
    """Best points, metrics and gains: up to three arms side by side, more of them one below the other."""
    return row_per_arm(best) if len(best) > 3 else column_per_arm(best)


def row_per_arm(best: Mapping[str, dict[str, Any]]) -> Rows:
    """A row per arm: best point, test metric, gain over no decay."""
    rows = [
        [name, describe(arm), format_level(arm[f"test_{arm['by']}"], arm["by"]), format_gain(arm["gain"], arm["by"])]
        for name, arm in best.items()
    ]
    return Rows(["", "best", f"test {next(iter(best.values()))['by']}", "gain"], rows)


def column_per_arm(best: Mapping[str, dict[str, Any]]) -> Rows:
    """A column per arm: best point, its confidence set, metrics, gain over no decay, and the same judged by loss."""
    arms = list(best.values())
    by = arms[0]["by"]
    rows = [
        ["best", *map(describe, arms)],
        ["best, 95 % confidence set", *(format_range(arm["best_values"]) for arm in arms)],
    ]
    if any(arm["edges"] for arm in arms):
        rows += [["best on the grid's edge", *(", ".join(map(humanize, arm["edges"])) or "nothing" for arm in arms)]]
    rows += [
        [f"{part} {by}", *(format_level(arm[f"{part}_{by}"], by) for arm in arms)]
        for part in ("train", "validation", "test")
    ]
    rows += [
        [f"without decay, test {by}", *(format_level(arm["without"], by) for arm in arms)],
        ["gain", *(format_gain(arm["gain"], by) for arm in arms)],
        ["  bootstrap interval", *(format_gain(arm["bootstrap"], by) for arm in arms)],
        ["  minimum detectable (80 % power)", *(format_smallest(arm) for arm in arms)],
    ]
    if by != "loss":
        rows += [["best by loss", *(describe(arm["by_loss"]) for arm in arms)]]
        rows += [["gain in loss", *(f"{format_gain(arm['by_loss']['gain'], 'loss')} nats" for arm in arms)]]
    if any(arm["diverged"] for arm in arms):
        rows += [["members diverged", *(str(arm["diverged"]) for arm in arms)]]
    return Rows(["", *best], rows)


def format_smallest(arm: Mapping[str, Any]) -> str:
    """The minimum detectable gain, at 80 % power."""
    effect = arm["smallest_effect"]
    return f"{100 * effect:.1f} points" if arm["by"] == "accuracy" else f"{effect:.3g}"


def claims_table(claims: list[Mapping[str, Any]]) -> Table:
    """A row per claim: verdict, statement, and the measured value in the cell that decides."""
    table = Table("verdict", "claim")
    for claim in claims:
        seen = f"{claim['cell']}: {format_measured(claim)}, expected {format_expected(claim)}"
        table.add_row(claim["verdict"], f"{claim['statement']}\n[dim]{escape(seen)}[/dim]")
    return table
