"""Heat maps: the score at every combination of the axis and the other hyperparameters."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from wd_research.evidence.measured import Arms
from wd_research.evidence.selection import likely_best
from wd_research.reporting.axes import ROUND, figure_of, number, percent, thinned, wrapped
from wd_research.reporting.drawing import STAR, Axes, Figure, panel_grid, places, slices, told_apart
from wd_research.reporting.panels import explored, index_of_best
from wd_research.results import axis_values, humanize, judged_by, mean_of_seeds
from wd_research.types import Results

MOST_MAPS = 12
TALLEST = 40.0  # inches of a heat map


def is_map(results: Results) -> bool:
    """Whether most combinations of the axis and the other hyperparameters are points, and these not too many."""
    settings = slices(results)
    cells = len(settings) * len(axis_values(results))
    return len(settings) <= 60 and results.sizes["point"] > cells / 4


def heat_map(arms: Arms) -> Figure:
    """Mean test accuracy by axis and setting of the other numbers, down to 20 points below the best of all.

    Losses are shown up to twice the best of all. A star marks the point that validation data choose; outlined is the
    95 % confidence set of the best point on test data (`selection.likely_best`).
    """
    arms = dict(list(arms.items())[:MOST_MAPS])
    rows = [len(slices(results)) for results in arms.values()]
    row = min(0.45, (TALLEST - 1.1 * len(rows)) / sum(rows))
    heights = [1.1 + row * max(count, 2) for count in rows]
    figure, panels = panel_grid(len(arms), 1, width=9.5, height=sum(heights) / len(heights), share=False)
    panels[0, 0].get_gridspec().set_height_ratios(heights)
    for panel, (name, results), height in zip(panels[:, 0], arms.items(), heights, strict=True):
        draw_map(panel, name, results, shades(arms, judged_by(results)), height - 1.1)
    said = f"{explored(arms)}     ★ chosen on validation data     ▢ 95 % confidence set of the best point, on test data"
    figure.supxlabel(f"{said}\ncells without a colour have diverged or were not tried", fontsize=9)
    return figure


def draw_map(panel: Axes, name: str, results: Results, colors: Mapping[str, Any], inches: float) -> None:
    """The heat map of an arm, so many inches high."""
    from matplotlib.patches import Rectangle
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    settings, values, by = slices(results), axis_values(results), judged_by(results)
    column = np.searchsorted(values, places(results))
    row = np.argmax(list(settings.values()), axis=0)
    table = np.full((len(settings), len(values)), np.nan)
    table[row, column] = mean_of_seeds(results, f"test_{by}")
    image = panel.imshow(table, aspect="auto", **colors)
    likely = likely_best(results)
    for x, y in zip(column[likely], row[likely], strict=True):
        panel.add_patch(Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, fill=False, edgecolor="#D55E00", linewidth=2))
    panel.plot(column[index_of_best(results)], row[index_of_best(results)], **STAR)
    of_values = [f"{float(said):g}" for said in told_apart(values, 2)]
    of_settings = [wrapped(setting, 3.5) for setting in settings]
    lines = max(label.count("\n") + 1 for label in of_settings)
    panel.set_xticks(range(len(values)), thinned(of_values, 6.5, 0.17), rotation=60, fontsize=8)
    panel.set_yticks(range(len(settings)), thinned(of_settings, inches, 0.15 * lines), fontsize=8)
    panel.set_title(wrapped(f"{name}: mean test {by}", 8), fontsize=10)
    panel.set_xlabel(wrapped(humanize(results.attrs["axis"]), 8))
    accuracy = by == "accuracy"
    figure_of(panel).colorbar(
        image, ax=panel, format=FuncFormatter(percent if accuracy else number), extend="min" if accuracy else "max",
        ticks=MaxNLocator(int(np.clip(inches / 0.3, 2, 6)), steps=ROUND),
    )  # fmt: skip


def shades(arms: Arms, by: str) -> dict[str, Any]:
    """The colours of a heat map, brighter where better, and the values that they reach between."""
    means = np.concatenate([mean_of_seeds(arm, f"test_{by}") for arm in arms.values() if judged_by(arm) == by])
    means = means[np.isfinite(means)]
    if by == "accuracy":
        best = means.max(initial=0.0)
        return {"cmap": "cividis", "vmin": max(best - 0.2, 0), "vmax": best}
    least = means.min(initial=np.inf)
    return {"cmap": "cividis_r", "vmin": least, "vmax": least + (abs(least) or means.max() or 1.0)}
