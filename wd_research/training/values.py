"""Numbers and targets as arrays: what float32 can tell apart, what is a class, and what would be a guess."""

import re
from typing import Any, NamedTuple

import numpy as np

from wd_research.flags import UserError

COARSEST = 1e-4  # the most that float32 may move a number, as a share of the range that its column has
EXACT = 2**24  # float32 holds every whole number up to here

INSTEAD = {
    "c": "give the real and the imaginary parts as numbers of their own",
    "M": "give numbers, such as the days since the first",
    "m": "give numbers, such as the days that they last",
    "V": 'give plain numbers, .astype("float32"), or fields with names as columns of a frame, by from_frame',
}


def as_array(values: Any, what: str) -> np.ndarray:
    """The array that the values are; raises UserError where NumPy would box them, fill them in, or give up."""
    if hasattr(values, "toarray"):
        raise UserError(f"{what} are a sparse matrix: give all of it, .toarray()")
    if np.ma.is_masked(values):
        count = np.ma.count_masked(values)
        raise UserError(f"{what} have {count} masked entries: fill them, or leave those examples out")
    try:
        return np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        reason = first_line(error).split(". ")[0]
        raise UserError(f"{what} are no array ({reason}): give rows of equal length") from error


def single(values: np.ndarray, what: str) -> np.ndarray:
    """The numbers [n, ...] as f32; raises UserError where one is not finite, or f32 cannot tell them apart."""
    if values.dtype.kind not in "iufb":
        instead = INSTEAD.get(values.dtype.kind, "give numbers, .astype(float), or a frame with words, by from_frame")
        raise UserError(f"{what} of type {values.dtype} cannot be trained on: {instead}")
    with np.errstate(over="ignore", under="ignore"):
        numbers = values.astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if len(wrong):
        place = ", ".join(map(str, np.unravel_index(wrong[0], values.shape)))
        raise UserError(f"{what} cannot have {values.flat[wrong[0]]} at [{place}]: give finite numbers that 32 bits "
                        "can hold, and leave out or fill what is missing")  # fmt: skip
    if not np.can_cast(values.dtype, np.float32):
        _check_told_apart(values.reshape(len(values), -1), numbers.reshape(len(values), -1), what)
    return numbers


def _check_told_apart(values: np.ndarray, numbers: np.ndarray, what: str) -> None:
    """Raise UserError where a column of the values [n, k] is too fine for f32[n, k].

    It is where whole numbers that differ become equal, or others move by more than 1e-4 of the column's range: time
    stamps do, and counts from a large number on, but not what has a few more digits than float32.
    """
    low, high = values.min(axis=0), values.max(axis=0)
    lost = np.zeros(len(low), bool)
    if values.dtype.kind == "f":
        lost = (low != high) & (np.abs(values - numbers).max(axis=0) >= COARSEST * (high - low))
    large = np.flatnonzero(np.abs(numbers).max(axis=0) >= EXACT)
    for column in large[(values[:, large] == np.rint(values[:, large])).all(axis=0)]:
        lost[column] |= len(np.unique(values[:, column])) > len(np.unique(numbers[:, column]))
    if lost.any():
        first = int(lost.argmax())
        at = f", number {first} of each example," if len(lost) > 1 else ""
        raise UserError(
            f"{what}{at} cannot be told apart in float32, in which nets train, from {low[first]} to {high[first]}: "
            'subtract the mean or divide by the range before, or give .astype("float32") where seven digits are enough'
        )


class Ways(NamedTuple):
    """What a person may write who knows what targets are."""

    floats: str  # numbers to be predicted
    classes: str  # or categories
    text: str  # numbers that were read as text
    column: str  # as a pandas.Series


def check_no_columns(targets: np.ndarray, what: str) -> None:
    """Raise UserError where classes are [n, 1], or one-hot [n, k]."""
    if targets.ndim != 2 or (targets.shape[1] == 1 and targets.dtype.kind == "f"):
        return
    if targets.shape[1] == 1:
        raise UserError(f"{what} of shape {targets.shape} are a column: give classes in a row, targets[:, 0], or "
                        "floats to predict numbers, targets.astype(float)")  # fmt: skip
    is_binary = targets.dtype.kind in "iufb" and ((targets == 0) | (targets == 1)).all()
    if is_binary and (targets.sum(axis=1) == 1).all():
        raise UserError(f"{what} of shape {targets.shape} are one-hot: give classes, targets.argmax(axis=1), or, to "
                        "predict zeros and ones as numbers, make Examples of float32 arrays yourself")  # fmt: skip


def targets_of(targets: np.ndarray, what: str, ways: Ways) -> np.ndarray:
    """Classes i32[n, ...] or numbers f32[n, ...]; raises UserError where they are neither, or nothing is to learn."""
    if targets.dtype.kind in "OUS":
        words, classes = numbered(words_of(targets, what, ways))
        check_words(words, what, ways)
        check_classes(classes, words, what, "")
        return classes
    if targets.dtype.kind in "iub":
        return _whole(targets, what, ways)
    numbers = single(targets, what)
    if (numbers == numbers[0]).all():
        raise UserError(f"{what} cannot have {targets[0]} in every example: give numbers that differ")
    return numbers


def words_of(values: np.ndarray, what: str, ways: Ways) -> list[str]:
    """The words [n]; raises UserError unless all values are."""
    kinds = sorted({type(value).__name__ for value in values.ravel().tolist()})
    if values.ndim > 1:
        raise UserError(f"{what} of shape {values.shape} and type {kinds[0]} are no classes: give one word for each")
    if not {*kinds} <= {"str", "bytes", "str_"}:
        types = " and ".join(kinds)
        raise UserError(f"{what} cannot have values of type {types}: {_instead_of(values.tolist(), ways)}")
    return [value.decode("latin-1") if isinstance(value, bytes) else str(value) for value in values.tolist()]


def _instead_of(values: list[Any], ways: Ways) -> str:
    """What to give in place of Python's objects."""
    if any(hasattr(value, "year") for value in values):
        return "give numbers, such as the days since the first"
    return f"give numbers, {ways.floats}, or classes or categories, {ways.classes}, of one type"


def numbered(words: list[str]) -> tuple[list[str], np.ndarray]:
    """The different words in order, and which of them each is, i32[n]; not by NumPy, which pads all to the longest."""
    different = sorted(set(words))
    numbers = {word: number for number, word in enumerate(different)}
    return different, np.array([numbers[word] for word in words], np.int32)


def _whole(targets: np.ndarray, what: str, ways: Ways) -> np.ndarray:
    """Whole numbers [n, ...] as classes; raises UserError where 32 bits are not enough, or one is negative."""
    with np.errstate(over="ignore"):
        classes = targets.astype(np.int32)
    wrong = np.flatnonzero((classes != targets) | (classes < 0))
    if len(wrong):
        raise UserError(f"{what} cannot have class {targets.flat[wrong[0]]}: number the classes 0, 1, 2 ..., "
                        f"{ways.classes}, or give floats to predict numbers, {ways.floats}")  # fmt: skip
    if classes.ndim == 1:
        absent = np.setdiff1d(np.arange(len(np.unique(classes))), classes)
        if len(absent):
            raise UserError(
                f"{what} cannot have class {classes.max()} and none of class {absent[0]}: number them without gaps, "
                f"{ways.classes}, or give floats to predict numbers, {ways.floats}"
            )
        floats = f", or give floats to predict numbers, {ways.floats}"
        check_classes(classes, list(range(classes.max() + 1)), what, floats)
    return classes


def check_classes(classes: np.ndarray, names: list[Any], what: str, otherwise: str) -> None:
    """Raise UserError where the classes i32[n] of these names are one alone, or one of them has a single example."""
    if len(names) == 1:
        raise UserError(f"{what} cannot have class {quoted(names[0])} in every example: give two classes or more")
    (single,) = np.nonzero(np.bincount(classes) == 1)
    if len(single):
        first = quoted(names[single[0]])
        raise UserError(
            f"{what} cannot have a single example of a class to train and test on, as of {len(single)} of {len(names)} "
            f"classes ({first}): leave those out, or join them{otherwise}"
        )


DATE = re.compile(r"\s*(\d{4}([-/.])\d{1,2}\2\d{1,2}|\d{1,2}([-/.])\d{1,2}\3(\d{4}|\d{2})|\d{1,2}:\d{2})(?![\d/.-])")
NUMBER = re.compile(r"\s*[-+(<>\u2212]?\s*[$€£¥]?\s*[.,]?\d[\d.,'_\s]*(e[-+]?\d+)?\s*[%$€£¥]?\)?\s*", re.IGNORECASE)

PADDED = r"\s*0\d+\s*"  # a whole number that begins with a 0, which codes do and numbers do not


def is_number(word: str) -> bool:
    """Whether a word reads as a number, with signs, separators or units of money; long text is none."""
    return len(word) <= 40 and NUMBER.fullmatch(word) is not None


UNITS = re.compile(  # a number with a unit behind it, or a short one before it: "5 kg", "12 km/h", "US$ 3", "3.5%"
    r"\s*(?P<before>[A-Za-z]{0,3}[$\u20ac\u00a3\u00a5\u20b9]|[A-Z]{3}|[Rr]s\.?|kr\.?)?\s*"
    r"[-+\u2212]?\s*(?:\d[\d,'_]*(?:[.,]\d+)?|[.,]\d+)(?:[eE][-+]?\d+)?"
    r"\s*(?P<behind>[^\W\d_][^\d]{0,11}[23\u00b2\u00b3]?|[%\u2030\u00b0+*$\u20ac\u00a3\u00a5\u20b9\"'\u2032\u2033][^\d]{0,11})?\s*"
)


def unit_of(word: str) -> str:
    """The unit that a word has beside its number: `kg` of "5 kg"; "" where it has none, or is no number."""
    found = UNITS.fullmatch(word) if len(word) <= 40 else None
    units = [part.strip() for part in found.groups() if part] if found else []
    return units[0] if len(units) == 1 else ""


def check_no_units(words: list[str], what: str, ways: Ways) -> None:
    """Raise UserError where more than half of the different words, three at least, are numbers with one same unit."""
    units = [unit_of(word) for word in words]
    unit = max({*units} - {""}, key=units.count, default="")
    count = units.count(unit) if unit else 0
    if count < 3 or 2 * count <= len(words):
        return
    first = words[units.index(unit)]
    beside = [word for word, other in zip(words, units, strict=True) if other != unit]
    text = f" beside {quoted(beside[0])}" if beside else ""
    number = f'{ways.column}.str.replace({unit!r}, "", regex=False)'
    number += '.str.replace(",", "")' if any("," in word for word in words) else ""
    number += ', errors="coerce"' if beside else ""
    raise UserError(
        f"{what} cannot have numbers with a unit, {unit}, as text ({quoted(first)}){text}: take it away, "
        f"pandas.to_numeric({number}), or say that they are categories, {ways.classes}"
    )


def check_words(words: list[str], what: str, ways: Ways) -> None:
    """Raise UserError where different words look like dates, numbers, gaps, or one word in several spellings."""
    otherwise = f"or say that they are categories, {ways.classes}"
    dates = [word for word in words if DATE.match(word)]
    if dates:
        raise UserError(f"{what} cannot have dates or times as text ({quoted(dates[0])}): give numbers, such as the "
                        f"days since the first by pandas.to_datetime, {otherwise}")  # fmt: skip
    check_no_units(words, what, ways)
    numbers, texts = ([word for word in words if is_number(word) is wanted] for wanted in (True, False))
    padded = [word for word in numbers if re.fullmatch(PADDED, word)]
    if padded and not texts:
        raise UserError(f"{what} cannot have numbers that begin with 0 ({quoted(padded[0])}), as post codes do: say "
                        f"that they are categories, {ways.classes}, or give numbers, by {ways.text}")  # fmt: skip
    if numbers:
        kind = f"numbers ({quoted(numbers[0])}) " + (f"beside text ({quoted(texts[0])})" if texts else "as text")
        raise UserError(f"{what} cannot have {kind}: give numbers, by {ways.text}, {otherwise}")
    blank, others = ([word for word in words if any(map(str.isalnum, word)) is wanted] for wanted in (False, True))
    if blank and others:
        raise UserError(f"{what} cannot have {quoted(blank[0])} beside {quoted(others[0])}, as if it were missing: "
                        f"leave those examples out, {otherwise}")  # fmt: skip
    spellings: dict[str, str] = {}
    for word in words:
        other = spellings.setdefault(" ".join(word.split()).casefold(), word)
        if other != word:
            raise UserError(f"{what} cannot have {quoted(other)} and {quoted(word)}: spell each word in one way "
                            f"(strip, lower), {otherwise}")  # fmt: skip


def first_line(error: Exception) -> str:
    """The first line of what an error says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def quoted(word: Any) -> str:
    """A word in quotation marks, its beginning where it is long; a number as it is."""
    word = word.item() if isinstance(word, np.generic) else word
    return repr(word if not isinstance(word, str) or len(word) <= 30 else word[:30] + "...")


def listed(names: Any, plain: bool = False) -> str:
    """Ten of the names, and how many there are."""
    first = ", ".join(str(name) if plain else repr(name) for name in names[:10])
    return (first or "nothing") + (f" ... ({len(names)} in all)" if len(names) > 10 else "")
