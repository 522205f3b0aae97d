"""Where examples come from: arrays, files, OpenML; bad data, and what would be a guess, end in one sentence."""

import os
import re
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wd_research.flags import UserError
from wd_research.training.columns import Column, columns_of
from wd_research.training.data import Examples
from wd_research.training.values import (
    PADDED,
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

    Raises UserError too when there is no such file or it is no table, other separators than commas or comments stand in
    it, its first line has no names or one of them twice, a row has more fields than there are names, or whole numbers
    begin with a 0, as post codes do.
    """
    import pandas as pd  # here, because --help need not wait for it

    path = _file(path)
    code = f'pandas.read_csv("{path}", index_col=False)'  # pandas would take a field too many for an index
    names: list[str] = []
    try:
        names += _first_line(path)
        if names[0].startswith("#"):
            _check_no_comment(names, _first_line(path, comment="#"), target, str(path), code)
        _check_names(names, str(path), code)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # which would leave those fields out
            frame = pd.read_csv(path, index_col=False, low_memory=False)
        _check_no_comment_row(frame, str(path), code)
        padded = _padded(path, frame)
        if padded:
            kinds = ", ".join(f"{name!r}: str" for name in padded)
            frame, code = frame.assign(**padded), f"{code[:-1]}, dtype={{{kinds}}})"
        spelled = _spelled(path, frame)
    except UserError:
        raise
    except pd.errors.ParserWarning as error:
        raise UserError(f"{path} has rows with more fields than the {len(names)} names in its first line: name "
                        "every column") from error  # fmt: skip
    except Exception as error:  # parsers, decoders and what decompresses a torn file raise errors of their own
        raise UserError(f"{path} cannot be read as a CSV file ({first_line(error)}): give from_frame what "
                        "pandas.read_csv reads, which has encoding=, sep= and more") from error  # fmt: skip
    as_words = f'{code[:-1]}, keep_default_na=False, na_values=[""])'
    spelled = {name: f"which are spelled {quoted(word)}: if that is a category, give from_frame {as_words}, else "
               for name, word in spelled.items()}  # fmt: skip
    return _from_read(frame, target, str(path), code, spelled)


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
    return _of_columns(columns_of(frame, target, source), target, source)


def _of_columns(made: list[Column], target: str, source: str) -> Examples:
    """The examples of what the columns of a table became; raises UserError where one can only be guessed."""
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


def _separator(names: list[str]) -> str:
    """The argument that parts a line of one field at another separator than commas; empty where there is none."""
    separators = [separator for separator in (";", "\t", "|", ":", " ") if separator in names[0].strip()]
    if len(names) > 1 or not separators:
        return ""
    sep = {"\t": r"\t", " ": r"\s+"}.get(separators[0], separators[0])
    return f', sep="{sep}"'


def _check_names(names: list[str], source: str, code: str) -> None:
    """Raise UserError where the first line of a CSV file is no line of names between commas."""
    if separator := _separator(names):
        frame = f"{code[:-1]}{separator})"
        raise UserError(f"{source} has one column, {quoted(names[0])}: give from_frame the frame {frame}")
    twice = [name for place, name in enumerate(names) if name and name in names[:place]]
    if twice:
        raise UserError(f"{source} has several columns {twice[0]!r}: name each column once")
    if all(map(is_number, names)):
        raise UserError(f"{source} starts with numbers, {listed(names)}: write a line of names above them, or give "
                        f"from_frame the frame {code[:-1]}, header=None)")  # fmt: skip


def _first_line(path: Path, **options: Any) -> list[str]:
    """The fields of the first line of a CSV file."""
    import pandas as pd

    return pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False, **options).iloc[0].tolist()


def _check_no_comment(names: list[str], below: list[str], target: Any, source: str, code: str) -> None:
    """Raise UserError where the first line of a CSV file is a comment: what is below is longer, or names the target."""
    above, under = (re.split(r"[,;\t|: ]+", ",".join(line)) for line in (names, below))
    if len(names) != len(below) or (target in under and target not in above):
        raise UserError(f"{source} begins with a comment, {quoted(names[0])}: give from_frame the frame {code[:-1]}"
                        f'{_separator(below)}, comment="#")')  # fmt: skip


def _check_no_comment_row(frame: "DataFrame", source: str, code: str) -> None:
    """Raise UserError where a row of a CSV file has one field alone, which begins with #."""
    alone = frame.iloc[:, 0][frame.iloc[:, 1:].isna().all(axis=1)] if frame.shape[1] > 1 else frame.iloc[:0, 0]
    comments = [word for word in alone.tolist() if isinstance(word, str) and word.lstrip().startswith("#")]
    if comments:
        raise UserError(f"{source} has a comment among its rows, {quoted(comments[0])}: give from_frame the frame "
                        f'{code[:-1]}, comment="#")')  # fmt: skip


def _padded(path: Path, frame: "DataFrame") -> dict[str, Any]:
    """The columns of whole numbers some of which begin with a 0 in the CSV file, as text: post codes and other codes.

    The file is read in pieces, because a text takes many times the memory of a number.
    """
    import pandas as pd

    numbers = [
        name for name, column in frame.items() if column.dtype.kind in "iuf" and (column.dropna() % 1 == 0).all()
    ]
    if not numbers:
        return {}
    pieces = pd.read_csv(path, index_col=False, usecols=numbers, dtype=str, keep_default_na=False, chunksize=100_000)
    found = {name for piece in pieces for name, words in piece.items() if words.str.fullmatch(PADDED).any()}
    return {str(name): words.where(frame[name].notna()) for name, words in _texts(path, found).items()}


def _spelled(path: Path, frame: "DataFrame") -> dict[str, str]:
    """What stands in the CSV file where a column of words has gaps and there is something, such as None."""
    gaps = {name for name, column in frame.items() if column.dtype.kind not in "iufbc" and column.isna().any()}
    words = {name: texts[frame[name].isna()].str.strip() for name, texts in _texts(path, gaps).items()}
    return {name: there.iloc[0] for name, texts in words.items() if len(there := texts[texts != ""])}


def _texts(path: Path, names: set[Any]) -> dict[str, Any]:
    """Columns of a CSV file as they stand there."""
    import pandas as pd

    if not names:
        return {}
    texts = pd.read_csv(path, index_col=False, usecols=list(names), dtype=str, keep_default_na=False).fillna("")
    return {str(name): texts[name] for name in texts.columns}


def _from_read(frame: "DataFrame", target: str, source: str, code: str, spelled: Any = None) -> Examples:
    """As `from_frame`, of what the code reads; a sentence that says how to change the frame says how to have it."""
    try:
        return _of_columns(columns_of(frame, target, source, spelled), target, source)
    except UserError as error:
        if re.search(r"\bframe[.,]", str(error)):
            raise UserError(f"{error}; give that to from_frame, where frame = {code}") from error
        raise
