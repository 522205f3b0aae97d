"""Sentences: the answer in words, and numbers with their units and intervals as text."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from wd_research.evidence.claims import Unit
from wd_research.evidence.selection import winner_of
from wd_research.results import humanize


def sentence(summary: Mapping[str, Any]) -> str:
    """One sentence that answers the question: the best point, its gain with an interval, and whether other arms differ.

    The best arm is the one that validation data prefer. Where no arm can be tuned, the claims are the answer.
    """
    best = summary["best"]
    if not best and not summary["claims"]:
        return "No answer: no arm has validation data and a point without decay, and there are no claims."
    if not best:
        return verdicts(summary["claims"])
    winner = winner_of(best)
    top = best[winner]
    likely, gained = top["best_values"], top["gain"]
    axis = humanize(top["axis"])
    where = f"the 95 % confidence set of the best {axis} is {format_range(likely)}"
    clauses = [
        f"{winner} generalises best on validation data, with {describe(top)}: {format_result(top)}, "
        f"{format_gain(gained, top['by'])} against no decay, and {where}"
    ]
    if gained["low"] <= 0 <= gained["high"]:
        clauses.append("whether decay changes the result is undecided")
    for pair, differences in summary["comparisons"].items():
        clauses += comparison(winner, pair.split(" - "), differences[top["by"]], top["by"])
    if top["edges"]:
        lies = "lies" if len(top["edges"]) == 1 else "lie"
        clauses.append(
            f"its best {' and '.join(map(humanize, top['edges']))} {lies} on the edge of the grid, so extend the grid"
        )
    text = "; ".join(clauses) + "."
    return text[0].upper() + text[1:]


def by_verdicts(summary: Mapping[str, Any]) -> str:
    """The verdicts on the claims as the answer, for arms that are not comparable because their data differ."""
    return verdicts(summary["claims"])


def verdicts(claims: list[dict[str, Any]]) -> str:
    """`Of 3 claims 2 hold, 1 fails: the statement that fails.`; undecided ones are named too."""
    named = {verdict: [claim for claim in claims if claim["verdict"] == verdict] for verdict in ("fails", "undecided")}
    held = len(claims) - sum(map(len, named.values()))
    counts = [f"{held} of {len(claims)} claims {'holds' if held == 1 else 'hold'}"]
    for verdict, those in named.items():
        counts += [f"{verdict}: {claim['statement'].rstrip('.')}" for claim in those]
    return "; ".join(counts) + "."


def comparison(winner: str, pair: list[str], difference: dict[str, float], by: str) -> list[str]:
    """The clause that compares the winner to the other arm of a pair; none if the winner is not in it."""
    if winner not in pair:
        return []
    sign = 1 if pair[0] == winner else -1
    low, high = sorted((sign * difference["low"], sign * difference["high"]))
    lead = format_gain({"mean": sign * difference["mean"], "low": low, "high": high}, by)
    loser = pair[1] if sign == 1 else pair[0]
    sure = f"ahead of {loser} by {lead}" if low > 0 else f"not distinguishable from {loser} (95 %; {lead})"
    return [sure if high >= 0 else f"though on test data {loser} is ahead ({lead})"]


def describe(entry: dict[str, Any]) -> str:
    """The best point without the hyperparameters that are off: `decay 3.16 and learning rate 0.003`."""
    shown = [name for name in entry["hypers"] if entry[name] != 0 or name == entry["axis"]]
    shown.sort(key=lambda name: name != entry["axis"])
    return " and ".join(f"{humanize(name)} {entry[name]:.3g}" for name in shown)


def format_range(values: dict[str, Any]) -> str:
    """A confidence set as `2.72 to 4.96`, or `only 4.96` where it has one value."""
    return ("only {low:.3g}" if values["low"] == values["high"] else "{low:.3g} to {high:.3g}").format(**values)


def format_result(entry: Mapping[str, Any]) -> str:
    """An arm's test accuracy or test loss, for a sentence."""
    if entry["by"] == "accuracy":
        return f"test accuracy {format_percent(entry['test_accuracy'])}"
    return f"test loss {format_level(entry['test_loss'], 'loss')}"


def format_level(estimate: Mapping[str, float], by: str) -> str:
    """An accuracy as `86.2 % [85.1, 87.3]`, a loss as `0.213 [0.201, 0.225]`."""
    return format_percent(estimate) if by == "accuracy" else "{mean:.3f} [{low:.3f}, {high:.3f}]".format(**estimate)


def format_gain(estimate: Mapping[str, float], by: str) -> str:
    """A gain as `+8.2 points [6.9, 9.5]` of accuracy, or as `+0.207 [+0.144, +0.270]` of loss that it is lower."""
    return format_points(estimate) if by == "accuracy" else "{mean:+.3f} [{low:+.3f}, {high:+.3f}]".format(**estimate)


def format_percent(estimate: Mapping[str, float]) -> str:
    """`86.2 % [85.1, 87.3]` from shares."""
    return "{:.1f} % [{:.1f}, {:.1f}]".format(*(100 * estimate[key] for key in ("mean", "low", "high")))


def format_points(estimate: Mapping[str, float]) -> str:
    """`+8.2 points [6.9, 9.5]` from differences of shares."""
    return "{:+.1f} points [{:+.1f}, {:+.1f}]".format(*(100 * estimate[key] for key in ("mean", "low", "high")))


def format_measured(row: Mapping[str, Any]) -> str:
    """The measured value of a judged claim with its interval: `+5.71 points [+4.60, +6.82]`."""
    unit = Unit(**row["unit"])
    mean, low, high = (format(unit.factor * row[key], unit.form) for key in ("measured", "low", "high"))
    return f"{f'{mean} {unit.name}'.rstrip()} [{low}, {high}]"


def format_expected(row: Mapping[str, Any]) -> str:
    """The expected range of a judged claim: `above 0`, `-0.5 to 0.5 points`; None, as in JSON, is no bound."""
    unit = Unit(**row["unit"])
    low, high = (
        none if bound is None else unit.factor * bound
        for bound, none in zip(row["expected"], (-np.inf, np.inf), strict=True)
    )
    bounds = f"below {high:g}" if low == -np.inf else f"above {low:g}" if high == np.inf else f"{low:g} to {high:g}"
    return f"{bounds} {unit.name}".rstrip()
