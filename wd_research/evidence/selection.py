"""Selection: which point of each arm is best, by how much, and how sure that is; the entries of `summary.json`.

Points are chosen on validation data and scored on test data (`choices`, `measured`). Members are judged `by` accuracy
where it is measured, else by loss.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from wd_research.evidence.choices import Choice, Scores, choose, gain_over_none, tuned
from wd_research.evidence.measured import Arms, Evidence, Measure
from wd_research.evidence.statistics import ALPHA, bootstrap, confidence_set, smallest_effect
from wd_research.results import BETTER, has_value, hypers, judged_by, surviving, trained
from wd_research.types import Results

BEHIND_RACE = 0.04  # so that race and set together err in 5 % at most (docs/statistics.md)


def best_point(results: Results, by: str | None = None) -> dict[str, float]:
    """The hyperparameters of the best point. Raises ValueError where there is none, as when all members diverged."""
    choice = choose(results, by=by)
    if not choice.has_score:
        raise ValueError("no point is the best one: at every point a member diverged, or no validation score is finite")
    return point_at(results, choice)


def point_at(results: Results, choice: Choice) -> dict[str, float]:
    """The hyperparameters of a choice, in as many digits as tell their float32 from its neighbours."""
    point = results.sel(point=choice.point)
    return {name: float(str(np.float32(point[name].item()))) for name in hypers(results)}


def likely_best(results: Results, by: str | None = None) -> np.ndarray:
    """The 95 % confidence set of the best point, on the test data of the exploring seeds; bool[h].

    What a race has dropped is not in it, so that behind one it is taken at `BEHIND_RACE`.
    """
    by = by or judged_by(results)
    examples = results.attrs.get("test_examples", 0) if by == "accuracy" else 0
    scores = np.ma.filled(BETTER[by] * surviving(results, f"test_{by}"), np.nan)
    alpha = ALPHA if trained(results).all() else BEHIND_RACE
    return confidence_set(scores, alpha, resolution=1 / examples if examples else 0.0)


def best_values(results: Results, by: str | None = None) -> np.ndarray:
    """The 95 % confidence set of the best value of the axis: the values that a point of `likely_best` has; f64[v']."""
    return np.unique(results[results.attrs["axis"]].to_numpy().astype(float)[likely_best(results, by)])


def neighbours(results: Results, choice: Choice) -> np.ndarray:
    """The indices of the points next to a choice on the grid: one hyperparameter is one value up or down; i64[n]."""
    names = hypers(results)
    ranks = np.stack([np.unique(results[name].to_numpy(), return_inverse=True)[1] for name in names], axis=1)
    chosen = ranks[np.flatnonzero(results["point"].to_numpy() == choice.point)[0]]
    return np.flatnonzero(np.abs(ranks - chosen).sum(axis=1) == 1)


def grown(results: Results) -> dict[str, list[float]]:
    """The values that hyperparameters have at points beyond the declared grid alone, ascending; {} if it has not grown.

    `results.attrs["declared"]` is the number of declared points, where there are more.
    """
    declared = results.attrs.get("declared", results.sizes["point"])
    values = {name: [float(str(value)) for value in results[name].to_numpy()] for name in hypers(results)}
    beyond = {name: sorted(set(column[declared:]) - set(column[:declared])) for name, column in values.items()}
    return {name: added for name, added in beyond.items() if added}


def of_arm(name: str, by: str, any_step: bool, arms: Arms) -> Mapping[str, Scores]:
    """What is scored of every arm: its metrics at the best point, the test metric without decay, and the gain.

    The gain is positive where decay is better.
    """
    results, metric = arms[name], f"test_{by}"
    splits = [f"{split}_{by}" for split in ("train", "validation", "test")]
    without = tuned(results, metric, has_value(results, 0), by, any_step)
    return {
        **{split: tuned(results, split, None, by, any_step) for split in splits},
        "without": without if choose(results, None, by, any_step).has_score else without + np.nan,
        "gain": BETTER[by] * gain_over_none(results, metric, by, any_step),
    }


def of_pair(first: str, second: str, by: str, arms: Arms) -> Mapping[str, Scores]:
    """The difference in test metric between two tuned arms, above 0 where the first is better."""
    metric = f"test_{by}"
    return {"difference": BETTER[by] * (tuned(arms[first], metric, by=by) - tuned(arms[second], metric, by=by))}


def measures_of(arms: Arms) -> list[Measure]:
    """All that the summary scores after a choice, for the run to train on confirming seeds."""
    can = {name: results for name, results in arms.items() if can_be_tuned(results)}
    return [
        partial(of_arm, name, by, any_step)
        for name, results in can.items()
        for by, any_step in ((judged_by(results), False), ("loss", False), (judged_by(results), True))
    ]


def summary_of_arm(evidence: Evidence, name: str, by: str, any_step: bool = False) -> dict[str, Any]:
    """An arm's entry of `summary.json`: its best point and final metrics, judged by accuracy or by loss.

    With `any_step` training ends at the step that validation data choose with the point. Metrics are means with paired
    t intervals over the seeds of `stage`. "gain" is against no decay and positive where decay is better, "equal" says
    that it is exactly 0 in every seed, "bootstrap" is another interval of it, and "smallest_effect" the minimum
    detectable gain at 80 % power. "exploring_validation" is the mean by which the best point was chosen, on exploring
    seeds; "grown" are the values that the grid got beyond its edges. "best_values" is the 95 % confidence set of the
    best value of the axis, "neighbours" how many of the points next to the best one are outside the confidence set of
    the best point, both by the exploring seeds at the end of training. "raced" says how many of the points a race has
    left on all seeds. Of the exploring "members" so many have
    "diverged", the first one at the step "first_diverged". Where they did at every point no point is best: the entry is
    of the first one, what is scored there and its "exploring_validation" are NaN, and it has no edges or neighbours.
    """
    results = evidence[name]
    best, without = (choose(results, among, by, any_step) for among in (None, has_value(results, 0)))
    cells = evidence.score(partial(of_arm, name, by, any_step))
    gains, likely = cells["gain"].values, likely_best(results, by)
    around = neighbours(results, best) if best.has_score else np.array([], int)
    first_steps = results.diverged_at.to_numpy()[results.diverged_at.to_numpy() >= 0]
    values, point = best_values(results, by), point_at(results, best)
    estimates = {metric: cell.estimate(evidence.alpha) for metric, cell in cells.items()}
    if by == "accuracy":  # shares, and a difference of two
        estimates = {key: estimate.within(-1 if key == "gain" else 0, 1) for key, estimate in estimates.items()}
    return {
        **point,
        "by": by,
        "unit": results.attrs.get("loss_unit", "") if by == "loss" else "",
        "hypers": list(point),
        "step": best.step,
        "stage": cells["gain"].stage,
        "seeds": len(gains),
        **{metric: estimate._asdict() for metric, estimate in estimates.items()},
        "exploring_validation": BETTER[by] * best.validation,
        "equal": bool((gains == 0).all()),
        "bootstrap": bootstrap(gains)._asdict(),
        "smallest_effect": smallest_effect(gains, resolution=cells["gain"].resolution),
        "axis": results.attrs["axis"],
        "best_values": {
            "low": float(values.min(initial=np.inf)), "high": float(values.max(initial=-np.inf)),
            "values": values.tolist(),
        },
        "neighbours": {"worse": int((~likely[around]).sum()), "all": len(around)},
        "edges": list(best.edges),
        "edges_without": list(without.edges),
        "grown": grown(results),
        "raced": {"left": int(trained(results).all(axis=0).sum()), "points": results.sizes["point"]},
        "members": int(trained(results).sum()),
        "diverged": len(first_steps),
        "first_diverged": int(first_steps.min()) if len(first_steps) else None,
    }  # fmt: skip


def can_be_tuned(results: Results) -> bool:
    """Whether the arm has what a choice among its points needs: validation data, and a point without decay."""
    return "validation_loss" in results and bool(has_value(results, 0).any())


def summarise(evidence: Evidence) -> dict[str, Any]:
    """The entries of all arms that can be tuned, judged by accuracy and by loss, and the comparison of each pair."""
    names = [name for name, results in evidence.items() if can_be_tuned(results)]
    by = {name: judged_by(evidence[name]) for name in names}
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]

    def compared(a: str, b: str, by: str) -> dict[str, Any]:
        cell = evidence.score(partial(of_pair, a, b, by))["difference"]
        estimate = cell.estimate(evidence.alpha)
        estimate = estimate.within(-1, 1) if by == "accuracy" else estimate
        return {**estimate._asdict(), "equal": bool((cell.values == 0).all())}

    return {
        "best": {
            name: {
                **summary_of_arm(evidence, name, by[name]),
                "by_loss": summary_of_arm(evidence, name, "loss"),
                "by_step": summary_of_arm(evidence, name, by[name], any_step=True),
            }
            for name in names
        },
        "comparisons": {
            f"{a} - {b}": {metric: compared(a, b, metric) for metric in dict.fromkeys((by[a], "loss"))}
            for a, b in pairs
        },
    }


def winner_of(best: Mapping[str, Any]) -> str:
    """The arm whose best point the validation data of the exploring seeds prefer: a choice, so made where all are."""

    def preferred(name: str) -> float:
        mean = best[name]["exploring_validation"]
        return BETTER[best[name]["by"]] * mean if is_chosen(best[name]) else -np.inf

    return max(best, key=preferred)


def is_chosen(entry: Mapping[str, Any]) -> bool:
    """Whether an arm's entry is of a point that validation data chose; none can be where members diverged at all."""
    mean = entry.get("exploring_validation", 0.0)
    return isinstance(mean, int) or (isinstance(mean, float) and bool(np.isfinite(mean)))
