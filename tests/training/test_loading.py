"""Examples from everywhere: what is right comes out as it was, what is wrong or a guess is named in one sentence."""

import gzip
import io
import json
import os
import re
import urllib.error
import warnings
import zipfile
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy
from scipy import sparse

from wd_research.flags import UserError
from wd_research.training.data import Examples, draw_split, standardised
from wd_research.training.loading import (
    describe_columns,
    from_arrays,
    from_csv,
    from_frame,
    from_npz,
    from_openml,
    windows,
)

INPUTS = np.arange(12.0).reshape(6, 2)
CLASSES = np.array([0, 1, 2, 0, 1, 2])
NAN = np.where(INPUTS == 5, np.nan, INPUTS)
MINUTES = 1_700_000_000 + 60 * np.arange(240)


def refused(said, load, *arguments):
    """The sentence that is the answer: one line, which says what is wrong, and then what would be right."""
    with pytest.raises(UserError, match=said) as caught:
        load(*arguments)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert len(re.sub(r"/\S*/", "", sentence)) < 600  # wherever the file lies
    assert re.search("give|leave|fill|spell|name|say|save|write|number", sentence.split(": ", 1)[1])
    return sentence


@given(of_numpy.arrays(np.float32, (6, 2, 3), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_finite_single_numbers_come_out_as_they_went_in(inputs):
    examples = from_arrays(inputs, CLASSES)
    assert examples.inputs.tobytes() == inputs.tobytes()
    assert (examples.targets == CLASSES).all()
    assert (examples.inputs.dtype, examples.targets.dtype) == (np.float32, np.int32)


@given(of_numpy.arrays(np.float64, (6, 2), elements=st.floats(-1e6, 1e6)))
def test_other_numbers_move_by_little_of_their_range_or_are_refused(inputs):
    try:
        single = from_arrays(inputs, CLASSES).inputs
    except UserError as error:
        assert "cannot be told apart in float32" in str(error)  # noqa: PT017
        return
    spans = np.ptp(inputs, axis=0)
    assert (np.abs(single - inputs).max(axis=0)[spans > 0] < 1e-4 * spans[spans > 0]).all()


@pytest.mark.parametrize(
    ("targets", "numbered"),
    [
        (np.array(["b", "a", "c", "b", "a", "c"]), [1, 0, 2, 1, 0, 2]),
        (np.array(["b", "a", "c", "b", "a", "c"], object), [1, 0, 2, 1, 0, 2]),
        (pd.Series(["b", "a", "c", "b", "a", "c"], dtype="string"), [1, 0, 2, 1, 0, 2]),
        (np.array([b"b", b"\xe4", b"b", b"\xe4", b"b", b"\xe4"]), [0, 1] * 3),
        (["+", "-"] * 3, [0, 1] * 3),
        (np.array([True, False] * 3), [1, 0] * 3),
        (np.array([True, False] * 3, object).astype(str), [1, 0] * 3),
        (CLASSES.astype(np.uint8), CLASSES),
        (CLASSES.astype(np.uint64), CLASSES),
        (pd.Series(CLASSES, dtype="Int64"), CLASSES),
        ([0.5, 1, 2, 3, 4, 5], [0.5, 1, 2, 3, 4, 5]),
        (CLASSES.astype(float), CLASSES),
        (CLASSES.astype(np.float16)[:, None], [[0], [1], [2], [0], [1], [2]]),
        (CLASSES.reshape(6, 1, 1) * [[3, 1]], (CLASSES.reshape(6, 1, 1) * [[3, 1]]).tolist()),
        (np.stack([CLASSES, CLASSES + 1], axis=1), np.stack([CLASSES, CLASSES + 1], axis=1).tolist()),
    ],
)
def test_words_and_booleans_are_classes_and_other_numbers_stay(targets, numbered):
    assert from_arrays(INPUTS.astype(np.uint8), targets).targets.tolist() == list(numbered)


@pytest.mark.parametrize(
    "inputs",
    [
        INPUTS.astype(np.longdouble),
        INPUTS.astype(">f8"),
        np.asfortranarray(INPUTS),
        np.broadcast_to(INPUTS[:1], (6, 2)),
        jnp.asarray(INPUTS),
        INPUTS > 3,
        INPUTS.astype(np.int64) * 2**20,
        1e6 + INPUTS,
        1e30 * INPUTS,
        np.float64([[0.1, 1 / 3]] * 6),
        101_325.1 + 10 * INPUTS,
        1_700_000_000.5 + 1e6 * INPUTS,
        INPUTS.tolist(),
        pd.DataFrame(INPUTS),
        np.ma.masked_greater(INPUTS, 99),
        (2**40 + INPUTS).astype(np.float32),
        np.random.default_rng(0).normal(3, 1, (6, 2)),
    ],
)
def test_numbers_of_every_kind_are_inputs(inputs):
    np.testing.assert_allclose(from_arrays(inputs, CLASSES).inputs, np.asarray(inputs, float), rtol=1e-7)


REFUSED_ARRAYS = {
    "lengths": (INPUTS, CLASSES[:5], r"inputs of shape \(6, 2\) and targets of shape \(5,\) do not fit: give"),
    "one axis": (INPUTS[:, 0], CLASSES, "inputs with a second axis"),
    "no examples": (INPUTS[:0], CLASSES[:0], "do not fit"),
    "no inputs": (INPUTS[:, :0], CLASSES, "do not fit"),
    "no targets": (INPUTS, INPUTS[:, :0], "do not fit"),
    "a number": (INPUTS, 3, "do not fit"),
    "nothing": (None, None, "do not fit"),
    "a NaN": (NAN, CLASSES, r"inputs cannot have nan at \[2, 1\]: give finite numbers"),
    "infinity": (np.where(INPUTS == 5, np.inf, INPUTS), CLASSES, r"cannot have inf at \[2, 1\]"),
    "1e200": (INPUTS * 1e200, CLASSES, r"inputs cannot have .*e\+200 at \[0, 1\]"),
    "objects": (INPUTS.astype(object), CLASSES, r"inputs of type object .* give numbers, \.astype\(float\)"),
    "complex": (INPUTS.astype(complex), CLASSES, "inputs of type complex128 .* give the real and the imaginary parts"),
    "words": (INPUTS.astype(str), CLASSES, r"inputs of type <U.* \.astype\(float\), or a frame"),
    "dates": (INPUTS.astype("M8[D]"), CLASSES, "inputs of type datetime64.* give numbers, such as the days"),
    "durations": (INPUTS.astype("m8[D]"), CLASSES, "inputs of type timedelta64.* give numbers"),
    "fields": (np.zeros((6, 1), [("a", float), ("b", int)]), CLASSES, "fields with names as columns of a frame"),
    "sparse": (sparse.csr_matrix(INPUTS), CLASSES, r"inputs are a sparse matrix: give all of it, \.toarray\(\)"),
    "sparse targets": (INPUTS, sparse.csr_matrix(np.eye(6)), r"targets are a sparse matrix: .*toarray"),
    "masked": (np.ma.masked_greater(INPUTS, 9), CLASSES, "inputs have 2 masked entries: fill them"),
    "ragged": ([[1.0, 2.0], [3.0]], [0, 1], "inputs are no array .*: give rows of equal length"),
    "ragged targets": (INPUTS, [[1]] * 5 + [[1, 2]], "targets are no array"),
    "2^40 + k": (2.0**40 + INPUTS, CLASSES,
                 r"number 0 of each example, cannot be .* from 1099511627776\.0 to .* subtract the mean"),
    "2^60 + k": (2**60 + INPUTS.astype(int), CLASSES, "cannot be told apart in float32"),
    "2^63 + k": (2**63 + INPUTS.astype(np.uint64), CLASSES, "cannot be told apart in float32"),
    "1 + k 1e-9": (1 + 1e-9 * INPUTS, CLASSES, "cannot be told apart in float32"),
    "k 1e-60": (1e-60 * INPUTS, CLASSES, "cannot be told apart in float32"),
    "extended": (1 + 1e-9 * INPUTS.astype(np.longdouble), CLASSES, "cannot be told apart in float32"),
    "minutes": (MINUTES[:, None], MINUTES % 120 // 60, 'from 1700000000 to 1700014340: .* or give .astype."float32".'),
    "half minutes": (MINUTES[:, None] + 0.5, MINUTES % 120 // 60, "cannot be told apart in float32"),
    "a month of minutes": (1_700_000_000 + 60 * np.arange(43_200)[:, None], np.arange(43_200) % 2,
                           "cannot be told apart"),
    "the same as floats": (1.7e9 + 60 * np.arange(43_200.0)[:, None], np.arange(43_200) % 2, "cannot be told apart"),
    "time stamps to predict": (INPUTS, 1.7e9 + INPUTS[:, 0], "targets cannot be told apart .* from 1700000000.0"),
    "a NaN to predict": (INPUTS, np.where(CLASSES == 1, np.nan, CLASSES), r"targets cannot have nan at \[1\]"),
    "complex to predict": (INPUTS, CLASSES * 1j, "targets of type complex128 .* the real and the imaginary parts"),
    "dates to predict": (INPUTS, CLASSES.astype("M8[D]"), "targets of type datetime64.* give numbers"),
    "masked targets": (INPUTS, np.ma.masked_equal(CLASSES, 2), "targets have 2 masked entries"),
    "-1 and 1": (INPUTS, CLASSES % 2 * 2 - 1,
                 r"class -1: number .* numpy.unique\(.*, or give floats .*astype\(float\)"),
    "even": (INPUTS, CLASSES * 2, "class 4 and none of class 1: .* numpy.unique.*, or give floats"),
    "from 1 on": (INPUTS, CLASSES + 1, "none of class 0: number .* or give floats to predict numbers"),
    "ages": (INPUTS, [37, 52, 41, 29, 60, 33], "none of class 0: number .* or give floats to predict numbers"),
    "2^40": (INPUTS, np.int64(2) ** 40 * (CLASSES > 1), "cannot have class 1099511627776"),
    "a class a row": (INPUTS, np.arange(6), r"as of 6 of 6 classes \(0\): leave those out, .*or give floats"),
    "a single example": (INPUTS, [0, 0, 1, 1, 1, 2], r"a single example of a class .* of 1 of 3 classes \(2\)"),
    "a single word": (INPUTS, list("aabbbc"), r"as of 1 of 3 classes \('c'\): leave those out, or join them$"),
    "free text": (INPUTS, [f"a tale of {n}" for n in "abcdef"], r"as of 6 of 6 classes \('a tale of a'\)"),
    "one class": (INPUTS, [0] * 6, "targets cannot have class 0 in every example: give two"),
    "one word": (INPUTS, ["a"] * 6, "targets cannot have class 'a' in every example"),
    "one number": (INPUTS, [0.5] * 6, "targets cannot have 0.5 in every example"),
    "one-hot": (INPUTS, np.eye(3, dtype=int)[CLASSES], r"one-hot: give classes, targets\.argmax\(axis=1\)"),
    "one-hot floats": (INPUTS, np.eye(3)[CLASSES], r"targets of shape \(6, 3\) are one-hot"),
    "one-hot booleans": (INPUTS, np.eye(3)[CLASSES] > 0, r"targets of shape \(6, 3\) are one-hot"),
    "a column": (INPUTS, CLASSES[:, None], r"are a column: give classes in a row, targets\[:, 0\], or floats"),
    "a column of words": (INPUTS, np.array(list("abcabc"))[:, None], r"are a column: give .* targets\[:, 0\]"),
    "a table of words": (INPUTS, np.array([["a", "b"]] * 6), r"targets of shape \(6, 2\) and type str are no classes"),
    "a frame of one column": (INPUTS, pd.DataFrame({"y": CLASSES}), r"are a column: .* targets\[:, 0\], or floats"),
    "padding": (INPUTS, np.full((6, 4), -100), "cannot have class -100"),
    "a gap": (INPUTS, pd.array([0, None] * 3, "Int64"), "targets have 3 masked entries: fill them, or leave those"),
    "months": (INPUTS, pd.period_range("2020-01", periods=6, freq="M"), "of type Period: give numbers"),
    "transposed": (INPUTS.T, CLASSES, r"inputs of shape \(2, 6\) and targets of shape \(6,\) do not fit"),
    "a name": ("my.npz", CLASSES, r"inputs of shape \(\) and"),
    "bfloat16": (jnp.asarray(INPUTS, jnp.bfloat16), CLASSES, r'of type bfloat16 .*\.astype\("float32"\)'),
    "mixed": (INPUTS, np.array([0, "a", 1, 2, 3, None], object),
              "targets cannot have .* NoneType and int and str: give"),
    "decimals": (INPUTS, [Decimal(1)] * 6, r"targets cannot have values of type Decimal: give .*astype\(float\)"),
    "Python's dates": (INPUTS, [date(2020, 1, 2)] * 6, "of type date: give numbers, such as the days"),
    "numbers as words": (INPUTS, list("010101"),
                         r"numbers \('0'\) as text: give numbers, by targets.astype.float., .* numpy\.unique"),
    "a stray word": (INPUTS, list("01010?"), r"numbers \('0'\) beside text \('\?'\)"),
    "a word missing": (INPUTS, ["a", "b", "a", "b", "?", "?"], r"cannot have '\?' beside 'a', as if it were missing"),
    "spellings": (INPUTS, ["a", "b", "a", "b", "A", "b"], "cannot have 'A' and 'a': spell each word in one way"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED_ARRAYS)
def test_arrays_that_cannot_be_right_are_one_sentence(case):
    inputs, targets, said = REFUSED_ARRAYS[case]
    assert refused(said, from_arrays, inputs, targets, "mine").startswith("mine: ")


# Tables

X = np.random.default_rng(0).normal(size=20)
KIND = ["a", "b"] * 10
TWO = ["Oslo", "Rome", "Rome", "Oslo"] * 5
ZERO_ONE = [0, 1, 1, 0] * 5
INDICATORS = [[1, 0], [0, 1], [0, 1], [1, 0]] * 5
NUMBERS = [3, 1, 4, 1, 5] * 4
DAYS = [date(2020, 1, 1) + timedelta(days=day) for day in range(20)]


def table(column, **others):
    return pd.DataFrame({"x": X, "c": column, "kind": KIND, **others})


KEPT_COLUMNS = {
    "words": (TWO, INDICATORS, "2 categories: Oslo (10), Rome (10)"),
    "objects that are words": (pd.Series(TWO, dtype=object), INDICATORS, "2 categories: Oslo (10), Rome (10)"),
    "pandas' strings": (pd.Series(TWO, dtype="string"), INDICATORS, "2 categories: Oslo (10), Rome (10)"),
    "bytes": ([word.encode() for word in TWO], INDICATORS, "2 categories: Oslo (10), Rome (10)"),
    "categories": (pd.Categorical(TWO), INDICATORS, "2 categories: Oslo (10), Rome (10)"),
    "an unused category": (pd.Categorical(TWO, ["Rome", "Bonn", "Oslo"]), np.array(INDICATORS)[:, ::-1],
                           "2 categories"),
    "numbers as categories": (pd.Categorical(ZERO_ONE), INDICATORS, "2 categories: 0 (10), 1 (10)"),
    "text as categories": (pd.Categorical([f"n{k:02}" for k in range(20)]), np.eye(20), "20 categories: n00 (1), n01"),
    "mixed types as categories": (pd.Categorical(["?", 7] * 5 + [7, "?"] * 5), None, "2 categories: "),
    "ranges as categories": (pd.cut(X, 2), None, "2 categories: "),
    "a rare word": (["Oslo"] * 19 + ["Rome"], None, "2 categories: Oslo (19), Rome (1)"),
    "ten words": ([f"w{chr(97 + k % 10)}" for k in range(20)], None, "10 categories: wa (2), wb (2)"),
    "faces": (["🙂", "🙁", "🙁", "🙂"] * 5, None, "2 categories"),
    "another alphabet": (["да", "нет", "нет", "да"] * 5, INDICATORS, "2 categories: да (10), нет (10)"),
    "signs": (["+", "-", "-", "+"] * 5, INDICATORS, "2 categories: + (10), - (10)"),
    "ranges as words": (["18-25", "26-99", "26-99", "18-25"] * 5, INDICATORS, "2 categories"),
    "quarters": ([f"Q{n}" for n in NUMBERS], None, "4 categories: Q"),
    "types": ([f"type {n}" for n in NUMBERS], None, "4 categories: type "),
    "places in order": (["1st", "2nd", "3rd", "2nd"] * 5, None, "3 categories: 2nd (10), 1st (5), 3rd (5)"),
    "doors": (["2 doors", "4 doors", "4 doors", "2 doors"] * 5, INDICATORS, "2 categories: 2 doors (10), 4 do"),
    "booleans": ([not word for word in ZERO_ONE], [[1 - number] for number in ZERO_ONE], "numbers, 0 to 1"),
    "whole numbers": (NUMBERS, [[n] for n in NUMBERS], "numbers, 1 to 5"),
    "bytes of numbers": (np.uint8(NUMBERS), [[n] for n in NUMBERS], "numbers, 1 to 5"),
    "pandas' whole numbers": (pd.array(NUMBERS, "Int64"), [[n] for n in NUMBERS], "numbers, 1 to 5"),
    "pandas' floats": (pd.array(NUMBERS, "Float32"), [[n] for n in NUMBERS], "numbers, 1 to 5"),
    "pandas' booleans": (pd.array([n == 1 for n in ZERO_ONE], "boolean"), [[n] for n in ZERO_ONE], "numbers, 0 to 1"),
    "sparse": (pd.arrays.SparseArray(NUMBERS), [[n] for n in NUMBERS], "numbers, 1 to 5"),
    "half floats": (np.float16(NUMBERS), [[n] for n in NUMBERS], "numbers, 1 to 5"),
    "populations": ([1_412_600_000 + 10_000_000 * n for n in NUMBERS], None, "numbers, 1.4226e+09 to 1.4626e+09"),
    "years": ([2000 + n for n in NUMBERS], [[2000 + n] for n in NUMBERS], "numbers, 2001 to 2005"),
    "a count said to be a number": (np.arange(20.0), np.arange(20.0)[:, None], "numbers, 0 to 19"),
    "different whole numbers": (np.arange(20) ** 2, np.arange(20)[:, None] ** 2, "numbers, 0 to 361"),
    "time stamps cut to single": ((2.0**40 + X).astype(np.float32) + 2**20 * np.float32(NUMBERS), None,
                                  "numbers, 1.09"),
}  # fmt: skip


@pytest.mark.parametrize("case", KEPT_COLUMNS)
def test_a_column_becomes_what_it_is_and_is_described(case):
    column, numbers, said = KEPT_COLUMNS[case]
    frame = table(column)
    examples = from_frame(frame, "kind")
    np.testing.assert_array_equal(examples.inputs[:, 0], X.astype(np.float32))
    if numbers is not None:
        np.testing.assert_array_equal(examples.inputs[:, 1:], numbers)
    assert examples.targets.tolist() == [0, 1] * 10
    first, second, third = describe_columns(frame, "kind").splitlines()
    assert re.fullmatch(r"x     numbers, -\S+ to \S+", first)
    assert second.startswith(f"c     {said}")
    assert third == "kind  target, 2 classes: a (10), b (10)"


KEPT_TARGETS = {
    "words": (KIND, [0, 1] * 10, "target, 2 classes: a (10), b (10)"),
    "categories in their order": (pd.Categorical(KIND, ["c", "b", "a"]), [1, 0] * 10, "target, 2 classes: b (10), a"),
    "numbers said to be classes": (pd.Categorical([7, -1] * 10), [1, 0] * 10, "target, 2 classes: -1 (10), 7 (10)"),
    "bytes and words": ([b"b", "a"] * 10, [1, 0] * 10, "target, 2 classes: a (10), b'b' (10)"),
    "booleans": ([True, False] * 10, [1, 0] * 10, "target, 2 classes: False (10), True (10)"),
    "pandas' booleans": (pd.array([True, False] * 10, "boolean"), [1, 0] * 10, "target, 2 classes"),
    "whole numbers": ([2, 1, 0, 1] * 5, [2, 1, 0, 1] * 5, "target, 3 classes: 1 (10), 0 (5), 2 (5)"),
    "pandas' whole numbers": (pd.array([2, 1, 0, 1] * 5, "Int64"), [2, 1, 0, 1] * 5, "target, 3 classes"),
    "floats": (NUMBERS + X, (NUMBERS + X).astype(np.float32), "target, numbers to be predicted, "),
    "pandas' floats": (pd.array([0.5, 1.5] * 10, "Float64"), [0.5, 1.5] * 10,
                       "target, numbers to be predicted, 0.5 to"),
    "twelve classes": ([f"w{chr(97 + k % 12)}" for k in range(24)], None,
                       "target, 12 classes: wa (2), wb (2), wc (2), wd (2), we (2), wf (2), wg (2), wh (2), wi (2), "
                       "wj (2) ... (12 in all)"),
}  # fmt: skip


@pytest.mark.parametrize("case", KEPT_TARGETS)
def test_a_target_becomes_what_it_is_and_is_described(case):
    target, numbers, said = KEPT_TARGETS[case]
    frame = pd.DataFrame({"y": target, "x": np.resize(X, len(target))})
    examples = from_frame(frame, "y")
    if numbers is not None:
        np.testing.assert_array_equal(examples.targets, numbers)
    assert describe_columns(frame, "y").splitlines()[0].startswith(f"y  {said}")


def without(frame):
    return frame.drop(columns="c")


def varied(frame):
    return frame.loc[:, frame.nunique() > 1]


def as_categories(frame):
    return frame.astype({"c": "category"})


def as_floats(frame):
    return frame.astype({"c": float})


def to_numbers(frame):
    return frame.assign(c=pd.to_numeric(frame["c"], errors="coerce")).dropna(subset=["c"])


def in_days(frame):
    days = pd.to_datetime(frame["c"], format="mixed")
    return frame.assign(c=(days - days.min()).dt.total_seconds() / 86400)


def with_stray(word, others=NUMBERS):
    return [*map(str, others[:-1]), word]


def without_unit(frame):
    """As the sentence itself says."""
    said = re.search(r"UNCLEAR: .*take it away, (.*), or say that", describe_columns(frame, "kind"))
    return frame.assign(c=eval(said[1], {"pandas": pd, "frame": frame})).dropna(subset=["c"])


TEXTS = [f"a tale of {'x' * k}" for k in range(20)]

REFUSED_COLUMNS = {  # the column, what is said of it, and what makes it right
    "a stray ?": (with_stray("?"), r"numbers \('1'\) beside text \('\?'\): give numbers, by pandas.to_numeric",
                  to_numbers),
    "a stray -": (with_stray("-"), r"numbers \('1'\) beside text \('-'\)", to_numbers),
    "a stray space": (with_stray(" "), r"numbers \('1'\) beside text \(' '\)", to_numbers),
    "79 numbers and a ?": (with_stray("?", np.arange(20) * 7), r"beside text \('\?'\)", to_numbers),
    "three and more": (["1", "2", "3+", "1", "2"] * 4, r"beside text \('3\+'\).* or say that .*categ", as_categories),
    "numbers and words": (["12", "twelve", "12", "12", "1"] * 4, r"beside text \('twelve'\)", as_categories),
    "numbers as text": (with_stray("7.5"), r"numbers \('1'\) as text: give numbers, by pandas.to_numeric", as_floats),
    "thousands": ([f"{n},000" for n in NUMBERS], r"numbers \('1,000'\) as text: .* thousands=", as_categories),
    "decimal commas": ([f"{n},5" for n in NUMBERS], r"numbers \('1,5'\) as text: .* decimal=", as_categories),
    **{
        f"numbers with a unit, {written}": (
            [written.format(n) for n in NUMBERS],
            rf"with a unit, {re.escape(unit)}, as text \('{re.escape(written.format(1))}'\): take it away, pandas.to",
            without_unit,
        )
        for written, unit in (
            ("{} kg", "kg"), ("{}kg", "kg"), ("{}.5 kg", "kg"), ("-{} m", "m"), ("{} m2", "m2"),
            ("{} m\u00b2", "m\u00b2"),
            ("{} km/h", "km/h"), ("{} \u00b0C", "\u00b0C"), ("{}.5%", "%"), ("{} %", "%"), ("${}.50", "$"),
            ("US$ {}", "US$"),
            ("EUR {}", "EUR"), ("{} \u20ac", "\u20ac"), ("Rs. {}", "Rs."), ("${},000", "$"), ("1,00{} USD", "USD"),
            ("{} years", "years"), ("{}+", "+"), ("{}e3 Pa", "Pa"),
        )
    },
    "a unit beside others": ([*(f"{n} kg" for n in NUMBERS[:-4]), "3 lb", "4 lb", "x", "x"],
                             r"a unit, kg, as text \('1 kg'\) beside '3 lb': .* errors=.coerce", without_unit),
    "a unit in every row's own number": ([f"{n}.25 kg" for n in range(20)], "with a unit, kg, as text", without_unit),
    "balances": ([f"({n}00)" for n in NUMBERS], r"numbers \('\(100\)'\) as text", as_categories),
    "Swiss numbers": ([f"{n}'000" for n in NUMBERS], "numbers .* as text", as_categories),
    "French numbers": ([f"{n}\u00a0000" for n in NUMBERS], r"numbers \('1\\xa0000'\) as text", as_categories),
    "Arabic numbers": (["\u0661", "\u0662", "\u0662", "\u0661"] * 5, "numbers .* as text", as_floats),
    "a printed minus": ([f"\u2212{n}" for n in NUMBERS], "numbers .* as text", as_categories),
    "below the limit": (with_stray("<5"), "numbers .* as text", to_numbers),
    "powers of ten": ([f"{n}e-3" for n in NUMBERS], r"numbers \('1e-3'\) as text", as_floats),
    "post codes": ([f"0{n}234" for n in NUMBERS], r"numbers that begin with 0 \('01234'\), .* categories, frame",
                   as_categories),
    "post codes that are numbers": ([f"0{n}234" for n in NUMBERS], "or give numbers, by pandas.to_numeric", to_numbers),
    "some post codes": ([f"{n:02}234" for n in range(0, 20)], r"begin with 0 \('00234'\)", as_categories),
    "decimals": ([Decimal(n) for n in NUMBERS], r"of type Decimal: give numbers, frame.astype\(\{'c': float",
                 as_floats),
    "whole numbers as objects": (pd.Series(NUMBERS, dtype=object), "of type int: give numbers, frame.ast", as_floats),
    "booleans as objects": (pd.Series(map(bool, ZERO_ONE), dtype=object), "of type bool: give numb", as_floats),
    "numbers and words as objects": ([*NUMBERS[:-1], "?"], "of type int and str: give", as_categories),
    "lists": ([[n, 1] for n in NUMBERS], "of type list: give numbers", without),
    "functions": ([len] * 20, "of type builtin_function_or_method: give numbers", without),
    "arrays": ([np.zeros(2)] * 20, "of type ndarray: give numbers", without),
    "intervals": (pd.interval_range(0, 20), "of type Interval: give numbers", as_categories),
    "Python's large numbers": ([2**70 + k for k in range(20)], "of type int: give numbers", as_categories),
    "single numbers as objects": (pd.Series(list(np.float32(NUMBERS)), dtype=object), "of type float32", as_floats),
    "complex": (np.arange(20) * 1j, "of type complex128 .* real and the imaginary parts", without),
    "dates as text": ([str(day) for day in DAYS],
                      r"dates or times as text \('2020-01-01'\).* by pandas.to_datetime, or say", in_days),
    "few dates as text": ([str(day) for day in DAYS[:4]] * 5, "dates or times as text", as_categories),
    "other dates as text": ([f"{day:%d.%m.%Y}" for day in DAYS], r"dates or times as text \('01.01.2020'\)", without),
    "American dates": ([f"{day:%m/%d/%y}" for day in DAYS], "dates or times as text", without),
    "time stamps as text": ([f"{day} 10:00:00" for day in DAYS], "dates or times as text", in_days),
    "dates of a standard": ([f"{day}T10:00" for day in DAYS[:4]] * 5, "dates or times as text", as_categories),
    "dates in words": ([f"{day:%b} {day.day}, 2020" for day in DAYS], "20 different words in 20 rows", in_days),
    "clock": ([f"{n}:30" for n in NUMBERS], "dates or times as text", as_categories),
    "Python's dates": (DAYS, "of type date: give numbers, such as the days since the first", in_days),
    "pandas' dates": (pd.to_datetime(DAYS), "of type datetime64.* give numbers, such as the days", in_days),
    "dates of a zone": (pd.to_datetime(DAYS).tz_localize("UTC"), "of type Timestamp: give numbers, such as", in_days),
    "months": (pd.period_range("2020-01", periods=20, freq="M"), "of type Period: give numbers, such as", without),
    "durations": (pd.to_timedelta(NUMBERS, "h"), "of type timedelta64.* give numbers, such as the days", without),
    "free text": (TEXTS, "20 different words in 20 rows, 'a tale of ' among them, as free text.*leave it out", without),
    "free text with a number": ([*TEXTS[:-1], "42"], "20 different words in 20 rows", without),
    "free text with a date": ([*TEXTS[:-1], "2020-01-02"], "20 different words in 20 rows", without),
    "long text": ([f"{n} " * 5000 for n in range(20)], r"20 different words in 20 rows, '0 0 0.*\.\.\.' among",
                  without),
    "identifiers": ([f"A-{n:03}" for n in range(20)], "20 different .* say that they are categories", as_categories),
    "eleven words": ([f"w{chr(97 + k % 11)}" for k in range(20)], "11 different words in 20 rows", as_categories),
    "an index": (np.arange(20), "another whole number in every row, 0 to 19, as an index .* leave it out", without),
    "an index that is a number": (np.arange(20), r"or say that its numbers mean .*frame.astype\(\{'c': float",
                                  as_floats),
    "rows from 1 on": (np.arange(1, 21), "another whole number in every row, 1 to 20", without),
    "rows from 500 on": (np.arange(500, 520), "another whole number in every row, 500 to 519", as_categories),
    "rows backwards": (np.arange(20)[::-1], "another whole number in every row", without),
    "rows shuffled": (np.random.default_rng(0).permutation(20), "another whole number in every row", without),
    "rows as pandas' numbers": (pd.array(range(20), "Int64"), "another whole number in every row", as_floats),
    "one value": ([7] * 20, r"column 'c' is 7 in every row, .* frame.loc\[:, frame.nunique\(\) > 1\]", varied),
    "one word": (["a"] * 20, "column 'c' is 'a' in every row", varied),
    "one category": (pd.Categorical(["a"] * 20, ["a", "b"]), "column 'c' is 'a' in every row", varied),
    "one truth": ([True] * 20, "column 'c' is True in every row", varied),
    "gaps": ([np.nan, 1.5, 1.5, 2.5] * 5, r"misses 5 of 20 values: .* frame.dropna\(subset=\['c'\]\)",
             lambda f: f.fillna({"c": 0})),
    "gaps among words": ([None, *TWO[1:]], "misses 1 of 20 values", lambda frame: frame.fillna({"c": "none"})),
    "gaps among numbers": (pd.array([None, *NUMBERS[1:]], "Int64"), "misses 1 of 20 values",
                           lambda f: f.fillna({"c": 0})),
    "gaps among categories": (pd.Categorical([None, *TWO[1:]]), "misses 1 of 20 val", lambda f: f.dropna(subset=["c"])),
    "no values": ([np.nan] * 20, r"column 'c' is empty: leave it out, frame.drop", without),
    "infinity": ([np.inf, *X[1:]], r"column 'c' cannot have inf at \[0\]: give finite numbers", lambda f: f.iloc[1:]),
    "1e200": (X * 1e200, r"column 'c' cannot have .*e\+199 at \[0\]", lambda frame: frame.assign(c=frame["c"] / 1e200)),
    "a gap like a word": (["?", *TWO[1:]], r"cannot have '\?' beside 'Oslo', as if it were missing", as_categories),
    "an empty word": (["", *TWO[1:]], "cannot have '' beside 'Oslo', as if it were missing", as_categories),
    "two spellings": (["oslo ", *TWO[1:]], "cannot have 'Oslo' and 'oslo ': spell each word in one way", as_categories),
    "time stamps": (MINUTES[:20] - 7, "column 'c' cannot be told apart in float32, .* from 1699999993 to", without),
    "nanoseconds": (MINUTES[:20] * 10**9, "cannot be told apart in float32", without),
    "noise about a number": (1 + 1e-16 * np.arange(20) ** 2, "from 1.0 to 1.00000", without),
    "the same as floats": (MINUTES[:20] * 1.0, "subtract the mean or divide by the range before, or",
                           lambda f: f.assign(c=f["c"] - 1.7e9)),
    "2^40 + k": (2**40 + np.arange(20)[::-1] * 2, "cannot be told apart in float32", without),
    "the target": (KIND, "column 'c' says what the target 'kind' is, row by row: leave it out, frame.drop", without),
    "the target's number": ([0, 1] * 10, "says what the target 'kind' is", without),
    "the target in other words": (["dog", "cat"] * 10, "says what the target 'kind' is", without),
    "the target as other numbers": ([8.5, -3] * 10, "says what the target 'kind' is", without),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED_COLUMNS)
def test_a_column_that_is_a_guess_is_named_with_a_way_out_that_works(case):
    column, said, right = REFUSED_COLUMNS[case]
    frame = table(column, z=X[::-1])
    sentence = refused(said, from_frame, frame, "kind", "mine")
    assert sentence.startswith("mine: column 'c' ")
    described = describe_columns(frame, "kind").splitlines()
    assert described[1] == "c     UNCLEAR: " + sentence.removeprefix("mine: ")
    assert not any("UNCLEAR" in line for line in described[:1] + described[2:])
    assert from_frame(right(frame), "kind").inputs.shape[0] in (16, 19, 20)


REFUSED_TARGETS = {
    "ages": ([25, 346, 31, 101] * 5, r"class 346 and none of class 0: .* floats .* frame.astype\(\{'y': float"),
    "-1 and 1": ([-1, 1] * 10, r"column 'y' cannot have class -1: .*frame.astype\(\{'y': \"category\"\}\), or give"),
    "counts": (NUMBERS, "class 5 and none of class 0"),
    "a class a row": (range(20), "as of 20 of 20 classes .0.: .* or give floats"),
    "a single example": ([*KIND[:-1], "c"], r"as of 1 of 3 classes \('c'\)"),
    "a single category": (pd.Categorical([*KIND[:-1], "c"]), r"as of 1 of 3 classes \('c'\)"),
    "free text": (TEXTS, "as of 20 of 20 classes .'a tale of '.: leave those out"),
    "numbers as text": (["1.5", "2.5"] * 10, r"numbers \('1.5'\) as text: give numbers, by pandas.to_numeric"),
    "numbers with a unit": (["1 kg", "2 kg", "3 kg", "2 kg"] * 5, r"numbers with a unit, kg, as text \('1 kg'\): take"),
    "a stray ?": (["1.5", "2.5"] * 9 + ["?"] * 2, r"numbers \('1.5'\) beside text \('\?'\)"),
    "a gap like a word": (["a", "b"] * 9 + ["?"] * 2, r"cannot have '\?' beside 'a'"),
    "spellings": ([" a", "a"] * 10, "cannot have ' a' and 'a'"),
    "a gap": ([None, *KIND[1:]], "column 'y' misses 1 of 20 values"),
    "no values": ([None] * 20, "column 'y' is empty"),
    "one class": (["a"] * 20, "column 'y' cannot have class 'a' in every example"),
    "one number": ([0.5] * 20, "column 'y' cannot have 0.5 in every example"),
    "dates": (pd.to_datetime(DAYS), "column 'y' of type datetime64.* give numbers"),
    "dates as text": (map(str, DAYS), "column 'y' cannot have dates or times as text"),
    "complex": (np.arange(20) * 1j, "column 'y' of type complex128"),
    "decimals": ([Decimal(n) for n in NUMBERS], "column 'y' cannot have values of type Decimal"),
    "time stamps": (MINUTES[:20] * 1.0, "column 'y' cannot be told apart in float32"),
    "2^40": ([2**40, 0] * 10, "column 'y' cannot have class 1099511627776"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED_TARGETS)
def test_a_target_that_is_a_guess_is_one_sentence(case):
    target, said = REFUSED_TARGETS[case]
    frame = pd.DataFrame({"x": X, "y": list(target) if isinstance(target, map) else target})
    sentence = refused(said, from_frame, frame, "y", "mine")
    assert describe_columns(frame, "y").splitlines()[1] == "y  UNCLEAR: " + sentence.removeprefix("mine: ")


@pytest.mark.parametrize("name", ["id", "ID", "PassengerId", "patient_id", "customer id", "Index", "row"])
def test_different_whole_numbers_of_such_a_name_are_identifiers(name):
    frame = table(NUMBERS).rename(columns={"c": name}).assign(**{name: np.arange(20) ** 2})
    refused(f"column '{name}' has another whole number in every row", from_frame, frame, "kind")
    assert from_frame(table(NUMBERS).rename(columns={"c": name}), "kind").inputs[:, 1].tolist() == NUMBERS


@pytest.mark.parametrize("name", ["acid", "Grid", "humid", "valid"])
def test_a_name_that_ends_alike_is_no_identifier(name):
    frame = pd.DataFrame({name: np.arange(20) ** 2, "kind": KIND})
    assert from_frame(frame, "kind").inputs.ravel().tolist() == [n**2 for n in range(20)]


@pytest.mark.parametrize(
    ("frame", "target", "said"),
    [
        (table(TWO), "class", "the data has no column 'class': it has 'x', 'c', 'kind'"),
        (table(TWO).rename(columns={"kind": " kind"}), "kind", "no column 'kind': it has 'x', 'c', ' kind'"),
        (pd.DataFrame(INPUTS), "1", "has no column '1': it has 0, 1"),
        (pd.DataFrame(np.ones((2, 40))), "y", r"9 ... \(40 in all\)"),
        (table(TWO), None, "has no column None"),
        (table(TWO), ["kind"], r"has no column \['kind'\]"),
        (pd.concat([table(TWO), table(TWO)], axis=1), "kind", "several columns 'x': name each column once"),
        (table(TWO)[["kind"]], "kind", "20 rows and 0 columns beside 'kind': give one of each"),
        (table(TWO)[:0], "kind", "0 rows and 2 columns beside 'kind': give one of each"),
        (table(TWO)["kind"], "kind", "a Series is no table: give a pandas.DataFrame"),
        (INPUTS, 0, "a ndarray is no table: give a pandas.DataFrame, or arrays to from_arrays"),
        ({"x": [1], "kind": [2]}, "kind", "a dict is no table"),
    ],
)
def test_a_table_that_is_none_is_one_sentence(frame, target, said):
    for load in (from_frame, describe_columns):
        refused(said, load, frame, target)


def test_all_columns_that_are_a_guess_are_described_at_once():
    frame = table([7] * 20, text=TEXTS, id=np.arange(20))
    assert refused("column 'c' is 7", from_frame, frame, "kind").endswith(
        "; describe_columns(frame, 'kind') has 2 more"
    )
    assert [line[:15] for line in describe_columns(frame, "kind").splitlines() if "UNCLEAR" in line] == [
        "c     UNCLEAR: ", "text  UNCLEAR: ", "id    UNCLEAR: "]  # fmt: skip


def test_columns_may_have_names_of_any_kind():
    frame = pd.DataFrame({("a", 1): X, ("a", 2): TWO, ("b", 1): KIND})
    assert from_frame(frame, ("b", 1)).inputs.shape == (20, 3)
    assert from_frame(frame.set_axis([0, 1.5, True], axis=1), True).inputs.shape == (20, 3)


def test_an_identical_regression_target_is_a_leak():
    frame = pd.DataFrame({"x": X[::-1], "y": X, "z": X})
    refused("column 'z' says what the target 'y' is", from_frame, frame, "y")


# Files


def test_a_npz_file(tmp_path):
    np.savez(tmp_path / "my.npz", x=INPUTS, y=CLASSES, z=np.array([{}, []], object))
    assert (from_npz(tmp_path / "my.npz", "x", "y").inputs == INPUTS).all()
    assert (from_npz(str(tmp_path / "my.npz"), "x", "y").targets == CLASSES).all()
    refused("has no array t: it has 'x', 'y', 'z'; say which", from_npz, tmp_path / "my.npz", "x", "t")
    refused("holds Python objects: save arrays", from_npz, tmp_path / "my.npz", "z", "y")


def test_a_file_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    np.savez(tmp_path / "my.npz", inputs=INPUTS, targets=CLASSES)
    assert (from_npz("~/my.npz").inputs == INPUTS).all()


def spoiled(content, at):
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]


def npz(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def zipped(**files):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


GOOD = npz(inputs=np.arange(1000.0).reshape(500, 2), targets=np.arange(500) % 2)
REFUSED_NPZ = {
    "torn": (GOOD[:200], r"is no \.npz file: write one with numpy.savez"),
    "empty": (b"", r"is no \.npz file"),
    "text": (b"no arrays", r"is no \.npz file"),
    "one array": (b"\x93NUMPY" + bytes(100), r"is no \.npz file: .* or give its arrays to from_arrays"),
    "spoiled": (spoiled(GOOD, 400), r"cannot be read \(.*\): write it again with numpy.savez"),
    "a spoiled header": (zipped(**{"inputs.npy": b"\x93NUMPY\x01\x00\x05\x00hello", "targets.npy": b""}),
                         "cannot be read"),
    "no arrays": (zipped(inputs="1 2 3", targets="0 1"), "inputs of shape .* do not fit"),
    "nothing inside": (zipped(), "has no array inputs: it has nothing; say which"),
    "other names": (npz(arr_0=INPUTS, arr_1=CLASSES),
                    "has no array inputs: it has 'arr_0', 'arr_1'; say which are inputs="),
    "objects": (npz(inputs=INPUTS, targets=np.array([{}] * 6)), "holds Python objects"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED_NPZ)
def test_a_npz_file_that_cannot_be_right(tmp_path, case):
    content, said = REFUSED_NPZ[case]
    (tmp_path / "my.npz").write_bytes(content)
    assert refused(said, from_npz, tmp_path / "my.npz").startswith(str(tmp_path / "my.npz"))


ROWS = "age,city,kind\n31,Oslo,b\n42,Rome,a\n53,Oslo,a\n24,Rome,b\n"
LINES = ROWS.splitlines(keepends=True)
KEPT_CSV = {
    "plain": ("my.csv", ROWS.encode()),
    "with a mark of its bytes' order": ("my.csv", b"\xef\xbb\xbf" + ROWS.encode()),
    "Windows": ("my.csv", ROWS.replace("\n", "\r\n").encode()),
    "a comma at the end of rows": ("my.csv", re.sub(r"([ab])\n", r"\1,\n", ROWS).encode()),
    "quoted": ("my.csv", re.sub(r"([^,\n]+)", r'"\1"', ROWS).encode()),
    "blank lines": ("my.csv", b"\n\n" + ROWS.encode() + b"\n\n"),
    "compressed": ("my.csv.gz", gzip.compress(ROWS.encode(), mtime=0)),
    "zipped": ("my.csv.zip", zipped(**{"my.csv": ROWS})),
}


@pytest.mark.parametrize("case", KEPT_CSV)
def test_a_csv_file(tmp_path, case):
    name, content = KEPT_CSV[case]
    (tmp_path / name).write_bytes(content)
    examples = from_csv(tmp_path / name, "kind")
    assert examples.inputs.tolist() == [[31, 1, 0], [42, 0, 1], [53, 1, 0], [24, 0, 1]]
    assert examples.targets.tolist() == [1, 0, 0, 1]


def with_index(start=0):
    return "".join([f",{LINES[0]}", *(f"{start + k},{line}" for k, line in enumerate(LINES[1:]))])


def with_column(words):
    return "".join(f"{line.strip()},{word}\n" for line, word in zip(LINES, ["c", *words.split(" ")], strict=True))


REFUSED_CSV = {
    "another target": (ROWS, "class", "has no column 'class': it has 'age', 'city', 'kind'"),
    "spaces": (ROWS.replace(",", ", "), "kind", "has no column 'kind': it has 'age', ' city', ' kind'"),
    "a gap": (ROWS.replace("42", ""), "kind",
              r"'age' misses 1 of 4 .*; give that to from_frame, where frame = pandas.read"),
    "a gap by a name": (ROWS.replace("42", "NA"), "kind", "column 'age' misses 1 of 4 values"),
    "a stray ?": (ROWS.replace("42", "?"), "kind",
                  r"'age' cannot have numbers \('24'\) beside text \('\?'\): .*na_values="),
    "thousands": (ROWS.replace("31", '"1,031"').replace("42", '"2,042"'), "kind", "numbers .* as text: .* thousands="),
    "an index": (with_index(), "kind", r"column 'Unnamed: 0' has no name, as an index .* leave it out, frame.drop"),
    "an index in another order": (with_index()[::1].replace("\n0,", "\n9,"), "kind", "column 'Unnamed: 0' has no name"),
    "an index without a name": ("".join([LINES[0], *(f"{k},{line}" for k, line in enumerate(LINES[1:]))]), "kind",
                                "rows with more fields than the 3 names in its first line: name every column"),
    "a comma at the end": (ROWS.replace("\n", ",\n"), "kind", "column 'Unnamed: 3' is empty: leave it out, frame.drop"),
    "a longer row": (ROWS + "1,2,3,4\n", "kind", "cannot be read as a CSV file .*Expected 3 fields in line 6, saw 4"),
    "semicolons": (ROWS.replace(",", ";"), "kind", r'one column, .age;city;kind.: give from_frame .*, sep=";"\)'),
    "semicolons and decimal commas": ("a;b;kind\n1,5;2,5;x\n", "kind", r'one column, .a;b;kind.: .*, sep=";"\)'),
    "tabs": (ROWS.replace(",", "\t"), "kind", r'one column, .*: give from_frame .*, sep="\\t"\)'),
    "bars": (ROWS.replace(",", "|"), "kind", r'one column, .*: give from_frame .*, sep="\|"\)'),
    "blanks": (ROWS.replace(",", " "), "kind", r'one column, .*: give from_frame .*, sep="\\s\+"\)'),
    "one column": ("kind\na\nb\na\nb\n", "kind", "4 rows and 0 columns beside 'kind'"),
    "no names": ("5.1,3.5,0\n4.9,3.0,1\n", "0", r"starts with numbers, '5.1', '3.5', '0': write a line .*header=None"),
    "a name twice": (ROWS.replace("city", "age"), "kind", "several columns 'age': name each column once"),
    "the target twice": (ROWS.replace("city", "kind"), "kind", "several columns 'kind': name each column once"),
    "no rows": (LINES[0], "kind", "has 0 rows and 2 columns beside 'kind'"),
    "empty": ("", "kind", r"cannot be read as a CSV file \(No columns to parse from file\): give from_frame"),
    "blank": ("\n\n", "kind", "cannot be read as a CSV file"),
    "an open quote": (ROWS + '"1,2,3\n', "kind", "cannot be read as a CSV file .*EOF inside string"),
    "a web page": ("<html><body>\n<p>404, not found</p>\n", "kind",
                   "rows with more fields than the 1 names in its first line"),
    "another alphabet": (ROWS.replace("Oslo", "Århus").encode("latin-1"), "kind",
                         "'utf-8' codec can't .* has encoding="),
    "two bytes a letter": (ROWS.encode("utf-16"), "kind", "cannot be read as a CSV file .*encoding="),
    "a spreadsheet": (zipped(a="b") + bytes(range(256)), "kind", "cannot be read as a CSV file"),
    "post codes": (with_column("01234 02139 1234 02139"), "kind",
                   r"column 'c' cannot have numbers that begin with 0 \('01234'\), as post codes do: say that they are "
                   r"categories, frame.astype\(.*; give that to from_frame, where frame = .*, dtype=\{'c': str\}\)"),
    "post codes to predict": (with_column("01 02 01 02"), "c", r"'c' cannot have numbers that begin with 0 .'01'"),
    "quoted post codes": (with_column('"01" "02" "01" "03"'), "kind", r"begin with 0 \('01'\)"),
    "post codes with a gap": (with_column("01 02  02"), "kind", "column 'c' misses 1 of 4 values: leave"),
    "post codes with NA": (with_column("01 02 NA 02"), "kind", "misses 1 of 4 values, which are spelled 'NA'"),
    **{
        f"a category {word}": (
            with_column(f"{word} a b a"), "kind",
            rf"column 'c' misses 1 of 4 values, which are spelled '{word}': if that is a category, give from_frame "
            r'pandas.*, keep_default_na=False, na_values=\[""\]\), else leave those examples out, frame.dropna',
        )
        for word in ("None", "NA", "null", "n/a")
    },
    "a class None": (with_column("None a None a"), "c", "column 'c' misses 2 of 4 values, which are spelled 'None'"),
    "None among truths": (with_column("None True False True"), "kind", "misses 1 of 4 values, which are spelled 'None"),
    "a gap among words": (with_column(" a b a"), "kind", "column 'c' misses 1 of 4 values: leave those examples out"),
    "None among numbers": (with_column("None 1 2 1"), "kind", "column 'c' misses 1 of 4 values: leave those examples"),
    **{
        f"a comment above, {comment!r}, {separator!r}": (
            f"{comment}\n{ROWS}".replace(",", separator) if separator != "," else f"{comment}\n{ROWS}", "kind",
            rf"begins with a comment, '#.*: give from_frame the frame pandas.*{arguments}, comment=.#.\)$",
        )
        for comment in ("# a comment", "#", "# of 4 people, in 2 cities", "# a, b, kinds", "# a\n# b\n")
        for separator, arguments in ((",", "index_col=False"), (";", r'sep=";"'), (" ", r'sep="\\s\+"'))
    },
    "a comment below": (ROWS + "# the end\n", "kind", r"a comment among its rows, '# the end': .*, comment=.#.\)$"),
    "a comment between": (ROWS.replace("42", "# here\n42"), "kind", "has a comment among its rows, '# here': give"),
    "comments alone": ("# a\n# b\n", "kind", "cannot be read as a CSV file .No columns to parse"),
    "one class": (ROWS.replace(",b", ",a"), "kind", "column 'kind' cannot have class 'a' in every example"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED_CSV)
def test_a_csv_file_that_cannot_be_right(tmp_path, case):
    content, target, said = REFUSED_CSV[case]
    path = tmp_path / "my.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert refused(said, from_csv, path, target).startswith(str(path))


@pytest.mark.parametrize(("content", "right"), [
    (with_column("01234 02139 1234 02139"), as_categories),
    (with_column("01 02 01 03"), to_numbers),
    (with_column("None a None a"), None),
    (with_column("NA 01 02 01"), as_categories),
    (f"# a comment, of mine\n{ROWS}", None),
    ("# a comment\n" + ROWS.replace(",", ";"), None),
    (ROWS + "# the end\n", None),
])  # fmt: skip
def test_a_sentence_about_a_csv_file_says_what_is_right(tmp_path, content, right):
    """The frame of the sentence is read as it says, changed as it says, and taken."""
    (tmp_path / "my.csv").write_text(content)
    sentence = refused("give from_frame|give that to from_frame", from_csv, tmp_path / "my.csv", "kind")
    frame = eval(re.findall(r"pandas\.read_csv\(.*?\)(?=$|, else|;)", sentence)[0], {"pandas": pd})
    examples = from_frame(right(frame) if right else frame, "kind")
    assert len(examples.inputs) == 4
    if content.startswith("age") and right is as_categories:
        assert examples.inputs[:, 3:].shape == (4, 3)


@pytest.mark.parametrize("column", ["0 1 0 1", "0.5 0.25 1 0", "10 100 20 10", "-0.1 0 0 0.1", "0e5 1 2 0"])
def test_numbers_with_a_0_are_numbers(tmp_path, column):
    (tmp_path / "my.csv").write_text(with_column(column))
    assert from_csv(tmp_path / "my.csv", "kind").inputs[:, 3].tolist() == np.float32(column.split()).tolist()


def test_a_line_of_names_may_begin_with_a_hash(tmp_path):
    (tmp_path / "my.csv").write_text(f"#{ROWS}")
    assert from_csv(tmp_path / "my.csv", "kind").inputs[:, 0].tolist() == [31, 42, 53, 24]


def test_no_field_is_left_out_where_warnings_are_not_shown(tmp_path):
    (tmp_path / "my.csv").write_text(REFUSED_CSV["an index without a name"][0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refused("rows with more fields than the 3 names", from_csv, tmp_path / "my.csv", "kind")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("no.csv.gz", ROWS.encode()),
        ("torn.csv.gz", gzip.compress(ROWS.encode(), mtime=0)[:-12]),
        ("spoiled.csv.gz", spoiled(gzip.compress(ROWS.encode(), mtime=0), 20)),
        ("no.csv.zip", ROWS.encode()),
        ("two.csv.zip", zipped(a=ROWS, b=ROWS)),
        ("no.csv.bz2", ROWS.encode()),
        ("no.csv.xz", ROWS.encode()),
    ],
)
def test_a_compressed_file_that_is_none(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    refused(r"cannot be read as a CSV file \(.+\): give from_frame", from_csv, tmp_path / name, "kind")


@pytest.mark.parametrize("load", [from_npz, lambda path: from_csv(path, "kind")], ids=["npz", "csv"])
def test_what_is_no_file_is_said_and_never_waited_for(tmp_path, load):
    os.mkfifo(tmp_path / "pipe")
    for path, said in {
        tmp_path / "none": "there is no such file",
        "": "it is a folder",
        "a\0b": "there is no such file",
        "x" * 5000: "there is no such file",
        "https://example.org/my.csv": "there is no such file",
        tmp_path: "it is a folder, so give a file",
        tmp_path / "pipe": "it is a pipe or device, so give a file",
        "/dev/zero": "it is a pipe or device",
        None: "is no path of a file: give one",
        7: "is no path of a file: give one",
    }.items():
        with pytest.raises(UserError, match=said):
            load(path)


# OpenML


ARFF = "@relation tiny\n@attribute x numeric\n@attribute kind {a,b}\n@data\n" + "1,a\n2,b\n3.5,a\n2.5,b\n"
ANSWERS = {
    "data/list/data_name/tiny": {"data": {"dataset": [{"did": 7, "name": "tiny", "version": 1, "status": "active"}]}},
    "data/features/7": {"data_features": {"feature": [
        {"index": "0", "name": "x", "data_type": "numeric", "is_target": "false", "is_ignore": "false",
         "is_row_identifier": "false", "number_of_missing_values": "0"},
        {"index": "1", "name": "kind", "data_type": "nominal", "is_target": "true", "is_ignore": "false",
         "is_row_identifier": "false", "number_of_missing_values": "0", "nominal_value": ["a", "b"]},
    ]}},
    "data/qualities/7": {"data_qualities": {"quality": [{"name": "NumberOfInstances", "value": "4"}]}},
    "data/7": {"data_set_description": {"id": "7", "name": "tiny", "version": "1", "format": "ARFF", "file_id": "9",
               "url": "https://openml.org/data/v1/download/9", "status": "active", "md5_checksum": "",
               "default_target_attribute": "kind", "description": "Four rows."}},
}  # fmt: skip


def openml(request, *_, **__):
    """What OpenML says of a data set of four rows."""
    address = request if isinstance(request, str) else request.full_url
    if "download" in address:
        return Answer(gzip.compress(ARFF.encode(), mtime=0))
    for path, answer in ANSWERS.items():
        if re.search(rf"json/{path}(/|$|\?)", address):
            return Answer(gzip.compress(json.dumps(answer).encode()))
    raise AssertionError(address)


class Answer(io.BytesIO):
    """A response over HTTP."""

    def info(self):
        return {"Content-Encoding": "gzip"}


def test_openml_by_name_from_a_copy_of_its_answers(tmp_path, monkeypatch):
    import sklearn.datasets._openml as loader

    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    monkeypatch.setattr(loader, "urlopen", openml)
    monkeypatch.setitem(ANSWERS["data/7"]["data_set_description"], "md5_checksum", md5(ARFF))
    examples = from_openml("tiny", version=1)
    assert examples.inputs.ravel().tolist() == [1, 2, 3.5, 2.5]
    assert examples.targets.tolist() == [0, 1, 0, 1]
    monkeypatch.setattr(loader, "urlopen", unreachable)
    assert from_openml("tiny", version=1).targets.tolist() == [0, 1, 0, 1]  # kept on disk


def md5(text):
    import hashlib

    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def unreachable(*_, **__):
    raise urllib.error.URLError("Name or service not known")


def test_without_a_network_one_sentence_says_what_to_do(tmp_path, monkeypatch):
    import sklearn.datasets._openml as loader

    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    monkeypatch.setattr(loader, "urlopen", unreachable)
    with pytest.raises(UserError, match=r"OpenML cannot be reached for adult: .*CSV"):
        from_openml("adult")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            ValueError("No known dataset\nof that name."),
            "OpenML's tiny cannot be had as a table .No known dataset.: give the name and",
        ),
        (([], table(TWO)), "names no targets: name the column that is to be predicted, target="),
        ((None, table(TWO)), "names no targets"),
        ((["x", "kind"], table(TWO)), "names 2 targets: 'x', 'kind': name the column"),
        ((["class"], table(TWO)), "OpenML's tiny has no column 'class'"),
        (
            (["kind"], table(range(20))),
            r"column 'c' has another whole number .*where frame = sklearn.datasets.fetch_op",
        ),
        ((["kind"], table(TWO)), None),
    ],
)
def test_what_openml_answers_is_checked(monkeypatch, answer, said):
    def fetch(*_, **__):
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(target_names=answer[0], frame=answer[1])

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    if said:
        refused(said, from_openml, "tiny")
    else:
        assert from_openml("tiny").inputs.shape == (20, 3)


@given(st.integers(2, 40), st.integers(1, 9))
def test_windows_lie_side_by_side_and_each_target_is_the_next_token(size, length):
    tokens = np.arange(size)
    if size < length + 1:
        with pytest.raises(UserError, match=f"at least {length + 1} whole numbers"):
            windows(tokens, length)
        return
    examples = windows(tokens, length)
    assert (examples.targets == examples.inputs + 1).all()
    assert (examples.inputs.ravel() == np.arange(examples.inputs.size)).all()
    assert size - 1 - examples.inputs.size < length


@pytest.mark.parametrize(
    "tokens",
    [
        np.arange(9.0),
        -np.arange(9),
        np.arange(9).reshape(3, 3),
        np.arange(9) + 2**40,
        np.arange(9) > 3,
        np.arange(2),
        [],
        "a text of words",
        list("a text of words"),
        None,
    ],
)
def test_what_is_no_text_is_said(tokens):
    refused("cannot be cut into windows: give at least 3 whole numbers", windows, tokens, 2)


def test_a_text_that_is_no_array_is_said():
    refused("tokens are no array .*: give rows of equal length", windows, [[1], [2, 3]], 2)
    refused("tokens are a sparse matrix", windows, sparse.csr_matrix(np.eye(3)), 2)
    refused("tokens have 1 masked entries", windows, np.ma.masked_equal(np.arange(9), 4), 2)


@pytest.mark.parametrize("length", [0, -1, 2.5, "3", True, None])
def test_a_window_has_a_length(length):
    refused(f"windows of length {length!r} cannot be cut: give a whole number", windows, np.arange(9), length)


def test_tokens_of_any_whole_type_are_kept():
    for kind in (np.uint8, np.uint64, np.int16):
        assert windows(np.arange(9).astype(kind), np.int64(4)).inputs.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_tokens_and_numbers_split_without_classes():
    for examples in (windows(np.arange(100) % 7, 4), from_arrays(np.eye(24), np.linspace(0, 1, 24))):
        split = draw_split(examples, 0, 10, 5)
        everyone = np.concatenate([split.train, split.validation, split.test])
        assert sorted(everyone) == list(range(24))
        batch = standardised(examples, split, split.train, split.train_targets)
        assert (batch.targets == examples.targets[split.train]).all()
        if examples.inputs.dtype == np.int32:
            assert (batch.inputs == examples.inputs[split.train]).all()
        with pytest.raises(UserError, match=r"label_noise .* has no classes"):
            draw_split(examples, 0, 10, 5, label_noise=0.1)


def test_a_class_too_small_for_all_parts_is_named():
    examples = Examples(np.eye(31), np.array([0, 1] * 15 + [2]))
    with pytest.raises(UserError, match="class 2 has too few examples"):
        draw_split(examples, 0, 10, 5)


def test_every_loader_is_in_the_guide():
    guide = (Path(__file__).parents[2] / "docs" / "your_own.md").read_text()
    for name in ("from_arrays", "from_npz", "from_csv", "from_frame", "from_openml", "windows", "describe_columns"):
        assert f"`{name}(" in guide
