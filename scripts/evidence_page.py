"""The evidence page, made of what is kept of every experiment's last finished run: docs/evidence/NAME.json, a picture.

What is kept outlives the folders of the runs, so that experiments may be run on different days and machines.
"""

import json
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

from experiments.article.rows import ROWS, row_of
from wd_research.flags import UserError
from wd_research.reporting.folder import RECORD
from wd_research.reporting.record import read_run
from wd_research.reporting.sentences import format_expected, format_measured, why_undecided
from wd_research.results import humanize

TODAY = ("experiments.language.", "experiments.literature.grokking")  # beginnings of modules that take hours together
SHOWN = ("id", "statement", "source", "measured", "low", "high", "expected", "verdict", "cell", "unit", "stage",
         "seeds", "edges", "on_edge", "quantifier")  # fmt: skip


class Measured(NamedTuple):
    """What the page says of an experiment that has run to its end."""

    module: str
    command: str
    date: str  # of its end
    question: str
    members: int
    seconds: float
    device: str
    jax: str
    seeds: str  # `8 + 16 seeds`: exploring and confirming ones
    claims: Sequence[Mapping[str, Any]]

    @property
    def name(self) -> str:
        """`when_to_decay`."""
        return self.module.rpartition(".")[2]

    @property
    def of_today(self) -> bool:
        """Whether it is one of the questions of today, which `make frontier` runs."""
        return self.module.startswith(TODAY)


def keep(folder: Path, kept: Path) -> Measured:
    """Write what the page says of a finished run, and its first figure, into the folder `kept`.

    Raises UserError, with one sentence, where the run has not finished or is none of an experiment's module.
    """
    run = read_run(folder)
    record, summary = run.record, run.summary
    module = re.match(r"python -m (experiments\.[\w.]+)", record.get("command") or "")
    if record["status"] != "finished" or not module:
        raise UserError(f"{folder} holds no finished run of an experiment: its status is {record['status']}, its "
                        f"command {record.get('command')}")  # fmt: skip
    seeds, device = summary["seeds"], record["device"]
    counts = [str(seeds[stage]) for stage in ("exploring", "confirming") if seeds[stage]]
    claims = [{**{key: claim[key] for key in SHOWN}, "cells": list(claim["cells"])} for claim in summary["claims"]]
    ended = datetime.fromtimestamp((folder / RECORD).stat().st_mtime, UTC).date()
    command = re.sub(r" --workdir \S+", "", record["command"])
    measured = Measured(
        module[1], command, str(ended), summary["question"], record["members"],
        sum(record["seconds"].values()), f"{device['count']} x {device['kind']}", record["versions"]["jax"],
        f"{' + '.join(counts)} seeds", claims,
    )  # fmt: skip
    kept.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / "figures" / f"{record['figures'][0]}.png", kept / f"{measured.name}.png")
    (kept / f"{measured.name}.json").write_text(json.dumps(measured._asdict(), indent=1, sort_keys=True) + "\n")
    return measured


def write_page(page: Path) -> None:
    """Write the page of all that is kept in the folder beside it, which has the page's name."""
    runs = [Measured(**json.loads(file.read_text())) for file in page.with_suffix("").glob("*.json")]
    runs.sort(key=lambda run: run.module)
    parts = {"Questions of today": [], "The article and the laws": []}
    for run in runs:
        parts["Questions of today" if run.of_today else "The article and the laws"].append(run)
    lines = [*head(runs), *contents(parts), *table_of_rows(runs)]
    for title, part in parts.items():
        lines += [f"## {title}", "", *(line for run in part for line in section(run))] if part else []
    page.write_text("\n".join(lines))


def head(runs: Sequence[Measured]) -> list[str]:
    """What this page is and how it was made."""
    devices, versions, seeds = ({getattr(run, of) for run in runs} for of in ("device", "jax", "seeds"))
    days = sorted({run.date for run in runs})
    return [
        "# The evidence",
        "",
        f"Written by `make reproduce` and `make frontier`, {' to '.join(dict.fromkeys((days[0], days[-1])))}: "
        f"{sum(run.members for run in runs):,} nets, {sum(run.seconds for run in runs) / 60:.0f} minutes, device "
        f"{', '.join(sorted(devices))}, jax {', '.join(sorted(versions))}; {', '.join(sorted(seeds))}. Of all claims "
        f"{count([claim for run in runs for claim in run.claims])}. Exploring seeds see every point, and choose on "
        "validation data; what is chosen is measured on fresh, confirming seeds, the rest on the "
        "exploring ones ([how](statistics.md)). Means with 95 % paired t intervals over seeds. A claim holds when the "
        "whole interval lies in what is expected (in every cell, or in one where it says somewhere, by Holm), fails "
        "when it lies outside, is undecided else, and also where an optimum lies on an edge of its grid; shown is the "
        "cell that the verdict hangs on.",
        "",
    ]


def contents(parts: Mapping[str, Sequence[Measured]]) -> list[str]:
    """Every experiment in a line, part by part: its question, its size, its claims."""
    lines = []
    for title, runs in parts.items():
        lines += (
            [f"| {title.lower()} | experiment | nets | minutes | claims |", "|---|---|---|---|---|"] if runs else []
        )
        for run in runs:
            minutes, module = f"{run.seconds / 60:.0f}" if run.seconds >= 60 else "< 1", run.module.partition(".")[2]
            lines.append(line(run.question, f"`{module}`", f"{run.members:,}", minutes, count(run.claims)))
        lines += [""]
    return lines


def table_of_rows(runs: Sequence[Measured]) -> list[str]:
    """A row of the article, or of the question, per line, with every claim about it."""
    judged = [(run, claim) for run in runs for claim in run.claims]
    lines = [
        "## What a popular article says, and a question about the rule, row by row",
        "",
        "| row | it says | stated | measured | command |",
        "|---|---|---|---|---|",
    ]
    for row, (statement, stated, remark) in ROWS.items():
        mine = [(run, claim) for run, claim in judged if row_of(claim["id"]) == row]
        claims = "<br>".join(f"**{claim['verdict']}**: {claim['statement']} {seen(claim)}" for _, claim in mine)
        commands = "<br>".join(dict.fromkeys(f"`python -m {run.module}`" for run, _ in mine))
        said = statement + (f" *({remark})*" if remark else "")
        lines.append(line(row, said, stated, claims or "not run", commands))
    return [*lines, ""]


def section(run: Measured) -> list[str]:
    """An experiment: its question, its figure, its claims."""
    rows = [
        line(
            c["statement"], said(c), c["cell"], format_measured(c), format_expected(c),
            f"{c['seeds']} {'confirming' if c['stage'] == 'confirming' else 'exploring'}", c["source"],
        )
        for c in run.claims
    ]  # fmt: skip
    return [
        f"### {run.question}",
        "",
        f"`{run.command}`: {run.members:,} nets, {run.seeds}, {run.seconds:.0f} s on "
        f"{run.device}, {run.date}. Of {len(run.claims)} claims {count(run.claims)}.",
        "",
        f"![{run.name}](evidence/{run.name}.png)",
        "",
        "| claim | verdict | in | measured | expected | seeds | source |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
    ]


def line(*cells: str) -> str:
    """A line of a table; what parts cells is escaped within them."""
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def said(claim: Mapping[str, Any]) -> str:
    """The verdict, the edges on which an optimum lies that it would rest on, and why an interval does not decide it."""
    edges = ", ".join(map(humanize, claim["edges"]))
    notes = [f"best {edges} on an edge"] if edges else []
    notes += [why] if (why := why_undecided(claim)) else []
    return f"{claim['verdict']} ({'; '.join(notes)})" if notes else claim["verdict"]


def seen(claim: Mapping[str, Any]) -> str:
    """What was measured where."""
    return f"{claim['cell']}: {format_measured(claim)}"


def count(claims: Iterable[Mapping[str, Any]]) -> str:
    """`12 hold, 3 fail, 1 undecided`, without what there is none of."""
    verdicts = [claim["verdict"] for claim in claims]
    words = {"holds": "hold", "fails": "fail", "undecided": "undecided", "equal here": "equal here"}
    return ", ".join(f"{verdicts.count(verdict)} {word}" for verdict, word in words.items() if verdict in verdicts)
