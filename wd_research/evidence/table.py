"""The answer on the terminal: a table of the arms, the claims with their verdicts, and the sentence."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wd_research.evidence.answer import describe, gain, level, span, words
from wd_research.evidence.claims import expected, measured


def print_answer(console: Console, summary: Mapping[str, Any], folder: Path) -> None:
    """Print what a run found and where it lies."""
    if summary["best"]:
        console.print(arms_table(summary["best"]))
    if summary["claims"]:
        console.print(claims_table(summary["claims"]))
    console.print(f"{speed(summary['speed'])}All of it is in {folder}", soft_wrap=True, highlight=False)
    console.print(f"\n{summary['question']}\n[bold]{summary['answer']}[/bold]", soft_wrap=True, highlight=False)


def speed(speed: Mapping[str, Any]) -> str:
    """How much was trained how fast; empty where nothing was."""
    if not speed["members"]:
        return ""
    return (
        f"{speed['members']:,} members at {speed['member_steps_per_s']:,.0f} member-steps/s: "
        f"{speed['compile_s']:.1f} s to compile, {speed['train_s']:.1f} s to train. "
    )


TITLE = "chosen on validation data, leaving one seed out; mean [95 % interval] over seeds"


class Rows(NamedTuple):
    """A table as text: its head, and its rows under it."""

    head: list[str]
    rows: list[list[str]]


def arms_table(best: Mapping[str, dict[str, Any]]) -> Table:
    """What came out of the arms, in 80 columns."""
    head, rows = arms_rows(best)
    table = Table(*head, title=TITLE)
    for row in rows:
        table.add_row(*row)
    return table


def arms_rows(best: Mapping[str, dict[str, Any]]) -> Rows:
    """What came out of the arms: up to three stand side by side, more of them one below the other."""
    return row_per_arm(best) if len(best) > 3 else column_per_arm(best)


def row_per_arm(best: Mapping[str, dict[str, Any]]) -> Rows:
    """A row per arm: what validation data choose, the result on test data, the gain over no decay."""
    rows = [
        [name, describe(arm), level(arm[f"test_{arm['by']}"], arm["by"]), gain(arm["gain"], arm["by"])]
        for name, arm in best.items()
    ]
    return Rows(["", "best", f"test {next(iter(best.values()))['by']}", "gain"], rows)


def column_per_arm(best: Mapping[str, dict[str, Any]]) -> Rows:
    """A column per arm: what validation data choose, the results, the gain over no decay, and the same by loss."""
    arms = list(best.values())
    by = arms[0]["by"]
    rows = [["best", *map(describe, arms)], ["may be the best", *(span(arm["best_values"]) for arm in arms)]]
    if any(arm["edges"] for arm in arms):
        rows += [["on the grid's edge", *(", ".join(map(words, arm["edges"])) or "nothing" for arm in arms)]]
    rows += [
        [f"{part} {by}", *(level(arm[f"{part}_{by}"], by) for arm in arms)] for part in ("train", "validation", "test")
    ]
    rows += [
        [f"without decay, test {by}", *(level(arm["without"], by) for arm in arms)],
        ["gain", *(gain(arm["gain"], by) for arm in arms)],
        ["  by the bootstrap", *(gain(arm["bootstrap"], by) for arm in arms)],
        ["  smallest to be seen", *(smallest(arm) for arm in arms)],
    ]
    if by != "loss":
        rows += [["best by loss", *(describe(arm["by_loss"]) for arm in arms)]]
        rows += [["gain in loss", *(f"{gain(arm['by_loss']['gain'], 'loss')} nats" for arm in arms)]]
    if any(arm["diverged"] for arm in arms):
        rows += [["members diverged", *(str(arm["diverged"]) for arm in arms)]]
    return Rows(["", *best], rows)


def smallest(arm: Mapping[str, Any]) -> str:
    """The smallest gain that the design would have seen."""
    effect = arm["smallest_effect"]
    return f"{100 * effect:.1f} points" if arm["by"] == "accuracy" else f"{effect:.3g}"


def claims_table(claims: list[Mapping[str, Any]]) -> Table:
    """A row per claim: the verdict, what was stated, and what was measured where it was decided."""
    table = Table("verdict", "claim")
    for claim in claims:
        seen = f"{claim['cell']}: {measured(claim)}, expected {expected(claim)}"
        table.add_row(claim["verdict"], f"{claim['statement']}\n[dim]{escape(seen)}[/dim]")
    return table
