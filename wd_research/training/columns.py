"""The columns of a table: numbers, categories or neither; what is unclear ends in one sentence with the way out."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wd_research.flags import UserError
from wd_research.training.values import (
    DATE,
    Ways,
    check_classes,
    check_no_units,
    check_words,
    is_number,
    listed,
    numbered,
    quoted,
    single,
    targets_of,
    words_of,
)

if TYPE_CHECKING:
    from pandas import DataFrame, Series

MOST_CATEGORIES = 50  # of a column of words that nobody declared to be categories


class Column(NamedTuple):
    """What became of a column."""

    name: Any
    said: str  # what it was taken for, or why it can only be guessed
    numbers: np.ndarray | None  # f32[n, k] inputs; i32[n] or f32[n] targets; None where it can only be guessed


def columns_of(frame: "DataFrame", target: str, source: str, spelled: Mapping[Any, str] | None = None) -> list[Column]:
    """What becomes of each; raises UserError where the table as a whole is none.

    `spelled` says of the gaps of columns what they were in a file, and what to do if they are none.
    """
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise UserError(f"{source}: a {type(frame).__name__} is no table: give a pandas.DataFrame, or arrays to "
                        "from_arrays")  # fmt: skip
    names = frame.columns.tolist()
    if target not in names:
        raise UserError(f"{source} has no column {target!r}: it has {listed(names)}; name one of them")
    twice = frame.columns[frame.columns.duplicated()].tolist()
    if twice:
        raise UserError(f"{source} has several columns {twice[0]!r}: name each column once, or leave all but one out, "
                        "frame.loc[:, ~frame.columns.duplicated()]")  # fmt: skip
    if not len(frame) or len(names) == 1:
        raise UserError(
            f"{source} has {len(frame)} rows and {len(names) - 1} columns beside {target!r}: give one of each"
        )
    columns: dict[Any, Any] = dict(frame.items())
    spelled = spelled or {}
    of_target = _made(columns[target], _target_column, spelled.get(target))
    truth = of_target.numbers

    def as_input(column: "Series") -> tuple[str, np.ndarray]:
        said, numbers = _input_column(column)
        if truth is not None:
            _check_no_leak(column.name, numbers, target, truth)
        return said, numbers

    return [of_target if name == target else _made(columns[name], as_input, spelled.get(name)) for name in names]


def _made(column: "Series", make: Any, spelled: str | None = None) -> Column:
    """What `make(column)`, a description and numbers, makes of a column without gaps; `spelled` says what gaps were."""
    name, gaps = column.name, int(column.isna().sum())
    try:
        if gaps == len(column):
            raise UserError(f"column {name!r} is empty: leave it out, frame.drop(columns=[{name!r}])")
        if gaps:
            raise UserError(
                f"column {name!r} misses {gaps} of {len(column)} values{f', {spelled}' if spelled else ': '}leave "
                f"those examples out, frame.dropna(subset=[{name!r}]), or fill them, frame.fillna({{{name!r}: ...}})"
            )
        return Column(name, *make(column))
    except UserError as error:
        return Column(name, str(error), None)


def _ways(name: Any) -> Ways:
    """What to write where a column can only be guessed."""
    text = "pandas.to_numeric, or na_values=, thousands= and decimal= of pandas.read_csv"
    return Ways(
        f"frame.astype({{{name!r}: float}})", f'frame.astype({{{name!r}: "category"}})', text, f"frame[{name!r}]"
    )


def _values(column: "Series") -> np.ndarray:
    """The values of a column [n] as NumPy knows them: numbers as numbers, whatever pandas keeps them in."""
    import pandas as pd

    values = np.asarray(column)
    return column.to_numpy(float) if values.dtype.kind == "O" and pd.api.types.is_numeric_dtype(column) else values


def _categories(column: "Series") -> tuple[list[Any], np.ndarray]:
    """The categories of a categorical column that some row has, and which of them each row has, i32[n]."""
    used = column.cat.remove_unused_categories()  # which were all zeros
    return used.cat.categories.tolist(), used.cat.codes.to_numpy(np.int32)


def _target_column(column: "Series") -> tuple[str, np.ndarray]:
    """The target: what it is, and its classes i32[n] or numbers f32[n]."""
    what, ways = f"column {column.name!r}", _ways(column.name)
    if column.dtype == "category":
        names, classes = _categories(column)
        check_classes(classes, names, what, "")
        return f"target, {_counted(names, classes, 'classes')}", classes
    values = _values(column)
    targets = targets_of(values, what, ways)
    if targets.dtype.kind == "f":
        return f"target, numbers to be predicted, {targets.min():g} to {targets.max():g}", targets
    names = dict(zip(targets.tolist(), values.tolist(), strict=True))
    return f"target, {_counted([names[k] for k in range(len(names))], targets, 'classes')}", targets


def _input_column(column: "Series") -> tuple[str, np.ndarray]:
    """An input: what it is, and its numbers f32[n, k]."""
    name, rows = column.name, len(column)
    what, ways, leave = f"column {name!r}", _ways(name), f"leave it out, frame.drop(columns=[{name!r}])"
    if re.fullmatch(r"Unnamed: \d+(_level_\d+)?", str(name)):
        raise UserError(f"{what} has no name, as an index that was saved with the table: {leave}, or name it")
    if column.dtype == "category":
        names, codes = _categories(column)
    else:
        values = _values(column)
        if values.dtype.kind != "O":
            numbers = single(values, what)
            _check_no_constant(values.min(), values.max(), what)
            _check_no_index(values, name, what, f"{leave}, or say that its numbers mean something, {ways.floats}")
            return f"numbers, {float(values.min()):g} to {float(values.max()):g}", numbers[:, None]
        names, codes = numbered(words_of(values, what, ways))
        check_no_units(names, what, ways)
        plain = [word for word in names if not (DATE.match(word) or is_number(word))]
        if len(plain) > max(1, min(MOST_CATEGORIES, rows // 2)):
            raise UserError(
                f"{what} has {len(names)} different words in {rows} rows, {quoted(plain[0])} among them, as free text "
                f"and identifiers do: {leave}, or say that they are categories, {ways.classes}"
            )
        check_words(names, what, ways)
    _check_no_constant(names[0], names[-1], what)
    return _counted(names, codes, "categories"), np.eye(len(names), dtype=np.float32)[codes]


def _counted(names: list[Any], codes: np.ndarray, of: str) -> str:
    """`3 classes: Oslo (2), Rome (1) ...`, the most frequent first."""
    counts = np.bincount(codes)
    order = np.argsort(-counts, kind="stable")
    return f"{len(names)} {of}: {listed([f'{names[k]} ({counts[k]})' for k in order], plain=True)}"


def _check_no_constant(first: Any, last: Any, what: str) -> None:
    """Raise UserError where the first and the last value in order are one."""
    if first == last:
        raise UserError(f"{what} is {quoted(first)} in every row, of which nothing can be learned: leave such columns "
                        "out, frame.loc[:, frame.nunique() > 1]")  # fmt: skip


def _check_no_index(values: np.ndarray, name: Any, what: str, leave: str) -> None:
    """Raise UserError where whole numbers [n], all different, count the rows in any order, or are called an id."""
    if values.dtype.kind not in "iu" or len(np.unique(values)) < len(values):
        return
    is_called_so = re.fullmatch(r"(?i:(.*[\W_])?(id|idx|index|key|row|nr|no))|.*[a-z](Id|ID)", str(name))
    if is_called_so or int(values.max()) - int(values.min()) == len(values) - 1:
        raise UserError(f"{what} has another whole number in every row, {values.min()} to {values.max()}, as an index "
                        f"or identifier does: {leave}")  # fmt: skip


def _check_no_leak(name: Any, numbers: np.ndarray, target: Any, truth: np.ndarray) -> None:
    """Raise UserError where the inputs f32[n, k] of a column are the target, or its classes by other names."""
    codes = numbers[:, 0] if numbers.shape[1] == 1 else numbers.argmax(axis=1)
    leaks = np.array_equal(codes, truth)
    if truth.dtype.kind == "i" and len(np.unique(codes)) == truth.max() + 1:
        leaks = np.unique(np.stack([codes, truth]), axis=1).shape[1] == truth.max() + 1
    if leaks:
        raise UserError(f"column {name!r} says what the target {target!r} is, row by row: leave it out, "
                        f"frame.drop(columns=[{name!r}])")  # fmt: skip
