"""The tables of docs/benchmarks.md, from what scripts/bench.py has measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

BEGIN, END = "<!-- measured: written by scripts/bench.py -->", "<!-- end of what is measured -->"
TITLES = {
    "digits": "All peers, on digits",
    "synthetic": "All peers, on 784 inputs",
    "growth": "Growth of the population",
    "jobs": "Whole cold jobs",
    "experiment": "The main experiment from the shell",
    "convolution": "A small convolutional net",
    "transformer": "A one-layer transformer on modular addition",
    "language": "A decoder on text, 1,024 tokens a step",
    "gpu": "On a GPU",
}
NETS = {
    "mlp": "mlp {size}-{width}-{width}-10",
    "convolution": "{size}x{size} images, convolutions of {width} and twice {width} channels",
    "resnet": "{size}x{size} images, 9 residual blocks from {width} to four times {width} channels, group norm",
    "transformer": "tokens of {width} numbers, 4 heads",
    "decoder": "windows of {size} tokens, {width} numbers each, 4 heads",
}
Row = Mapping[str, Any]


def write(page: Path, parts: Mapping[str, Any]) -> None:
    """Put the tables between the page's two marks."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    lines = [line for part in TITLES if part in parts for line in section(part, parts[part])]
    page.write_text("\n".join([before + BEGIN, "", *lines, END + after]))


def section(part: str, seen: Row) -> list[str]:
    """A part: where it was measured, and a table per net."""
    versions = ", ".join(f"{name} {seen[name]}" for name in ("jax", "torch", "scikit-learn", "keras") if name in seen)
    where = (
        f"`python scripts/bench.py {part} --processes {seen['processes']}`, {seen['date']}: {seen['cpu']}, "
        f"{seen['cores']} cores, {seen['device']}; Python {seen['python']}, {versions}."
    )
    if part == "experiment":
        return [f"### {TITLES[part]}", "", where, "", *experiment(seen["runs"]), ""]
    rows = seen["cells"]
    kinds = dict.fromkeys((row["net"], row["size"], row["width"]) for row in sorted(rows, key=order))
    tables = []
    for net, size, width in kinds:
        mine = [row for row in rows if (row["net"], row["size"], row["width"]) == (net, size, width)]
        make = {"growth": growth, "jobs": jobs}.get(part, rates)
        tables += ["", f"**{NETS[net].format(size=size, width=width)}**", "", *make(mine, seen)]
    moved = f", {seen['bandwidth'] / 1e9:,.0f} GB/s; products in float32" if "bandwidth" in seen else ""
    residual = " (five of the residual net)" if any(row["net"] == "resnet" for row in rows) else ""
    return [
        f"### {TITLES[part]}",
        "",
        f"{where} Limit {seen['limit'] / 1e9:,.0f} GFLOP/s{moved}. Largest difference between peers "
        f"{seen['gate']['1']:.0e} after one step, {seen['gate']['20']:.0e} after twenty{residual}.",
        *tables,
        "",
    ]


def order(row: Row) -> tuple[Any, ...]:
    """Nets from small to large."""
    return row["net"], row["size"], row["width"], row["members"]


def rates(rows: Sequence[Row], seen: Row) -> list[str]:
    """Member-steps per second; how many times as fast our best cell is; the shares of the limits."""
    ours = max(median(row["rates"]) for row in rows if row["peer"].startswith("engine, "))
    moved = "bandwidth" in seen  # on a GPU
    lines = [
        "| peer | members | member-steps/s, median [lowest, highest] | engine against it | share of the limit "
        f"{'| share of the byte floor ' if moved else ''}| import, s | first call, s |",
        "|---" * (8 if moved else 7) + "|",
    ]
    for row in sorted(rows, key=lambda row: -median(row["rates"])):
        rate = median(row["rates"])
        shares = [f"{rate * row['operations'] / seen['limit']:.2f}"]
        shares += [f"{rate * row['bytes'] / seen['bandwidth']:.2f}"] if moved else []
        lines.append(
            f"| {row['peer']} | {row['members']:,} | {rate:,.0f} [{row['rates'][0]:,.0f}, {row['rates'][-1]:,.0f}] "
            f"| {ours / rate:.2f} | {' | '.join(shares)} | {row['start']:.1f} | {row['first']:.1f} |"
        )
    return lines


def growth(rows: Sequence[Row], seen: Row) -> list[str]:
    """The time of a member-step by the size of the population, sequential and vmapped."""
    lines = [
        "| members | sequential, us a member-step [lowest, highest] | vmapped | the better's share of the limit "
        "| first call, s: sequential | vmapped |",
        "|---|---|---|---|---|---|",
    ]
    for members in sorted({row["members"] for row in rows}):
        pair = {row["peer"]: row for row in rows if row["members"] == members}
        one, vmapped = pair["engine, sequential"], pair["engine, vmapped"]
        share = max(median(one["rates"]), median(vmapped["rates"])) * one["operations"] / seen["limit"]
        lines.append(
            f"| {members:,} | {microseconds(one)} | {microseconds(vmapped)} | {share:.2f} "
            f"| {one['first']:.1f} | {vmapped['first']:.1f} |"
        )
    return lines


def microseconds(row: Row) -> str:
    """`12.3 [12.0, 12.9]` microseconds a member-step."""
    low, middle, high = (1e6 / rate for rate in (row["rates"][-1], median(row["rates"]), row["rates"][0]))
    return f"{middle:.1f} [{low:.1f}, {high:.1f}]"


def jobs(rows: Sequence[Row], seen: Row) -> list[str]:
    """Seconds of a whole process, import and compilation included."""
    del seen
    ours = next(median(row["walls"]) for row in rows if row["peer"] == "engine, sequential")
    lines = [
        "| peer, with nothing compiled before | whole process, s, median [lowest, highest] | against the engine "
        "| import, s |",
        "|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: median(row["walls"])):
        wall = median(row["walls"])
        lines.append(f"| {row['peer']} | {spread(row['walls'])} | {wall / ours:.2f} | {row['start']:.1f} |")
    return lines


def experiment(runs: Sequence[Row]) -> list[str]:
    """Where the seconds of a whole process go."""
    parts = ("import", "audit", "compile", "train", "evaluate", "write", "conclude")
    lines = [
        "| run | whole process, s, median [lowest, highest] | "
        + " | ".join(parts)
        + " | compile and train, over auto's | block |",
        "|---" * (len(parts) + 4) + "|",
    ]
    for run in runs:
        cells = [f"{run['seconds'][part]:.1f}" if part in run["seconds"] else "" for part in parts]
        cells += [spread(run["over_auto"], 2) if run["over_auto"] else "", ", ".join(run["blocks"])]
        lines.append(f"| {run['run']} | {spread(run['wholes'])} | " + " | ".join(cells) + " |")
    return lines


def spread(values: Sequence[float], digits: int = 1) -> str:
    """`12.3 [12.0, 12.9]` of sorted values."""
    return f"{median(values):.{digits}f} [{values[0]:.{digits}f}, {values[-1]:.{digits}f}]"
