"""The picture of docs/benchmarks.md, from what scripts/bench.py has measured: how many times as fast the engine is.

python scripts/bench_picture.py     # docs/benchmarks.png, from docs/benchmarks.json; scripts/bench.py does it too
"""

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np

mpl.use("agg")
import matplotlib.pyplot as plt

DOCS = Path(__file__).parent.parent / "docs"
NETS = {  # parts of the benchmark -> a net of theirs
    "digits": "digits, MLP of width {width}",
    "synthetic": "784 inputs, MLP of width {width}",
    "convolution": "{size}x{size} images, {net}",
    "transformer": "modular addition, transformer",
    "language": "text, decoder of width {width}",
    "jobs": "whole cold job, MLP of width {width}",
    "gpu": "one GPU, digits, MLP of width {width}",
}
FAMILIES = {  # the fastest peer of each -> color, marker
    "PyTorch loop": ("#d55e00", "o"),
    "torch.func ensemble": ("#cc79a7", "s"),
    "flax and optax": ("#0072b2", "D"),
    "Keras": ("#009e73", "^"),
    "scikit-learn": ("#e69f00", "v"),
}


class Against(NamedTuple):
    """How many times as fast as the fastest peer of a family the engine's best block is."""

    family: str
    ratio: float  # of medians
    low: float  # of the engine's slowest process over the peer's fastest
    high: float


def against(rows: list[Mapping[str, Any]], part: str) -> list[Against]:
    """Of one net, every family that was measured."""
    speeds = {(row["peer"], row["members"]): speeds_of(row, part) for row in rows}
    ours = max((speed for (peer, _), speed in speeds.items() if is_ours(peer)), key=median)
    found = []
    for family in FAMILIES:
        theirs = [speed for (peer, _), speed in speeds.items() if peer.startswith(family)]
        if theirs:
            best = max(theirs, key=median)
            found.append(Against(family, median(ours) / median(best), min(ours) / max(best), max(ours) / min(best)))
    return found


def kind(row: Mapping[str, Any]) -> tuple[str, int, int]:
    """What net a row is of."""
    return row["net"], row["size"], row["width"]


def is_ours(peer: str) -> bool:
    """Whether it is the engine as users have it, with nothing compiled before."""
    return peer in ("engine, sequential", "engine, eight at a time", "engine, vmapped")


def speeds_of(row: Mapping[str, Any], part: str) -> list[float]:
    """What its processes did per second: member-steps, or whole jobs."""
    return [1 / wall for wall in row["walls"]] if part == "jobs" else list(row["rates"])


def nets(parts: Mapping[str, Any]) -> dict[str, list[Against]]:
    """What the engine is compared with, for every net by its label."""
    found = {}
    for part, form in NETS.items():
        rows = parts.get(part, {}).get("cells", [])
        for net, size, width in sorted({kind(row) for row in rows}):
            label = form.format(net=net, size=size, width=width)
            found[label] = against([row for row in rows if kind(row) == (net, size, width)], part)
    return found


def draw(parts: Mapping[str, Any], path: Path) -> None:
    """A row for each net, a mark for each family of peers, a ring where the engine is the slower one."""
    seen = nets(parts)
    labels = list(seen)
    figure, panel = plt.subplots(figsize=(9, 0.32 * len(labels) + 1.6), layout="constrained")
    for height, of_net in enumerate(seen.values()):
        for each, shift in zip(of_net, 0.13 * (np.arange(len(of_net)) - (len(of_net) - 1) / 2), strict=True):
            color, marker = FAMILIES[each.family]
            panel.plot([each.low, each.high], [height + shift] * 2, color=color, linewidth=1)
            panel.plot(each.ratio, height + shift, marker, color=color, markersize=5, label=each.family)
            if each.ratio < 1:
                panel.plot(each.ratio, height + shift, "o", markersize=12, markerfacecolor="none",
                           markeredgecolor="black", label="the engine is the slower one")  # fmt: skip
    panel.axvline(1, color="black", linewidth=1)
    panel.set(xscale="log", ylim=(len(labels) - 0.5, -0.5), yticks=range(len(labels)), yticklabels=labels,
              xlabel="times as fast as the fastest peer of a kind; lines: slowest to fastest process")  # fmt: skip
    panel.set_xticks([0.5, 1, 2, 5, 10, 100, 1_000, 10_000], ["0.5", "1", "2", "5", "10", "100", "1,000", "10,000"])
    panel.minorticks_off()
    panel.grid(axis="x", alpha=0.3)
    shown = dict(zip(*panel.get_legend_handles_labels()[::-1], strict=True))
    figure.legend(shown.values(), shown, loc="outside lower center", ncols=3, fontsize=9)
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    draw(json.loads((DOCS / "benchmarks.json").read_text()), DOCS / "benchmarks.png")
