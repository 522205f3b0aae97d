"""The README's table of experiments: its words are there for all of them, its figures were seen, its claims counted."""

import ast
import re
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.answers import ANSWERS, Row
from scripts import answers_table, reproduce
from scripts.answers_table import BEGIN, END, KEPT, README, table, with_table

ROOT = Path(__file__).parent.parent


def head_of(module):
    path = ROOT / "experiments" / f"{module.replace('.', '/')}.py"
    return ast.get_docstring(ast.parse(path.read_text()))


def figures_of(text):
    """Every number of a text, .7 being 0.7 and 1,164 being 1164."""
    return {float(number) for number in re.findall(r"\d+\.?\d*|\.\d+", re.sub(r"(?<=\d),(?=\d{3})", "", text))}


def test_the_readme_has_what_the_script_writes():
    page = README.read_text()
    assert with_table(page, table(ANSWERS, KEPT)) == page


def test_every_experiment_that_has_run_is_in_one_row():
    asked = [name.removeprefix("experiments.") for name in reproduce.all_experiments()]
    ran = [name for name in asked if not name.startswith("tournament.") and "Not run yet" not in head_of(name)]
    assert sorted(chain.from_iterable(row.experiments for row in ANSWERS)) == sorted(ran)
    assert {file.stem for file in KEPT.glob("*.json")} <= {name.rpartition(".")[2] for name in ran}


@pytest.mark.parametrize("row", ANSWERS, ids=lambda row: row.question)
def test_every_figure_of_an_answer_stands_in_the_head_of_its_experiments(row):
    seen = "".join([head_of(name) for name in row.experiments] + [(ROOT / row.page).read_text() if row.page else ""])
    assert figures_of(row.answer) <= figures_of(seen)


@pytest.mark.parametrize("row", ANSWERS, ids=lambda row: row.question)
def test_an_answer_is_short_and_ends(row):
    assert row.question.endswith("?")
    assert row.answer.endswith(".")
    assert len(row.question) <= 100
    assert len(row.answer) <= 420


def test_claims_of_a_row_are_counted_together(tmp_path):
    for name, verdict in (("one", "holds"), ("other", "fails")):
        (tmp_path / f"{name}.json").write_text(f'{{"claims": [{{"verdict": "{verdict}"}}, {{"verdict": "holds"}}]}}')
    row = Row("Is it |so|?", "It is.", ("language.one", "article.other", "language.not_kept"))
    links = ("[one](experiments/language/one.py), [other](experiments/article/other.py), "
             "[not_kept](experiments/language/not_kept.py)")  # fmt: skip
    assert table([row], tmp_path)[2:] == [f"| Is it &#124;so&#124;? | It is. | {links} | 3 hold, 1 fail |"]
    assert table([Row("Which?", "None.", (), "docs/some_page.md")], tmp_path)[2:] == [
        "| Which? | None. | [some_page](docs/some_page.md) |  |"
    ]


def test_a_table_takes_the_place_of_the_one_that_was_there():
    page = with_table(f"above\n{BEGIN}\nold\n{END}\nbelow\n", ["new"])
    assert page == f"above\n{BEGIN}\n\nnew\n\n{END}\nbelow\n"
    assert with_table(page, ["new"]) == page


@pytest.mark.parametrize("page", ["", BEGIN, END, f"{END}{BEGIN}"])
def test_a_page_without_a_place_for_it_is_refused(page):
    with pytest.raises(ValueError, match="the page has no"):
        with_table(page, [])


@pytest.mark.parametrize(("page", "written"), [("docs/evidence.md", True), ("runs/evidence-quick/evidence.md", False)])
def test_it_is_written_with_the_evidence_page_and_not_in_little(page, written, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(reproduce, "keep", lambda *_: SimpleNamespace(name="one"))
    monkeypatch.setattr(reproduce, "write_page", calls.append)
    monkeypatch.setattr(answers_table, "main", lambda: calls.append("table"))
    reproduce.publish(tmp_path, ROOT / page)
    assert calls == [ROOT / page, *(["table"] if written else [])]
