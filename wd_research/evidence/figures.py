"""Figures: made to be read in print and by the colour-blind; bands are 95 % t intervals over seeds."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from wd_research.evidence.answer import axis_values, best_among, has_value, surviving, words
from wd_research.evidence.statistics import best_set, paired_t
from wd_research.types import Axes, Figure, Results

# Okabe & Ito (2008): told apart with any kind of colour vision; the dashes tell them apart without colour.
PARTS = {"train": ("#D55E00", "--"), "validation": ("#0072B2", ":"), "test": ("#000000", "-")}
LINES = (("#000000", "-"), ("#0072B2", "--"), ("#D55E00", "-."), ("#009E73", ":"), ("#CC79A7", (0, (5, 1, 1, 1))))
MARKERS = "os^Dv"
STAR: dict[str, Any] = {"marker": "*", "linestyle": "", "color": "white", "markeredgecolor": "black", "markersize": 13}


def all_figures(arms: Mapping[str, Results]) -> dict[str, Figure]:
    """Every figure of a run, by the name of its file."""
    figures = {"accuracy": accuracy_against_axis(arms), "heat_map": heat_map(arms)}
    if all("learning_rate" in results.coords for results in arms.values()):
        figures["time_scale"] = accuracy_against_time_scale(arms)
    return figures


def accuracy_against_axis(arms: Mapping[str, Results]) -> Figure:
    """Train, validation and test accuracy against the axis: a row per arm, a column per setting of the others."""
    columns = max(len(slices(results)) for results in arms.values())
    figure, panels = panel_grid(len(arms), columns, width=3.4, height=3.0)
    for row, (name, results) in zip(panels, arms.items(), strict=True):
        chosen = best_among(results)
        for panel, (setting, among) in zip(row, slices(results).items(), strict=False):
            for part, (color, dashes) in PARTS.items():
                draw_against_axis(panel, results, among, f"{part}_accuracy", label=part, color=color, linestyle=dashes)
            mark_zero(panel, results, among)
            if among[chosen]:
                height = surviving(results, "test_accuracy")[:, chosen].mean()
                panel.plot(drawn_at(results)[chosen], height, label="chosen on validation", **STAR)
                panel.legend()
            panel.set_title(f"{name}, {setting}" if setting else name)
            panel.set_xlabel(words(results.attrs["axis"]))
        row[0].set_ylabel("accuracy")
    return figure


def accuracy_against_time_scale(arms: Mapping[str, Results]) -> Figure:
    """Test accuracy against the time scale 1 / (learning rate * axis), in steps, over which weights forget."""
    figure, panels = panel_grid(1, len(arms), width=5.0, height=3.6)
    for panel, (name, results) in zip(panels[0], arms.items(), strict=True):
        axis = results.attrs["axis"]
        for (setting, among), (color, dashes) in zip(slices(results).items(), LINES, strict=False):
            among = among & ~has_value(results, 0)
            product = results["learning_rate"].to_numpy().astype(float) * results[axis].to_numpy().astype(float)
            time_scale = 1 / product[among]
            draw_band(panel, time_scale, surviving(results, "test_accuracy")[:, among], setting, color, dashes)
        panel.axvline(float(results["step"][-1]), color="0.6", linewidth=1)
        panel.annotate("training's length", (float(results["step"][-1]), 0.02), xycoords=("data", "axes fraction"),
                       rotation=90, fontsize=8, color="0.4", ha="right")  # fmt: skip
        panel.set(title=name, xscale="log", xlabel=f"1 / (learning rate * {words(axis)}), steps")
        if len(panel.lines) > 2:
            panel.legend(fontsize=8)
    panels[0, 0].set_ylabel("test accuracy")
    return figure


def heat_map(arms: Mapping[str, Results]) -> Figure:
    """Mean test accuracy by axis and setting of the other numbers, down to 20 points below the best of all.

    A star marks the point that validation data choose, dots those that test data cannot tell from the best of the arm
    (`statistics.best_set`).
    """
    height = 1.2 + 0.45 * max(len(slices(results)) for results in arms.values())
    figure, panels = panel_grid(len(arms), 1, width=9.5, height=height, share=False)
    top = max(float(np.nanmax(surviving(results, "test_accuracy").mean(axis=0))) for results in arms.values())
    for panel, (name, results) in zip(panels[:, 0], arms.items(), strict=True):
        settings, values = slices(results), axis_values(results)
        column = np.searchsorted(values, results[results.attrs["axis"]].to_numpy().astype(float))
        row = np.argmax(list(settings.values()), axis=0)
        table = np.full((len(settings), len(values)), np.nan)
        table[row, column] = surviving(results, "test_accuracy").mean(axis=0)
        image = panel.imshow(table, aspect="auto", cmap="cividis", vmin=top - 0.2, vmax=top)
        likely = best_set(surviving(results, "test_accuracy"))
        panel.plot(column[likely], row[likely], "o", color="black", markersize=4)
        panel.plot(column[best_among(results)], row[best_among(results)], **STAR)
        panel.set_xticks(
            range(len(values)), [f"{float(f'{value:.2g}'):g}" for value in values], rotation=60, fontsize=8
        )
        panel.set_yticks(range(len(settings)), list(settings))
        panel.set(title=f"{name}: mean test accuracy", xlabel=words(results.attrs["axis"]))
        figure.colorbar(image, ax=panel, format="{x:.0%}", extend="min")
    figure.supxlabel("★ chosen on validation data     ● not to be told from the best on test data", fontsize=9)
    return figure


def panel_grid(rows: int, columns: int, width: float, height: float, share: bool = True) -> tuple[Figure, np.ndarray]:
    """A figure of rows x columns panels (inches each), accuracies in percent where they share their vertical axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained", dpi=120)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=share)
    for panel in panels.flat if share else ():
        panel.yaxis.set_major_formatter("{x:.0%}")
        panel.grid(alpha=0.3)
    return figure, panels


def varying(results: Results) -> list[str]:
    """The hyperparameters beside the axis that have more than one value."""
    names = [name for name, coordinate in results.coords.items() if coordinate.dims == ("point",)]
    return [str(n) for n in names if n != results.attrs["axis"] and len(np.unique(results[n].to_numpy())) > 1]


def setting_of(point: Mapping[str, float], axis: str, names: list[str]) -> str:
    """How a point's numbers beside the axis are called: `learning rate 0.003`."""
    return ", ".join(f"{words(name)} {float(point[name]):.3g}" for name in names if name != axis)


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
    """Where the points stand on a logarithmic axis: at their value, and 0 apart, left of the smallest; f64[h]."""
    values = results[results.attrs["axis"]].to_numpy().astype(float)
    positive = values[values > 0]
    return np.where(values > 0, values, (positive.min() if len(positive) else 1.0) / 5)


def mark_zero(panel: Axes, results: Results, among: np.ndarray) -> None:
    """Make the axis logarithmic, as long in every panel, and write the 0 where it is drawn."""
    panel.set_xscale("log")
    panel.set_xlim(drawn_at(results).min() / 2, drawn_at(results).max() * 2)
    for place in drawn_at(results)[among & has_value(results, 0)]:
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


class Style(NamedTuple):
    """How a line and its marks look."""

    color: str
    dashes: Any
    marker: str


STYLES = tuple(Style(color, dashes, marker) for (color, dashes), marker in zip(LINES, MARKERS, strict=True))


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
    panel.plot(x[order], mean, color=color, linestyle=dashes, label=label)
    panel.fill_between(x[order], low, high, color=color, alpha=0.15, linewidth=0)
