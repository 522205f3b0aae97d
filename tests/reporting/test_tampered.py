"""A folder that somebody else made: its page, or one sentence with the file and the key; no traceback, no wait."""

import copy
import json
import os
import random
import shutil
import sys

import pytest
import xarray as xr

from tests.reporting.folders import content_of, leave, names
from wd_research.__main__ import main
from wd_research.flags import UserError
from wd_research.reporting.checksums import digest_of, seal
from wd_research.reporting.folder import (
    AUDIT,
    CONFIRMING,
    RECORD,
    RESULTS,
    SUMMARY,
    read_confirming,
    read_results,
    write_confirming,
    write_results,
)
from wd_research.reporting.page import report
from wd_research.reporting.record import read_evidence, read_run

SECRET = "root:x:0:0"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return leave(tmp_path_factory.mktemp("whole") / "run", sealed=False)


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def refused(folder):
    """The sentence that the report says instead of a page; None where it makes one."""
    try:
        page = report([read_run(folder)])
    except UserError as error:
        said = str(error)
        assert said.count("\n") == 0
        assert len(said) < 500 + len(str(folder))
        return said
    assert page.startswith("<!doctype html>")
    assert SECRET not in page
    return None


# Keys


def places(content, where=()):
    """Every key of a content, and of what is in it."""
    for key, inner in content.items() if isinstance(content, dict) else enumerate(content):
        yield (*where, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*where, key))


INFINITE = "1e400"
VALUES = (None, "", [], {}, -1, INFINITE, "x" * 10**6, True, 0.5, 10**400, [[]], {"a": {}})


def altered(content, where, value):
    """The content, as text, with another value at a place; without the place where the value is Ellipsis."""
    content = copy.deepcopy(content)
    *outer, last = where
    inner = content
    for key in outer:
        inner = inner[key]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return json.dumps(content).replace(f'"{INFINITE}"', INFINITE)


def replace_keys(folder, file, most):
    """Try every value in every place, or so many of all that there are; how often a page was made, and a sentence."""
    (folder / CONFIRMING).unlink()
    content, said = content_of(folder, file), []
    cases = [(where, value) for where in places(content) for value in (*VALUES, ...)]
    for where, value in random.Random(0).sample(cases, min(most, len(cases))):
        (folder / file).write_text(altered(content, where, value))
        said.append(sentence := refused(folder))
        assert sentence is None or file in sentence
    return said.count(None), len(said) - said.count(None)


@pytest.mark.parametrize("file", [RECORD, SUMMARY])
def test_a_key_of_another_type_is_a_page_or_a_sentence(folder, file):
    pages, sentences = replace_keys(folder, file, 300)
    assert min(pages, sentences) > 50


@pytest.mark.slow
@pytest.mark.parametrize("file", [RECORD, SUMMARY])
def test_every_key_of_another_type_is_a_page_or_a_sentence(folder, file):
    pages, sentences = replace_keys(folder, file, 10**9)
    assert min(pages, sentences) > 50


@pytest.mark.parametrize(("file", "where", "value", "says"), [
    (RECORD, ("question",), None, "'question' must be a text, and is null"),
    (RECORD, ("members",), -1, "'members' must be a whole number from 0, and is -1"),
    (RECORD, ("seeds",), True, "'seeds' must be a whole number from 0, and is true"),
    (RECORD, ("steps",), 10**400, "'steps' must be a whole number from 0, and is 1000"),
    (RECORD, ("device", "count"), "two", "'device.count' must be a whole number from 0, and is \"two\""),
    (RECORD, ("seconds", "train"), "1", "'seconds.train' must be a number, and is \"1\""),
    (RECORD, ("seconds", "train"), 10**400, "'seconds.train' must be a number, and is 1000"),
    (RECORD, ("seconds", "train"), INFINITE, None),
    (RECORD, ("versions",), [], "'versions' must be a mapping, and is []"),
    (RECORD, ("looks",), [16, 8], "'looks' must be growing whole numbers, and is [16, 8]"),
    (RECORD, ("device", "kind"), ..., "its experiment.json has no 'device.kind'; run it again"),
    (RECORD, ("figures",), ["/etc/passwd"], "'figures.0' must be the name of a file, and is \"/etc/passwd\""),
    (RECORD, ("figures",), ["../../passwd"], "'figures.0' must be the name of a file"),
    (RECORD, ("files",), {}, "experiment.json is not as the run wrote it, by its SHA-256"),
    (RECORD, ("\x1b[2Jx",), 1, None),
    (RECORD, ("errors", "\x1b[2Jx"), 1, "'errors.\\x1b[2Jx' must be a text, and is 1"),
    (SUMMARY, ("claims", 0, "unit", "form"), "+.100000000f", "must be the format of a number, such as +.2f"),
    (SUMMARY, ("claims", 0, "unit", "form"), "100000000f", "must be the format of a number, such as +.2f"),
    (SUMMARY, ("claims", 0, "unit", "form"), "d", "must be the format of a number, such as +.2f"),
    (SUMMARY, ("claims", 0, "unit", "form"), "*>+9,.2%", None),
    (SUMMARY, ("claims", 0, "unit", "other"), 1, "'claims.0.unit.other' is a key that this version does not know"),
    (SUMMARY, ("claims", 1, "expected"), [0], "'claims.1.expected' must be two numbers, null for none, and is [0]"),
    (SUMMARY, ("best", "arm", "by"), "luck", "'best.arm.by' must be accuracy or loss, and is \"luck\""),
    (SUMMARY, ("best", "arm", "hypers"), ["depth"], "its summary.json has no 'best.arm.depth'; run it again"),
    (SUMMARY, ("best", "arm", "decay"), "much", "'best.arm.decay' must be a number, and is \"much\""),
    (SUMMARY, ("best", "arm", "by_step", "gain", "unit"), "m", "'best.arm.by_step.gain.unit' is a key that this"),
    (SUMMARY, ("best", "arm", "gain", "mean"), None, None),
    (SUMMARY, ("answer",), f"<script>{SECRET[:4]}</script>", None),
    (SUMMARY, ("answer",), "\ud800", None),
])  # fmt: skip
def test_a_sentence_names_the_file_and_the_key(folder, file, where, value, says):
    (folder / file).write_text(altered({"errors": {}, **content_of(folder, file)}, where, value))
    said = refused(folder)
    assert said is None if says is None else says in said and file in said


@pytest.mark.parametrize(("text", "says"), [
    ("{", "is damaged"), ("", "is damaged"), ("null", "is no mapping"), ("[]", "is no mapping"),
    ("\ufeff{}", "is damaged"),
    ('{"status": NaN}', "NaN is no JSON"), ('{"status": -Infinity}', "-Infinity is no JSON"),
    ('{"flags": ' + 100_000 * "[" + 100_000 * "]" + "}", "is damaged"),
    ('{"flags": ' + 40 * "[" + 40 * "]" + "}", "more than 32 brackets within one another"),
    ('{"seeds": ' + 5000 * "9" + "}", "is damaged"),
], ids=range(10))  # fmt: skip
@pytest.mark.parametrize("file", [RECORD, SUMMARY])
def test_what_is_no_json_is_one_sentence(folder, file, text, says):
    (folder / file).write_text(text)
    said = refused(folder)
    assert says in said
    assert file in said


def test_a_checksum_of_their_own_lets_nothing_in(folder):
    """Whoever changes a file can write its checksum, too: what is read is checked all the same."""
    seal(folder, {**content_of(folder), "seeds": "many"})
    assert "'seeds' must be a whole number" in refused(folder)


@pytest.mark.parametrize("name", ["/etc/passwd", "../run/audit.txt", "figures/../../run/audit.txt"])
def test_no_file_elsewhere_is_checked(folder, name):
    record = {**content_of(folder), "files": {name: ""}}
    (folder / RECORD).write_text(json.dumps({**record, "sha256": digest_of(record)}))
    assert f"{folder} names a file '{name}', which leads out of it" in refused(folder)


# Files


def link(path, to):
    path.unlink() if path.is_file() else shutil.rmtree(path)
    path.symlink_to(to)


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def directory(path):
    path.unlink()
    path.mkdir()


def huge(path):
    os.truncate(path, 2**42)


@pytest.mark.parametrize("file", [RECORD, SUMMARY, AUDIT, RESULTS, CONFIRMING, "figures/accuracy.svg"])
@pytest.mark.parametrize(("make", "says"), [
    (lambda path: link(path, "/etc/passwd"), "is a link"), (lambda path: link(path, "/dev/zero"), "is a link"),
    (pipe, "is no regular file"), (directory, "is no regular file"), (huge, "bytes, and at most"),
], ids=["link", "device", "pipe", "folder", "huge"])  # fmt: skip
def test_what_is_no_file_of_the_folder_is_not_read(folder, file, make, says):
    make(folder / file)
    said = refused(folder)
    assert says in said
    assert str(folder / file) in said


def test_a_folder_of_figures_that_lies_elsewhere_is_not_read(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "accuracy.svg").write_text(SECRET)
    link(folder / "figures", tmp_path / "elsewhere")
    assert "figures/accuracy.svg is a link" in refused(folder)


# Results


def edits(arm):
    """Results with something missing, of another name, or of another kind."""
    yield from (arm.drop_vars(name) for name in arm.variables)
    yield from (arm.rename({dim: "other"}) for dim in arm.sizes)
    yield from (arm.isel({dim: []}) for dim in arm.sizes)
    yield from (arm.isel({dim: [0, 0]}) for dim in arm.sizes)
    yield from (arm.isel({dim: 0}) for dim in arm.sizes)
    yield from (
        arm.assign({name: values.astype(str)}) for name, values in arm.variables.items() if name not in arm.dims
    )
    yield from (arm.assign_coords({dim: arm[dim].astype(str)}) for dim in arm.sizes)
    yield from (arm.assign_coords({dim: arm[dim] + 1000}) for dim in arm.sizes)
    yield from (arm.assign_attrs(axis=axis) for axis in ("", "step", 3.0, [1, 2]))
    yield from (arm.assign_attrs(loss_unit=unit, arm=unit) for unit in (3.0, [1, 2]))
    yield arm.drop_attrs()
    yield xr.Dataset()


def test_results_of_another_shape_are_a_page_or_a_sentence(folder):
    arms, confirming = read_results(folder / RESULTS), read_confirming(folder / CONFIRMING)
    said = []
    for arm in edits(arms["arm"]):
        write_results(folder / RESULTS, {"arm": arm})
        said.append(refused(folder))
    write_results(folder / RESULTS, {"another": arms["arm"]})
    said.append(refused(folder))
    write_results(folder / RESULTS, arms)
    for tile in edits(confirming["arm"][0]):
        write_confirming(folder / CONFIRMING, {"arm": [tile]})
        said.append(refused(folder))
        write_confirming(folder / CONFIRMING, {"arm": [confirming["arm"][0], tile]})
        said.append(refused(folder))
    assert min(said.count(None), len(said) - said.count(None)) > 20
    assert all(RESULTS in each or CONFIRMING in each for each in said if each)


# The command


def command(*words):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["python -m wd_research", "report", *map(str, words)])
        main()


def test_the_report_ends_with_one_sentence_and_writes_nothing(folder, capsys):
    pipe(folder / SUMMARY)
    before = names(folder)
    with pytest.raises(SystemExit) as stopped:
        command(folder)
    assert stopped.value.code == 2
    assert capsys.readouterr() == ("", f"error: {folder}/summary.json is no regular file: put the file itself there\n")
    assert names(folder) == before


@pytest.mark.parametrize("name", ["report.html", ".report.html.unfinished"])
def test_the_report_overwrites_no_file_elsewhere(folder, tmp_path, capsys, name):
    (tmp_path / "mine").write_text("mine")
    (folder / name).symlink_to(tmp_path / "mine")
    command(folder)
    assert capsys.readouterr().out == f"{folder}/report.html\n"
    assert (tmp_path / "mine").read_text() == "mine"
    assert "It helps &amp; more." in (folder / "report.html").read_text()


@pytest.mark.parametrize("where", ["gone/page.html", "file/page.html", "."])
def test_a_page_that_cannot_be_written_is_one_sentence(folder, tmp_path, capsys, where):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as stopped:
        command(folder, folder, "--out", tmp_path / where)
    assert stopped.value.code == 2
    assert "could not be written: " in capsys.readouterr().err


def test_concluding_from_results_that_are_damaged_is_one_sentence(folder):
    (folder / RESULTS).write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(1000))
    with pytest.raises(UserError, match=r"results\.nc is damaged"):
        read_evidence(folder)
