"""Selection: which point of an arm is best, by how much, and how sure that is.

Points are chosen on validation data and scored on test data, seed by seed. A choice for one seed is made on the other
seeds. Members are judged `by` accuracy where it is measured, else by loss.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from wd_research.evidence.claims import Cell
from wd_research.evidence.statistics import (
    at_choice,
    best_candidate,
    best_set,
    bootstrap,
    choose_leaving_one_out,
    paired_t,
    smallest_effect,
)
from wd_research.results import BETTER, axis_values, final, has_value, hypers, judged_by, surviving
from wd_research.types import Results


def tuned(results: Results, name: str, among: np.ndarray | None = None, by: str | None = None) -> np.ndarray:
    """A final metric at the point that the validation data of the other seeds choose among `among` bool[h]; f64[s]."""
    by, among = by or judged_by(results), np.ones(results.sizes["point"], bool) if among is None else among
    choice = choose_leaving_one_out(BETTER[by] * surviving(results, f"validation_{by}")[:, among])
    return at_choice(final(results, name)[:, among], choice)


def gain_over_none(results: Results, name: str, by: str | None = None) -> np.ndarray:
    """Per-seed difference in a final metric between the tuned point and the tuned point without decay; f64[s]."""
    return tuned(results, name, by=by) - tuned(results, name, has_value(results, 0), by)


def best_among(results: Results, among: np.ndarray | None = None, by: str | None = None) -> int:
    """The point with the best mean validation score over all seeds, among those of the mask bool[h]."""
    by = by or judged_by(results)
    scores = BETTER[by] * surviving(results, f"validation_{by}")
    return best_candidate(scores if among is None else np.where(among, scores, -np.inf))


def best_point(results: Results, by: str | None = None) -> dict[str, float]:
    """The hyperparameters of the best point."""
    point = results.isel(point=best_among(results, by=by))
    return {name: float(point[name]) for name in hypers(results)}


def edges(results: Results, by: str | None = None) -> list[str]:
    """The hyperparameters whose best value is the smallest or largest of the grid, so that a better one may lie beyond.

    A 0 is no edge: nothing lies below.
    """
    best = best_point(results, by)
    grids = {name: np.unique(results[name].to_numpy()) for name in best}
    return [
        name
        for name, grid in grids.items()
        if len(grid) > 1 and best[name] != 0 and np.float32(best[name]) in (grid[grid > 0].min(), grid.max())
    ]


def best_axis_values(results: Results, by: str | None = None) -> np.ndarray:
    """The 95 % confidence set of the best value of the axis, each value with its other hyperparameters tuned; f64[v'].

    By `best_set` on test data.
    """
    by, values = by or judged_by(results), axis_values(results)
    columns = [tuned(results, f"test_{by}", has_value(results, value), by) for value in values]
    return values[best_set(BETTER[by] * np.stack(columns, axis=1))]


def gain_cell(results: Results, name: str, sign: float = 1) -> Cell:
    """sign * `gain_over_none` as the cell of a claim, marked when the best value of the axis is on the grid's edge."""
    return Cell(sign * gain_over_none(results, name), results.attrs["axis"] in edges(results))


def difference(first: Results, second: Results, name: str = "test_accuracy", sign: float = 1) -> Cell:
    """sign * (first - second) in a final metric, both arms tuned, as the cell of a claim, marked at a grid's edge."""
    on_edge = any(results.attrs["axis"] in edges(results) for results in (first, second))
    return Cell(sign * (tuned(first, name) - tuned(second, name)), on_edge)


def summary_of_arm(results: Results, by: str | None = None) -> dict[str, Any]:
    """An arm's entry of `summary.json`: its best point and final metrics, judged by accuracy or by loss.

    Metrics are means with paired t intervals. "gain" is against no decay and positive where decay is better,
    "bootstrap" another interval of it, "smallest_effect" the minimum detectable gain at 80 % power, and "best_values"
    the 95 % confidence set of the best value of the axis.
    """
    by = by or judged_by(results)
    gains = BETTER[by] * gain_over_none(results, f"test_{by}", by)
    likely = best_axis_values(results, by)
    parts = {f"{part}_{by}": tuned(results, f"{part}_{by}", by=by) for part in ("train", "validation", "test")}
    best = best_point(results, by)
    return {
        **best,
        "by": by,
        "hypers": list(best),
        **{name: paired_t(values)._asdict() for name, values in parts.items()},
        "without": paired_t(tuned(results, f"test_{by}", has_value(results, 0), by))._asdict(),
        "gain": paired_t(gains)._asdict(),
        "bootstrap": bootstrap(gains)._asdict(),
        "smallest_effect": smallest_effect(gains),
        "axis": results.attrs["axis"],
        "best_values": {"low": float(likely.min()), "high": float(likely.max()), "values": likely.tolist()},
        "edges": edges(results, by),
        "diverged": int((results.diverged_at >= 0).sum()),
    }


def compare(first: Results, second: Results, by: str | None = None) -> dict[str, float]:
    """The mean difference in test score between two tuned arms, above 0 where the first is better; t interval."""
    by = by or judged_by(first)
    name = f"test_{by}"
    return paired_t(BETTER[by] * (tuned(first, name, by=by) - tuned(second, name, by=by)))._asdict()


def can_be_tuned(results: Results) -> bool:
    """Whether the arm has what a choice among its points needs: validation data, and a point without decay."""
    return "validation_loss" in results and bool(has_value(results, 0).any())


def summarise(arms: Mapping[str, Results]) -> dict[str, Any]:
    """The entries of all arms that can be tuned, judged by accuracy and by loss, and the comparison of each pair."""
    arms = {name: results for name, results in arms.items() if can_be_tuned(results)}
    names = list(arms)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    return {
        "best": {
            name: {**summary_of_arm(results), "by_loss": summary_of_arm(results, by="loss")}
            for name, results in arms.items()
        },
        "comparisons": {
            f"{a} - {b}": {by: compare(arms[a], arms[b], by) for by in dict.fromkeys((judged_by(arms[a]), "loss"))}
            for a, b in pairs
        },
    }


def winner_of(best: Mapping[str, Any]) -> str:
    """The arm that validation data prefer."""
    return max(best, key=lambda name: score(best[name], "validation"))


def score(entry: Mapping[str, Any], part: str) -> float:
    """An arm's mean on a part of the data, larger where better."""
    return BETTER[entry["by"]] * entry[f"{part}_{entry['by']}"]["mean"]
