"""The report: what a run's folder holds as one page that needs nothing else, or several of them side by side."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from wd_research.evidence.answer import words
from wd_research.evidence.claims import expected, measured
from wd_research.evidence.table import Rows, arms_rows
from wd_research.types import Kept


def report(runs: Sequence[Kept]) -> str:
    """One run, or several side by side, as HTML; figures lie inside it, what is text is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # here, because it takes a tenth of a second

    environment = Environment(
        loader=PackageLoader("wd_research", "evidence"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.globals |= {"table": table, "figure": figure, "arms_rows": arms_rows, "made": made}
    environment.globals |= {"measured": measured, "expected": expected}
    title = " | ".join(dict.fromkeys(str(run.record["question"]) for run in runs))
    compared = differences(runs) if len(runs) > 1 else None
    return environment.get_template("report.html").render(title=title, runs=runs, differences=compared)


def table(rows: Rows) -> Any:
    """A table, its first column as heads of the rows."""
    from markupsafe import Markup, escape

    head = "".join(f"<th>{escape(cell)}</th>" for cell in rows.head)
    head = f"<tr>{head}</tr>" if any(rows.head) else ""
    body = "".join(
        f"<tr><th>{escape(first)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in others)}</tr>"
        for first, *others in rows.rows
    )
    return Markup(f'<div class="wide"><table>{head}{body}</table></div>')


def figure(name: str, svg: bytes) -> Any:
    """A figure that lies inside the page."""
    from markupsafe import Markup, escape

    data = base64.b64encode(svg).decode()
    return Markup(f'<figure><img alt="{escape(words(name))}" src="data:image/svg+xml;base64,{data}"></figure>')


def made(record: Mapping[str, Any]) -> Rows:
    """With what a run was made, and where the time went."""
    device, seconds = record["device"], record.get("seconds") or {}
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    spent = ", ".join(f"{what} {spent:.1f}" for what, spent in seconds.items())
    return Rows(["", ""], [
        ["status", record["status"]],
        ["trained", f"{record['members']:,} members, {record['steps']:,} steps each, {record['seeds']} seeds"],
        ["device", f"{device['count']} x {device['kind']} ({device['machine']})"],
        ["versions", versions],
        ["commit", record["git_commit"] or "not in a git checkout"],
        ["seconds", f"{sum(seconds.values()):.1f}: {spent}"],
    ])  # fmt: skip


def differences(runs: Sequence[Kept]) -> Rows:
    """What the records of several runs do not have in common, a column per run."""
    described = [described_by(run.record) for run in runs]
    names = dict.fromkeys(name for run in described for name in run)
    rows = [[words(name), *(run.get(name, "") for run in described)] for name in names]
    return Rows(["", *(run.name for run in runs)], [row for row in rows if len(set(row[1:])) > 1])


def described_by(record: Mapping[str, Any]) -> dict[str, str]:
    """What a person chose for a run, and on what it ran, as text."""
    chosen = {"question": record["question"], **record["flags"], "device": record["device"]["kind"]}
    chosen |= {name: version for name, version in record["versions"].items() if name in ("jax", "wd_research")}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in chosen.items()}
