"""The one door: every name that it promises is there, is what its home module calls so, and loads nothing unused."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import wd_research as wd

STUB = ast.parse(Path(wd.__file__).with_suffix(".pyi").read_text())
HOMES = {
    alias.asname or alias.name: f"wd_research.{node.module}" if node.module else "wd_research"
    for node in STUB.body
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}


@pytest.mark.parametrize("name", HOMES)
def test_a_name_is_the_object_of_its_home_module(name):
    home = importlib.import_module(HOMES[name])
    expected = getattr(home, name) if HOMES[name] != "wd_research" else importlib.import_module(f"wd_research.{name}")
    assert getattr(wd, name) is expected


def test_the_names_are_listed_each_once():
    (promised,) = [ast.literal_eval(node.value) for node in STUB.body if isinstance(node, ast.Assign)]
    assert sorted(promised) == sorted(HOMES)
    assert len(promised) == len(set(promised))
    assert set(HOMES) <= set(dir(wd))
    assert set(wd.__all__) == set(HOMES)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="weight_decay"):
        wd.weight_decay  # noqa: B018


@pytest.mark.parametrize(
    "name", [name for name in HOMES if HOMES[name] in ("wd_research", "wd_research.decay", "wd_research.training")]
)
def test_a_module_is_there_though_nothing_else_was_asked_for(name):
    program = f"import wd_research as wd; assert wd.{name}.__name__.endswith('.{name}')"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_door_starts_neither_jax_nor_numpy():
    program = "import sys, wd_research; assert not {'jax', 'numpy'} & set(sys.modules), sorted(sys.modules)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
