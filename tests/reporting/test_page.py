"""The report of a run's folder: whole, self-contained, escaped; of a run that broke off, too."""

import itertools
import json
import re
from html.parser import HTMLParser

import pytest

from tests.reporting.cases import arm, evidence
from tests.reporting.folders import RECORD_OF_A_RUN, leave
from wd_research.flags import UserError
from wd_research.occupancy import recorded
from wd_research.reporting.checksums import seal
from wd_research.reporting.confirmed import confirmed_rows
from wd_research.reporting.files import UnwritableError
from wd_research.reporting.folder import RECORD, RESULTS, claim_folder, write_json
from wd_research.reporting.page import format_confirming, report
from wd_research.reporting.record import read_record, read_run
from wd_research.reporting.seeds import Seeds, seeds_of
from wd_research.reporting.sentences import format_level
from wd_research.reporting.table import arms_rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return leave(tmp_path_factory.mktemp("run"))


class Page(HTMLParser):
    """Sees that every tag is closed, and gathers the text and what is loaded."""

    VOID = ("meta", "img", "br")

    def __init__(self, page):
        super().__init__()
        self.open, self.loaded, self.text = [], [], ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open += [] if tag in self.VOID else [tag]
        self.loaded += [value for name, value in attrs if name in ("src", "href", "srcset")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_it_has_all_that_was_asked_and_nothing_is_loaded(folder):
    run = read_run(folder)
    page = Page(report([run]))
    assert all(source.startswith("data:image/svg+xml;base64,") for source in page.loaded)
    assert len(page.loaded) == len(run.figures) == 3
    for text in (
        "Does decay <help>?", run.summary["answer"], "It helps & more.", "holds", "kernel 8x4 decays <at 0.1>",
        "python -m experiments.tiny --decays '0 1'", "jax 0.10", "3.5: import 1.0, train 2.5", "120 members",
        "learning rate 0.001, decay 10", "16 confirming seeds", "8 exploring seeds",
        "scored on 16 fresh confirming ones; mean [95 % interval]",
    ):  # fmt: skip
        assert text in page.text, text
    for row in itertools.chain(*arms_rows(run.summary["best"], seeds_of(run.summary)).sections):
        assert all(cell.strip() in page.text for cell in row)


def test_it_shows_what_was_confirmed_beside_what_the_exploring_seeds_said(folder):
    run = read_run(folder)
    (rows,) = confirmed_rows(run.evidence).sections
    assert len(rows) == len({row[1] for row in rows}) == run.evidence.confirming["arm"][0].sizes["point"]
    (chosen,) = (row for row in rows if row[1] == "learning rate 0.01, decay 0.1")
    assert chosen[2] == "8 to 23"
    assert chosen[4] == format_level(run.summary["best"]["arm"]["test_accuracy"], {"by": "accuracy"})
    assert chosen[3] != chosen[4]
    text = Page(report([run])).text
    assert all(cell in text for row in rows for cell in row)


def test_rounds_of_confirming_seeds_are_one_row_per_point():
    measured = evidence({"arm": arm(seeds=40)}, looks=(16, 32))
    (rows,) = confirmed_rows(measured).sections
    assert {row[2] for row in rows} == {"8 to 39"}


@pytest.mark.parametrize(
    ("seeds", "says"),
    [
        (Seeds(8, 0), "none"),
        (Seeds(8, 16, [16]), "16"),
        (
            Seeds(8, 32, [16, 32, 48], 0.0221),
            "32; looks after 16, 32, 48, until every claim is decided, 97.8 % interval",
        ),
    ],
)
def test_the_record_says_how_many_seeds_confirm_and_after_which_claims_are_judged(seeds, says):
    assert format_confirming(seeds).startswith(says)


def test_every_verdict_has_a_colour(folder):
    style = report([read_run(folder)]).partition("</style>")[0]
    for verdict in ("holds", "fails", "undecided", "equal here"):
        assert f".{verdict.split()[0]} {{ color: " in style


@pytest.mark.parametrize("runs", [1, 2])
def test_every_run_begins_with_its_first_figure_and_has_the_others_behind_the_claims(folder, runs):
    for article in report([read_run(folder)] * runs).split("<article>")[1:]:
        begin, _, behind = article.partition("<h2>Claims</h2>")
        assert (begin.count("<img"), behind.count("<img")) == (1, 2)


def test_it_fits_a_telephone_and_paper(folder):
    page = report([read_run(folder)])
    assert '<meta name="viewport" content="width=device-width' in page
    assert "@media print" in page
    assert not re.search(r"https?://(?!www\.w3\.org)", re.sub(r"base64,[^\"]*", "", page))


def test_a_run_that_broke_off_has_a_report_of_what_there_is(tmp_path):
    write_json(tmp_path / RECORD, {**RECORD_OF_A_RUN, "status": "interrupted"})
    page = Page(report([read_run(tmp_path)]))
    assert 'the status of this run is "interrupted"' in page.text
    assert page.loaded == []


def test_the_page_may_load_and_run_nothing(folder):
    page = report([read_run(folder)])
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page)
    allowed = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert allowed["default-src"] == "'none'"
    assert allowed["img-src"] == "data:"  # the figures
    assert not any(name.startswith("script-src") for name in allowed)
    assert page.index("Content-Security-Policy") < page.index("<style>")  # it counts for what follows it


def test_several_runs_stand_side_by_side_with_their_differences_first(folder, tmp_path):
    write_json(tmp_path / RECORD, {**RECORD_OF_A_RUN, "flags": {"seeds": 2}})
    text = Page(report([read_run(folder), read_run(tmp_path)])).text
    head = text[: text.index("It helps & more.")]
    assert re.search(r"seeds\s*8\s*2", head)
    assert "0.10" not in head.partition("</style>")[2]
    assert text.count("Does decay <help>?") == 4  # title, head and both runs


def test_what_json_cannot_say_comes_back(folder, tmp_path):
    write_json(tmp_path / RECORD, RECORD_OF_A_RUN)
    claim = {
        **json.loads((folder / "summary.json").read_text())["claims"][0],
        "measured": None,
        "low": None,
        "high": None,
    }
    seeds = {"exploring": 8, "confirming": 0}
    write_json(tmp_path / "summary.json", {"answer": "", "seeds": seeds, "best": {}, "claims": [claim], "diverged": {}})
    assert "no number" in Page(report([read_run(tmp_path)])).text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "holds no run: name a folder with a file experiment.json"),
        ("", "experiment.json is damaged"),
        ("{", "experiment.json is damaged"),
        ("[]", "experiment.json is no mapping of keys"),
    ],
)
def test_a_folder_without_a_run_is_one_sentence(tmp_path, content, says):
    if content is not None:
        (tmp_path / RECORD).write_text(content)
    with pytest.raises(UserError, match=says):
        read_run(tmp_path)


def test_a_folder_that_is_taken_and_empty_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="is taken by a run that has not begun"):
        read_run(claim_folder(tmp_path / "run"))


def test_the_page_says_whether_checksums_were_there(folder, tmp_path):
    assert re.search(r"checksums\s*10 files are as the run left them", Page(report([read_run(folder)])).text)
    write_json(tmp_path / RECORD, RECORD_OF_A_RUN)
    assert re.search(r"checksums\s*none", Page(report([read_run(tmp_path)])).text)


# How a run ended


@pytest.mark.parametrize(
    ("error", "trained", "status"),
    [
        (ZeroDivisionError(), True, "failed"),
        (ZeroDivisionError(), False, "failed"),
        (KeyboardInterrupt(), False, "interrupted"),
        (UserError("too few"), True, "failed"),
        (UserError("too few"), False, None),  # nothing was trained: the folder is free again
        (UnwritableError("the disk is full"), False, "failed"),  # what was trained is lost, and that is not hidden
    ],
)
def test_what_ends_a_run_stands_in_its_record(tmp_path, error, trained, status):
    seal(tmp_path, {**RECORD_OF_A_RUN, "status": "running"})

    @recorded(tmp_path)
    def run():
        if trained:
            (tmp_path / RESULTS).write_text("")
        raise error

    with pytest.raises(type(error)) as raised:
        run()
    assert raised.value is error
    assert (tmp_path / RECORD).exists() == (status is not None)
    if status:
        assert read_record(tmp_path)["status"] == status
        assert type(error).__name__ in str(read_record(tmp_path)["errors"])


@pytest.mark.parametrize("error", [UnwritableError("the disk is full"), KeyboardInterrupt(), ZeroDivisionError()])
def test_a_run_that_ends_before_it_begins_leaves_its_folder_free(tmp_path, error):
    with pytest.raises(type(error)), recorded(claim_folder(tmp_path / "run")):
        raise error
    claim_folder(tmp_path / "run")


def test_a_folder_that_is_gone_hides_no_error(tmp_path):
    seal(tmp_path, RECORD_OF_A_RUN)

    @recorded(tmp_path)
    def run():
        (tmp_path / RECORD).unlink()
        tmp_path.rmdir()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run()


def test_on_a_full_disk_the_status_is_true(tmp_path, monkeypatch):
    def full(*_):
        raise UnwritableError("no space left on device")

    seal(tmp_path, {**RECORD_OF_A_RUN, "status": "running"})
    monkeypatch.setattr("wd_research.reporting.checksums.write_json", full)
    monkeypatch.setattr("wd_research.reporting.page.write_text", full)
    with pytest.raises(ZeroDivisionError), recorded(tmp_path):
        raise ZeroDivisionError
    assert read_record(tmp_path)["status"] == "failed"
    assert [path.name for path in tmp_path.iterdir()] == [RECORD]
