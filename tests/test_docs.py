"""The pages: each is in the navigation, what they link to is there, and what they show is what the code says."""

import ast
import importlib.util
import itertools
import re
import runpy
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import wd_research as wd
from scripts import catalogue, gallery

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
SITE = (ROOT / "mkdocs.yml").read_text()
STUB = ast.parse((ROOT / "wd_research" / "__init__.pyi").read_text())
HOMES = {
    alias.name: f"wd_research.{node.module}.{alias.name}" if node.module else f"wd_research.{alias.name}"
    for node in STUB.body
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}
DIRECTIVE = re.compile(r"^::: ([\w.]+)$", re.MULTILINE)
REFERENCE = {page.stem: page.read_text() for page in sorted((DOCS / "reference").glob("*.md"))}
DOCUMENTED = [name for text in REFERENCE.values() for name in DIRECTIVE.findall(text)]
FAQ, TUTORIAL, GLOSSARY = ((DOCS / f"{name}.md").read_text() for name in ("faq", "tutorial", "glossary"))
ERRORS = FAQ.partition("\n## Errors on the command line\n")[2]
FENCED = r"### ([^\n]+)\n\n```{}\n(.*?)```\n\n```text\n(.*?)\n```"  # a heading, what is run, what it says


def named(path):
    return str(path.relative_to(ROOT))


def prose(text):
    """A page without its code."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def anchors(page):
    """What the links of other pages may lead to: headings, and the names of a reference."""
    text = page.read_text()
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    members = [f"{name}.{part}" for name in DIRECTIVE.findall(text) for part in public(name)]
    return {*map(gallery.anchor, headings), *DIRECTIVE.findall(text), *members}


def public(name):
    """The functions and classes that the reference shows of a name, where that is a module."""
    path = ROOT / f"{name.replace('.', '/')}.py"
    body = ast.parse(path.read_text()).body if path.exists() else []
    return [node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]


@pytest.mark.parametrize("name", HOMES)
def test_a_public_name_is_in_the_reference_once(name):
    headings = [line for text in REFERENCE.values() for line in re.findall(r"^### (\w+)$", text, re.MULTILINE)]
    home = HOMES[name]
    assert DOCUMENTED.count(home) + headings.count(name) + (home.rpartition(".")[0] in DOCUMENTED) == 1


def test_the_reference_has_no_other_names():
    assert len(DOCUMENTED) == len(set(DOCUMENTED))
    assert set(DOCUMENTED) <= set(HOMES.values())


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_page_is_in_the_navigation_once(page):
    assert re.findall(r": ([\w/]+\.md)$", SITE, re.MULTILINE).count(str(page.relative_to(DOCS))) == 1


def test_the_navigation_has_no_page_that_is_gone():
    assert all((DOCS / page).exists() for page in re.findall(r": ([\w/]+\.md)$", SITE, re.MULTILINE))


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=named)
def test_relative_links_and_images_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        assert DOCS in path.parents or page.parent == ROOT, f"{target} is not in the site"
        assert not anchor or anchor in anchors(path), target


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_list_begins_behind_an_empty_line(page):
    """GitHub finds it all the same, the site does not."""
    lines, item = prose(page.read_text()).splitlines(), re.compile(r"[-*] |\d+\. ")
    for before, line in itertools.pairwise(lines):
        assert not item.match(line) or not before.strip() or item.match(before) or before.startswith("  "), line


def test_the_words_of_the_glossary_are_sorted_and_unique():
    words = re.findall(r"^## (.+)$", GLOSSARY, re.MULTILINE)
    assert words == sorted(set(words))
    assert {"arm", "member", "seed", "point", "tile", "block", "axis", "segment", "evaluation", "place", "pull", "rate",
            "strength", "mask", "leaf", "link", "penalty", "claim", "cell", "verdict"} <= set(words)  # fmt: skip


@pytest.mark.parametrize("script", [catalogue, gallery], ids=lambda script: script.__name__)
def test_a_page_is_what_its_script_writes(script):
    assert script.PAGE.read_text() == script.page(), f"python -m {script.__name__} writes it again"


def test_the_catalogue_has_every_public_name_of_decay():
    shown = {name for _, _, *modules in catalogue.TABLES.values() for _, names in modules for name in names}
    rest = {"DecayError", "coefficients", "describe", "entries", "Setting"}  # no masks, and no conventions
    assert {name for name, home in HOMES.items() if home.startswith("wd_research.decay.")} - shown - rest == {
        "cores",
        "equilibrium",
        "schedules",
    }


def test_every_number_of_arxiv_is_in_the_list_of_papers():
    month = r"(?<![\w.])(?:0[7-9]|[12]\d)(?:0[1-9]|1[0-2])\.\d{4,5}(?!\d)"
    papers = (DOCS / "papers.md").read_text()
    listed = re.findall(rf"^\| \[({month})\]\(https://arxiv\.org/abs/({month})\)", papers, re.MULTILINE)
    assert all(shown == linked for shown, linked in listed)
    assert len(listed) == len(set(listed))
    sources = [*PAGES, ROOT / "README.md", *(path for home in ("wd_research", "experiments", "scripts")
                                             for path in (ROOT / home).rglob("*.py"))]  # fmt: skip
    cited = {number for path in sources for number in re.findall(month, path.read_text())}
    assert {shown for shown, _ in listed} == cited


def test_make_says_what_each_target_does():
    makefile = (ROOT / "Makefile").read_text()
    (targets,) = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert sorted(re.findall(r"^# make (\S+) ", makefile, re.MULTILINE)) == sorted(targets.split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files of the tutorial."""
    folder = tmp_path_factory.mktemp("tutorial")
    for name in ("make_csv", "columns", "my_decay"):
        (code,) = re.findall(rf"`{name}\.py`.*?```python\n(.*?)```", TUTORIAL, re.DOTALL)[:1]
        (folder / f"{name}.py").write_text(code)
    subprocess.run([sys.executable, "-W", "error", "make_csv.py"], cwd=folder, check=True)
    return folder


def test_the_columns_of_the_tutorial_are_as_it_says(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    runpy.run_path("columns.py")
    assert capsys.readouterr().out in TUTORIAL


@pytest.mark.slow
def test_the_experiment_of_the_tutorial_runs(folder):
    little = ("--steps", "6", "--seeds", "2", "--confirm", "2", "--no-tensorboard", "--workdir", "run")
    command = [sys.executable, "-W", "error", "my_decay.py", *little]
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True,
                          env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(folder)})  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "Which decay predicts the progression of diabetes best" in done.stdout


def errors(language):
    """What the page shows of errors in a language, each by its heading; one needs a run of its own."""
    found = re.findall(FENCED.format(language), ERRORS, re.DOTALL)
    return [pytest.param(*pair, id=heading) for heading, *pair in found if "holds a run with" not in pair[1]]


@pytest.mark.parametrize(("code", "sentence"), errors("python"))
def test_python_gives_the_error_that_the_page_shows(code, sentence, folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$") as caught:
        exec(code, {})
    assert isinstance(caught.value, wd.UserError) or "`ValueError`" in ERRORS.split(sentence)[1].partition("###")[0]


def run_module(name, monkeypatch):
    """Run it as `python -m` does, which has not imported it before."""
    package = importlib.util.find_spec(name).submodule_search_locations
    monkeypatch.delitem(sys.modules, f"{name}.__main__" if package else name, raising=False)
    runpy.run_module(name, run_name="__main__")


@pytest.mark.parametrize(("command", "sentence"), errors("sh"))
def test_a_command_gives_the_error_that_the_page_shows(command, sentence, folder, monkeypatch, capsys):
    _, *words = shlex.split(command)
    module = words[1] if words[0] == "-m" else None
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", words[1:] if module else words)
    with pytest.raises(SystemExit) as ended:
        run_module(module, monkeypatch) if module else runpy.run_path(words[0], run_name="__main__")
    assert (ended.value.code, capsys.readouterr().err) == (2, sentence + "\n")


def test_what_the_units_page_shows_is_what_units_prints(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "120")
    page = (DOCS / "units.md").read_text()
    for command in re.findall(r"^\.venv/bin/python -m wd_research (.+)$", page, re.MULTILINE):
        monkeypatch.setattr(sys, "argv", ["wd_research", *shlex.split(command)])
        run_module("wd_research", monkeypatch)
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    shown = re.findall(r"```text\n(.*?)\n```", page.partition("## The tiny net")[2], re.DOTALL)
    assert len(shown) == 4
    assert not [line for block in shown for line in textwrap.dedent(block).splitlines() if line not in printed]
