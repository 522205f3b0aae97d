"""Where examples come from: arrays, files, OpenML; bad data are refused in one sentence."""

import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wd_research.flags import UserError
from wd_research.training.data import Examples

if TYPE_CHECKING:
    from pandas import DataFrame


def from_arrays(inputs: Any, targets: Any, source: str = "the data") -> Examples:
    """Examples from arrays [n, ...] of numbers, inputs, and [n, ...], targets; inputs f32[n, ...].

    Targets that are whole numbers, booleans or words are classes, numbered from 0 on; i32[n]. Whole numbers must be
    numbered so already. Other numbers are to be predicted as they are; f32[n, ...].

    Raises UserError, with one sentence that names `source`, when the lengths differ, an entry is no finite number, or
    a class between the first and the last has no example.
    """
    inputs, targets = np.asarray(inputs), np.asarray(targets)
    if inputs.ndim < 2 or not len(inputs) or targets.shape[:1] != inputs.shape[:1]:
        raise UserError(
            f"{source}: inputs of shape {inputs.shape} and targets of shape {targets.shape} do not fit: give arrays "
            "whose first axes, the examples, are equally long, and inputs with a second axis"
        )
    inputs = _numbers(inputs, f"{source}: inputs").astype(np.float32)
    if targets.dtype.kind in "OUS":
        if targets.ndim > 1 or not all(isinstance(target, str | bytes) for target in targets.ravel()):
            raise UserError(f"{source}: targets are of mixed types: give numbers, or one word for each example")
        targets = np.unique(targets.astype(str), return_inverse=True)[1]
    targets = _numbers(targets, f"{source}: targets")
    if targets.dtype.kind == "i" and targets.ndim == 1:
        _check_classes(targets, source)
    return Examples(inputs, targets)


def from_npz(path: Path | str, inputs: str = "inputs", targets: str = "targets") -> Examples:
    """Examples from two arrays of a NumPy `.npz` file, by their names; as `from_arrays`.

    Raises UserError too when there is no such file or no such array, or one that holds Python objects.
    """
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is no .npz file: " + ("write one with numpy.savez" if Path(path).exists() else
                                                        "there is no such file"))  # fmt: skip
    with np.load(path, allow_pickle=False) as file:
        missing = [name for name in (inputs, targets) if name not in file]
        if missing:
            raise UserError(f"{path} has no array {missing[0]}: it has {', '.join(file.files)}")
        try:
            arrays = file[inputs], file[targets]
        except ValueError as error:  # the only one that NumPy raises here
            raise UserError(f"{path} holds Python objects: save arrays of numbers, of one type each") from error
    return from_arrays(*arrays, str(path))


def from_csv(path: Path | str, target: str) -> Examples:
    """Examples from a CSV file with a line of names: one column is the target, the others are inputs; as `from_frame`.

    Raises UserError too when there is no such file or it is no table.
    """
    import pandas as pd  # here, because --help need not wait for it

    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError) as error:  # pandas' parsers raise ValueErrors
        raise UserError(f"{path} cannot be read as a CSV file: {error}") from error
    return from_frame(frame, target, str(path))


def from_openml(name: str, version: int | str = "active", target: str | None = None) -> Examples:
    """Examples of an OpenML data set by its name, such as "diabetes", kept in scikit-learn's folder; as `from_frame`.

    The target is the data set's own unless a column is named. Raises UserError too when OpenML cannot be reached or
    knows no such data set.
    """
    from sklearn.datasets import fetch_openml

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "A network error occurred")  # the sentence below says it
            answer: Any = fetch_openml(name, version=version, as_frame=True, n_retries=1, parser="auto")
    except OSError as error:
        raise UserError(f"OpenML cannot be reached for {name}: {error}; where there is no network, save it as a CSV "
                         "file elsewhere and read that") from error  # fmt: skip
    column = target or (answer.target_names or [None])[0]
    if column is None:
        raise UserError(f"OpenML's {name} names no target: name the column that is to be predicted")
    return from_frame(answer.frame, column, f"OpenML's {name}")


def from_frame(frame: "DataFrame", target: str, source: str = "the data") -> Examples:
    """Examples from a table: one column is the target, the others are inputs; as `from_arrays`.

    A column of words becomes one column of zeros and ones per word.

    Raises UserError too when a column is missing, or has a missing value.
    """
    import pandas as pd

    if target not in frame:
        raise UserError(f"{source} has no column {target}: it has {', '.join(map(str, frame.columns))}")
    gaps = frame.isna().sum()
    if gaps.any():
        raise UserError(f"{source}: column {gaps.idxmax()} misses {gaps.max()} values: fill them or leave those "
                         "examples out")  # fmt: skip
    words_or_numbers = frame[target]
    is_words = not pd.api.types.is_numeric_dtype(words_or_numbers)
    targets = words_or_numbers.astype(str).to_numpy(dtype=str) if is_words else words_or_numbers.to_numpy()
    return from_arrays(pd.get_dummies(frame.drop(columns=target)).to_numpy(np.float32), targets, source)


def windows(tokens: Any, length: int) -> Examples:
    """Every `length` tokens of a text i32[n] with what follows each of them, side by side; i32[k, length] both.

    Raises UserError when the text is no row of whole numbers from 0 on, or shorter than a window and one token.
    """
    tokens = np.asarray(tokens)
    if tokens.ndim != 1 or tokens.dtype.kind not in "iu" or tokens.size < length + 1 or tokens.min() < 0:
        raise UserError(f"tokens of shape {tokens.shape} and type {tokens.dtype} cannot be cut into windows: give at "
                         f"least {length + 1} whole numbers from 0 on, in one row")  # fmt: skip
    count = (len(tokens) - 1) // length
    inputs, targets = (tokens[start : start + count * length].reshape(count, length) for start in (0, 1))
    return Examples(inputs.astype(np.int32), targets.astype(np.int32))


def _numbers(values: np.ndarray, what: str) -> np.ndarray:
    """The array as f32 or i32; raises UserError where that is no finite number."""
    if values.dtype.kind not in "iufb":
        raise UserError(f"{what} are of type {values.dtype}: give numbers")
    with np.errstate(over="ignore"):
        numbers = values.astype(np.float32 if values.dtype.kind == "f" else np.int32)
    wrong = np.flatnonzero(~np.isfinite(numbers) if numbers.dtype.kind == "f" else numbers != values)
    if len(wrong):
        place = ", ".join(map(str, np.unravel_index(wrong[0], values.shape)))
        raise UserError(f"{what} hold {values.flat[wrong[0]]} at [{place}]: give finite numbers that 32 bits can hold")
    return numbers


def _check_classes(targets: np.ndarray, source: str) -> None:
    """Raise UserError unless the classes i32[n] are 0 ... k-1, all of them seen."""
    if targets.min() < 0:
        raise UserError(f"{source}: target {targets.min()} is no class: number the classes 0, 1, 2 ...")
    seen = np.unique(targets)
    absent = np.setdiff1d(np.arange(len(seen)), seen)
    if len(absent):
        raise UserError(
            f"{source}: targets reach {seen[-1]} and class {absent[0]} has no example: number the classes that there "
            "are 0, 1, 2 ... without gaps"
        )
