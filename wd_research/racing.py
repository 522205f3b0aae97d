"""Racing: rounds of seeds, after each of which the points that have lost every contest are dropped.

What a grid costs is mostly points that nobody would choose. So the first 4 exploring seeds see every point, and each
further round doubles the seeds, of the points alone that may still be chosen: for each choice that the answer or a
claim makes, those that its best point does not clearly beat (`choices.rivals`). The n-th round tests at the level
SPENT / (n (n + 1)), all rounds together at `SPENT`; how often that errs is simulated in docs/statistics.md. What the
summary says beside the answer, by loss and at any step, is chosen among what is left.
"""

from collections.abc import Mapping, Sequence
from functools import partial

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
    for number, last in enumerate(looks(seeds), start=1):
        wanted = {name: Wanted(arm, range(last), points[name]) for name, arm in trained.items()}
        for name, found in training.train(wanted, f", racing on {last} seeds" if number > 1 else "").items():
            rounds[name].append(found)
            results[name] = united(Wanted(trained[name], range(last), range(trained[name].size)), rounds[name])
        together = {name: results[name] if name in results else computed[name].isel(seed=slice(last)) for name in arms}
        if last < seeds:
            points = still_in(together, claims, level(number))
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


def still_in(arms: Mapping[str, Results], claims: Sequence[Claim], alpha: float) -> dict[str, list[int]]:
    """The points of every arm that may still be chosen; all of an arm from which nothing is chosen."""
    asked = contests(Evidence(arms), claims)
    left: dict[str, set[int]] = {}
    for choice in asked or ():
        left.setdefault(choice.arm, set()).update(rivals(arms[choice.arm], choice, alpha))
    return {name: sorted(left.get(name, results["point"].to_numpy().tolist())) for name, results in arms.items()}


def contests(evidence: Evidence, claims: Sequence[Claim]) -> list[Choice] | None:
    """What the summary and the claims choose; None where a claim rests on whole curves or cannot be asked."""
    found = []
    of_arms = [
        partial(of_arm, name, judged_by(evidence[name]), False) for name in evidence if can_be_tuned(evidence[name])
    ]
    for name, measure in [*(("", measure) for measure in of_arms), *((claim.id, claim.measure) for claim in claims)]:
        with kept({}, "a choice"):  # what it raises, it raises again where it is judged
            cells = measured_cells(measure, evidence.arms).values()
            if all(isinstance(scores, Scores) for scores in cells):
                found += [choice for scores in cells if isinstance(scores, Scores) for choice in scores.choices]
                continue
        warn(f"--race drops nothing: the claim {name} rests on the whole grid, not on choices alone")
        return None
    return list(dict.fromkeys(found))
