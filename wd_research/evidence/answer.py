"""The answer: which point of an arm is best, by how much, and how sure that is.

An arm's results are an xarray.Dataset with the dims (seed, point, step): `train_`, `validation_` and `test_` times
`loss`, and `accuracy` where there are classes, at every look, and the hyperparameters as coordinates of `point`. Its
attribute `axis` names the hyperparameter in question, which at 0 is switched off. Accuracies and their differences are
shares, losses of classes are nats. Members are judged `by` accuracy where it is measured, else by loss.
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
from wd_research.types import Results

BETTER = {"accuracy": 1, "loss": -1}  # the sign that makes a metric a score


def judged_by(results: Results) -> str:
    """What members are judged by: "accuracy", or "loss" where no accuracy is measured."""
    return "accuracy" if "validation_accuracy" in results else "loss"


def hypers(results: Results) -> list[str]:
    """The names of a point's numbers."""
    return [str(name) for name, coordinate in results.coords.items() if coordinate.dims == ("point",)]


def metrics(results: Results) -> list[str]:
    """The names of what is one number per member and look."""
    return [str(name) for name, values in results.data_vars.items() if values.dims == ("seed", "point", "step")]


def final(results: Results, name: str) -> np.ndarray:
    """A quantity at the end of training; f64[s, h], for a diverged member by its last finite weights."""
    return results[name].isel(step=-1).to_numpy().astype(float)


def surviving(results: Results, name: str) -> np.ndarray:
    """A quantity at the end of training; f64[s, h], NaN where the member has diverged."""
    return np.where(results.diverged_at.to_numpy() < 0, final(results, name), np.nan)


def axis_values(results: Results) -> np.ndarray:
    """The values of the hyperparameter in question, ascending; f64[v]."""
    return np.unique(results[results.attrs["axis"]].to_numpy().astype(float))


def has_value(results: Results, value: float) -> np.ndarray:
    """Which points have this value of the hyperparameter in question; bool[h]."""
    return results[results.attrs["axis"]].to_numpy().astype(float) == value


def tuned(results: Results, name: str, among: np.ndarray | None = None, by: str | None = None) -> np.ndarray:
    """A final quantity where validation data, leaving one seed out, choose among the points `among` bool[h]; f64[s]."""
    by, among = by or judged_by(results), np.ones(results.sizes["point"], bool) if among is None else among
    choice = choose_leaving_one_out(BETTER[by] * surviving(results, f"validation_{by}")[:, among])
    return at_choice(final(results, name)[:, among], choice)


def change(results: Results, name: str, by: str | None = None) -> np.ndarray:
    """What a final quantity of the tuned arm is above that of the tuned arm without decay, seed by seed; f64[s]."""
    return tuned(results, name, by=by) - tuned(results, name, has_value(results, 0), by)


def stopped_early(results: Results, by: str | None = None) -> Results:
    """The results as if every member had stopped at the look where its own validation data were best.

    They have one step, the last; `stopped_at` (seed, point, step) says when each member stopped.

    Source: Prechelt (1998), with unlimited patience.
    """
    by = by or judged_by(results)
    scores = (BETTER[by] * results[f"validation_{by}"]).fillna(-np.inf)
    stopped = results.drop_vars("diverged_at").isel(step=scores.argmax("step")).reset_coords("step")
    stopped = stopped.rename(step="stopped_at").expand_dims(step=results["step"].to_numpy()[-1:], axis=-1)
    return stopped.assign(diverged_at=results["diverged_at"])


def best_among(results: Results, among: np.ndarray | None = None, by: str | None = None) -> int:
    """The point that the validation data of all seeds choose among those of the mask bool[h]: what one would use."""
    by = by or judged_by(results)
    scores = BETTER[by] * surviving(results, f"validation_{by}")
    return best_candidate(scores if among is None else np.where(among, scores, -np.inf))


def best_point(results: Results, by: str | None = None) -> dict[str, float]:
    """The hyperparameters of the best point."""
    point = results.isel(point=best_among(results, by=by))
    return {name: float(point[name]) for name in hypers(results)}


def edges(results: Results, by: str | None = None) -> list[str]:
    """The hyperparameters whose best value is the last one of its grid, where a better one may lie beyond.

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
    """The values of the axis that may be the best one, every value with its other hyperparameters tuned; f64[v'].

    The 95 % confidence set of `best_set` on test data.
    """
    by, values = by or judged_by(results), axis_values(results)
    columns = [tuned(results, f"test_{by}", has_value(results, value), by) for value in values]
    return values[best_set(BETTER[by] * np.stack(columns, axis=1))]


def change_cell(results: Results, name: str, sign: float = 1) -> Cell:
    """sign * change as the cell of a claim, marked when the best value of the axis is the edge of its grid."""
    return Cell(sign * change(results, name), results.attrs["axis"] in edges(results))


def ahead(first: Results, second: Results, name: str = "test_accuracy", sign: float = 1) -> Cell:
    """sign * what a final quantity of one tuned arm is above another's as the cell of a claim, marked at an edge."""
    on_edge = any(results.attrs["axis"] in edges(results) for results in (first, second))
    return Cell(sign * (tuned(first, name) - tuned(second, name)), on_edge)


def answer(results: Results, by: str | None = None) -> dict[str, Any]:
    """All that an arm has to say, judged by accuracy or by loss; the arm's entry of `summary.json`.

    Means with paired t intervals. "gain" is against no decay and positive where the arm is better, "bootstrap" is
    another interval of it, "smallest_effect" the smallest gain that this design would have seen. "best_values" are
    those values of the axis that may be the best one.
    """
    by = by or judged_by(results)
    gains = BETTER[by] * change(results, f"test_{by}", by)
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
    """How much better one tuned arm is than another on test data, seed by seed, with its paired t interval."""
    by = by or judged_by(first)
    name = f"test_{by}"
    return paired_t(BETTER[by] * (tuned(first, name, by=by) - tuned(second, name, by=by)))._asdict()


def can_be_tuned(results: Results) -> bool:
    """Whether the arm has what a choice among its points needs: validation data, and a point without decay."""
    return "validation_loss" in results and bool(has_value(results, 0).any())


def summarise(arms: Mapping[str, Results]) -> dict[str, Any]:
    """The answers of all arms that can be tuned, by what they are judged by and by loss, and how they compare."""
    arms = {name: results for name, results in arms.items() if can_be_tuned(results)}
    names = list(arms)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    return {
        "best": {name: {**answer(results), "by_loss": answer(results, by="loss")} for name, results in arms.items()},
        "comparisons": {
            f"{a} - {b}": {by: compare(arms[a], arms[b], by) for by in dict.fromkeys((judged_by(arms[a]), "loss"))}
            for a, b in pairs
        },
    }


def diverged(results: Results) -> list[dict[str, Any]]:
    """The points at which members diverged: what they were, how many of their seeds, and the first step of all."""
    at = results["diverged_at"].to_numpy()
    names = hypers(results)
    return [
        {
            "point": ", ".join(f"{words(name)} {float(results[name][point]):.3g}" for name in names),
            "seeds": int((at[:, point] >= 0).sum()),
            "first_step": int(at[:, point][at[:, point] >= 0].min()),
        }
        for point in np.flatnonzero((at >= 0).any(axis=0))
    ]


def sentence(summary: Mapping[str, Any]) -> str:
    """One sentence that answers the question: what to use, what it gains, how sure, and whether the other arms differ.

    The best arm is the one that validation data prefer. Where no arm can be tuned, the claims are the answer.
    """
    best = summary["best"]
    if not best:
        return verdicts(summary["claims"])
    winner = winner_of(best)
    top = best[winner]
    likely, gained = top["best_values"], top["gain"]
    axis, only = words(top["axis"]), likely["low"] == likely["high"]
    where = f"no other {axis} tried can be the best" if only else f"the best {axis} lies in {span(likely)}"
    clauses = [
        f"{winner} generalises best on validation data, with {describe(top)}: {reached(top)}, "
        f"{gain(gained, top['by'])} against no decay, and {where}"
    ]
    if gained["low"] <= 0 <= gained["high"]:
        clauses.append("whether decay changes anything here is undecided")
    for pair, differences in summary["comparisons"].items():
        clauses += comparison(winner, pair.split(" - "), differences[top["by"]], top["by"])
    if top["edges"]:
        lies = "lies" if len(top["edges"]) == 1 else "lie"
        clauses.append(f"its {' and '.join(map(words, top['edges']))} {lies} on the edge of the grid, so look beyond")
    text = "; ".join(clauses) + "."
    return text[0].upper() + text[1:]


def by_verdicts(summary: Mapping[str, Any]) -> str:
    """The verdicts on the claims as the answer: where arms see other data, so that the best arm is none."""
    return verdicts(summary["claims"])


def verdicts(claims: list[dict[str, Any]]) -> str:
    """`Of 3 claims 2 hold, 1 fails: the statement that fails.`; undecided ones are named too."""
    named = {verdict: [claim for claim in claims if claim["verdict"] == verdict] for verdict in ("fails", "undecided")}
    held = len(claims) - sum(map(len, named.values()))
    counts = [f"{held} of {len(claims)} claims {'holds' if held == 1 else 'hold'}"]
    for verdict, those in named.items():
        counts += [f"{verdict}: {claim['statement'].rstrip('.')}" for claim in those]
    return "; ".join(counts) + "."


def winner_of(best: Mapping[str, Any]) -> str:
    """The arm that validation data prefer."""
    return max(best, key=lambda name: score(best[name], "validation"))


def score(entry: Mapping[str, Any], part: str) -> float:
    """An arm's mean on a part of the data, larger where better."""
    return BETTER[entry["by"]] * entry[f"{part}_{entry['by']}"]["mean"]


def comparison(winner: str, pair: list[str], difference: dict[str, float], by: str) -> list[str]:
    """The clause that compares the winner to the other arm of a pair; none if the winner is not in it."""
    if winner not in pair:
        return []
    sign = 1 if pair[0] == winner else -1
    low, high = sorted((sign * difference["low"], sign * difference["high"]))
    ahead = gain({"mean": sign * difference["mean"], "low": low, "high": high}, by)
    loser = pair[1] if sign == 1 else pair[0]
    sure = f"ahead of {loser} by {ahead}" if low > 0 else f"not to be told from {loser} ({ahead})"
    return [sure if high >= 0 else f"though on test data {loser} is ahead ({ahead})"]


def describe(entry: dict[str, Any]) -> str:
    """The hyperparameters of an arm's entry that are not switched off: `decay 3.16 and learning rate 0.003`."""
    said = [name for name in entry["hypers"] if entry[name] != 0 or name == entry["axis"]]
    said.sort(key=lambda name: name != entry["axis"])
    return " and ".join(f"{words(name)} {entry[name]:.3g}" for name in said)


def words(name: str) -> str:
    """`learning_rate` -> `learning rate`."""
    return name.replace("_", " ")


def span(values: dict[str, Any]) -> str:
    """`2.72 to 4.96`, the values that may be the best one; `only 4.96` where no other may."""
    return ("only {low:.3g}" if values["low"] == values["high"] else "{low:.3g} to {high:.3g}").format(**values)


def reached(entry: Mapping[str, Any]) -> str:
    """What an arm reaches on test data, for a sentence."""
    if entry["by"] == "accuracy":
        return f"{percent(entry['test_accuracy'])} of the test examples are right"
    return f"test loss {level(entry['test_loss'], 'loss')}"


def level(estimate: Mapping[str, float], by: str) -> str:
    """An accuracy as `86.2 % [85.1, 87.3]`, a loss as `0.213 [0.201, 0.225]`."""
    return percent(estimate) if by == "accuracy" else "{mean:.3f} [{low:.3f}, {high:.3f}]".format(**estimate)


def gain(estimate: Mapping[str, float], by: str) -> str:
    """How much better: `+8.2 points [6.9, 9.5]` of accuracy, or `+0.207 [+0.144, +0.270]` less loss."""
    return points(estimate) if by == "accuracy" else "{mean:+.3f} [{low:+.3f}, {high:+.3f}]".format(**estimate)


def percent(estimate: Mapping[str, float]) -> str:
    """`86.2 % [85.1, 87.3]` from shares."""
    return "{:.1f} % [{:.1f}, {:.1f}]".format(*(100 * estimate[key] for key in ("mean", "low", "high")))


def points(estimate: Mapping[str, float]) -> str:
    """`+8.2 points [6.9, 9.5]` from differences of shares."""
    return "{:+.1f} points [{:+.1f}, {:+.1f}]".format(*(100 * estimate[key] for key in ("mean", "low", "high")))
