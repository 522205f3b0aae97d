"""What stands around the code is true: the workflow, the citation, the changelog, how to contribute."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([\w-]+):", MAKEFILE, re.MULTILINE))
(JOB,) = WORKFLOW["jobs"].values()
RUN = [step["run"] for step in JOB["steps"] if "run" in step]


def test_the_workflow_runs_targets_of_the_makefile_as_ci_does():
    targets = [re.fullmatch(r"make ([\w-]+)", command)[1] for command in RUN]
    assert set(targets) <= TARGETS
    demanded = re.findall(r"^make ([\w-]+)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert targets == demanded
    assert "check" in targets


def test_the_workflow_begins_with_the_code_and_a_python():
    code, python = JOB["steps"][:2]
    assert code["uses"].startswith("actions/checkout@")
    assert python["uses"].startswith("actions/setup-python@")
    assert python["with"]["python-version"] == "${{ matrix.python }}"


def test_the_workflow_has_the_oldest_python_and_one_of_either_stack():
    supported, pythons = SpecifierSet(PROJECT["requires-python"]), JOB["strategy"]["matrix"]["python"]
    assert all(isinstance(python, str) and python in supported for python in pythons)
    assert f">={min(pythons, key=Version)}" == str(supported)
    parted = {Version(at) for at in re.findall(r"python_version < '([\d.]+)'", (ROOT / "constraints.txt").read_text())}
    assert len({sum(Version(python) >= at for at in parted) for python in pythons}) == len(parted) + 1


def test_the_workflow_has_no_secrets_and_reads_only():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert "secrets." not in (ROOT / ".github" / "workflows" / "test.yml").read_text()


def test_the_citation_is_of_this_project():
    assert {"cff-version", "message", "title", "authors"} <= set(CITATION)  # what version 1.2.0 of the format demands
    assert CITATION["cff-version"] == "1.2.0"
    assert CITATION["authors"] == [{"name": "wd_research contributors"}]
    assert CITATION["title"].startswith(f"{PROJECT['name']}: ")
    assert (CITATION["type"], CITATION["version"], CITATION["license"]) == (
        "software", PROJECT["version"], PROJECT["license"])  # fmt: skip
    assert all(isinstance(word, str) for word in CITATION["keywords"])


def test_the_changelog_begins_with_this_version():
    text = (ROOT / "CHANGELOG.md").read_text()
    newest, *_ = re.findall(r"^## \[([\d.]+)\] - (?:Unreleased|\d{4}-\d\d-\d\d)$", text, re.MULTILINE)
    assert newest == PROJECT["version"]


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "CHANGELOG.md"])
def test_what_the_pages_name_is_there(page):
    text = (ROOT / page).read_text()
    links = [target for target in re.findall(r"\]\(([^)]+)\)", text) if not target.startswith("https://")]
    files = re.findall(r"`((?:\.ci|docs|experiments|scripts|tests|wd_research)/[\w./]*)", text)
    assert links
    assert not [name for name in links + files if not (ROOT / name).exists()]
    assert set(re.findall(r"`make ([\w-]+)", text)) <= TARGETS


def test_the_sizes_are_those_of_the_tests():
    from tests.test_sizes import LINES_OF_A_FILE, LINES_OF_A_FUNCTION

    said = f"A file has at most {LINES_OF_A_FILE} lines, a function {LINES_OF_A_FUNCTION};"
    assert said in (ROOT / "CONTRIBUTING.md").read_text()
