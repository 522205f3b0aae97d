"""Seeds in words: which of them a number is of, and of which level its interval is."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from wd_research.evidence.measured import CONFIRMING, EXPLORING, HALVES
from wd_research.evidence.statistics import ALPHA


class Seeds(NamedTuple):
    """The seeds of a run; "seeds" of `summary.json`."""

    exploring: int
    confirming: int  # at most: what was decided early has fewer
    looks: Sequence[int] = ()  # numbers of confirming seeds after which claims are judged
    alpha: float = ALPHA  # of the intervals: 5 %, or the nominal level at which all looks together err in 5 % of cases


def seeds_of(summary: Mapping[str, Any]) -> Seeds:
    """The seeds of a run, from its summary."""
    return Seeds(**summary["seeds"])


def of_stage(stage: str, seeds: int) -> str:
    """Which seeds a number is of: `16 confirming seeds`, `8 exploring seeds` or `halves of 8 exploring seeds`."""
    if stage == CONFIRMING:
        return counted(seeds, "confirming seed")
    return f"{'halves of ' if stage == HALVES else ''}{counted(seeds, 'exploring seed')}"


def counted(number: int, what: str) -> str:
    """`1 seed`, `2 seeds`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def of_claim(claim: Mapping[str, Any], seeds: Seeds) -> str:
    """Which seeds a claim is judged on; and the level of its interval, where that is not 95 %."""
    said = of_stage(claim["stage"], claim["seeds"])
    return f"{said}, {interval(claim['alpha'], seeds.looks)}" if claim["alpha"] < ALPHA else said


def interval(alpha: float, looks: Sequence[int] = ()) -> str:
    """`95 % interval`, or where claims are judged after more than one look `97.8 % interval, 3 looks`."""
    said = f"{100 * (1 - alpha):.3g} % interval"
    return f"{said}, {len(looks)} looks" if len(looks) > 1 else said


def how_scored(best: Mapping[str, Mapping[str, Any]], seeds: Seeds) -> str:
    """On which seeds the points of arms were chosen, on which they are scored, and what stands in brackets."""
    fewest, most = (which(arm["seeds"] for arm in best.values()) for which in (min, max))
    if all(arm["stage"] == EXPLORING for arm in best.values()):
        return "chosen on the validation data of one exploring seed, scored on its own test data; no interval"
    if any(arm["stage"] == HALVES for arm in best.values()):
        scored = f"each half of {most} exploring seeds scored at what the validation data of the other half choose"
    else:
        fresh = str(most) if fewest == most else f"{fewest} to {most}"
        chosen = f"chosen on the validation data of {counted(seeds.exploring, 'exploring seed')}"
        scored = f"{chosen}, scored on {fresh} fresh confirming ones"
    return f"{scored}; mean [{interval(seeds.alpha, seeds.looks)}]"
