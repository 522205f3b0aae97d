"""The report: one HTML page of a run, or of several side by side, made from their folders; it needs no other file."""

import base64
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from wd_research.reporting.checksums import seal
from wd_research.reporting.confirmed import confirmed_rows
from wd_research.reporting.files import write_text
from wd_research.reporting.record import RunRecord, check_shown, read_run
from wd_research.reporting.seeds import Seeds, how_scored, interval, of_claim, seeds_of
from wd_research.reporting.sentences import format_expected, format_measured
from wd_research.reporting.table import Rows, arms_rows, format_caveats
from wd_research.results import humanize

EACH = "The same, a panel for each setting of the other hyperparameters."
CAPTIONS = {
    "tuned": "At each value of the axis the other hyperparameters are those that validation data choose there, so that "
    "a line may have a kink where they change.",
    "accuracy": EACH,
    "loss": EACH,
    "heat_map": "Every combination of the axis and the other hyperparameters.",
    "time_scale": "The test score against 1 / (learning rate * decay): the steps in which decay alone shrinks a weight "
    "to 1/e.",
    "points": "Every point is a line through its hyperparameters to its score.",
    "training": "The chosen point, and the best one without decay at its own best other hyperparameters: so the curves "
    "differ in more than decay.",
    "ledger": "Leaf by leaf at the chosen point: its norm, its steps, and the angles by which they turn it.",
}


def report(runs: Sequence[RunRecord]) -> str:
    """One run, or several side by side, as HTML; figures lie inside it, what is text is escaped.

    Raises UserError, with one sentence that names file and key, when a run has not what is shown.
    """
    for run in runs:
        check_shown(run)
    title = " | ".join(dict.fromkeys(str(run.record["question"]) for run in runs))
    compared = differences(runs) if len(runs) > 1 else None
    return template().render(title=title, runs=runs, differences=compared)


@cache
def template() -> Any:
    """The page without a run, made once: that takes a tenth of a second."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("wd_research", "reporting"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    functions: dict[str, Any] = {
        function.__name__: function
        for function in (table, figure, arms_rows, confirmed_rows, format_caveats, format_expected, format_measured,
                         format_record, how_scored, of_claim, seeds_of)
    }  # fmt: skip
    environment.globals.update(functions)
    return environment.get_template("page.html")


def table(rows: Rows) -> Any:
    """A table, its first column as heads of the rows."""
    from markupsafe import Markup, escape

    def line(first: str, *others: str) -> str:
        return f"<tr><th>{escape(first)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in others)}</tr>"

    head = "".join(f"<th>{escape(cell)}</th>" for cell in rows.head)
    head = f"<tr>{head}</tr>" if any(rows.head) else ""
    bodies = (f"<tbody>{''.join(line(*row) for row in section)}</tbody>" for section in rows.sections)
    return Markup(f'<div class="wide"><table>{head}{"".join(bodies)}</table></div>')


def figure(name: str, svg: bytes) -> Any:
    """A figure that lies inside the page, with what it shows below it."""
    from markupsafe import Markup, escape

    data = base64.b64encode(svg).decode()
    image = Markup(f'<img alt="{escape(humanize(name))}" src="data:image/svg+xml;base64,{data}">')
    said = CAPTIONS.get(name)
    caption = Markup(f'<figcaption class="quiet">{escape(said)}</figcaption>') if said else ""
    return Markup(f"<figure>{image}{caption}</figure>")


def format_record(run: RunRecord) -> Rows:
    """Status, size, seeds, device, versions, commit, the seconds that each stage took, and which files were checked."""
    record, device, files = run.record, run.record["device"], run.record.get("files", {})
    seconds = record.get("seconds") or {}
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    spent = ", ".join(f"{what} {spent:.1f}" for what, spent in seconds.items())
    return Rows(["", ""], [[
        ["status", record["status"]],
        ["trained", f"{record['members']:,} members, {record['steps']:,} steps each"],
        ["exploring seeds", str(record["seeds"])],
        *([["confirming seeds", format_confirming(seeds_of(run.summary))]] if run.summary else []),
        ["device", f"{device['count']} x {device['kind']} ({device['machine']})"],
        ["versions", versions],
        ["commit", record["git_commit"] or "not in a git checkout"],
        ["seconds", f"{sum(seconds.values()):.1f}: {spent}"],
        ["checksums", f"{len(files)} files are as the run left them, by SHA-256" if files else "none"],
    ]])  # fmt: skip


def format_confirming(seeds: Seeds) -> str:
    """How many confirming seeds there are, and after which of them claims are judged."""
    if not seeds.confirming:
        return "none"
    if len(seeds.looks) < 2:
        return str(seeds.confirming)
    looks = ", ".join(map(str, seeds.looks))
    return f"{seeds.confirming}; looks after {looks}, until every claim is decided, {interval(seeds.alpha)} at each"


def differences(runs: Sequence[RunRecord]) -> Rows:
    """The choices in which several runs differ, a column per run."""
    described = [recorded_choices(run.record) for run in runs]
    names = dict.fromkeys(name for run in described for name in run)
    rows = [[humanize(name), *(run.get(name, "") for run in described)] for name in names]
    return Rows(["", *(run.name for run in runs)], [[row for row in rows if len(set(row[1:])) > 1]])


def recorded_choices(record: Mapping[str, Any]) -> dict[str, str]:
    """The question, flags, looks at confirming seeds, device and versions of a run, as text."""
    chosen = {"question": record["question"], **record["flags"], "confirming_seeds": record.get("looks", [])}
    chosen |= {"device": record["device"]["kind"]}
    chosen |= {name: version for name, version in record["versions"].items() if name in ("jax", "wd_research")}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in chosen.items()}


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the record of a run with its checksums, and the report that is made of its folder."""
    seal(folder, record)
    write_text(folder / "report.html", report([read_run(folder)]))
