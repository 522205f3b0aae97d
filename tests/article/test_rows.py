"""The rows: each is decided by some experiment, and no claim speaks of a row that is not there."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import experiments.article
from experiments.article.rows import ROWS, row_of, source_of

MODULES = [
    importlib.import_module(f"experiments.article.{found.name}")
    for found in pkgutil.iter_modules(experiments.article.__path__)
]
DECLARED = {module.__name__: module.experiment() for module in MODULES if hasattr(module, "experiment")}


@pytest.mark.parametrize("name", DECLARED)
def test_every_claim_of_an_experiment_is_about_a_row_and_has_a_name_of_its_own(name):
    claims = [claim.id for claim in DECLARED[name].claims]
    assert claims
    assert len(set(claims)) == len(claims)
    assert {row_of(claim) for claim in claims} <= set(ROWS)


@pytest.mark.parametrize("name", DECLARED)
def test_verdicts_rest_on_sixteen_seeds(name):
    """On confirming ones, or where nothing follows a choice on exploring ones."""
    declared = DECLARED[name]
    assert declared.confirm == 16 or (declared.seeds, declared.confirm) == (16, 0)


@pytest.mark.parametrize("row", ROWS)
def test_every_row_is_decided_somewhere(row):
    assert any(row_of(claim.id) == row for declared in DECLARED.values() for claim in declared.claims)
    assert (ROWS[row].stated or ROWS[row].statement) in source_of(row)


def test_claims_of_all_experiments_have_names_of_their_own():
    ids = [claim.id for declared in DECLARED.values() for claim in declared.claims]
    assert len(set(ids)) == len(ids)


def test_to_declare_an_experiment_starts_no_jax():
    """It would have one device then, and every experiment would run at half its speed."""
    lines = ["import importlib, jax._src.xla_bridge as bridge"]
    for name in DECLARED:
        lines += [f"importlib.import_module({name!r}).experiment()", f"assert not bridge._backends, {name!r}"]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, cwd=Path(__file__).parents[2])
