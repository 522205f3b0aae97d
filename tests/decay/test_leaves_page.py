"""The page on what to leave out is true: its example prints what it shows, and its lines do what its tables say."""

import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from tests.decay.trees import NETS
from wd_research.decay import masks

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "leaves.md").read_text()
PLURALS = {"bias": "biases", "embedding": "embeddings", "norm": "norms", "other": "others"}


def table(title):
    """The rows of a section's table, as cells."""
    lines = PAGE.split(f"\n## {title}")[1].split("\n## ")[0].splitlines()
    return [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")][1:]


def test_the_example_prints_what_is_shown(tmp_path):
    example, shown = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE, re.DOTALL).groups()
    (tmp_path / "net.py").write_text(example)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(tmp_path / "net.py")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == shown


@pytest.mark.parametrize("line", [line.strip("`") for line, _ in table("Masks")])
def test_every_mask_of_the_table_is_one(line):
    leaf = jax.ShapeDtypeStruct((3, 2), float)
    params = {"encoder": {"embedding": leaf, "kernel": leaf, "bias": leaf, "scale": leaf}, "head": {"kernel": leaf}}
    taken = jax.tree.leaves(masks.coefficients(eval(line, vars(masks)), params))
    assert any(taken)
    assert all(taken) == (line in ("everything", "matrices"))


def test_the_table_of_nets_is_that_of_the_tests():
    def row(name, net):
        besides = sorted({role for leaf, shape, role in net.rows if role != "kernel" and net.recipe(leaf, shape)})
        return [name, ", ".join(PLURALS[role] for role in besides) or "nothing", f"`{net.line}`", net.source]

    assert table("The nets of others") == [row(*pair) for pair in NETS.items()]
    assert all(net.recipe(leaf, shape) for net in NETS.values() for leaf, shape, role in net.rows if role == "kernel")


def test_the_files_that_it_names_are_there():
    named = re.findall(r"`((?:decay|tests)/[\w/]+\.py)`", PAGE)
    assert len(named) == 2
    assert all((ROOT / name).exists() or (ROOT / "wd_research" / name).exists() for name in named)
