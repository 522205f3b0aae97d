"""The schema of a run's folder: what the page reads of a record, a summary and results must be like."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from wd_research.flags import UserError
from wd_research.names import FORMS
from wd_research.reporting.files import plain
from wd_research.reporting.shapes import ANY, Kind, Maybe, Only, fit, told

if TYPE_CHECKING:
    from wd_research.types import Results


def is_number(value: Any) -> bool:
    """Whether a value is a number that can be computed with and shown, finite or not; a whole one has 63 bits."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, float) or (whole and abs(value) < 2**63)


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number from 0 that takes at most 63 bits."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def is_growing(value: Any) -> bool:
    """Whether a value is a list of growing whole numbers from 1."""
    return isinstance(value, list) and all(map(is_whole, value)) and value == sorted({*value} - {0})


def is_range(value: Any) -> bool:
    """Whether a value is a list of two numbers, either of which may be None."""
    return isinstance(value, list) and len(value) == 2 and all(end is None or is_number(end) for end in value)


TEXT = Kind("a text", lambda value: isinstance(value, str))
NUMBER, WHOLE = Kind("a number", is_number), Kind("a whole number from 0", is_whole)
ANSWER = Kind("true or false", lambda value: isinstance(value, bool))
NAME = Kind("the name of a file", lambda value: isinstance(value, str) and plain(value))
BY = Kind("accuracy or loss", lambda value: value in ("accuracy", "loss"))
FORM = Kind("the format of a number, such as +.2f", lambda form: isinstance(form, str) and bool(FORMS.fullmatch(form)))
COMMIT = Kind("a text or null", lambda value: value is None or isinstance(value, str))
RANGE, LOOKS = Kind("two numbers, null for none", is_range), Kind("growing whole numbers", is_growing)

RECORD = {  # as far as a run has come
    "status": TEXT, "flags": Maybe({str: ANY}), "question": Maybe(TEXT), "command": Maybe(TEXT), "seeds": Maybe(WHOLE),
    "steps": Maybe(WHOLE), "members": Maybe(WHOLE), "looks": Maybe(LOOKS), "versions": Maybe({str: TEXT}),
    "git_commit": Maybe(COMMIT), "seconds": Maybe({str: NUMBER}), "figures": Maybe([NAME]),
    "errors": Maybe({str: TEXT}), "measuring_errors": Maybe({str: TEXT}), "files": Maybe({str: TEXT}),
}  # fmt: skip
PAGE = {  # what is shown of it
    **RECORD, "flags": {str: ANY}, "question": TEXT, "command": TEXT, "seeds": WHOLE, "steps": WHOLE, "members": WHOLE,
    "versions": {str: TEXT}, "git_commit": COMMIT, "device": {"count": WHOLE, "kind": TEXT, "machine": TEXT},
}  # fmt: skip
ESTIMATE = Only({"mean": NUMBER, "low": NUMBER, "high": NUMBER})
CLAIM = {
    "verdict": TEXT, "statement": TEXT, "source": TEXT, "cell": TEXT, "measured": NUMBER, "low": NUMBER, "high": NUMBER,
    "expected": RANGE, "unit": Only({"name": TEXT, "factor": NUMBER, "form": FORM}), "stage": TEXT, "seeds": WHOLE,
    "edges": [TEXT], "on_edge": ANSWER, "alpha": NUMBER, "cells": {str: ANY}, "quantifier": TEXT,
}  # fmt: skip
ENTRY = {
    "by": BY, "unit": TEXT, "hypers": [TEXT], "axis": TEXT, "step": WHOLE, "stage": TEXT, "seeds": WHOLE,
    "without": ESTIMATE, "gain": ESTIMATE, "bootstrap": ESTIMATE, "equal": ANSWER, "smallest_effect": NUMBER,
    "best_values": {"low": NUMBER, "high": NUMBER, "values": [NUMBER]},
    "neighbours": {"worse": WHOLE, "all": WHOLE}, "edges": [TEXT], "edges_without": [TEXT], "diverged": WHOLE,
    "grown": Maybe({str: [NUMBER]}), "raced": Maybe({"left": WHOLE, "points": WHOLE}),
}  # fmt: skip
SUMMARY = {
    "answer": TEXT,
    "seeds": Only({"exploring": WHOLE, "confirming": WHOLE, "looks": Maybe(LOOKS), "alpha": Maybe(NUMBER)}),
    "best": {str: {**ENTRY, "by_loss": ENTRY, "by_step": ENTRY}},
    "claims": [CLAIM],
    "diverged": {str: [{"point": TEXT, "seeds": WHOLE, "first_step": WHOLE}]},
}


def fit_summary(path: Path, summary: dict[str, Any]) -> None:
    """Raise UserError, naming the file and the key, unless a summary is what the page reads."""
    fit(path, summary, SUMMARY)
    for name, arm in summary["best"].items():
        for where, entry in ((), arm), (("by_loss",), arm["by_loss"]), (("by_step",), arm["by_step"]):
            by = entry["by"]
            keys = dict.fromkeys((f"train_{by}", f"validation_{by}", f"test_{by}"), ESTIMATE)
            keys |= dict.fromkeys((*entry["hypers"], entry["axis"]), NUMBER)
            fit(path, entry, keys, ("best", name, *where))


def fit_results(path: Path, name: str, results: "Results") -> None:
    """Raise UserError, naming file and arm, unless the results of an arm have the dims and numbers that are shown."""
    import numpy as np

    dims = ("seed", "point", "step")
    numbers = [*dims, *(str(key) for key, values in results.coords.items() if values.dims == ("point",))]
    wrong = [
        *(dim for dim in dims if dim not in results.coords or results[dim].dims != (dim,) or not results.sizes[dim]),
        *(key for key in numbers if key in results.coords and results[key].dtype.kind not in "iufb"),
        *(dim for dim in dims if dim in results.coords and len(np.unique(results[dim])) < results[dim].size),
        *(key for key in ("test_accuracy", "test_loss") if key in results
          and (results[key].dims != dims or results[key].dtype.kind not in "iufb")),
    ]  # fmt: skip
    ended = results.get("diverged_at")
    wrong += [] if ended is not None and ended.dims == dims[:2] and ended.dtype.kind in "iu" else ["diverged_at"]
    axis, unit = results.attrs.get("axis"), results.attrs.get("loss_unit", "")
    wrong += [] if isinstance(axis, str) and axis in numbers[3:] else ["axis"]
    wrong += [] if isinstance(unit, str) else ["loss_unit"]
    if wrong:
        raise UserError(f"{path}: {told((name, wrong[0]))} is not as a run leaves it; take the file from where it is "
                        "whole, or run it again")  # fmt: skip
