"""Files and functions stay small: one idea per file, a function on a screen."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(path.relative_to(ROOT).as_posix() for top in ("wd_research", "experiments", "scripts")
               for path in (ROOT / top).rglob("*.py"))  # fmt: skip
LINES_OF_A_FILE, LINES_OF_A_FUNCTION = 340, 60


def functions_of(name):
    """The length in lines of every function of a file, decorators left out, those within others and classes too."""
    nodes = [node for node in ast.walk(ast.parse((ROOT / name).read_text()))
             if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]  # fmt: skip
    return [(f"{name}:{node.name}", node.end_lineno - node.lineno + 1) for node in nodes]


@pytest.mark.parametrize("name", FILES)
def test_a_file_and_its_functions_are_small(name):
    lines = len((ROOT / name).read_text().splitlines())
    assert lines <= LINES_OF_A_FILE
    too_long = [each for each in functions_of(name) if each[1] > LINES_OF_A_FUNCTION]
    assert not too_long
