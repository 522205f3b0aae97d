"""The tables and pictures of docs/statistics.md, from what scripts/simulate_statistics.py has found."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.random import default_rng

from scripts.simulate_statistics import EXPLORING, LOOKS, PROCEDURES, SHIFTS, Simulated
from scripts.statistics_designs import DESIGNS
from wd_research.evidence.statistics import confidence_set, nominal_level, paired_t, t_quantile
from wd_research.reporting.drawing import STYLES, means, panel_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure
else:
    Figure = Any

ROOT = Path(__file__).parent.parent
PAGE, PICTURES = ROOT / "docs" / "statistics.md", ROOT / "docs" / "statistics"
BEGIN, END = "<!-- simulated: written by scripts/simulate_statistics.py -->", "<!-- end of what is simulated -->"
LABELS = {"confirm": "on 16 fresh seeds", "halves": "by halves", "leaving one out": "leaving one seed out"}


def write(simulated: Simulated, trials: int) -> None:
    """Put the tables between the page's two marks, and the pictures beside it."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    tables = [f"`python scripts/simulate_statistics.py --trials {trials}`", "", *tables_of(simulated)]
    PAGE.write_text("\n".join([before + BEGIN, "", *tables, "", END + after]))
    PICTURES.mkdir(exist_ok=True)
    pictures: dict[str, Callable[[], Figure]] = {
        "paired": paired,
        "stages": stages,
        "false_gains": lambda: false_gains(simulated),
        "verdicts": verdicts,
        "looks": lambda: looks(simulated),
        "best_values": best_values,
    }
    for name, draw in pictures.items():
        draw().savefig(PICTURES / f"{name}.png")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def tables_of(simulated: Simulated) -> list[str]:
    """The three tables under their headings."""
    errors = [
        [name, str(seeds)]
        + [percent(found[procedure].gains) for procedure in PROCEDURES]
        + [percent(found[procedure].differences) for procedure in PROCEDURES]
        + [points(simulated.gains[name, seeds][procedure]) for procedure in PROCEDURES]
        for (name, seeds), found in simulated.errors.items()
    ]
    sets = [
        [name, str(seeds), *(percent(value) for kind in ("guarded", "t alone") for value in found[kind])]
        for (name, seeds), found in simulated.sets.items()
    ]
    stops = [
        [kind, ", ".join(map(str, at)), f"{100 * nominal_level(at):.2f}", percent(found[0].uncorrected)]
        + [f"{percent(each.found)} ({each.seeds:.0f})" for each in found]
        for (kind, at), found in simulated.stops.items()
    ]
    short = ("fresh", "halves", "one out")
    kinds = [
        f"{what}: {each}" for what in ("false gains, %", "false differences, %", "smallest gain") for each in short
    ]
    return [
        "### False gains, false differences, and the smallest gain that is found in 80 % of trials (points)",
        "",
        *table(["scores", "exploring seeds", *kinds], errors),
        "",
        "### The confidence set of the best point: 75 points",
        "",
        *table(["scores", "seeds", "coverage, %", "size, %", "coverage, t alone", "size, t alone"], sets),
        "",
        "### Until decided: found, % (mean seeds taken), by true gain in standard errors of 16 seeds",
        "",
        *table(["gains", "looks", "level, %", "false at 5 % each", *(f"{shift:g}" for shift in SHIFTS)], stops),
    ]


def percent(share: float) -> str:
    """A share, in percent."""
    return f"{100 * share:.1f}"


def points(gain: float) -> str:
    """A gain in points of accuracy; a dash where none of those that were tried is found often enough."""
    return "-" if np.isnan(gain) else f"{100 * gain:.1f}"


def paired() -> Figure:
    """Two points on the same eight seeds: their accuracies, and the interval of their difference, paired and not."""
    rng = default_rng(4)
    difficulty = rng.normal(0.8, 0.03, 8)
    without, decayed = difficulty + rng.normal(0, 0.006, 8), difficulty + 0.02 + rng.normal(0, 0.006, 8)
    figure, ((left, right),) = panel_grid(1, 2, 4.2, 3.2, share=False)
    for pair in zip(without, decayed, strict=True):
        left.plot([0, 1], pair, color="0.4", linewidth=1, marker="o", markersize=4)
    left.set_xticks([0, 1], ["no decay", "decay"])
    left.set_xlim(-0.4, 1.4)
    left.yaxis.set_major_formatter("{x:.0%}")
    left.set_ylabel("test accuracy, a line per seed")
    pooled = np.sqrt((without.var(ddof=1) + decayed.var(ddof=1)) / 8) * t_quantile(0.975, 14)
    mean, low, high = paired_t(decayed - without)
    right.errorbar([0], [100 * mean], 100 * pooled, fmt="s", color="0.5", capsize=4)
    right.errorbar([1], [100 * mean], [[100 * (mean - low)], [100 * (high - mean)]], fmt="o", color="black", capsize=4)
    right.axhline(0, color="black", linewidth=0.8)
    right.set_xticks([0, 1], ["two samples\nof nets", "eight pairs\n(what is reported)"])
    right.set_xlim(-0.6, 1.6)
    right.set_ylabel("difference in points, 95 % interval")
    return figure


def stages() -> Figure:
    """Explore, choose, confirm: the grid on its seeds, the chosen points on theirs, the interval."""
    from matplotlib.patches import FancyArrowPatch, Rectangle

    figure, panels = panel_grid(1, 1, 9, 3.2, share=False)
    panel = panels[0, 0]
    rng, quality = default_rng(1), np.exp(-(((np.arange(12) - 7) / 2.5) ** 2) / 2)
    chosen = {0: "no decay", 7: "best"}
    for seed in range(8):
        for point in range(12):
            shade = 0.95 - 0.4 * np.clip(quality[point] + rng.normal(0, 0.12), 0, 1)
            panel.add_patch(Rectangle((point, seed), 0.9, 0.9, facecolor=str(shade), edgecolor="none"))
    for point in chosen:
        panel.add_patch(Rectangle((point - 0.07, -0.07), 1.04, 8.04, fill=False, edgecolor="black", linewidth=1.5))
    for column, (point, name) in enumerate(chosen.items()):
        x = 18 + 2 * column
        for seed in range(16):
            shade = 0.95 - 0.4 * np.clip(quality[point] + rng.normal(0, 0.12), 0, 1)
            panel.add_patch(Rectangle((x, 0.5 * seed), 0.9, 0.42, facecolor=str(shade), edgecolor="none"))
        panel.text(x + 0.45, -0.3, name, ha="center", va="top")
    for start, end in ((12.4, 17.4), (21.6, 25.8)):
        panel.add_patch(FancyArrowPatch((start, 4), (end, 4), arrowstyle="-|>", mutation_scale=14, color="black"))
    panel.text(14.9, 4.3, "choose on\nvalidation data", ha="center", va="bottom")
    panel.text(23.7, 4.3, "test data,\npaired", ha="center", va="bottom")
    panel.errorbar([28], [4], [[1.5], [1.5]], fmt="o", color="black", capsize=5)
    panel.text(28, 6.2, "gain, 95 %", ha="center", va="bottom")
    panel.text(6, -0.3, "all points of the grid (darker: better)", ha="center", va="top")
    panel.text(6, 8.3, "explore: 8 seeds", ha="center", va="bottom", weight="bold")
    panel.text(19.5, 8.3, "confirm: 16 fresh seeds", ha="center", va="bottom", weight="bold")
    panel.set_xlim(-0.5, 30.5)
    panel.set_ylim(-1.4, 9.4)
    panel.axis("off")
    return figure


def false_gains(simulated: Simulated) -> Figure:
    """False gains against exploring seeds by procedure in three designs, and the smallest gain that is found."""
    figure, panels = panel_grid(1, 4, 3.0, 3.3, share=False)
    designs = ("own noise", "unequal noise", "a real run")
    for panel, name in zip(panels[0], (*designs, "own noise"), strict=True):
        power = panel is panels[0, -1]
        for procedure, style in zip(PROCEDURES, STYLES, strict=False):
            rows = [(name, seeds) for seeds in EXPLORING]
            drawn = [100 * (simulated.gains[row][procedure] if power else simulated.errors[row][procedure].gains)
                     for row in rows]  # fmt: skip
            panel.plot(EXPLORING, drawn, style.marker, color=style.color, linestyle=style.dashes,
                       label=LABELS[procedure])  # fmt: skip
        panel.set_xscale("log", base=2)
        panel.set_xticks(EXPLORING, map(str, EXPLORING))
        panel.minorticks_off()
        panel.set_xlabel("exploring seeds")
        panel.set_ylim(0, None if power else 35)
        panel.set_title(f"{name}: found in 80 %" if power else name, fontsize=10)
        panel.set_ylabel("smallest gain, points" if power else "")
        panel.grid(alpha=0.3)
        if not power:
            panel.axhline(5, color="black", linewidth=0.8)
    panels[0, 0].set_ylabel("false gains, % of trials (line: 5)")
    panels[0, 0].legend(fontsize=8, loc="upper left")
    return figure


def verdicts() -> Figure:
    """Intervals against an expected range, and what each is called."""
    figure, panels = panel_grid(1, 2, 4.6, 2.9, share=False)
    cases = (
        ("a gain: above 0", (0.0, 3.0), [("holds", 1.2, 0.7), ("fails", -1.0, 0.6), ("undecided", 0.4, 0.8),
                                         ("equal here", 0.0, 0.0)]),
        ("no effect: within 1 point", (-1.0, 1.0), [("holds", 0.2, 0.5), ("fails", 1.9, 0.6), ("undecided", 0.7, 0.7),
                                                    ("undecided", 0.0, 1.9)]),
    )  # fmt: skip
    for panel, (title, (low, high), intervals) in zip(panels[0], cases, strict=True):
        panel.axvspan(low, high, color="0.85")
        panel.axvline(0, color="black", linewidth=0.8)
        for row, (_, mean, half) in enumerate(intervals):
            panel.errorbar([mean], [row], xerr=[[half], [half]], fmt="o", color="black", capsize=4)
        panel.set_yticks(range(len(intervals)), [verdict for verdict, _, _ in intervals])
        panel.set_ylim(len(intervals) - 0.5, -0.5)
        panel.set_xlim(-2.2, 3.0)
        panel.set_xlabel("difference in points (grey: expected range)")
        panel.set_title(title, fontsize=10)
    return figure


def looks(simulated: Simulated) -> Figure:
    """The level of each of several looks, what is found falsely with and without it, and the seeds that it takes."""
    figure, panels = panel_grid(1, 3, 3.6, 3.2, share=False)
    levels, false, seeds = panels[0]
    number = np.arange(1, 9)
    levels.plot(number, [100 * nominal_level(range(1, k + 1)) for k in number], "o-", color="black")
    levels.set_xlabel("looks, equally spaced")
    levels.set_ylabel("level of each, %")
    levels.set_ylim(0, 5.5)
    rows = [simulated.stops["normal", at][0] for at in LOOKS]
    place = np.arange(len(LOOKS))
    false.bar(
        place - 0.2, [100 * row.uncorrected for row in rows], 0.4, color="0.75", edgecolor="black", label="5 % at each"
    )
    false.bar(place + 0.2, [100 * row.found for row in rows], 0.4, color="0.25", edgecolor="black", label="corrected")
    false.axhline(5, color="black", linewidth=0.8)
    false.set_xticks(place, ["\n".join(map(str, at)) for at in LOOKS])
    false.set_xlabel("numbers of seeds at which one looks")
    false.set_ylabel("false gains or losses, %")
    false.set_ylim(0, 19)
    false.legend(fontsize=8, loc="upper left")
    for at, style in zip(LOOKS[:2], STYLES, strict=False):
        taken = [row.seeds for row in simulated.stops["normal", at]]
        found = [100 * row.found for row in simulated.stops["normal", at]]
        name = "16 seeds" if len(at) == 1 else "up to 64 seeds"
        seeds.plot(SHIFTS, found, style.marker, color=style.color, linestyle=style.dashes, label=f"{name}: found, %")
        if len(at) > 1:
            seeds.plot(SHIFTS, taken, "^", color="0.5", linestyle=":", label=f"{name}: mean seeds taken")
    seeds.set_xlabel("true gain, standard errors of 16 seeds")
    seeds.set_ylim(0, 115)
    seeds.legend(fontsize=8, loc="upper left")
    return figure


def best_values() -> Figure:
    """One simulated run's test accuracy against decay, and the points in its confidence set, at 8 and at 16 seeds."""
    figure, panels = panel_grid(1, 2, 4.6, 3.2)
    design = DESIGNS["own noise"]._replace(rates=1)
    scores = design.draw(default_rng(5), 16, design.truth(0.08))[1][0]
    for panel, seeds in zip(panels[0], (8, 16), strict=True):
        some = scores[:seeds]
        inside = confidence_set(some, resolution=design.resolution)
        mean, low, high = means(some).T
        for members, color, label in ((~inside, "0.65", "beaten by another"), (inside, "black", "may be the best")):
            x = np.flatnonzero(members)
            panel.errorbar(x, mean[x], (mean[x] - low[x], high[x] - mean[x]), fmt="o", color=color, markersize=4,
                           markerfacecolor=color if color == "black" else "white", label=label)  # fmt: skip
        panel.axvline(15, color="black", linestyle=":", linewidth=1)
        panel.set_xlabel("decay, step of the grid (dotted: truly best)")
        panel.set_title(f"{seeds} seeds", fontsize=10)
    panels[0, 0].set_yticks(np.arange(0.75, 0.92, 0.05))
    panels[0, 0].set_ylabel("test accuracy")
    panels[0, 0].legend(fontsize=8, loc="lower center")
    return figure
