"""Figures of any experiment: the score against decay and against its time scale, heat maps, and every point a line."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from wd_research.evidence.choices import Scores, choose, tuned
from wd_research.evidence.measured import Arms, Cell, Evidence
from wd_research.evidence.selection import can_be_tuned
from wd_research.reporting.axes import figure_of, logarithmic, panel_width, wrapped
from wd_research.reporting.coordinates import is_wide, parallel_coordinates
from wd_research.reporting.drawing import (
    PARTS,
    SCORED,
    STAR,
    STYLES,
    Axes,
    Figure,
    Style,
    draw_against_axis,
    draw_band,
    draw_measured,
    legend_below,
    mark_zero,
    means,
    panel_grid,
    places,
    slices,
    within,
)
from wd_research.reporting.maps import heat_map, is_map
from wd_research.reporting.panels import Curves, averaged, explored, finite, fit_height, index_of_best, kinds
from wd_research.reporting.seeds import of_stage
from wd_research.results import axis_values, has_value, humanize, judged_by, mean_of_seeds, surviving
from wd_research.types import Results

EVERY = "every point"  # of an arm, in one panel
MOST = 40  # panels of a figure
MANY = 20  # settings of an arm that get a panel each


def all_figures(evidence: Evidence) -> dict[str, Figure]:
    """The figures of the arms that can be tuned, by the names of their files; none that would be empty."""
    arms = {name: results for name, results in evidence.items() if can_be_tuned(results) and finite(results).any()}
    if not arms:
        return {}
    scored, figures = evidence.score(scores_of_best), {}
    if tuned_at := tuned_curves(arms):
        figures["tuned"] = score_against_axis(arms, scored, tuned_at, ", at each value the others chosen on validation")
    figures[judged_by(next(iter(arms.values())))] = score_against_axis(arms, scored, panels_of(arms))
    if maps := {name: results for name, results in arms.items() if is_map(results)}:
        figures["heat_map"] = heat_map(maps)
    if timed := {name: results for name, results in arms.items() if (finite(results) & decays(results)).any()}:
        figures["time_scale"] = score_against_time_scale(timed)
    if wide := {name: results for name, results in arms.items() if is_wide(results)}:
        figures["points"] = parallel_coordinates(wide)
    return figures


def decays(results: Results) -> np.ndarray:
    """The points at which decay has a time scale: a learning rate, and a value of the axis, above 0; bool[h]."""
    if "learning_rate" not in results.coords:
        return np.zeros(results.sizes["point"], bool)
    return (results["learning_rate"].to_numpy() > 0) & (places(results) > 0)


def panels_of(arms: Arms) -> list[Curves]:
    """The panels of the arms, those alone that show something: one per setting of the hyperparameters beside the axis.

    Of an arm with many settings, as where points are drawn at random, and of all arms where these would be too many,
    one panel shows every point. There are at most `MOST`.
    """
    every = {name: [Curves(name, EVERY, finite(results), joined=False)] for name, results in arms.items()}
    curves = {
        name: [Curves(name, setting, among) for setting, among in slices(arms[name]).items()
               if (among & of_arm[0].among).any()]
        for name, of_arm in every.items()
    }  # fmt: skip
    curves = {name: every[name] if is_scattered(arms[name]) else of_arm for name, of_arm in curves.items()}
    if sum(map(len, curves.values())) > MOST:
        curves = {name: of_arm if len(of_arm) == 1 else every[name] for name, of_arm in curves.items()}
    return [panel for of_arm in curves.values() for panel in of_arm][:MOST]


def tuned_curves(arms: Arms) -> list[Curves]:
    """A panel for each arm with the point that validation data choose at each value of the axis; none where no arm has
    several settings of the others, or points make no curves.
    """
    if any(map(is_scattered, arms.values())) or all(len(slices(results)) < 2 for results in arms.values()):
        return []
    curves = []
    for name, results in list(arms.items())[:MOST]:
        at_values = [has_value(results, value) & finite(results) for value in axis_values(results)]
        chosen = [choose(results, among).point for among in at_values if among.any()]
        curves.append(Curves(name, "", np.isin(results["point"].to_numpy(), chosen)))
    return curves


def is_scattered(results: Results) -> bool:
    """Whether the points of an arm make no curves: they differ in more than the axis, as if drawn at random."""
    settings = len(slices(results))
    return settings > MANY or results.sizes["point"] < 2 * settings > 8


def arranged(panels: Sequence[Curves], most: int = 5) -> list[list[Curves]]:
    """The panels in rows: one per arm where these are few and none is longer than a page is wide, else one after the
    other.
    """
    rows = [[panel for panel in panels if panel.arm == arm] for arm in dict.fromkeys(panel.arm for panel in panels)]
    if len(rows) <= 6 and max(map(len, rows)) <= most and max(map(len, rows)) > 1:
        return rows
    columns = min(most, len(panels), max(2, int(np.ceil(len(panels) ** 0.5))))
    return [list(panels[first : first + columns]) for first in range(0, len(panels), columns)]


def scores_of_best(arms: Arms) -> dict[str, Scores]:
    """The test score of every arm that can be tuned, at its best point."""
    return {name: tuned(arm, f"test_{judged_by(arm)}") for name, arm in arms.items() if can_be_tuned(arm)}


def score_against_axis(arms: Arms, scored: Mapping[str, Cell], panels: Sequence[Curves], which: str = "") -> Figure:
    """Train, validation and test accuracy (or loss) against the axis, in these panels; `which` points they show.

    Curves and stars are of exploring seeds; `scored`, by arm, is the test score of its chosen point, drawn beside it.
    """
    rows = arranged(panels)
    figure, grid = panel_grid(len(rows), max(map(len, rows)), width=3.4, height=3.0, share=False)
    for row, places_of_row in zip(rows, grid, strict=True):
        for panel in places_of_row[len(row) :]:
            panel.remove()
    shown = [pair for of_row in zip(rows, grid, strict=True) for pair in zip(*of_row, strict=False)]
    for by, of_kind in kinds(shown, arms).items():
        estimates = []
        for curves, panel in of_kind:
            estimates += draw_curves(panel, arms[curves.arm], curves)
        fit_height(of_kind, by, estimates)
        for curves, panel in of_kind:
            if curves.among[index_of_best(arms[curves.arm])]:
                draw_chosen(panel, arms[curves.arm], scored[curves.arm])
    left_out = len(arms) - len({curves.arm for curves, _ in shown})
    legend_below(
        figure,
        f"lines, bands and star: {explored(arms)}{which}" + (f"; {left_out} arms not shown" if left_out else ""),
    )
    return figure


def draw_curves(panel: Axes, results: Results, curves: Curves) -> list[np.ndarray]:
    """The parts of the data against the axis; the means with their intervals that are drawn, f64[k, 3] each."""
    by, drawn = judged_by(results), []
    for part, (color, dashes) in PARTS.items():
        draw = draw_against_axis if curves.joined else draw_points
        drawn.append(draw(panel, results, curves.among, f"{part}_{by}", part, color, dashes))
    mark_zero(panel, results, curves.among)
    inches = 1.2 * panel_width(panel)
    panel.set_title(titled(curves.arm, curves.setting, inches), fontsize=10)
    panel.set_xlabel(wrapped(humanize(results.attrs["axis"]), inches))
    return drawn


def titled(arm: str, setting: str, inches: float) -> str:
    """The title of a panel, in one line where it fits."""
    title = ", ".join(filter(None, (arm, setting)))
    if wrapped(title, inches) == title:
        return title
    return "\n".join(wrapped(part, inches) for part in (f"{arm},", setting) if setting or part != f"{arm},")


def draw_points(
    panel: Axes, results: Results, among: np.ndarray, name: str, label: str, color: str, dashes: Any
) -> np.ndarray:
    """The points as marks with bars: they differ in more than the axis, and no line is theirs."""
    del dashes
    style = Style(color, "", STYLES[list(PARTS).index(label)].marker)
    estimates = means(surviving(results, name)[:, among])
    draw_measured(panel, places(results)[among], estimates, style, label)
    return estimates


def draw_chosen(panel: Axes, results: Results, cell: Cell) -> None:
    """A star at the chosen point, and its test score on other seeds with its interval a little to the right.

    An interval that leaves the panel ends at its border: few seeds know little, and curves are to be seen beside it.
    """
    from matplotlib.transforms import offset_copy

    chosen, name = index_of_best(results), f"test_{judged_by(results)}"
    place, height = places(results)[chosen], mean_of_seeds(results, name)[chosen]
    if not np.isfinite(height):  # all have diverged, and none is good
        return
    panel.plot(place, height, label="chosen on validation", **STAR)
    mean, low, high = within(panel, np.array([cell.estimate()]))[0]
    if not np.isfinite(mean):
        return
    bottom, top = panel.get_ylim()
    panel.set_ylim(min(bottom, mean), max(top, mean))
    low, high = (mean, mean) if np.isnan(low) else (low, high)
    beside = offset_copy(panel.transData, figure_of(panel), x=13, units="points")
    label = f"its test score on {of_stage(cell.stage, len(cell.values))}, beside it"
    bar = panel.errorbar(place, mean, [[mean - low], [high - mean]], label=label, transform=beside, **SCORED)
    bar.lines[0].set_clip_on(False)


def score_against_time_scale(arms: Arms) -> Figure:
    """Test accuracy (or loss) against 1 / (learning rate * axis), the time scale, in steps, of the decay."""
    settings = {name: settings_of(arms[name]) for name in list(arms)[:MOST]}
    styles = line_styles(setting for of_arm in settings.values() for setting in of_arm)
    most, width = (3, 4.8) if len(settings) <= 12 else (5, 3.4)
    columns = min(most, len(settings))
    figure, grid = panel_grid(-(-len(settings) // columns), columns, width, height=3.4, share=False)
    for panel in list(grid.flat)[len(settings) :]:
        panel.remove()
    shown = [(Curves(name, "", finite(arms[name]) & decays(arms[name])), panel)
             for name, panel in zip(settings, grid.flat, strict=False)]  # fmt: skip
    for by, of_kind in kinds(shown, arms).items():
        estimates = []
        for curves, panel in of_kind:
            results, name = arms[curves.arm], curves.arm
            for setting, among in settings[name].items():
                estimates += draw_setting(panel, results, among & curves.among, setting, styles[setting])
            panel.set_title(wrapped(name, panel_width(panel)), fontsize=10)
            panel.set_xlabel(
                wrapped(f"1 / (learning rate * {humanize(results.attrs['axis'])}), steps", panel_width(panel))
            )
            if panel.get_ylabel():
                panel.set_ylabel(f"test {by}")
            mark_length(panel, float(results["step"][-1]), time_scales(results)[curves.among])
        fit_height(of_kind, by, estimates)
    legend_below(figure, averaged(explored(arms)), small=True)
    return figure


def settings_of(results: Results) -> dict[str, np.ndarray]:
    """The points of each setting of the hyperparameters beside the axis; all of them together where these are many."""
    return {EVERY: np.ones(results.sizes["point"], bool)} if is_scattered(results) else slices(results)


def line_styles(labels: Iterable[str]) -> dict[str, Style]:
    """A style for every label: those of few differ in all, those of many in their colors, from dark to bright."""
    from matplotlib import colormaps

    labels = list(dict.fromkeys(labels))
    if len(labels) <= len(STYLES):
        return dict(zip(labels, STYLES, strict=False))
    colors = colormaps["viridis"](np.linspace(0, 0.9, len(labels)))
    return {label: STYLES[k % len(STYLES)]._replace(color=colors[k]) for k, label in enumerate(labels)}


def time_scales(results: Results) -> np.ndarray:
    """1 / (learning rate * axis) in steps, f64[h]; infinite where nothing decays."""
    with np.errstate(divide="ignore"):
        return 1 / (results["learning_rate"].to_numpy().astype(float) * places(results))


def draw_setting(panel: Axes, results: Results, among: np.ndarray, setting: str, style: Style) -> list[np.ndarray]:
    """The test score of one setting against the time scale; the means with their intervals that are drawn."""
    x, values = time_scales(results)[among], surviving(results, f"test_{judged_by(results)}")[:, among]
    if not np.isfinite(np.ma.filled(values.mean(axis=0), np.nan)).any():
        return []
    if setting == EVERY:
        draw_measured(panel, x, means(values), style, setting)
        return [means(values)]
    return [draw_band(panel, x, values, setting or "test", style.color, style.dashes)]


def mark_length(panel: Axes, steps: float, scales: np.ndarray) -> None:
    """A line at the length of training, on an axis that has it and all time scales in it."""
    logarithmic(panel, np.append(scales, steps))
    panel.axvline(steps, color="0.6", linewidth=1)
    low, high = panel.get_xlim()
    right = steps > np.sqrt(low * high)
    panel.annotate("length of training", (steps, 0.02), xycoords=("data", "axes fraction"), rotation=90, fontsize=8,
                   color="0.4", ha="right" if right else "left")  # fmt: skip
