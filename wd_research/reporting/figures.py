"""Figures of any experiment: the score against decay and against its time scale, heat maps, training, its steps."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wd_research.evidence.choices import Scores, choose, tuned
from wd_research.evidence.measured import CONFIRMING, EXPLORING, Arms, Cell, Evidence
from wd_research.evidence.selection import can_be_tuned, likely_best
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
    drawn_at,
    in_units,
    mark_zero,
    panel_grid,
    percent,
    slices,
)
from wd_research.reporting.seeds import of_stage
from wd_research.results import axis_values, has_value, humanize, judged_by, surviving
from wd_research.types import Results

LEGEND = 2.2  # inches of an entry of a legend


def all_figures(evidence: Evidence) -> dict[str, Figure]:
    """The figures of the arms that can be tuned, by the names of their files; {} where none can."""
    arms = {name: results for name, results in evidence.items() if can_be_tuned(results)}
    if not arms:
        return {}
    by = judged_by(next(iter(arms.values())))
    figures = {by: score_against_axis(arms, evidence.score(scores_of_best)), "heat_map": heat_map(arms)}
    if all("learning_rate" in results.coords for results in arms.values()):
        figures["time_scale"] = score_against_time_scale(arms)
    return figures


def scores_of_best(arms: Arms) -> dict[str, Scores]:
    """The test score of every arm that can be tuned, at its best point."""
    return {name: tuned(arm, f"test_{judged_by(arm)}") for name, arm in arms.items() if can_be_tuned(arm)}


def explored(arms: Arms) -> str:
    """`8 exploring seeds`."""
    return of_stage(EXPLORING, next(iter(arms.values())).sizes["seed"])


def index_of_best(results: Results) -> int:
    """The index of the point that validation data choose."""
    return int(np.flatnonzero(results["point"].to_numpy() == choose(results).point)[0])


def score_against_axis(arms: Arms, scored: Mapping[str, Cell]) -> Figure:
    """Train, validation and test accuracy (or loss) against the axis: a row per arm, a column per setting of others.

    Curves and stars are of exploring seeds; `scored`, by arm, is the test score of its chosen point, drawn beside it.
    """
    columns = max(len(slices(results)) for results in arms.values())
    figure, panels = panel_grid(len(arms), columns, width=3.4, height=3.0)
    for row, (name, results) in zip(panels, arms.items(), strict=True):
        chosen, by = index_of_best(results), judged_by(results)
        for panel, (setting, among) in zip(row, slices(results).items(), strict=False):
            for part, (color, dashes) in PARTS.items():
                draw_against_axis(panel, results, among, f"{part}_{by}", label=part, color=color, linestyle=dashes)
            mark_zero(panel, results, among)
            if among[chosen]:
                place = drawn_at(results)[chosen]
                height = surviving(results, f"test_{by}")[:, chosen].mean()
                panel.plot(place, height, label="chosen on validation", **STAR)
                draw_scored(panel, place, scored[name])
            panel.set_title(f"{name}, {setting}" if setting else name)
            panel.set_xlabel(humanize(results.attrs["axis"]))
            in_units(panel, by)
        row[0].set_ylabel(by)
        for panel in row[len(slices(results)) :]:
            panel.set_visible(False)
    legends = [panel.get_legend_handles_labels() for panel in panels.flat]
    legend = max(legends, key=lambda legend: len(legend[1]))
    beside = max(1, min(5, int(figure.get_figwidth() // LEGEND)))
    figure.set_figheight(figure.get_figheight() + 0.25 * (len(legend[1]) // beside))
    figure.legend(*legend, loc="outside lower center", ncols=beside,
                  title=f"lines, bands and star: {explored(arms)}", title_fontsize="medium")  # fmt: skip
    return figure


def draw_scored(panel: Axes, place: float, cell: Cell) -> None:
    """The test score of a chosen point with its interval, a diamond a little to the right of the point.

    An interval that leaves the panel ends at its border: few seeds know little, and curves are to be seen beside it.
    """
    from matplotlib.transforms import offset_copy

    mean, low, high = cell.estimate()
    if not np.isfinite(mean):
        return
    bottom, top = panel.get_ylim()
    bottom, top = min(bottom, mean), max(top, mean)
    panel.set_ylim(bottom, top)
    low, high = (mean, mean) if np.isnan(low) else np.clip((low, high), bottom, top)
    beside = offset_copy(panel.transData, panel.get_figure(root=True), x=13, units="points")
    label = f"its test score on {of_stage(cell.stage, len(cell.values))}"
    panel.errorbar(place, mean, [[mean - low], [high - mean]], label=label, transform=beside, **SCORED)


def score_against_time_scale(arms: Arms) -> Figure:
    """Test accuracy (or loss) against 1 / (learning rate * axis), the time scale, in steps, of the decay."""
    figure, panels = panel_grid(1, len(arms), width=5.0, height=3.6)
    for panel, (name, results) in zip(panels[0], arms.items(), strict=True):
        axis, by = results.attrs["axis"], judged_by(results)
        for (setting, among), (color, dashes) in zip(slices(results).items(), LINES, strict=False):
            among = among & ~has_value(results, 0)
            product = results["learning_rate"].to_numpy().astype(float) * results[axis].to_numpy().astype(float)
            time_scale = 1 / product[among]
            draw_band(panel, time_scale, surviving(results, f"test_{by}")[:, among], setting, color, dashes)
        panel.axvline(float(results["step"][-1]), color="0.6", linewidth=1)
        panel.annotate("length of training", (float(results["step"][-1]), 0.02), xycoords=("data", "axes fraction"),
                       rotation=90, fontsize=8, color="0.4", ha="right")  # fmt: skip
        panel.set(title=name, xscale="log", xlabel=f"1 / (learning rate * {humanize(axis)}), steps")
        in_units(panel, by)
        panels[0, 0].set_ylabel(f"test {by}")
        if len(panel.lines) > 2:
            panel.legend(fontsize=8)
    figure.supxlabel(f"{explored(arms)}: mean and 95 % interval", fontsize=9)
    return figure


def heat_map(arms: Arms) -> Figure:
    """Mean test accuracy by axis and setting of the other numbers, down to 20 points below the best of all.

    Losses are shown up to twice the best of all. A star marks the point that validation data choose; outlined is the
    95 % confidence set of the best point on test data (`selection.likely_best`).
    """
    from matplotlib.patches import Rectangle
    from matplotlib.ticker import FuncFormatter

    height = 1.2 + 0.45 * max(len(slices(results)) for results in arms.values())
    figure, panels = panel_grid(len(arms), 1, width=9.5, height=height, share=False)
    for panel, (name, results) in zip(panels[:, 0], arms.items(), strict=True):
        settings, values, by = slices(results), axis_values(results), judged_by(results)
        column = np.searchsorted(values, results[results.attrs["axis"]].to_numpy().astype(float))
        row = np.argmax(list(settings.values()), axis=0)
        table = np.full((len(settings), len(values)), np.nan)
        table[row, column] = surviving(results, f"test_{by}").mean(axis=0)
        image = panel.imshow(table, aspect="auto", **shades(arms, by))
        likely = likely_best(results)
        for x, y in zip(column[likely], row[likely], strict=True):
            panel.add_patch(Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, fill=False, edgecolor="#D55E00", linewidth=2))
        panel.plot(column[index_of_best(results)], row[index_of_best(results)], **STAR)
        panel.set_xticks(
            range(len(values)), [f"{float(f'{value:.2g}'):g}" for value in values], rotation=60, fontsize=8
        )
        panel.set_yticks(range(len(settings)), list(settings))
        panel.set(title=f"{name}: mean test {by}", xlabel=humanize(results.attrs["axis"]))
        accuracy = by == "accuracy"
        ticks = FuncFormatter(percent) if accuracy else None
        figure.colorbar(image, ax=panel, format=ticks, extend="min" if accuracy else "max")
    figure.supxlabel(
        f"{explored(arms)}     ★ chosen on validation data     ▢ 95 % confidence set of the best point, on test data",
        fontsize=9,
    )
    return figure


def shades(arms: Arms, by: str) -> dict[str, Any]:
    """The colours of a heat map, brighter where better, and the values that they reach between."""
    means = np.concatenate([surviving(arm, f"test_{by}").mean(axis=0) for arm in arms.values() if judged_by(arm) == by])
    means = means[np.isfinite(means)]
    if by == "accuracy":
        best = means.max(initial=0.0)
        return {"cmap": "cividis", "vmin": best - 0.2, "vmax": best}
    least = means.min() if len(means) else 1.0
    return {"cmap": "cividis_r", "vmin": least, "vmax": 2 * least}


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
    figure, panels = panel_grid(1, 3, width=3.8, height=3.2, share=False)
    for panel, by in zip(panels[0], (judged_by(results), "loss"), strict=False):
        for (label, at), dashes in zip(trained.items(), ("-", ":"), strict=True):
            for part in ("train", "test"):
                curve = at[f"{part}_{by}"].to_numpy()[:, 0]
                draw_band(panel, at["step"].to_numpy(), curve, f"{part}, {label}", PARTS[part][0], dashes)
        panel.set(xlabel="step", title=f"{name}: {by}")
        panel.grid(alpha=0.3)
        in_units(panel, by)
    seeds = of_stage(stage, trained["chosen"].sizes["seed"])
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower left", ncols=4, fontsize=8,
                  title=f"{seeds}: mean and 95 % interval", title_fontsize=8)  # fmt: skip
    draw_weights(panels[0, 2], trained)
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


LEDGER = {"ratio": "size of a step / norm of the leaf", "angle": "angle per step, rad"}


def ledger_leaves(results: Results) -> list[str]:
    """The leaves whose steps an arm with `observe=ledger` has recorded; none where it has no such metrics."""
    leaves = [str(name).removeprefix("running_").removesuffix("_angle") for name in results.data_vars]
    return [leaf for leaf in leaves if all(f"running_{leaf}_{kind}" in results for kind in LEDGER)]


def ledger_figure(name: str, results: Results) -> Figure:
    """The steps of an arm at its chosen point, leaf by leaf: left their size relative to the leaf's norm, right the
    angle by which they turn it; both are means over the steps since the evaluation before, on exploring seeds.

    Leaves of one layer share a color, from dark at the first to bright at the last, and a marker; leaves of one kind
    share their dashes.
    """
    chosen, leaves = results.sel(point=choose(results).point), ledger_leaves(results)
    columns = max(1, 150 // (10 + max(map(len, leaves))))  # of the legend
    figure, panels = panel_grid(1, 2, width=4.6, height=3.0 + 0.17 * -(-len(leaves) // columns), share=False)
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
