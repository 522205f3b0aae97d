"""Sentences: the answer in words, and numbers with their units and intervals as text."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wd_research.evidence.claims import Unit
from wd_research.evidence.measured import CONFIRMING, EXPLORING, HALVES
from wd_research.evidence.selection import is_chosen, winner_of
from wd_research.evidence.statistics import FEWEST
from wd_research.reporting.seeds import Seeds, counted, interval, of_stage, seeds_of
from wd_research.results import humanize

FEW_SEEDS = f"fewer than {FEWEST} seeds decide nothing"


def sentence(summary: Mapping[str, Any]) -> str:
    """One sentence that answers the question: the best point, its gain with an interval, how sure that is, and on what.

    The best arm is the one that the validation data of the exploring seeds prefer. Where no arm can be tuned, the
    claims are the answer; where members diverged at every point of all arms there is none.
    """
    best = summary["best"]
    if not best and not summary["claims"]:
        return "No answer: no arm has validation data and a point without decay, and there are no claims."
    if not best:
        return verdicts(summary["claims"])
    winner, seeds = winner_of(best), seeds_of(summary)
    top = best[winner]
    if not is_chosen(top):
        return f"No answer: {no_choice(list(best.values()))}."
    clauses = [
        f"the arm that generalises best on the validation data of {counted(seeds.exploring, 'exploring seed')} is "
        f"{winner}, with {describe(top)}: {result(top, seeds)}",
        *gained(top),
        certainty(top, seeds),
    ]
    nowhere = {name: entry for name, entry in best.items() if not is_chosen(entry)}
    for pair, differences in summary["comparisons"].items():
        names = pair.split(" - ")
        if nowhere.keys().isdisjoint(names):
            clauses += comparison(winner, names, differences[top["by"]], top)
    clauses += [f"{name} is not compared: {no_choice([entry])}" for name, entry in nowhere.items()]
    clauses += [*stopping(top), *grew(top), *on_edges(top)]
    text = "; ".join(clauses) + "."
    return text[0].upper() + text[1:]


def no_choice(entries: Sequence[Mapping[str, Any]]) -> str:
    """Why no point of these arms can be chosen: `all members diverged, the first at step 3`."""
    steps = [entry["first_diverged"] for entry in entries if entry["first_diverged"] is not None]
    if not steps:
        return f"no validation {' or '.join(dict.fromkeys(entry['by'] for entry in entries))} is a finite number"
    everyone = all(entry["diverged"] == entry["members"] for entry in entries)
    who = "all members diverged" if everyone else "members diverged at every point of the grid"
    return f"{who}, the first at step {min(steps):,}"


def result(entry: Mapping[str, Any], seeds: Seeds) -> str:
    """What an arm's best point reaches on test data, on which seeds, and its gain if it has decay and one."""
    where = f"on {entry['seeds']} fresh confirming seeds " if entry["stage"] == CONFIRMING else ""
    metric = f"test_{entry['by']}"
    reached = f"{where}{humanize(metric)} {format_level(entry[metric], entry)}"
    if not entry["equal"] and entry[entry["axis"]] != 0:
        reached += f", {format_gain(entry['gain'], entry)} against no decay"
    if len(seeds.looks) > 1:
        reached += f" ({interval(seeds.alpha, seeds.looks)})"
    if entry["stage"] == HALVES:
        reached += f" (each half of the {entry['seeds']} exploring seeds scored at what the other half chose)"
    if entry["stage"] == EXPLORING:
        reached += " (the one seed scored at what it chose itself: no interval, give more)"
    return reached


def gained(entry: Mapping[str, Any]) -> list[str]:
    """The clause that says that nothing was gained, or that this is undecided; none where decay changes the result."""
    if entry[entry["axis"]] == 0:
        none = f"no other value of {humanize(entry['axis'])} is better on validation data"
        if entry["equal"]:
            return [none]
        lead = format_gain(entry["gain"], entry)
        return [none, f"what a part of the seeds chooses instead differs from no decay by {lead}"]
    if entry["equal"]:
        return ["decay changes nothing here: the results are equal"]
    low, high = entry["gain"]["low"], entry["gain"]["high"]
    if entry["seeds"] < FEWEST:
        return [f"whether decay changes the result is undecided, because {FEW_SEEDS}"]
    return ["whether decay changes the result is undecided"] if low <= 0 <= high else []


def certainty(entry: Mapping[str, Any], seeds: Seeds) -> str:
    """The clause with the confidence set of the best value, and how many neighbours of the best point are worse."""
    likely, around = entry["best_values"], entry["neighbours"]
    said = f"the 95 % confidence set of the best {humanize(entry['axis'])} is {format_range(likely)} "
    said += f"({counted(seeds.exploring, 'exploring seed')})"
    if around["all"]:
        are = "is" if around["worse"] == 1 else "are"
        said += f", and {around['worse'] or 'none'} of {around['all']} neighbours on the grid {are} worse"
    return said


def stopping(entry: Mapping[str, Any]) -> list[str]:
    """The clause on training that ends where validation data are best, if that is before the last step."""
    early = entry["by_step"]
    if early["step"] >= entry["step"]:
        return []
    gain = "exactly 0" if early["equal"] else format_gain(early["gain"], early)
    return [f"stopping at step {early['step']:,}, where validation data are best, its gain would be {gain}"]


def on_edges(entry: Mapping[str, Any]) -> list[str]:
    """The clause on hyperparameters whose best value is an end of the grid, with decay or without."""
    whose = {"its best": entry["edges"], "without decay the best": entry["edges_without"]}
    if entry["edges"] == entry["edges_without"]:
        whose = {"with decay and without, its best": entry["edges"]}
    said = [
        f"{best} {' and '.join(map(humanize, edges))} {'lies' if len(edges) == 1 else 'lie'} on the edge of the grid"
        for best, edges in whose.items()
        if edges
    ]
    more = "extend the grid" if entry.get("grown") else "extend the grid, or give --grow"
    return [f"{', and '.join(said)}: {more}"] if said else []


def grew(entry: Mapping[str, Any]) -> list[str]:
    """The clause on the values that the grid got beyond its edges."""
    return [f"beyond its edges the grid got {describe_growth(entry)}"] if entry.get("grown") else []


def describe_growth(entry: Mapping[str, Any]) -> str:
    """The values that the grid got beyond its edges: `decay 178 and 316`; empty without any."""
    values = {name: ", ".join(f"{value:.3g}" for value in added) for name, added in (entry.get("grown") or {}).items()}
    return "; ".join(f"{humanize(name)} {' and '.join(added.rsplit(', ', 1))}" for name, added in values.items())


def was_raced(entry: Mapping[str, Any]) -> bool:
    """Whether a race has dropped points."""
    return bool(entry.get("raced")) and entry["raced"]["left"] < entry["raced"]["points"]


def format_race(entry: Mapping[str, Any]) -> str:
    """How many points a race has left on all seeds: `12 of 125`."""
    return f"{entry['raced']['left']} of {entry['raced']['points']}"


def by_verdicts(summary: Mapping[str, Any]) -> str:
    """The verdicts on the claims as the answer, for arms that are not comparable because their data differ."""
    return verdicts(summary["claims"])


def verdicts(claims: list[dict[str, Any]]) -> str:
    """`2 of 3 claims hold (judged on 16 confirming seeds); fails: the statement.`; undecided ones are named too."""
    if not claims:
        return "No answer: no claim was judged."
    held = sum(claim["verdict"] == "holds" for claim in claims)
    clauses = [f"{held} of {len(claims)} claims {'holds' if held == 1 else 'hold'} ({judged_on(claims)})"]
    for verdict in ("fails", "undecided", "equal here"):
        clauses += [f"{verdict}: {claim['statement'].rstrip('.')}" for claim in claims if claim["verdict"] == verdict]
    return "; ".join(clauses) + "."


def judged_on(claims: list[dict[str, Any]]) -> str:
    """`judged on 16 confirming seeds`, or `judged 2 on 16 confirming seeds, 1 on 8 exploring seeds`."""
    said = []
    for stage in dict.fromkeys(claim["stage"] for claim in claims):
        seeds = [claim["seeds"] for claim in claims if claim["stage"] == stage]
        count = "" if len(seeds) == len(claims) else f"{len(seeds)} "
        said.append(f"{count}on {'up to ' if min(seeds) < max(seeds) else ''}{of_stage(stage, max(seeds))}")
    return f"judged {', '.join(said)}"


def comparison(winner: str, pair: list[str], difference: dict[str, Any], entry: Mapping[str, Any]) -> list[str]:
    """The clause that compares the winner to the other arm of a pair; none if the winner is not in it."""
    if winner not in pair:
        return []
    sign = 1 if pair[0] == winner else -1
    loser = pair[1] if sign == 1 else pair[0]
    if difference["equal"]:
        return [f"equal to {loser} here"]
    low, high = sorted((sign * difference["low"], sign * difference["high"]))
    lead = format_gain({"mean": sign * difference["mean"], "low": low, "high": high}, entry)
    if high < 0:
        return [f"though on test data {loser} is ahead ({lead})"]
    return [f"ahead of {loser} by {lead}" if low > 0 else f"not distinguishable from {loser} ({lead})"]


def describe(entry: Mapping[str, Any]) -> str:
    """The best point without the hyperparameters that are off, `decay 3.16 and learning rate 0.003`; or `none`."""
    if not is_chosen(entry):
        return "none"
    shown = [name for name in entry["hypers"] if entry[name] != 0 or name == entry["axis"]]
    shown.sort(key=lambda name: name != entry["axis"])
    return " and ".join(f"{humanize(name)} {entry[name]:.3g}" for name in shown)


def format_range(values: Mapping[str, Any]) -> str:
    """A confidence set as `2.72 to 4.96`, or `only 4.96`; it is empty where a member of every point has diverged."""
    if not values["values"]:
        return "empty, for members diverged at every point"
    return ("only {low:.3g}" if values["low"] == values["high"] else "{low:.3g} to {high:.3g}").format(**values)


def format_level(estimate: Mapping[str, float], entry: Mapping[str, Any]) -> str:
    """An accuracy as `86.2 % [85.1, 87.3]`, a loss as `0.213 nats [0.201, 0.225]`, in the unit of an arm's entry."""
    if entry["by"] == "accuracy":
        return format_percent(estimate)
    return format_estimate(estimate, Unit(entry["unit"], 1.0, ".3f"))


def format_gain(estimate: Mapping[str, float], entry: Mapping[str, Any]) -> str:
    """A gain as `+8.2 points [+6.9, +9.5]` of accuracy, or as `+0.207 nats [+0.144, +0.270]` of loss: it is lower."""
    if entry["by"] == "accuracy":
        return format_points(estimate)
    return format_estimate(estimate, Unit(entry["unit"], 1.0, "+.3f"))


def format_percent(estimate: Mapping[str, float]) -> str:
    """`86.2 % [85.1, 87.3]` from shares."""
    return format_estimate(estimate, Unit("%", 100.0, ".1f"))


def format_points(estimate: Mapping[str, float]) -> str:
    """`+8.2 points [+6.9, +9.5]` from differences of shares."""
    return format_estimate(estimate, Unit("points", 100.0, "+.1f"))


def format_measured(row: Mapping[str, Any]) -> str:
    """The measured value of a judged claim with its interval: `+5.71 points [+4.60, +6.82]`."""
    return format_estimate({"mean": row["measured"], "low": row["low"], "high": row["high"]}, Unit(**row["unit"]))


def format_estimate(estimate: Mapping[str, float], unit: Unit) -> str:
    """A mean in its unit with its interval; without one where there is none, as for one seed. No 0 is negative."""
    mean, low, high = (format_number(unit.factor * estimate[key], unit.form) for key in ("mean", "low", "high"))
    if np.isnan(estimate["mean"]):
        return "no number"
    said = f"{mean} {unit.name}".rstrip()
    return said if np.isnan([estimate["low"], estimate["high"]]).any() else f"{said} [{low}, {high}]"


def format_number(number: float, form: str) -> str:
    """A number in a format; what rounds to 0 has no minus."""
    said = format(number, form)
    return format(0.0, form) if "0" in said and not any(digit in said for digit in "123456789") else said


def why_undecided(row: Mapping[str, Any]) -> str:
    """Why a judged claim is undecided although its interval lies inside what is expected, or outside; else empty."""
    if row["verdict"] != "undecided" or row["on_edge"]:
        return ""
    if row["seeds"] < FEWEST:
        return FEW_SEEDS
    if not np.isfinite([row["measured"], row["low"], row["high"]]).all():
        return "some seeds have no finite number"
    low, high = bounds(row)
    inside, outside = low <= row["low"] and row["high"] <= high, row["high"] < low or row["low"] > high
    if {"everywhere": outside, "somewhere": inside}.get(row["quantifier"]):  # one cell of many would decide the claim
        return f"not after Holm's correction for {len(row['cells'])} cells"
    return "other cells may still lie in the range" if inside or outside else ""


def format_expected(row: Mapping[str, Any]) -> str:
    """The expected range of a judged claim: `above 0`, `-0.5 to 0.5 points`; None, as in JSON, is no bound."""
    unit = Unit(**row["unit"])
    low, high = (unit.factor * bound for bound in bounds(row))
    said = f"below {high:g}" if low == -np.inf else f"above {low:g}" if high == np.inf else f"{low:g} to {high:g}"
    return f"{said} {unit.name}".rstrip()


def bounds(row: Mapping[str, Any]) -> list[float]:
    """The bounds of what a judged claim expects; JSON's null is none."""
    ends = zip(row["expected"], (-np.inf, np.inf), strict=True)
    return [none if bound is None else bound for bound, none in ends]
