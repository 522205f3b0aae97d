"""Parallel coordinates: every point of an arm as a line through its hyperparameters to its score."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wd_research.evidence.measured import Arms
from wd_research.reporting.axes import number, percent, thinned, wrapped
from wd_research.reporting.drawing import Axes, Figure, panel_grid, told_apart, varying
from wd_research.reporting.maps import shades
from wd_research.reporting.panels import explored, index_of_best
from wd_research.results import humanize, judged_by, mean_of_seeds
from wd_research.types import Results

FEWEST = 3  # hyperparameters that vary: of two a heat map says as much
MOST = 6  # arms
WIDTH, HEIGHT = 1.7, 3.4  # inches of a hyperparameter and of a panel


def is_wide(results: Results) -> bool:
    """Whether so many hyperparameters vary that neither curves nor a map show the points."""
    return len(coordinates(results)) >= FEWEST


def coordinates(results: Results) -> list[str]:
    """The hyperparameters with more than one value, that in question last, so that its lines lead to the score."""
    axis = results.attrs["axis"]
    return [*varying(results), *([axis] if len(np.unique(results[axis].to_numpy())) > 1 else [])]


def parallel_coordinates(arms: Arms) -> Figure:
    """Every point as a line through the values of its hyperparameters to its mean test score.

    Lines through one value are spread by their scores, better ones above; those below the range of colours are grey.
    The thick one is the point that validation data choose. Source: Inselberg (1985).
    """
    arms = dict(list(arms.items())[:MOST])
    most = max(len(coordinates(results)) for results in arms.values())
    figure, panels = panel_grid(len(arms), 1, WIDTH * (most + 1), HEIGHT, share=False)
    for panel, (name, results) in zip(panels[:, 0], arms.items(), strict=True):
        draw_lines(panel, name, results, coordinates(results), shades(arms, judged_by(results)))
    figure.supxlabel(f"{explored(arms)}, means; thick: chosen on validation data", fontsize=9)
    return figure


def draw_lines(panel: Axes, name: str, results: Results, names: Sequence[str], colors: Mapping[str, Any]) -> None:
    """The lines of an arm, the best last, with an upright axis for every hyperparameter and one for the score."""
    from matplotlib import colormaps

    by = judged_by(results)
    scores = mean_of_seeds(results, f"test_{by}")
    goodness = scores if by == "accuracy" else -scores
    goodness = np.where(np.isfinite(goodness), goodness, -np.inf)
    seen = goodness[np.isfinite(goodness)]
    worst, best = sorted((colors["vmin"], colors["vmax"]), reverse=by != "accuracy")
    worst, best = (worst, best) if by == "accuracy" else (-worst, -best)
    worst = max(worst, seen.min(initial=best))
    shares = np.clip((goodness - worst) / ((best - worst) or 1.0), -0.04, 1)
    columns = [results[hyper].to_numpy() for hyper in names]
    heights = np.stack([*(spread(column, goodness) for column in columns), shares])
    colormap, chosen = colormaps["cividis"], index_of_best(results)
    others = [point for point in np.argsort(goodness).tolist() if point != chosen]
    for point in (*others, chosen):
        color = "0.85" if shares[point] < 0 else colormap(shares[point])
        thick: dict[str, Any] = {"linewidth": 4, "zorder": 3} if point == chosen else {"linewidth": 1, "alpha": 0.8}
        panel.plot(range(len(names) + 1), heights[:, point], color=color, **thick)
    for place, column in enumerate(columns):
        draw_scale(panel, place, ranks(np.unique(column)), told_apart(np.unique(column), 2))
    marks = np.linspace(0, 1, 6)
    said = worst + marks * (best - worst) if by == "accuracy" else -(worst + marks * (best - worst))
    draw_scale(panel, len(names), marks, [(percent if by == "accuracy" else number)(float(f"{x:.3g}")) for x in said])
    labels = [wrapped(humanize(hyper), WIDTH) for hyper in names]
    panel.set_xticks(range(len(names) + 1), [*labels, f"mean test {by}"])
    panel.set_yticks([])
    panel.set(xlim=(-0.5, len(names) + 0.3), ylim=(-0.12, 1.12))
    panel.set_title(wrapped(name, WIDTH * len(names)), fontsize=10)


def draw_scale(panel: Axes, place: int, heights: np.ndarray, labels: Sequence[str]) -> None:
    """An upright line with labels at these heights."""
    panel.axvline(place, color="0.3", linewidth=0.8, zorder=2)
    for height, said in zip(heights, thinned(labels, HEIGHT - 1, 0.17), strict=True):
        panel.text(place - 0.04, height, said, ha="right", va="center", fontsize=7, zorder=4,
                   bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5})  # fmt: skip


def ranks(values: np.ndarray) -> np.ndarray:
    """The rank of each value among the different ones, from 0 to 1."""
    unique, where = np.unique(values, return_inverse=True)
    return where / max(1, len(unique) - 1)


def spread(values: np.ndarray, goodness: np.ndarray) -> np.ndarray:
    """The rank of each value, and around it those that have it in the order of their scores."""
    room = 0.7 / max(2, len(np.unique(values)) - 1)
    order = np.argsort(np.argsort(goodness, kind="stable")) / max(1, len(goodness) - 1)
    return ranks(values) + room * (order - 0.5) * 0.6
