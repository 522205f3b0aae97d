"""Made-up runs of which the answer is known: exploring seeds on the whole grid, fresh ones at what they choose."""

import functools
from dataclasses import replace

import numpy as np

from tests.evidence.cases import results
from wd_research.evidence.choices import gain_over_none
from wd_research.evidence.claims import POINTS, Claim, everywhere, judge
from wd_research.evidence.measured import Evidence, points_wanted
from wd_research.evidence.selection import measures_of, summarise

SHAPES = {"nothing": (0, 0, 0, 0, 0), "rises": (0, 0.01, 0.02, 0.05, 0.1), "falls": (0, -0.01, -0.02, -0.05, -0.1)}


def arm(seeds=24, unit="nats", **kind):
    """An arm as training leaves it, with the unit of its loss."""
    return results(seeds=seeds, **kind).assign_attrs(loss_unit=unit)


def regression(**kind):
    """An arm without accuracies, whose loss has no unit."""
    made = arm(unit="", **kind)
    return made.drop_vars([name for name in made.data_vars if name.endswith("accuracy")])


def evidence(arms, exploring=8, looks=(16,), claims=()):
    """The first seeds of the arms explore; as many as the last of `looks`, in rounds, confirm what these choose."""
    explored = Evidence({name: results.isel(seed=slice(exploring)) for name, results in arms.items()})
    wanted = points_wanted(explored, [*measures_of(explored), *(claim.measure for claim in claims)])
    rounds = [slice(exploring + a, exploring + b) for a, b in zip((0, *looks), looks, strict=False)]
    confirming = {
        name: [arms[name].isel(seed=seeds).sel(point=sorted(points)) for seeds in rounds]
        for name, points in wanted.items()
    }
    return Evidence(explored.arms, confirming if looks else {}, looks)


def summary(measured, claims=()):
    """What `summary.json` says of it."""
    exploring = next(iter(measured.values())).sizes["seed"]
    seeds = {"exploring": exploring, "confirming": max(measured.looks, default=0), "looks": list(measured.looks)}
    judged = [judge(claim, measured) for claim in claims]
    return {"seeds": {**seeds, "alpha": measured.alpha}, **summarise(measured), "claims": judged}


def gains(arms):
    return {name: gain_over_none(results, "test_accuracy") for name, results in arms.items()}


def curve(arms):
    return {name: results.test_accuracy[:, 2, -1].to_numpy() - 0.8 for name, results in arms.items()}


HELPS = Claim("helps", "It helps & more.", "somebody", gains, (0.0, np.inf), everywhere, POINTS)
MUCH = replace(HELPS, id="much", statement="It helps much.", expected=(0.5, np.inf))
CURVE = replace(HELPS, id="curve", statement="A curve.", measure=curve)


@functools.cache
def looked():
    """The summary of a run that looked three times at its confirming seeds."""
    return summary(evidence({"arm": arm(seeds=56)}, looks=(16, 32, 48)), [MUCH])
