"""Checksums: no bit of what a run has left changes a number or a word in silence."""

import json
import shutil

import numpy as np
import pytest

from tests.reporting.folders import RECORD_OF_A_RUN, content_of, flip, leave, names
from wd_research.flags import UserError
from wd_research.reporting.checksums import seal
from wd_research.reporting.files import write_text
from wd_research.reporting.folder import AUDIT, CONFIRMING, RECORD, RESULTS, SUMMARY, write_json
from wd_research.reporting.page import report, write_record
from wd_research.reporting.record import read_evidence, read_record, read_run

NAMED = (RESULTS, CONFIRMING, SUMMARY, AUDIT, "figures/accuracy.svg", "figures/accuracy.png")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return leave(tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def read(folder):
    """What the report reads, and what concluding reads."""
    run, evidence = read_run(folder), read_evidence(folder)
    return report([run]), run.record, run.summary, evidence


def same(one, other):
    """Whether two readings say the same."""
    (*said, evidence), (*expected, arms) = one, other
    return said == expected and all(evidence[name].identical(arms[name]) for name in arms)


def flips(whole, folder, file, count):
    """How many of so many flipped bits were refused; all others must be harmless."""
    expected, size, refused = read(whole), 8 * (folder / file).stat().st_size, 0
    for bit in np.random.default_rng(0).integers(size, size=count).tolist():
        flip(folder / file, bit)
        try:
            assert same(read(folder), expected), f"bit {bit} of {file}"
        except UserError as error:
            assert file in str(error)  # noqa: PT017 - it need not be raised
            refused += 1
        flip(folder / file, bit)
    assert same(read(folder), expected)
    return refused


@pytest.mark.parametrize("file", [RECORD, *NAMED])
def test_a_flipped_bit_is_refused_or_harmless(whole, folder, file):
    refused = flips(whole, folder, file, 1000)
    assert refused == 1000 if file != RECORD else refused > 900  # the record may be spaced otherwise


@pytest.mark.parametrize("file", NAMED)
@pytest.mark.parametrize("gone", [False, True])
def test_a_file_that_was_changed_is_named_with_the_way_out(folder, file, gone):
    if gone:
        (folder / file).unlink()
    else:
        with open(folder / file, "ab") as end:
            end.write(b" ")
    said = "is gone, which experiment.json names" if gone else "is not as the run wrote it, by its SHA-256"
    way = "run it again" if file in NAMED[:2] or file == AUDIT else f"give the experiment --conclude {folder}"
    with pytest.raises(UserError) as raised:
        read_run(folder)
    assert str(raised.value).startswith(f"{folder / file} {said}")
    assert str(raised.value).endswith(f": take it from where it is whole, or {way}")
    if file in (RESULTS, CONFIRMING):
        with pytest.raises(UserError, match=said):
            read_evidence(folder)
    else:
        read_evidence(folder)  # so a run can be concluded again


def test_a_record_that_was_changed_is_refused(folder):
    write_json(folder / RECORD, {**content_of(folder), "question": "Another?"})
    for reading in (read_record, read_run, read_evidence):
        with pytest.raises(UserError, match=r"experiment\.json is not as the run wrote it, by its SHA-256"):
            reading(folder)


def test_a_record_may_be_spaced_otherwise(folder):
    (folder / RECORD).write_text(json.dumps(content_of(folder)))
    read_run(folder)


def test_the_record_names_every_file_that_the_page_shows(folder):
    there = {name for name in names(folder) if (folder / name).is_file()} - {RECORD}
    assert set(read_record(folder)["files"]) == there
    assert len(there) == 10


def test_concluding_again_renews_what_it_writes_and_hides_no_change_of_the_rest(folder):
    record, summary = read_record(folder), content_of(folder, SUMMARY)
    write_json(folder / SUMMARY, {**summary, "answer": "Another."})
    write_record(folder, record)
    assert "Another." in (folder / "report.html").read_text()
    write_text(folder / AUDIT, "Another.")
    with pytest.raises(UserError, match=r"audit\.txt is not as the run wrote it"):
        write_record(folder, read_record(folder))
    with pytest.raises(UserError, match=r"audit\.txt is not as the run wrote it"):
        read_run(folder)


def test_a_folder_without_checksums_is_read(tmp_path):
    folder = leave(tmp_path / "run", sealed=False)
    assert "files" not in read_record(folder)
    assert ">none<" in report([read_run(folder)])
    read_evidence(folder)


def test_what_a_record_cannot_hold_is_sealed_as_it_is_read(tmp_path):
    flags = {"rates": (0.1, float("inf")), "where": tmp_path, 3: "three", "word": "\ud800", "small": 5e-324}
    seal(tmp_path, {**RECORD_OF_A_RUN, "flags": flags})
    assert read_record(tmp_path)["flags"] == {
        "rates": [0.1, None], "where": str(tmp_path), "3": "three", "word": "\ud800", "small": 5e-324
    }  # fmt: skip
    read_run(tmp_path)
