"""Figures of any experiment: the score against decay and against its time scale, heat maps, training, its steps."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from wd_research.evidence.choices import Scores, choose, tuned
from wd_research.evidence.measured import CONFIRMING, EXPLORING, Arms, Cell, Evidence
from wd_research.evidence.selection import can_be_tuned, likely_best
from wd_research.reporting.axes import (
    ROUND,
    figure_of,
    in_percent,
    logarithmic,
    losses_in_view,
    number,
    panel_width,
    percent,
    shares_in_view,
    thinned,
    wrapped,
)
from wd_research.reporting.drawing import (
    LINES,
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
    told_apart,
    within,
)
from wd_research.reporting.seeds import of_stage
from wd_research.results import axis_values, has_value, humanize, judged_by, surviving
from wd_research.types import Results

EVERY = "every point"  # of an arm, in one panel
MOST = 40  # panels of a figure
MOST_MAPS = 12
MANY = 20  # settings of an arm that get a panel each
TALLEST = 40.0  # inches of a heat map


class Curves(NamedTuple):
    """What a panel shows of an arm: its points with one setting of the hyperparameters beside the axis, as a curve; or
    with any settings, point by point.
    """

    arm: str
    setting: str
    among: np.ndarray  # bool[h]
    joined: bool = True


def all_figures(evidence: Evidence) -> dict[str, Figure]:
    """The figures of the arms that can be tuned, by the names of their files; none that would be empty."""
    arms = {name: results for name, results in evidence.items() if can_be_tuned(results) and finite(results).any()}
    if not arms:
        return {}
    figures = {judged_by(next(iter(arms.values()))): score_against_axis(arms, evidence.score(scores_of_best))}
    if maps := {name: results for name, results in arms.items() if is_map(results)}:
        figures["heat_map"] = heat_map(maps)
    if timed := {name: results for name, results in arms.items() if (finite(results) & decays(results)).any()}:
        figures["time_scale"] = score_against_time_scale(timed)
    return figures


def finite(results: Results) -> np.ndarray:
    """The points of which something can be shown: some part of the data has a finite mean over seeds; bool[h]."""
    by = judged_by(results)
    return np.any([np.isfinite(surviving(results, f"{part}_{by}").mean(axis=0)) for part in PARTS], axis=0)


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


def explored(arms: Arms) -> str:
    """`8 exploring seeds`."""
    return of_stage(EXPLORING, next(iter(arms.values())).sizes["seed"])


def averaged(seeds: str) -> str:
    """`8 exploring seeds: mean and 95 % interval`; one seed has neither."""
    return seeds if seeds.startswith("1 ") else f"{seeds}: mean and 95 % interval"


def index_of_best(results: Results) -> int:
    """The index of the point that validation data choose."""
    return int(np.flatnonzero(results["point"].to_numpy() == choose(results).point)[0])


def score_against_axis(arms: Arms, scored: Mapping[str, Cell]) -> Figure:
    """Train, validation and test accuracy (or loss) against the axis: a panel per arm and setting of the others.

    Curves and stars are of exploring seeds; `scored`, by arm, is the test score of its chosen point, drawn beside it.
    """
    rows = arranged(panels_of(arms))
    figure, grid = panel_grid(len(rows), max(map(len, rows)), width=3.4, height=3.0, share=False)
    for row, panels in zip(rows, grid, strict=True):
        for panel in panels[len(row) :]:
            panel.remove()
    shown = [pair for row, panels in zip(rows, grid, strict=True) for pair in zip(row, panels, strict=False)]
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
        figure, f"lines, bands and star: {explored(arms)}" + (f"; {left_out} arms not shown" if left_out else "")
    )
    return figure


def kinds(shown: Sequence[tuple[Curves, Axes]], arms: Arms) -> dict[str, list[tuple[Curves, Axes]]]:
    """The panels by what their arms are judged by; those of a kind get one vertical axis, labelled where rows begin."""
    found: dict[str, list[tuple[Curves, Axes]]] = {}
    first_of_rows = {panel.get_position().y0: panel for _, panel in reversed(shown)}.values()
    for curves, panel in shown:
        found.setdefault(judged_by(arms[curves.arm]), []).append((curves, panel))
    for by, of_kind in found.items():
        for _, panel in of_kind:
            panel.grid(alpha=0.3)
            if panel is not of_kind[0][1]:
                panel.sharey(of_kind[0][1])
            elif by == "accuracy":
                in_percent(panel)
            if panel in first_of_rows or len(found) > 1:
                panel.set_ylabel(by)
            else:
                panel.tick_params(labelleft=False)
    return found


def fit_height(of_kind: Sequence[tuple[Curves, Axes]], by: str, estimates: Sequence[np.ndarray]) -> None:
    """Let the panels of a kind show all of the means with intervals that are drawn in them, as far as these can be."""
    panels = [panel for _, panel in of_kind]
    if by == "accuracy":
        shares_in_view(panels)
    else:
        losses_in_view(panels, estimates)


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
    place, height = places(results)[chosen], surviving(results, name)[:, chosen].mean()
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
    label = f"its test score on {of_stage(cell.stage, len(cell.values))}"
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
    if not np.isfinite(values.mean(axis=0)).any():
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
    figure.supxlabel(
        f"{explored(arms)}     ★ chosen on validation data     ▢ 95 % confidence set of the best point, on test data",
        fontsize=9,
    )
    return figure


def draw_map(panel: Axes, name: str, results: Results, colors: Mapping[str, Any], inches: float) -> None:
    """The heat map of an arm, so many inches high."""
    from matplotlib.patches import Rectangle
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    settings, values, by = slices(results), axis_values(results), judged_by(results)
    column = np.searchsorted(values, places(results))
    row = np.argmax(list(settings.values()), axis=0)
    table = np.full((len(settings), len(values)), np.nan)
    table[row, column] = surviving(results, f"test_{by}").mean(axis=0)
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
    means = np.concatenate([surviving(arm, f"test_{by}").mean(axis=0) for arm in arms.values() if judged_by(arm) == by])
    means = means[np.isfinite(means)]
    if by == "accuracy":
        best = means.max(initial=0.0)
        return {"cmap": "cividis", "vmin": max(best - 0.2, 0), "vmax": best}
    least = means.min(initial=np.inf)
    return {"cmap": "cividis_r", "vmin": least, "vmax": least + (abs(least) or means.max() or 1.0)}


def training(name: str, evidence: Evidence) -> Figure:
    """The training of an arm at its chosen point and at its best point without decay, on confirming seeds if there are.

    Left the metric that members are judged by, in the middle the loss, both over steps; right the distribution of the
    weights at the end.
    """
    results = evidence[name]
    choices = {"chosen": choose(results), "without decay": choose(results, has_value(results, 0))}
    stage = CONFIRMING if evidence.confirming else EXPLORING
    trained = {
        label: evidence.confirmed(choice) if stage == CONFIRMING else results.sel(point=[choice.point])
        for label, choice in choices.items()
    }
    kinds_of_score = list(dict.fromkeys((judged_by(results), "loss")))
    figure, panels = panel_grid(1, len(kinds_of_score) + 1, width=3.8, height=3.2, share=False)
    for panel, by in zip(panels[0], kinds_of_score, strict=False):
        if by == "accuracy":
            in_percent(panel)
        estimates = []
        for (label, at), dashes in zip(trained.items(), ("-", ":"), strict=True):
            for part in ("train", "test"):
                curve = at[f"{part}_{by}"].to_numpy()[:, 0]
                label_of = f"{part}, {label}"
                estimates.append(draw_band(panel, at["step"].to_numpy(), curve, label_of, PARTS[part][0], dashes))
        fit_height([(Curves(name, "", np.array([])), panel)], by, estimates)
        panel.set_xlabel("step")
        panel.set_title(wrapped(f"{name}: {by}", panel_width(panel)), fontsize=10)
        panel.grid(alpha=0.3)
    seeds = of_stage(stage, trained["chosen"].sizes["seed"])
    legend_below(figure, averaged(seeds), small=True)
    draw_weights(panels[0, -1], trained)
    return figure


def draw_weights(panel: Axes, trained: Mapping[str, Results]) -> None:
    """The share of the weights in each bin in the end, mean over seeds, for the points of some results of one each."""
    for (label, at), (color, dashes) in zip(trained.items(), LINES, strict=False):
        shares = np.diff(at["weights_below"].to_numpy()[:, 0, -1].mean(axis=0))
        panel.stairs(shares, at["edge"].to_numpy(), label=label, color=color, linestyle=dashes)
    panel.set_xscale("symlog", linthresh=1e-4, linscale=0.3)
    panel.set_xticks([-10, -0.1, -1e-3, 0, 1e-3, 0.1, 10], ["-10", "-0.1", "", "0", "", "0.1", "10"])
    panel.set(xlabel="weight", title="distribution of the weights")
    panel.legend(fontsize=8)


LEDGER = {"norm": "norm of the leaf", "ratio": "size of a step / norm of the leaf", "angle": "angle per step, rad"}


def ledger_leaves(results: Results) -> list[str]:
    """The leaves whose steps an arm with `observe=ledger` has recorded; none where it has no such metrics."""
    leaves = [str(name).removeprefix("running_").removesuffix("_angle") for name in results.data_vars]
    return [leaf for leaf in leaves if all(f"running_{leaf}_{kind}" in results for kind in LEDGER)]


def ledger_figure(name: str, results: Results) -> Figure:
    """An arm at its chosen point, leaf by leaf: the norm, the size of a step relative to it, and the angle by which a
    step turns the leaf; all are means over the steps since the evaluation before, on exploring seeds.

    Leaves of one layer share a color, from dark at the first to bright at the last, and a marker; leaves of one kind
    share their dashes.
    """
    chosen, leaves = results.sel(point=choose(results).point), ledger_leaves(results)
    columns = max(1, 220 // (10 + max(map(len, leaves))))  # of the legend
    figure, panels = panel_grid(1, 3, width=4.3, height=3.0 + 0.17 * -(-len(leaves) // columns), share=False)
    for panel, (kind, label) in zip(panels[0], LEDGER.items(), strict=True):
        for leaf, style in leaf_styles(leaves).items():
            values = chosen[f"running_{leaf}_{kind}"].to_numpy()
            draw_band(panel, chosen["step"].to_numpy(), values, leaf, style.color, style.dashes)
            panel.lines[-1].set(marker=style.marker, markersize=3.5, markevery=0.1)
        panel.set(title=f"{name}: {label}", xlabel="step", yscale="log")
        panel.grid(alpha=0.3)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower left", ncols=columns, fontsize=8,
                  handlelength=3.5, title=explored({name: results}), title_fontsize=8)  # fmt: skip
    return figure


def leaf_styles(leaves: Sequence[str]) -> dict[str, Style]:
    """The style of every leaf's line: its layer gives the color and the marker, its kind the dashes."""
    from matplotlib import colormaps

    layers, kinds = (list(dict.fromkeys(leaf.rpartition(".")[part] for leaf in leaves)) for part in (0, 2))
    colors = colormaps["viridis"](np.linspace(0, 0.8, len(layers)))
    places = {leaf: (layers.index(leaf.rpartition(".")[0]), kinds.index(leaf.rpartition(".")[2])) for leaf in leaves}
    return {
        leaf: Style(colors[layer], STYLES[kind % len(STYLES)].dashes, STYLES[layer % len(STYLES)].marker)
        for leaf, (layer, kind) in places.items()
    }
