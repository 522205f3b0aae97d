"""Figures over training: scores and losses, the weights in the end, and the steps of every leaf."""

from collections.abc import Mapping, Sequence

import numpy as np

from wd_research.evidence.choices import choose
from wd_research.evidence.measured import CONFIRMING, EXPLORING, Evidence
from wd_research.reporting.axes import in_percent, panel_width, wrapped
from wd_research.reporting.drawing import LINES, PARTS, STYLES, Axes, Figure, Style, draw_band, legend_below, panel_grid
from wd_research.reporting.panels import Curves, averaged, explored, fit_height
from wd_research.reporting.seeds import of_stage
from wd_research.results import has_value, judged_by
from wd_research.types import Results

LEDGER = {"norm": "norm of the leaf", "ratio": "size of a step / norm of the leaf", "angle": "angle per step, rad"}
TURNING = {"turning": "angle per step / predicted angle"}  # of leaves whose angle is predicted


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


def ledger_leaves(results: Results) -> list[str]:
    """The leaves whose steps an arm has recorded by a `ledger`; none where it has no such metrics."""
    leaves = [str(name).removeprefix("running_").removesuffix("_angle") for name in results.data_vars]
    return [leaf for leaf in leaves if all(f"running_{leaf}_{kind}" in results for kind in LEDGER)]


def ledger_figure(name: str, results: Results) -> Figure:
    """An arm at its chosen point, leaf by leaf: the norm, the size of a step relative to it, and the angle by which a
    step turns the leaf, and how large that is beside the one predicted, if one is; all are means over the steps since
    the evaluation before, on exploring seeds.

    Leaves of one layer share a color, from dark at the first to bright at the last, and a marker; leaves of one kind
    share their dashes.
    """
    chosen, leaves = results.sel(point=choose(results).point), ledger_leaves(results)
    columns = max(1, 220 // (10 + max(map(len, leaves))))  # of the legend
    seen = {(leaf, kind): chosen[metric] for leaf in leaves for kind in LEDGER | TURNING
            if (metric := f"running_{leaf}_{kind}") in chosen and np.isfinite(chosen[metric]).any()}  # fmt: skip
    kinds = {kind: label for kind, label in (LEDGER | TURNING).items() if any((leaf, kind) in seen for leaf in leaves)}
    height = 3.0 + 0.17 * -(-len(leaves) // columns)
    figure, panels = panel_grid(1, len(kinds), width=12.9 / len(kinds), height=height, share=False)
    for panel, (kind, label) in zip(panels[0], kinds.items(), strict=True):
        for leaf, style in leaf_styles(leaves).items():
            if (leaf, kind) in seen:  # nothing is predicted where nothing decays
                values = seen[leaf, kind].to_numpy()
                draw_band(panel, chosen["step"].to_numpy(), values, leaf, style.color, style.dashes)
                panel.lines[-1].set(marker=style.marker, markersize=3.5, markevery=0.1)
        panel.set(xlabel="step", yscale="log")
        panel.set_title(wrapped(f"{name}: {label}", 0.9 * panel_width(panel)), fontsize=10)
        panel.grid(alpha=0.3)
    if "turning" in kinds:
        panels[0, -1].axhline(1, color="black", linewidth=0.8)
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
