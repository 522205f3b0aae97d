"""Points, and what a person may type."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wd_research import flags
from wd_research.points import decades, grid, random_points, sobol_points


class Pair(NamedTuple):
    """Two numbers."""

    a: np.ndarray
    b: np.ndarray


@given(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=5),
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=5),
)
def test_a_grid_is_every_combination_in_order(first, second):
    points = grid(Pair, a=first, b=second)
    assert [*zip(points.a.tolist(), points.b.tolist(), strict=True)] == [(a, b) for a in first for b in second]
    assert points.a.dtype == np.float32


def test_a_grid_without_a_value_says_which_axis():
    with pytest.raises(ValueError, match="no value of b"):
        grid(Pair, a=(1.0,), b=())


DRAWS = pytest.mark.parametrize("draw", [random_points, sobol_points])


@DRAWS
@given(count=st.integers(1, 40), seed=st.integers(0, 5), low=st.floats(1e-6, 1.0), factor=st.floats(1.0, 1e6))
def test_drawn_points_lie_in_their_ranges_and_are_drawn_again_alike(draw, count, seed, low, factor):
    points = draw(Pair, count, seed, a=(low, low * factor), b=(2.0, 2.0))
    assert points.a.shape == (count,)
    assert points.a.dtype == np.float32
    assert (points.a >= low * (1 - 1e-6)).all()
    assert (points.a <= low * factor * (1 + 1e-6)).all()
    np.testing.assert_array_equal(points.b, 2.0)
    np.testing.assert_array_equal(draw(Pair, count, seed, a=(low, low * factor), b=(2.0, 2.0)).a, points.a)


@DRAWS
def test_drawn_points_are_even_in_the_logarithm(draw):
    logs = np.log10(np.stack(draw(Pair, 4096, 0, a=(1e-4, 1.0), b=(1e-4, 1.0)), axis=1))
    counts = np.histogram2d(*logs.T, bins=4, range=[[-4, 0], [-4, 0]])[0]
    # 256 expected in every cell: a random draw scatters by 16, a Sobol sequence is exact up to rounding at the borders
    assert np.abs(counts - 256).max() <= (80 if draw is random_points else 1)


def test_a_sobol_sequence_goes_on_where_fewer_points_end():
    more = sobol_points(Pair, 16, 3, a=(1.0, 9.0), b=(1.0, 9.0))
    fewer = sobol_points(Pair, 11, 3, a=(1.0, 9.0), b=(1.0, 9.0))
    np.testing.assert_array_equal(np.stack(more)[:, :11], np.stack(fewer))


@DRAWS
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (2.0, 1.0), (1.0, np.inf), (np.nan, 1.0)])
def test_a_range_that_cannot_be_is_refused(draw, low, high):
    with pytest.raises(ValueError, match=r"the range of b cannot be .*: give 0 < low <= high"):
        draw(Pair, 4, 0, a=(1.0, 2.0), b=(low, high))


def test_decades_begin_with_zero_and_reach_both_ends():
    values = decades(1e-4, 100, 25)
    assert len(values) == 25
    assert values[0] == 0
    assert (values[1], values[-1]) == (1e-4, 100)
    np.testing.assert_allclose(np.diff(np.log(values[1:])), np.log(1e6) / 23, rtol=0.02)


@pytest.mark.parametrize(
    ("check", "says"),
    [
        (lambda: flags.decays(decays=()), "--decays is empty: give at least one number"),
        (lambda: flags.decays(decays=(0, -1)), "--decays -1 cannot be: give finite numbers 0 or more"),
        (lambda: flags.decays(decays=(0, float("nan"))), "--decays nan cannot be"),
        (lambda: flags.decays(decays=(0, float("inf"))), "--decays inf cannot be"),
        (lambda: flags.decays(decays=(0, 1e39)), "that float32 can hold"),
        (lambda: flags.decays(decays=(0, 1e-50)), "that float32 can hold"),
        (lambda: flags.decays(decays=(0, 1, 1)), "--decays names a value twice"),
        (lambda: flags.decays(decays=(1, 2)), "--decays has no 0"),
        (lambda: flags.positive(learning_rates=(0.0,)), "--learning-rates 0.0 cannot be: give finite numbers above 0"),
        (lambda: flags.counts(train_size=0), "--train-size 0 is too few"),
        (lambda: flags.seeds(0), "--seeds 0 is too few"),
    ],
)
def test_bad_values_get_one_sentence(check, says):
    with pytest.raises(ValueError, match=says) as error:
        check()
    assert "\n" not in str(error.value)


def test_good_values_pass():
    flags.decays(decays=(0, 1e-6, 100), strengths=(0.0,))
    flags.positive(learning_rates=(1e-3,))
    flags.counts(steps=1)
    flags.seeds(2)
