"""The answer on the terminal: a table of the arms, the claims with their verdicts, and the sentence."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wd_research.evidence.answer import describe, percent, points, span, words
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


def arms_table(best: Mapping[str, dict[str, Any]]) -> Table:
    """What came out of the arms, in 80 columns: up to three stand side by side, more of them one below the other."""
    return row_per_arm(best) if len(best) > 3 else column_per_arm(best)


def row_per_arm(best: Mapping[str, dict[str, Any]]) -> Table:
    """A row per arm: what validation data choose, test accuracy, the gain over no decay."""
    table = Table("", "best", "test accuracy", "gain", title=TITLE)
    for name, arm in best.items():
        table.add_row(name, describe(arm), percent(arm["test_accuracy"]), points(arm["gain"]))
    return table


def column_per_arm(best: Mapping[str, dict[str, Any]]) -> Table:
    """A column per arm: what validation data choose, the accuracies, the gain over no decay, and the same by loss."""
    table = Table("", *best, title=TITLE)
    arms = list(best.values())
    table.add_row("best", *map(describe, arms))
    table.add_row("may be the best", *(span(arm["best_values"]) for arm in arms))
    if any(arm["edges"] for arm in arms):
        table.add_row("on the grid's edge", *(", ".join(map(words, arm["edges"])) or "nothing" for arm in arms))
    for part in ("train", "validation", "test"):
        table.add_row(f"{part} accuracy", *(percent(arm[f"{part}_accuracy"]) for arm in arms))
    table.add_row("without decay, test", *(percent(arm["without"]) for arm in arms))
    table.add_row("gain", *(points(arm["gain"]) for arm in arms))
    table.add_row("  by the bootstrap", *(points(arm["bootstrap"]) for arm in arms))
    table.add_row(
        "  smallest to be seen", *(f"{100 * arm['smallest_effect']:.1f} points" for arm in arms), end_section=True
    )
    table.add_row("best by loss", *(describe(arm["by_loss"]) for arm in arms))
    table.add_row("gain in loss", *(nats(arm["by_loss"]["gain"]) for arm in arms))
    if any(arm["diverged"] for arm in arms):
        table.add_row("members diverged", *(str(arm["diverged"]) for arm in arms))
    return table


def claims_table(claims: list[Mapping[str, Any]]) -> Table:
    """A row per claim: the verdict, what was stated, and what was measured where it was decided."""
    table = Table("verdict", "claim")
    for claim in claims:
        seen = f"{claim['cell']}: {measured(claim)}, expected {expected(claim)}"
        table.add_row(claim["verdict"], f"{claim['statement']}\n[dim]{escape(seen)}[/dim]")
    return table


def nats(estimate: Mapping[str, float]) -> str:
    """`+0.207 nats [+0.144, +0.270]`, positive where the loss is lower."""
    return "{mean:+.3f} nats [{low:+.3f}, {high:+.3f}]".format(**estimate)
