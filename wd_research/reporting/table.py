"""The answer on the terminal: a table of the arms, the claims with their verdicts, and the sentence."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from wd_research.evidence.measured import EXPLORING, HALVES
from wd_research.evidence.selection import is_chosen
from wd_research.evidence.statistics import FEWEST
from wd_research.reporting.seeds import Seeds, how_scored, of_claim, seeds_of
from wd_research.reporting.sentences import (
    describe,
    describe_growth,
    format_expected,
    format_gain,
    format_level,
    format_measured,
    format_race,
    format_range,
    was_raced,
    why_undecided,
)
from wd_research.results import humanize


def print_answer(console: Console, summary: Mapping[str, Any], folder: Path) -> None:
    """Print the arms, the claims with their verdicts, the speed, the folder, the question and the answer."""
    seeds = seeds_of(summary)
    if summary["best"]:
        console.print(arms_table(summary["best"], seeds))
    if summary["claims"]:
        console.print(claims_table(summary["claims"], seeds))
    where = f"{speed(summary['speed'])}Everything is in {folder}"
    console.print(where, soft_wrap=True, highlight=False, markup=False)
    console.print(f"\n{summary['question']}", soft_wrap=True, highlight=False, markup=False)
    console.print(Text(summary["answer"], "bold"), soft_wrap=True, highlight=False)


def speed(speed: Mapping[str, Any]) -> str:
    """Members, member-steps per second, and the seconds of compiling and training; empty where nothing was trained."""
    if not speed["members"]:
        return ""
    return (
        f"{speed['members']:,} members at {speed['member_steps_per_s']:,.0f} member-steps/s: "
        f"{speed['compile_s']:.1f} s to compile, {speed['train_s']:.1f} s to train. "
    )


class Rows(NamedTuple):
    """A table as text: its head, and the rows under it, in sections with a line between them."""

    head: list[str]
    sections: list[list[list[str]]]


def arms_table(best: Mapping[str, dict[str, Any]], seeds: Seeds) -> Table:
    """Best points, metrics and gains of the arms, in 80 columns."""
    (first, *others), sections = arms_rows(best, seeds)
    table = Table(Column(first, max_width=20), *map(escape, others), title=how_scored(best, seeds))
    for rows in sections:
        for row in rows:
            table.add_row(*map(escape, row))
        table.add_section()
    return table


def arms_rows(best: Mapping[str, dict[str, Any]], seeds: Seeds) -> Rows:
    """Best points, metrics and gains: up to three arms side by side, more of them one below the other."""
    side_by_side = len(best) <= 3 and len({arm["by"] for arm in best.values()}) == 1
    return column_per_arm(best, seeds) if side_by_side else row_per_arm(best)


def row_per_arm(best: Mapping[str, dict[str, Any]]) -> Rows:
    """A row per arm: best point, on which edges of the grid it lies, test metric, gain over no decay."""
    rows = [
        [name, describe(arm) + (f" (edge: {edges(arm['edges'])})" if arm["edges"] else ""),
         format_level(arm[f"test_{arm['by']}"], arm), gain_of(arm)]
        for name, arm in best.items()
    ]  # fmt: skip
    return Rows(["", "best", f"test {' or '.join(dict.fromkeys(arm['by'] for arm in best.values()))}", "gain"], [rows])


def column_per_arm(best: Mapping[str, dict[str, Any]], seeds: Seeds) -> Rows:
    """A column per arm: what the exploring seeds say of its best point, what it scores, the best by other criteria."""
    arms = list(best.values())
    by = arms[0]["by"]
    explored = [
        ["exploring seeds", *(str(seeds.exploring) for _ in arms)],
        ["best", *map(describe, arms)],
        ["95 % confidence set", *(f"{humanize(arm['axis'])} {format_range(arm['best_values'])}" for arm in arms)],
    ]
    if any(was_raced(arm) for arm in arms):
        explored += [["points on all seeds", *map(format_race, arms)]]
    if any(arm["neighbours"]["all"] for arm in arms):
        explored += [["worse neighbours", *map(format_neighbours, arms)]]
    if any(arm.get("grown") for arm in arms):
        explored += [["beyond its edges", *(describe_growth(arm) or "nothing" for arm in arms)]]
    if any(arm["edges"] or arm["edges_without"] for arm in arms):
        explored += [["on the grid's edge", *(edges(arm["edges"]) for arm in arms)]]
        explored += [["edge, without decay", *(edges(arm["edges_without"]) for arm in arms)]]
    if any(arm["diverged"] for arm in arms):
        explored += [["members diverged", *(str(arm["diverged"]) for arm in arms)]]
    return Rows(["", *best], [explored, scored(arms, by), otherwise(arms, by)])


def scored(arms: list[dict[str, Any]], by: str) -> list[list[str]]:
    """The rows of what best points score, and of the gain."""
    head = {HALVES: "scored by halves of", EXPLORING: "scored on the same"}.get(arms[0]["stage"], "confirming seeds")
    rows = [
        [head, *(str(arm["seeds"]) for arm in arms)],
        *([f"{part} {by}", *(format_level(arm[f"{part}_{by}"], arm) for arm in arms)]
          for part in ("train", "validation", "test")),
        ["test, without decay", *(format_level(arm["without"], arm) for arm in arms)],
        ["gain", *map(gain_of, arms)],
    ]  # fmt: skip
    if all(arm["seeds"] >= FEWEST for arm in arms):
        rows += [["bootstrap, 95 %", *(gain_of(arm, "bootstrap") for arm in arms)]]
        rows += [["minimum detectable (80 % power)", *(format_smallest(arm) for arm in arms)]]
    return rows


def otherwise(arms: list[dict[str, Any]], by: str) -> list[list[str]]:
    """The rows of the points that are best at any step, and best by loss, each with its gain.

    Behind a race they are the best of the points that are left, which it has not raced by.
    """
    steps, among = [arm["by_step"] for arm in arms], "of these, " if any(map(was_raced, arms)) else ""
    rows = [
        [f"{among}best at any step", *map(describe_stop, steps)],
        ["gain at any step", *map(gain_of, steps)],
    ]
    if by != "loss":
        losses = [arm["by_loss"] for arm in arms]
        rows += [[f"{among}best by loss", *map(describe, losses)]]
        rows += [["gain in loss", *map(gain_of, losses)]]
    return rows


def gain_of(arm: Mapping[str, Any], interval: str = "gain") -> str:
    """The gain of an arm over no decay, with its t interval or its bootstrap interval."""
    return "exactly 0" if arm["equal"] else format_gain(arm[interval], arm)


def describe_stop(arm: Mapping[str, Any]) -> str:
    """The best point at any step: `decay 3.16 and learning rate 0.003, at step 200`."""
    return f"{describe(arm)}, at step {arm['step']:,}" if is_chosen(arm) else describe(arm)


def format_neighbours(arm: Mapping[str, Any]) -> str:
    """How many of the points next to the best one are worse: `3 of 4`."""
    return "{worse} of {all}".format(**arm["neighbours"]) if arm["neighbours"]["all"] else "no neighbours"


def edges(names: list[str]) -> str:
    """The hyperparameters that lie on an edge of the grid."""
    return ", ".join(map(humanize, names)) or "nothing"


def format_smallest(arm: Mapping[str, Any]) -> str:
    """The minimum detectable gain, at 80 % power."""
    effect = arm["smallest_effect"]
    if np.isnan(effect):
        return "no number"
    return f"{100 * effect:.1f} points" if arm["by"] == "accuracy" else f"{effect:.3g} {arm['unit']}".rstrip()


def format_caveats(claim: Mapping[str, Any]) -> str:
    """The clauses on what lies on the grid's edge in the cell of a claim, and on why an interval does not decide it."""
    said = f"; on the grid's edge: {edges(claim['edges'])}" if claim["edges"] else ""
    said += ", which decides nothing" if claim["on_edge"] else ""
    return said + (f"; {why}" if (why := why_undecided(claim)) else "")


def claims_table(claims: list[Mapping[str, Any]], seeds: Seeds) -> Table:
    """A row per claim: verdict, statement, and the measured value in the cell that decides, with its seeds."""
    table = Table("verdict", "claim")
    for claim in claims:
        seen = f"{claim['cell']}: {format_measured(claim)}, expected {format_expected(claim)}"
        seen += f"; {of_claim(claim, seeds)}{format_caveats(claim)}"
        table.add_row(claim["verdict"], f"{escape(claim['statement'])}\n[dim]{escape(seen)}[/dim]")
    return table
