"""Drawing: panels, bands, marks and axes that are readable in print and for the colour-blind.

Bands and bars are 95 % t intervals over seeds.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wd_research.evidence.statistics import paired_t
from wd_research.results import has_value, humanize, hypers, surviving
from wd_research.types import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:
    Axes = Figure = Any  # names alone: Matplotlib takes a second that --help need not wait for

# Okabe & Ito (2008): distinguishable with any kind of colour vision, and by their dashes without colour.
PARTS = {"train": ("#D55E00", "--"), "validation": ("#0072B2", ":"), "test": ("#000000", "-")}
LINES = (("#000000", "-"), ("#0072B2", "--"), ("#D55E00", "-."), ("#009E73", ":"), ("#CC79A7", (0, (5, 1, 1, 1))))
MARKERS = "os^Dv"
STAR: dict[str, Any] = {"marker": "*", "linestyle": "", "color": "white", "markeredgecolor": "black", "markersize": 13}
SCORED: dict[str, Any] = {"fmt": "D", "color": "#CC79A7", "markeredgecolor": "black", "markersize": 4, "capsize": 3,
                          "clip_on": False}  # fmt: skip


class Style(NamedTuple):
    """Color, dashes and marker of a line."""

    color: str
    dashes: Any
    marker: str


STYLES = tuple(Style(color, dashes, marker) for (color, dashes), marker in zip(LINES, MARKERS, strict=True))


NARROWEST = 6.0  # inches: the line below a figure that says what was measured needs them


def panel_grid(rows: int, columns: int, width: float, height: float, share: bool = True) -> tuple[Figure, np.ndarray]:
    """A figure of rows x columns panels (inches each), accuracies in percent where they share their vertical axis."""
    from matplotlib.figure import Figure

    size = max(width * columns, NARROWEST), height * rows
    figure = Figure(figsize=size, layout="constrained", dpi=120)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=share)
    for panel in panels.flat if share else ():
        panel.yaxis.set_major_formatter(percent)
        panel.grid(alpha=0.3)
    return figure, panels


def percent(share: float, _: Any = None) -> str:
    """A share as `82.5%`, for the ticks of an axis."""
    return f"{100 * share:.3g}%"


def in_units(panel: Axes, by: str) -> None:
    """Accuracies in percent; losses as they are, on a logarithmic axis where they span more than a decade."""
    if by == "accuracy":
        panel.yaxis.set_major_formatter(percent)
        return
    low, high = panel.get_ylim()
    if low > 0 and high > 10 * low:
        panel.set_yscale("log")
    else:
        panel.yaxis.set_major_formatter("{x:.3g}")


def varying(results: Results) -> list[str]:
    """The hyperparameters beside the axis that have more than one value."""
    return [n for n in hypers(results) if n != results.attrs["axis"] and len(np.unique(results[n].to_numpy())) > 1]


def setting_of(point: Mapping[str, float], axis: str, names: list[str]) -> str:
    """The hyperparameters of a point beside the axis: `learning rate 0.003`."""
    return ", ".join(f"{humanize(name)} {float(point[name]):.3g}" for name in names if name != axis)


def slices(results: Results) -> dict[str, np.ndarray]:
    """The points of each setting of the other hyperparameters: its name -> bool[h], in the order of the points."""
    names = varying(results)
    columns = [results[name].to_numpy() for name in names]
    labels = [
        setting_of(dict(zip(names, row, strict=True)), results.attrs["axis"], names)
        for row in (zip(*columns, strict=True) if columns else [()] * results.sizes["point"])
    ]
    return {label: np.array([other == label for other in labels]) for label in dict.fromkeys(labels)}


def drawn_at(results: Results) -> np.ndarray:
    """Positions of the points on a logarithmic axis: their values, and for 0 a place left of the smallest; f64[h]."""
    values = results[results.attrs["axis"]].to_numpy().astype(float)
    positive = values[values > 0]
    return np.where(values > 0, values, (positive.min() if len(positive) else 1.0) / 5)


def mark_zero(panel: Axes, results: Results, among: np.ndarray) -> None:
    """Make the axis logarithmic, as long in every panel, and write the 0 where it is drawn, with no tick left of it."""
    places, off = drawn_at(results), has_value(results, 0)
    panel.set_xscale("log")
    panel.set_xlim(places.min() / 2, places.max() * 2)
    lowest, highest = 0.99 * places[~off].min(initial=np.inf), 2 * places.max()
    if ticks := [tick for tick in panel.get_xticks() if lowest <= tick <= highest]:
        panel.set_xticks(ticks)
    for place in places[among & off]:
        panel.annotate("0", (place, 0), xycoords=("data", "axes fraction"), xytext=(0, -7), textcoords="offset points",
                       ha="center", va="top")  # fmt: skip


def draw_against_axis(
    panel: Axes, results: Results, among: np.ndarray, name: str, label: str, color: str, linestyle: str
) -> None:
    """A band over the values above 0 of the axis, and a bar at 0."""
    x, values, off = drawn_at(results), surviving(results, name), has_value(results, 0)
    draw_band(panel, x[among & ~off], values[:, among & ~off], label, color, linestyle)
    for point in np.flatnonzero(among & off):
        mean, low, high = paired_t(values[:, point])
        panel.errorbar(x[point], mean, [[mean - low], [high - mean]], fmt="o", markersize=3, color=color)


def means(values: np.ndarray) -> np.ndarray:
    """The mean over seeds and its 95 % t interval, f64[s, k] -> f64[k, 3]."""
    return np.array([paired_t(column) for column in values.T]).reshape(-1, 3)


def draw_measured(panel: Axes, x: np.ndarray, estimates: np.ndarray, style: Style, label: str) -> None:
    """Marks and bars for means, lows and highs f64[k, 3] at x f64[k]."""
    mean, low, high = estimates.T
    panel.errorbar(x, mean, (mean - low, high - mean), fmt=style.marker, color=style.color, markersize=3.5, capsize=2,
                   label=label)  # fmt: skip


def axis_from_zero(panel: Axes, lowest: float, highest: float) -> None:
    """A logarithmic axis that goes on to 0 below its lowest value, with a tick at 0 and at each power of ten."""
    panel.set_xscale("symlog", linthresh=lowest, linscale=0.5)
    panel.set_xlim(-lowest / 3, 1.2 * highest)
    ticks = [0, *(10.0**k for k in range(-9, 10) if 0.99 * lowest <= 10.0**k <= 1.01 * highest)]
    panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    panel.xaxis.minorticks_off()


def draw_band(panel: Axes, x: np.ndarray, values: np.ndarray, label: str, color: str, dashes: Any) -> None:
    """The mean of f64[s, k] over seeds at x f64[k], and its band."""
    order = np.argsort(x)
    mean, low, high = means(values[:, order]).T
    alone = "o" if len(x) == 1 else None  # a line of one value would not be seen
    panel.plot(x[order], mean, color=color, linestyle=dashes, label=label, marker=alone, markersize=3)
    panel.fill_between(x[order], low, high, color=color, alpha=0.15, linewidth=0)
