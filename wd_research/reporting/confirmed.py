"""What was confirmed: the chosen points, what they score on the seeds that chose them, and on fresh ones."""

from collections.abc import Sequence

import numpy as np

from wd_research.evidence.choices import choice_of
from wd_research.evidence.measured import Evidence
from wd_research.evidence.statistics import paired_t
from wd_research.reporting.sentences import format_level
from wd_research.reporting.table import Rows
from wd_research.results import describe_point, final, hypers
from wd_research.types import Results

SCORES = {"test_accuracy": "accuracy", "test_loss": "loss"}  # the first that was measured is shown


def confirmed_rows(evidence: Evidence) -> Rows:
    """A section per arm, a row per point that was trained on confirming seeds."""
    return Rows(
        ["arm", "point", "confirming seeds", "test, exploring seeds", "test, confirming seeds"],
        [[row_of(evidence, name, point) for point in points_of(tiles)] for name, tiles in evidence.confirming.items()],
    )


def points_of(tiles: Sequence[Results]) -> list[int]:
    """The numbers of the points of an arm that were trained on confirming seeds."""
    return sorted({int(point) for tile in tiles for point in tile["point"]})


def row_of(evidence: Evidence, name: str, point: int) -> list[str]:
    """A point, its confirming seeds, and its final score on exploring and on confirming seeds."""
    results = evidence[name]
    index = int(np.flatnonzero(results["point"].to_numpy() == point)[0])
    explored, confirmed = results.isel(point=[index]), evidence.confirmed(choice_of(results, index))
    seeds = confirmed["seed"].to_numpy()
    described = describe_point({hyper: explored[hyper][0] for hyper in hypers(explored)})
    return [name, described, f"{seeds[0]} to {seeds[-1]}", format_score(explored), format_score(confirmed)]


def format_score(results: Results) -> str:
    """The final test score of one point, mean over seeds with its 95 % interval; empty where none was measured."""
    for name, by in SCORES.items():
        if name in results:
            entry = {"by": by, "unit": results.attrs.get("loss_unit", "")}
            examples = results.attrs.get("test_examples", 0) if by == "accuracy" else 0
            estimate = paired_t(final(results, name)[:, 0], resolution=1 / examples if examples else 0.0)
            return format_level((estimate.within(0, 1) if by == "accuracy" else estimate)._asdict(), entry)
    return ""
