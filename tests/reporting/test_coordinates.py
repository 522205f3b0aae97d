"""Parallel coordinates: what leads to a good score is seen, whatever is judged and whatever diverged."""

from collections import namedtuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import wd_research as wd
from wd_research.reporting.coordinates import coordinates, is_wide, parallel_coordinates, ranks, spread
from wd_research.reporting.figures import all_figures

Hypers = namedtuple("Hypers", "decay learning_rate dropout width")
SEEDS = 4


def arm(by="accuracy", rates=(1e-3, 1e-2), dropouts=(0.0, 0.2), widths=(1.0,), diverging=False):
    """A grid whose score is best at decay 1 and learning rate 1e-2."""
    points = wd.grid(Hypers, decay=(0, 0.1, 1, 10), learning_rate=rates, dropout=dropouts, width=widths)
    columns = Hypers(*map(np.asarray, points))
    quality = 0.8 - 0.02 * np.abs(np.log10(np.maximum(columns.decay, 0.01))) + 2 * columns.learning_rate
    quality = quality - 0.05 * columns.dropout + np.linspace(-0.01, 0.01, SEEDS)[:, None]
    values = quality if by == "accuracy" else 1 - quality
    diverged = np.full(values.shape, -1)
    if diverging:
        diverged[1, columns.decay == 10] = 3
    metrics = {f"{part}_{metric}": values for part in ("train", "validation", "test")
               for metric in {by, "loss"}}  # fmt: skip
    return wd.labelled(points, "decay", 5, metrics, diverged)


def lines(figure):
    """The heights of every line, and the thick one among them."""
    drawn = [line for line in figure.axes[0].lines if len(line.get_xdata()) > 2]
    return np.array([line.get_ydata() for line in drawn]), [line for line in drawn if line.get_linewidth() == 4]


@pytest.mark.parametrize("diverging", [False, True])
@pytest.mark.parametrize("by", ["accuracy", "loss"])
def test_every_point_is_a_line_and_the_chosen_one_ends_at_the_top(by, diverging):
    results = arm(by, diverging=diverging)
    heights, (chosen,) = lines(parallel_coordinates({"net": results}))
    assert heights.shape == (results.sizes["point"], len(coordinates(results)) + 1)
    assert chosen.get_ydata()[-1] == pytest.approx(heights[:, -1].max()) == pytest.approx(1)
    at = results.isel(point=wd.choose(results).point)
    expected = [ranks(results[name].to_numpy())[wd.choose(results).point] for name in coordinates(results)]
    np.testing.assert_allclose(chosen.get_ydata()[:-1], expected, atol=0.22)
    assert float(at["decay"]) == 1
    assert np.isfinite(heights).all()


@pytest.mark.parametrize(
    ("changes", "wide"),
    [({}, True), ({"dropouts": (0.0,)}, False), ({"dropouts": (0.0,), "widths": (1.0, 2.0)}, True),
     ({"rates": (0.01,), "dropouts": (0.0,)}, False)],
)  # fmt: skip
def test_it_is_drawn_where_three_hyperparameters_vary(changes, wide):
    results = arm(**changes)
    assert is_wide(results) is wide
    assert ("points" in all_figures(wd.Evidence({"net": results}))) is wide


def test_the_hyperparameter_in_question_stands_beside_the_score():
    figure = parallel_coordinates({"net": arm()})
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == [
        "learning rate", "dropout", "decay", "mean test accuracy"
    ]  # fmt: skip


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(0, 2**32 - 1))
def test_lines_through_one_value_stay_nearer_to_it_than_to_others(values, number):
    column = np.array(values, float)
    goodness = np.random.default_rng(number).normal(size=len(column))
    heights, middle = spread(column, goodness), ranks(column)
    assert np.abs(heights - middle).max() < 0.5 / max(1, len(np.unique(column)) - 1)
    for value in np.unique(column):
        same = column == value
        assert (np.argsort(heights[same], kind="stable") == np.argsort(goodness[same], kind="stable")).all()
