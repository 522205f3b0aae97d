"""Where examples come from: arrays, files, OpenML; bad data, and what would be a guess, end in one sentence."""

import os
import re
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wd_research.flags import UserError
from wd_research.training.columns import columns_of
from wd_research.training.data import Examples
from wd_research.training.values import (
    Ways,
    as_array,
    check_no_columns,
    first_line,
    is_number,
    listed,
    quoted,
    single,
    targets_of,
)

if TYPE_CHECKING:
    from pandas import DataFrame


def from_arrays(inputs: Any, targets: Any, source: str = "the data") -> Examples:
    """Examples from arrays [n, ...] of numbers, inputs, and [n, ...], targets; inputs f32[n, ...].

    Targets that are whole numbers, booleans or words are classes, numbered from 0 on; i32[n]. Whole numbers must be
    numbered so already. Other numbers are to be predicted as they are; f32[n, ...].

    Raises UserError, with one sentence that names `source`, when the lengths differ, an entry is no finite number,
    float32 cannot tell apart what differs, classes are one-hot, a class has no example or only one, or all targets are
    alike.
    """
    inputs, targets = as_array(inputs, f"{source}: inputs"), as_array(targets, f"{source}: targets")
    if inputs.ndim < 2 or not inputs.size or not targets.size or targets.shape[:1] != inputs.shape[:1]:
        raise UserError(
            f"{source}: inputs of shape {inputs.shape} and targets of shape {targets.shape} do not fit: give arrays "
            "whose first axes, the examples, are equally long, and inputs with a second axis"
        )
    numbers = single(inputs, f"{source}: inputs")
    check_no_columns(targets, f"{source}: targets")
    ways = Ways(
        "targets.astype(float)",
        "numpy.unique(targets, return_inverse=True)[1]",
        "targets.astype(float)",
        "pandas.Series(targets)",
    )
    return Examples(numbers, targets_of(targets, f"{source}: targets", ways))


def from_npz(path: Path | str, inputs: str = "inputs", targets: str = "targets") -> Examples:
    """Examples from two arrays of a NumPy `.npz` file, by their names; as `from_arrays`.

    Raises UserError too when there is no such file or no such array, or one that cannot be read.
    """
    path = _file(path)
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is no .npz file: write one with numpy.savez, or give its arrays to from_arrays")
    try:
        with np.load(path, allow_pickle=False) as file:
            names = file.files
            arrays = [file[name] for name in (inputs, targets) if name in names]
    except Exception as error:  # what decompresses a torn file raises errors of its own
        if "allow_pickle" in str(error):
            raise UserError(f"{path} holds Python objects: save arrays of one type each, of numbers or text") from error
        raise UserError(f"{path} cannot be read ({first_line(error)}): write it again with numpy.savez") from error
    for name in (inputs, targets):
        if name not in names:
            raise UserError(f"{path} has no array {name}: it has {listed(names)}; say which are inputs=, targets=")
    return from_arrays(arrays[0], arrays[1], str(path))


def from_csv(path: Path | str, target: str) -> Examples:
    """Examples from a CSV file with a line of names: one column is the target, the others are inputs; as `from_frame`.

    Raises UserError too when there is no such file or it is no table, other separators than commas stand in it, its
    first line has no names or one of them twice, or a row has more fields than there are names.
    """
    import pandas as pd  # here, because --help need not wait for it

    path = _file(path)
    code = f'pandas.read_csv("{path}", index_col=False)'  # pandas would take a field too many for an index
    names: list[str] = []
    try:
        names += pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False).iloc[0].tolist()
        _check_names(names, str(path), code)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # which would leave those fields out
            frame = pd.read_csv(path, index_col=False, low_memory=False)
    except UserError:
        raise
    except pd.errors.ParserWarning as error:
        raise UserError(f"{path} has rows with more fields than the {len(names)} names in its first line: name "
                        "every column") from error  # fmt: skip
    except Exception as error:  # parsers, decoders and what decompresses a torn file raise errors of their own
        raise UserError(f"{path} cannot be read as a CSV file ({first_line(error)}): give from_frame what "
                        "pandas.read_csv reads, which has encoding=, sep= and more") from error  # fmt: skip
    return _from_read(frame, target, str(path), code)


def from_openml(name: str, version: int | str = "active", target: str | None = None) -> Examples:
    """Examples of an OpenML data set by its name, such as "diabetes", kept in scikit-learn's folder; as `from_frame`.

    The target is the data set's own unless a column is named. Raises UserError too when OpenML cannot be reached,
    knows no such data set, or names no target or several.
    """
    from sklearn.datasets import fetch_openml

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "A network error occurred")  # the sentence below says it
            answer: Any = fetch_openml(name, version=version, as_frame=True, n_retries=1, parser="auto")
    except OSError as error:
        raise UserError(f"OpenML cannot be reached for {name}: {error}; where there is no network, save it as a CSV "
                         "file elsewhere and read that") from error  # fmt: skip
    except ValueError as error:  # scikit-learn's, of names and versions that there are not, and of sparse data
        raise UserError(f"OpenML's {name} cannot be had as a table ({first_line(error)}): give the name and version of "
                        "one that can") from error  # fmt: skip
    own = answer.target_names or []
    if target is None and len(own) != 1:
        columns = f": {listed(own)}" if own else ""
        raise UserError(f"OpenML's {name} names {len(own) or 'no'} target{'s' * (len(own) != 1)}{columns}: name the "
                        "column that is to be predicted, target=")  # fmt: skip
    code = f'sklearn.datasets.fetch_openml("{name}", version={version!r}).frame'
    return _from_read(answer.frame, target or own[0], f"OpenML's {name}", code)


def from_frame(frame: "DataFrame", target: str, source: str = "the data") -> Examples:
    """Examples from a table: one column is the target, the others are inputs; as `from_arrays`.

    Numbers and booleans stay one column. A categorical column, or one of at most 50 different words that are there
    twice each on average, becomes one column of zeros and ones per category. `describe_columns` says what each becomes.

    Raises UserError too when a column is missing or is named twice, has gaps, or can only be guessed: an index and
    other identifiers, dates, free text, numbers written as text, several types, one value alone, or the target again.
    """
    made = columns_of(frame, target, source)
    unclear = [column.said for column in made if column.numbers is None]
    if unclear:
        others = f"; describe_columns(frame, {target!r}) has {len(unclear) - 1} more" if len(unclear) > 1 else ""
        raise UserError(f"{source}: {unclear[0]}{others}")
    inputs = [column.numbers for column in made if column.numbers is not None and column.name != target]
    (targets,) = (column.numbers for column in made if column.numbers is not None and column.name == target)
    return Examples(np.concatenate(inputs, axis=1), targets)


def describe_columns(frame: "DataFrame", target: str) -> str:
    """What `from_frame` makes of every column, a line each: numbers, categories, or why it can only be guessed.

    Raises UserError when this is no table, or the target no column of it.
    """
    made = columns_of(frame, target, "the data")
    width = max(len(str(column.name)) for column in made)
    return "\n".join(
        f"{column.name!s:{width}}  {'UNCLEAR: ' if column.numbers is None else ''}{column.said}" for column in made
    )


def windows(tokens: Any, length: int) -> Examples:
    """Every `length` tokens of a text i32[n] with what follows each of them, side by side; i32[k, length] both.

    Raises UserError when the text is no row of whole numbers from 0 on, or shorter than a window and one token, or the
    length is none.
    """
    tokens = as_array(tokens, "tokens")
    if isinstance(length, bool) or not isinstance(length, int | np.integer) or length < 1:
        raise UserError(f"windows of length {length!r} cannot be cut: give a whole number of tokens, 1 or more")
    is_row = tokens.ndim == 1 and tokens.dtype.kind in "iu" and tokens.size > length
    if not is_row or tokens.min() < 0 or tokens.max() > np.iinfo(np.int32).max:
        raise UserError(f"tokens of shape {tokens.shape} and type {tokens.dtype} cannot be cut into windows: give at "
                        f"least {length + 1} whole numbers from 0 on, below 2^31, in one row")  # fmt: skip
    count = (len(tokens) - 1) // length
    inputs, targets = (tokens[start : start + count * length].reshape(count, length) for start in (0, 1))
    return Examples(inputs.astype(np.int32), targets.astype(np.int32))


def _file(path: Path | str) -> Path:
    """The path of a file; raises UserError where there is none, or what is there would never end."""
    try:
        path = Path(path).expanduser()
    except (TypeError, RuntimeError) as error:
        raise UserError(f"{path!r} is no path of a file: give one, or give arrays to from_arrays") from error
    if not os.path.exists(path):  # Path.exists raises where a folder may not be searched
        raise UserError(f"{path} cannot be read: there is no such file")
    if not os.path.isfile(path):
        kind = "folder" if os.path.isdir(path) else "pipe or device"
        raise UserError(f"{path} cannot be read: it is a {kind}, so give a file")
    return path


def _check_names(names: list[str], source: str, code: str) -> None:
    """Raise UserError where the first line of a CSV file is no line of names between commas."""
    separators = [separator for separator in (";", "\t", "|", ":", " ") if separator in names[0].strip()]
    if len(names) == 1 and separators:
        sep = {"\t": r"\t", " ": r"\s+"}.get(separators[0], separators[0])
        frame = f'{code[:-1]}, sep="{sep}")'
        raise UserError(f"{source} has one column, {quoted(names[0])}: give from_frame the frame {frame}")
    twice = [name for place, name in enumerate(names) if name and name in names[:place]]
    if twice:
        raise UserError(f"{source} has several columns {twice[0]!r}: name each column once")
    if all(map(is_number, names)):
        raise UserError(f"{source} starts with numbers, {listed(names)}: write a line of names above them, or give "
                        f"from_frame the frame {code[:-1]}, header=None)")  # fmt: skip


def _from_read(frame: "DataFrame", target: str, source: str, code: str) -> Examples:
    """As `from_frame`, of what the code reads; a sentence that says how to change the frame says how to have it."""
    try:
        return from_frame(frame, target, source)
    except UserError as error:
        if re.search(r"\bframe[.,]", str(error)):
            raise UserError(f"{error}; give that to from_frame, where frame = {code}") from error
        raise
