"""Racing: rounds of seeds, after each of which the points that have lost every contest are dropped.

What a grid costs is mostly points that nobody would choose. So the first 4 exploring seeds see every point, and each
further round doubles the seeds, of the points alone that may still be chosen: for each choice that the answer or a
claim makes, those that its best point does not clearly beat (`choices.rivals`). The n-th round tests at the level
SPENT / (n (n + 1)), all rounds together at `SPENT`; how often that errs is simulated in docs/statistics.md. What the
summary says beside the answer, by loss and at any step, is chosen among what is left.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from wd_research.evidence.choices import SPENT, Choice, Scores, rivals
from wd_research.evidence.claims import Claim
from wd_research.evidence.measured import Evidence, measured_cells
from wd_research.evidence.selection import can_be_tuned, of_arm
from wd_research.reporting.errors import kept
from wd_research.results import judged_by
from wd_research.scheduling import Training, warn
from wd_research.tiles import Wanted, united
from wd_research.types import Arm, ComputedArm, Results

FIRST = 4  # seeds of the first round


def race(
    arms: Mapping[str, Arm | ComputedArm], seeds: int, training: Training, claims: Sequence[Claim]
) -> dict[str, Results]:
    """Train the whole grid of every arm on the first seeds, and on all others what may still be chosen.

    The results have the whole grid on all seeds; what was not trained is `results.UNTRAINED`. Where a claim rests on
    whole curves, or fails to say on what, nothing is dropped.
    """
    computed = {
        name: training.compute(name, arm, range(seeds)) for name, arm in arms.items() if not isinstance(arm, Arm)
    }
    trained = {name: arm for name, arm in arms.items() if isinstance(arm, Arm)}
    points: dict[str, Sequence[int]] = {name: range(arm.size) for name, arm in trained.items()}
    rounds: dict[str, list[Results]] = {name: [] for name in trained}
    results: dict[str, Results] = {}
    whole = ""  # the claim for which nothing is dropped
    for number, last in enumerate(looks(seeds), start=1):
        wanted = {name: Wanted(arm, range(last), points[name]) for name, arm in trained.items()}
        for name, found in training.train(wanted, f", racing on {last} seeds" if number > 1 else "").items():
            rounds[name].append(found)
            results[name] = united(Wanted(trained[name], range(last), range(trained[name].size)), rounds[name])
        together = {name: results[name] if name in results else computed[name].isel(seed=slice(last)) for name in arms}
        if last < seeds and not whole:
            asked, whole = contests(Evidence(together), claims)
            points = still_in(together, asked, level(number))
            if whole:
                warn(f"--race drops nothing: the claim {whole} rests on the whole grid, or fails")
    return {name: (results | computed)[name] for name in arms}


def looks(seeds: int) -> list[int]:
    """The numbers of seeds after which points are dropped, and all of them: 4, 8, 16 ... `seeds`."""
    found = [min(FIRST, seeds)]
    while found[-1] < seeds:
        found.append(min(2 * found[-1], seeds))
    return found


def level(number: int) -> float:
    """The level of a round, counted from 1: the sum over all rounds is `SPENT`."""
    return SPENT / (number * (number + 1))


def still_in(arms: Mapping[str, Results], asked: Sequence[Choice], alpha: float) -> dict[str, Sequence[int]]:
    """The points of every arm that may still be chosen; all of an arm from which nothing is chosen."""
    left: dict[str, set[int]] = {}
    for choice in asked:
        left.setdefault(choice.arm, set()).update(rivals(arms[choice.arm], choice, alpha))
    return {name: sorted(left.get(name, set(results["point"].to_numpy().tolist()))) for name, results in arms.items()}


def contests(evidence: Evidence, claims: Sequence[Claim]) -> tuple[list[Choice], str]:
    """What the answer and the claims choose; or nothing, and a claim that rests on whole curves or cannot be asked."""
    by = {name: judged_by(results) for name, results in evidence.items() if can_be_tuned(results)}
    measures = [(f"of {name}", partial(of_arm, name, by[name], False)) for name in by]
    measures += [(claim.id, claim.measure) for claim in claims]
    found = []
    for name, measure in measures:
        cells: Mapping[str, Any] = {"": None}
        with kept({}, "a choice"):  # what it raises, it raises again where it is judged
            cells = measured_cells(measure, evidence.arms)
        if not all(isinstance(scores, Scores) for scores in cells.values()):
            return [], name
        found += [choice for scores in cells.values() for choice in scores.choices]
    return list(dict.fromkeys(found)), ""
