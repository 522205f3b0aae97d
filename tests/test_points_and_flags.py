"""Points, and what a person may type."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wd_research import flags
from wd_research.flags import UserError
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


NUMBERS = {
    "a tuple": (0.25, 0.5), "a list": [0.25, 0.5], "an array": np.array([0.25, 0.5]), "a series": pd.Series([0.5]),
    "an array of jax": jnp.array([0.25, 0.5]), "whole numbers": range(2), "booleans": (False, True),
    "one number": (0.25,), "whole numbers of NumPy": np.arange(3, dtype=np.uint8),
}  # fmt: skip


@pytest.mark.parametrize("values", NUMBERS.values(), ids=NUMBERS)
def test_a_row_of_numbers_is_an_axis(values):
    points = grid(a=values)
    assert (points.a.tolist(), points.a.dtype) == ([float(value) for value in values], np.float32)


class Defaulted(NamedTuple):
    """A number, and one that need not be given."""

    a: np.ndarray
    b: np.ndarray = 0.5  # pyright: ignore


REFUSED = {
    "a number": (lambda: grid(a=1e-2, b=(0, 1)), "cannot have 0.01 for a: give finite numbers", "such as (0.01,)"),
    "a whole number": (lambda: grid(a=3), "cannot have 3 for a", "such as (3,)"),
    "a number of NumPy": (lambda: grid(a=np.float32(3)), "cannot have np.float32(3.0) for a", "such as (1e-2,)"),
    "words": (lambda: grid(a=("a",)), "cannot have ('a',) for a", "such as (1e-2,)"),
    "numbers as words": (lambda: grid(a=("1",)), "cannot have ('1',) for a", "such as (1e-2,)"),
    "a word": (lambda: grid(a="1e-2"), "cannot have '1e-2' for a", "such as (1e-2,)"),
    "a complex number": (lambda: grid(a=1j), "cannot have 1j for a", "such as (1e-2,)"),
    "complex numbers": (lambda: grid(a=(1j,)), "cannot have (1j,) for a", "such as (1e-2,)"),
    "a set": (lambda: grid(a={1}), "cannot have {1} for a", "such as (1e-2,)"),
    "a dictionary": (lambda: grid(a={1: 2}), "cannot have {1: 2} for a", "such as (1e-2,)"),
    "a generator": (lambda: grid(a=(n for n in (1, 2))), "cannot have <generator", "such as (1e-2,)"),
    "nothing": (lambda: grid(a=None), "cannot have None for a", "such as (1e-2,)"),
    "a gap": (lambda: grid(a=(1, None)), "cannot have (1, None) for a", "such as (1e-2,)"),
    "a table": (lambda: grid(a=np.ones((2, 2))), "cannot have array([[1., 1.], [1., 1.]]) for a", "such as (1e-2,)"),
    "ragged": (lambda: grid(a=[[1], [1, 2]]), "cannot have [[1], [1, 2]] for a", "such as (1e-2,)"),
    "no number": (lambda: grid(a=(np.nan,)), "cannot have (nan,) for a", "finite numbers that float32 can hold"),
    "infinity": (lambda: grid(Pair, a=(np.inf,)), "cannot have (inf,) for a", "finite numbers that float32 can hold"),
    "too large": (lambda: grid(a=(1e300,)), "cannot have (1e+300,) for a", "finite numbers that float32 can hold"),
    "too small": (lambda: grid(a=(0, 1e-60)), "cannot have (0, 1e-60) for a", "finite numbers that float32 can hold"),
    "no axis": (lambda: grid(), "the grid has no axis", "give values by name"),
    "another field": (lambda: grid(Pair, c=(1,)), "the grid has no field c", "it has a, b"),
    "values by place": (lambda: grid((1e-2,)), "a grid of (0.01,) cannot be", "give a class that is a NamedTuple"),
    "made points": (lambda: grid(grid(a=(1,)), a=(1,)), "a grid of Hypers(a=array(", "give a class"),
    "a dictionary's class": (lambda: grid(dict, a=(1,)), "a grid of <class 'dict'> cannot be", "give a class"),
    **{
        f"the name {name!r}": (lambda name=name: grid(**{name: (1,)}), f"be called {name!r}", "begins with a letter")
        for name in ("lambda", "_x", "None", "learning rate", "1st", "", "a-b")
    },
    "decades from 0": (lambda: decades(0, 1, 5), "decades cannot be 0 to 1", "give 0 < low <= high"),
    "decades downwards": (lambda: decades(1, 0.1, 5), "decades cannot be 1 to 0.1", "as decades(1e-3, 1, 4)"),
    "decades of words": (lambda: decades("1", "10", 2), "decades cannot be '1' to '10'", "give 0 < low <= high"),
    "decades without end": (lambda: decades(1, np.inf, 2), "decades cannot be 1 to inf", "give 0 < low <= high"),
    "decades from nothing": (lambda: decades(None, 1, 2), "decades cannot be None to 1", "give 0 < low <= high"),
    "half a value": (lambda: decades(1, 10, 2.5), "the count of decades cannot be 2.5", "a whole number from 1 on"),
    "no value": (lambda: decades(1, 10, 0), "the count of decades cannot be 0", "a whole number from 1 on"),
    **{
        f"{said} by {draw.__name__}": (
            lambda draw=draw, given=given, ranges=ranges: draw(*given, **{"a": (1, 2), **ranges}), said, right,
        )
        for draw in (random_points, sobol_points)
        for given, ranges, said, right in (
            ((Defaulted, 2.5, 0), {}, "the count of points cannot be 2.5", "give a whole number from 1 on"),
            ((Defaulted, 0, 0), {}, "the count of points cannot be 0", "give a whole number from 1 on"),
            ((Defaulted, True, 0), {}, "the count of points cannot be True", "give a whole number from 1 on"),
            ((Defaulted, "4", 0), {}, "the count of points cannot be '4'", "give a whole number from 1 on"),
            ((Defaulted, 4, -1), {}, "the seed of points cannot be -1", "give a whole number from 0 on"),
            ((Defaulted, 4, None), {}, "the seed of points cannot be None", "give a whole number from 0 on"),
            ((Defaulted, 4, 0), {"a": 1.0}, "the range of a cannot be 1.0", "as a=(1e-3, 1)"),
            ((Defaulted, 4, 0), {"a": (1, 2, 3)}, "the range of a cannot be (1, 2, 3)", "as a=(1e-3, 1)"),
            ((Defaulted, 4, 0), {"a": (1j, 2)}, "the range of a cannot be 1j to 2", "give 0 < low <= high"),
            ((Defaulted, 4, 0), {"a": ("1", "2")}, "the range of a cannot be '1' to '2'", "give 0 < low <= high"),
            ((Defaulted, 4, 0), {"a": (1e-60, 1)}, "the range of a cannot be 1e-60 to 1", "that float32 can hold"),
            ((Defaulted, 4, 0), {"c": (1, 2)}, "the hyperparameters are a, b", "leave out c"),
            ((Pair, 4, 0), {}, "the ranges are of a, and the hyperparameters are a, b", "give one of b"),
            (("Pair", 4, 0), {}, "'Pair' has no fields to draw", "give a class that is a NamedTuple"),
        )
    },
    "no range": (lambda: random_points(dict, 4, 0), "there is no range to draw from", "give one by name"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "wrong", "right"), REFUSED.values(), ids=REFUSED)
def test_points_that_cannot_be_are_one_sentence(make, wrong, right):
    with pytest.raises(UserError) as refused:
        make()
    sentence = str(refused.value)
    assert wrong in sentence
    assert right in sentence.split(": ", 1)[1]
    assert "\n" not in sentence


DRAWS = pytest.mark.parametrize("draw", [random_points, sobol_points])


@DRAWS
def test_a_field_without_a_range_is_its_default(draw):
    points = draw(Defaulted, np.int64(5), np.int64(1), a=(1.0, 2.0))
    np.testing.assert_array_equal(points.b, np.full(5, 0.5, np.float32))
    assert points.b.dtype == np.float32
    np.testing.assert_array_equal(draw(dict, 5, 1, a=(1.0, 2.0))["a"], points.a)


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
    assert (decades(1, 10, 1), decades(2, 3, 2), decades(2, 2, np.int64(2))) == ((0.0,), (0.0, 2.0), (0.0, 2.0))
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
