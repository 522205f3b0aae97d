"""Drawing: panels, bands, marks and axes that are readable in print and for the colour-blind.

Bands and bars are 95 % t intervals over seeds.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wd_research.evidence.statistics import paired_t
from wd_research.reporting.axes import in_percent, shows_shares, through_zero, wrapped
from wd_research.results import axis_values, has_value, humanize, hypers, surviving
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
SCORED: dict[str, Any] = {"fmt": "D", "color": "#CC79A7", "markeredgecolor": "black", "markersize": 4, "capsize": 3}


class Style(NamedTuple):
    """Color, dashes and marker of a line."""

    color: str
    dashes: Any
    marker: str


STYLES = tuple(Style(color, dashes, marker) for (color, dashes), marker in zip(LINES, MARKERS, strict=True))


NARROWEST = 6.0  # inches: the line below a figure that says what was measured needs them


def panel_grid(rows: int, columns: int, width: float, height: float, share: bool = True) -> tuple[Figure, np.ndarray]:
    """A figure of rows x columns panels (inches each), accuracies in percent where they share their vertical axis."""
    from wd_research.reporting.picture import Picture  # loads Matplotlib

    size = max(width * columns, NARROWEST), height * rows
    figure = Picture(figsize=size, layout="constrained", dpi=120)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=share)
    for panel in panels.flat if share else ():
        in_percent(panel)
        panel.grid(alpha=0.3)
    return figure, panels


def legend_below(figure: Figure, title: str = "", small: bool = False) -> None:
    """One legend of all panels below them, in as many columns as fit beside each other; the figure grows by it."""
    entries: dict[str, Any] = {}
    for panel in figure.axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if not entries:
        return
    title = wrapped(title, 0.9 * figure.get_figwidth())
    text: dict[str, Any] = {"fontsize": 8, "title_fontsize": 8} if small else {"title_fontsize": "medium"}
    for columns in range(min(len(entries), 6), 0, -1):
        legend = figure.legend(
            entries.values(), entries, loc="outside lower center", ncols=columns, title=title, **text
        )
        box = legend.get_window_extent()
        if box.width < 0.96 * figure.bbox.width or columns == 1:
            figure.set_figheight(figure.get_figheight() + box.height / figure.dpi)
            return
        legend.remove()


def varying(results: Results) -> list[str]:
    """The hyperparameters beside the axis that have more than one value."""
    return [n for n in hypers(results) if n != results.attrs["axis"] and len(np.unique(results[n].to_numpy())) > 1]


def slices(results: Results) -> dict[str, np.ndarray]:
    """The points of each setting of the other hyperparameters: its name, such as `learning rate 0.003` -> bool[h].

    They stand in the order of the points, and of their values where the grid has grown.
    """
    columns = [[f"{humanize(name)} {said}" for said in told_apart(results[name].to_numpy())]
               for name in varying(results)]  # fmt: skip
    labels = [", ".join(row) for row in zip(*columns, strict=True)] if columns else [""] * results.sizes["point"]
    columns = [results[name].to_numpy() for name in varying(results)] if "declared" in results.attrs else []
    order = np.lexsort(columns[::-1]) if columns else range(len(labels))
    return {label: np.array([other == label for other in labels]) for label in dict.fromkeys(labels[p] for p in order)}


def told_apart(values: np.ndarray, fewest: int = 3) -> list[str]:
    """Numbers as text, in so few digits or as many more as tell them from each other."""
    different = len(np.unique(values))
    digits = next((d for d in range(fewest, 9) if len({f"{value:.{d}g}" for value in values}) == different), 9)
    return [f"{value:.{digits}g}" for value in values]


def places(results: Results) -> np.ndarray:
    """The values of the axis in question, point by point; f64[h]."""
    return results[results.attrs["axis"]].to_numpy().astype(float)


def mark_zero(panel: Axes, results: Results, among: np.ndarray) -> None:
    """Make the axis logarithmic, as long in every panel, and go on to 0 beyond the smallest value if that is there."""
    through_zero(panel, axis_values(results), bool((among & has_value(results, 0)).any()))


def draw_against_axis(
    panel: Axes, results: Results, among: np.ndarray, name: str, label: str, color: str, linestyle: Any
) -> np.ndarray:
    """A band over the values of the axis but 0, and a bar at 0; the means with their intervals, f64[k, 3]."""
    x, values, off = places(results), surviving(results, name), has_value(results, 0)
    sides = [side for side in (among & (x > 0), among & off, among & (x < 0)) if side.any()]
    return np.concatenate([
        draw_band(panel, x[side], values[:, side], "" if k else label, color, linestyle) for k, side in enumerate(sides)
    ])  # fmt: skip


def means(values: np.ndarray) -> np.ndarray:
    """The mean over seeds and its 95 % t interval, f64[s, k] -> f64[k, 3]; what is masked is left out."""
    return np.array([paired_t(np.ma.compressed(column)) for column in values.T]).reshape(-1, 3)


def within(panel: Axes, estimates: np.ndarray) -> np.ndarray:
    """The means and intervals f64[k, 3] as they are drawn: where the axis shows shares, these end at 0 and 1."""
    return np.column_stack([estimates[:, :1], np.clip(estimates[:, 1:], 0, 1)]) if shows_shares(panel) else estimates


def draw_measured(panel: Axes, x: np.ndarray, estimates: np.ndarray, style: Style, label: str) -> None:
    """Marks and bars for means, lows and highs f64[k, 3] at x f64[k]."""
    mean, low, high = within(panel, estimates).T
    panel.errorbar(x, mean, (mean - low, high - mean), fmt=style.marker, color=style.color, markersize=3.5, capsize=2,
                   label=label)  # fmt: skip


def axis_from_zero(panel: Axes, lowest: float, highest: float) -> None:
    """A logarithmic axis that goes on to 0 below its lowest value, with a tick at 0."""
    through_zero(panel, np.array([0.0, lowest, highest]))


def draw_band(panel: Axes, x: np.ndarray, values: np.ndarray, label: str, color: str, dashes: Any) -> np.ndarray:
    """The mean of f64[s, k] over seeds at x f64[k], and its band; where there is no mean beside it, a mark and a bar.

    Returns the means with their intervals, f64[k, 3].
    """
    order = np.argsort(x, kind="stable")
    estimates = within(panel, means(values[:, order]))
    x, (mean, low, high) = x[order], estimates.T
    there = np.pad(np.isfinite(mean), 1)
    alone = there[1:-1] & ~there[:-2] & ~there[2:]  # a line of one value would not be seen
    mark: dict[str, Any] = {"marker": "o", "markevery": alone, "markersize": 3} if alone.any() else {}
    panel.plot(x, mean, color=color, linestyle=dashes, label=label, **mark)
    panel.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
    draw_bars(panel, x[alone], estimates[alone], color)
    return estimates


def draw_bars(panel: Axes, x: np.ndarray, estimates: np.ndarray, color: str) -> None:
    """The intervals of means f64[k, 3] as bars, where they have any."""
    x, (_, low, high) = x[np.isfinite(estimates).all(axis=1)], estimates[np.isfinite(estimates).all(axis=1)].T
    panel.vlines(x, low, high, color=color, linewidth=1.5)
