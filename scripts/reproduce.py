"""Run the experiments from nothing and write the results: docs/evidence.md, with a figure of each.

    python scripts/reproduce.py                         # all but those of language models, into docs/evidence.md
    python scripts/reproduce.py --quick                 # two seeds explore, two confirm; into runs/evidence-quick/
    python scripts/reproduce.py data_regimes choosing   # these anew, the others as they were run last

Every experiment is a process of its own, as its head says, with its folder in runs/evidence (or runs/evidence-quick).
On the page, the rows of the article come first: statement, stated figure, every claim with its measured figure,
interval and verdict, and the command; then each experiment with its figure and all its claims.
"""

import argparse
import importlib
import json
import pkgutil
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

import experiments
from experiments.article.rows import ROWS, row_of
from wd_research.reporting.folder import RECORD, free_folder
from wd_research.reporting.record import read_run
from wd_research.reporting.sentences import format_expected, format_measured, why_undecided
from wd_research.results import humanize

ROOT = Path(__file__).parent.parent
QUICK_SEEDS = 2
LONG = "experiments.language."  # hours each, so only when they are named


class Finished(NamedTuple):
    """An experiment that has run to its end."""

    module: str
    folder: Path
    record: Mapping[str, Any]  # experiment.json
    summary: Mapping[str, Any]  # summary.json

    @property
    def name(self) -> str:
        return self.module.rpartition(".")[2]

    @property
    def seconds(self) -> float:
        return sum(self.record["seconds"].values())


def main() -> None:
    """Run what is asked for, gather the rest, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="experiments to run; all of them without")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SEEDS} seeds explore, {QUICK_SEEDS} confirm")
    flags = parser.parse_args()
    modules = {module.rpartition(".")[2]: module for module in all_experiments()}
    unknown = set(flags.names) - set(modules)
    if unknown:
        parser.error(f"no experiment is called {', '.join(sorted(unknown))}: choose among {', '.join(modules)}")
    runs = ROOT / "runs" / ("evidence-quick" if flags.quick else "evidence")
    begin = perf_counter()
    names = flags.names or [name for name, module in modules.items() if not module.startswith(LONG)]
    # In little, most of the time is compilation, on one core: two at a time. Evidence is measured one after the other.
    with ThreadPoolExecutor(2 if flags.quick else 1) as several:
        ends = several.map(lambda name: run(modules[name], runs, flags.quick), names)
        for place, said in enumerate(ends, start=1):
            print(f"{said}=== {place} of {len(names)} after {perf_counter() - begin:.0f} s\n", flush=True)
    finished = [last_run(module, runs) for module in modules.values()]
    page = runs / "evidence.md" if flags.quick else ROOT / "docs" / "evidence.md"
    write_page(page, [run for run in finished if run])
    print(f"\n{page.relative_to(ROOT)} after {perf_counter() - begin:.0f} s")


def all_experiments() -> list[str]:
    """The modules below `experiments` that declare one: the main job, the article's, the literature's."""
    names = [found.name for found in pkgutil.walk_packages(experiments.__path__, "experiments.") if not found.ispkg]
    return [name for name in names if hasattr(importlib.import_module(name), "experiment")]


def run(module: str, runs: Path, quick: bool) -> str:
    """Run an experiment in a new folder; what it printed, unless that was seen. Ends this process where it fails."""
    name = module.rpartition(".")[2]
    folder = free_folder(runs, name)
    print(f"=== {name}", flush=True)
    few = ("--seeds", str(QUICK_SEEDS), "--confirm", str(QUICK_SEEDS)) if quick else ()
    command = [sys.executable, "-m", module, "--workdir", str(folder), *few]
    done = subprocess.run(command, cwd=ROOT, check=False, text=True, stdout=subprocess.PIPE if quick else None)
    if done.returncode:
        sys.exit(f"{name} ended with exit code {done.returncode}\n{done.stdout or ''}")
    return done.stdout or ""


def last_run(module: str, runs: Path) -> Finished | None:
    """The newest finished run of an experiment in `runs`; None where there is none."""
    name = module.rpartition(".")[2]
    folders = [folder for folder in runs.glob(f"{name}*") if re.fullmatch(rf"{name}(-\d+)?", folder.name)]
    for folder in sorted(folders, key=lambda folder: (folder / RECORD).stat().st_mtime, reverse=True):
        record = json.loads((folder / RECORD).read_text())
        if record["status"] == "finished":
            return Finished(module, folder, record, read_run(folder).summary)
    return None


# The page


def write_page(page: Path, runs: Sequence[Finished]) -> None:
    """Write the page, and the first figure of every run into the folder beside it."""
    pictures = page.with_suffix("")
    pictures.mkdir(parents=True, exist_ok=True)
    for run in runs:
        shutil.copyfile(run.folder / "figures" / f"{run.record['figures'][0]}.png", pictures / f"{run.name}.png")
    page.write_text("\n".join([*head(runs), *table_of_rows(runs), *(line for run in runs for line in section(run))]))


def head(runs: Sequence[Finished]) -> list[str]:
    """What this page is and how it was made."""
    devices = {f"{run.record['device']['count']} x {run.record['device']['kind']}" for run in runs}
    jax_versions = {run.record["versions"]["jax"] for run in runs}
    seeds = sorted({seeds_of(run) for run in runs})
    counts = count([claim for run in runs for claim in run.summary["claims"]])
    return [
        "# The evidence",
        "",
        f"Written by `make reproduce` on {date.today()}: {sum(run.record['members'] for run in runs):,} nets, "
        f"{sum(run.seconds for run in runs) / 60:.0f} minutes, device {', '.join(sorted(devices))}, jax "
        f"{', '.join(sorted(jax_versions))}; {', '.join(seeds)}. Of all claims {counts}. Exploring seeds see every "
        "point, and choose on validation data; what is chosen is measured on fresh, confirming seeds, the rest on the "
        "exploring ones ([how](statistics.md)). Means with 95 % paired t intervals over seeds. A claim holds when the "
        "whole interval lies in what is expected (in every cell, or in one where it says somewhere, by Holm), fails "
        "when it lies outside, is undecided else, and also where an optimum lies on an edge of its grid; shown is the "
        "cell that the verdict hangs on.",
        "",
    ]


def seeds_of(run: Finished) -> str:
    """`8 + 16 seeds`: exploring and confirming ones."""
    seeds = run.summary["seeds"]
    return (
        f"{seeds['exploring']} + {seeds['confirming']} seeds" if seeds["confirming"] else f"{seeds['exploring']} seeds"
    )


def table_of_rows(runs: Sequence[Finished]) -> list[str]:
    """A row of the article, or of the question, per line, with every claim about it."""
    judged = [(run, claim) for run in runs for claim in run.summary["claims"]]
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


def section(run: Finished) -> list[str]:
    """An experiment: its question, its figure, its claims."""
    claims = run.summary["claims"]
    return [
        f"## {run.summary['question']}",
        "",
        f"`python -m {run.module}`: {run.record['members']:,} nets, {run.record['programs']} programs, "
        f"{seeds_of(run)}, {run.seconds:.0f} s. Of {len(claims)} claims {count(claims)}.",
        "",
        f"![{run.name}](evidence/{run.name}.png)",
        "",
        "| claim | verdict | in | measured | expected | seeds | source |",
        "|---|---|---|---|---|---|---|",
        *(
            line(
                c["statement"],
                said(c),
                c["cell"],
                format_measured(c),
                format_expected(c),
                f"{c['seeds']} {'confirming' if c['stage'] == 'confirming' else 'exploring'}",
                c["source"],
            )
            for c in claims
        ),
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


if __name__ == "__main__":
    main()
