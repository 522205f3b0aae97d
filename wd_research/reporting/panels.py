"""What figures of all arms share: which points a panel shows, the height of its axis, and what it says of seeds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from wd_research.evidence.choices import choose
from wd_research.evidence.measured import EXPLORING, Arms
from wd_research.reporting.axes import in_percent, losses_in_view, shares_in_view
from wd_research.reporting.drawing import PARTS, Axes
from wd_research.reporting.seeds import of_stage
from wd_research.results import judged_by, mean_of_seeds, trained
from wd_research.types import Results


class Curves(NamedTuple):
    """What a panel shows of an arm: its points with one setting of the hyperparameters beside the axis, as a curve; or
    with any settings, point by point.
    """

    arm: str
    setting: str
    among: np.ndarray  # bool[h]
    joined: bool = True


def finite(results: Results) -> np.ndarray:
    """The points of which something can be shown: some part of the data has a finite mean over seeds; bool[h]."""
    by = judged_by(results)
    return np.any([np.isfinite(mean_of_seeds(results, f"{part}_{by}")) for part in PARTS], axis=0)


def explored(arms: Arms) -> str:
    """`8 exploring seeds`, or `4 to 32 exploring seeds` where a race has dropped points."""
    seeds = [trained(results).sum(axis=0) for results in arms.values()]
    fewest, most = min(int(each.min()) for each in seeds), max(int(each.max()) for each in seeds)
    return f"{f'{fewest} to ' if fewest < most else ''}{of_stage(EXPLORING, most)}"


def averaged(seeds: str) -> str:
    """`8 exploring seeds: mean and 95 % interval`; one seed has neither."""
    return seeds if seeds.startswith("1 ") else f"{seeds}: mean and 95 % interval"


def index_of_best(results: Results) -> int:
    """The index of the point that validation data choose."""
    return int(np.flatnonzero(results["point"].to_numpy() == choose(results).point)[0])


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
