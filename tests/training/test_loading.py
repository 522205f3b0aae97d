"""Examples from everywhere: what is right comes out as it was, what is wrong is named in one sentence."""

import gzip
import io
import json
import re
import urllib.error
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy

from wd_research.flags import UserError
from wd_research.training.data import draw_split, standardised
from wd_research.training.loading import from_arrays, from_csv, from_frame, from_npz, from_openml, windows

INPUTS = np.arange(12.0).reshape(6, 2)
CLASSES = np.array([0, 1, 2, 0, 1, 2])
NAN = np.where(INPUTS == 5, np.nan, INPUTS)


@given(of_numpy.arrays(np.float32, (6, 2, 3), elements=st.floats(-1e6, 1e6, width=32)))
def test_arrays_come_out_as_they_went_in(inputs):
    examples = from_arrays(inputs, CLASSES)
    assert (examples.inputs == inputs).all()
    assert (examples.targets == CLASSES).all()
    assert (examples.inputs.dtype, examples.targets.dtype) == (np.float32, np.int32)


@pytest.mark.parametrize(
    ("targets", "numbered"),
    [
        (np.array(["b", "a", "c", "b", "a", "c"]), [1, 0, 2, 1, 0, 2]),
        (np.array([True, False] * 3), [1, 0] * 3),
        (np.array([True, False] * 3, object).astype(str), [1, 0] * 3),
        (CLASSES.astype(np.uint8), CLASSES),
        (np.array([0.5, 1, 2, 3, 4, 5]), [0.5, 1, 2, 3, 4, 5]),
    ],
)
def test_words_and_booleans_are_classes_and_other_numbers_stay(targets, numbered):
    assert from_arrays(INPUTS.astype(np.uint8), targets).targets.tolist() == list(numbered)


@pytest.mark.parametrize(
    ("inputs", "targets", "said"),
    [
        (INPUTS, CLASSES[:5], r"inputs of shape \(6, 2\) and targets of shape \(5,\) do not fit"),
        (INPUTS[:, 0], CLASSES, "inputs with a second axis"),
        (INPUTS[:0], CLASSES[:0], "do not fit"),
        (NAN, CLASSES, r"inputs hold nan at \[2, 1\]"),
        (INPUTS * 1e200, CLASSES, r"inputs hold .*e\+200 at \[0, 1\]"),
        (INPUTS.astype(object), CLASSES, "inputs are of type object: give numbers"),
        (INPUTS.astype(complex), CLASSES, "inputs are of type complex128"),
        (INPUTS, np.where(CLASSES == 1, np.nan, CLASSES), r"targets hold nan at \[1\]"),
        (INPUTS, CLASSES - 1, "target -1 is no class"),
        (INPUTS, CLASSES * 2, "class 1 has no example"),
        (INPUTS, CLASSES + 1, "class 0 has no example"),
        (INPUTS, np.int64(2) ** 40 * (CLASSES > 1), r"targets hold 1099511627776 at \[2\]"),
        (INPUTS, np.array([0, "a", 1, 2, 3, None], object), "targets are of mixed types"),
    ],
)
def test_what_cannot_be_right_is_one_sentence(inputs, targets, said):
    with pytest.raises(UserError, match=said) as caught:
        from_arrays(inputs, targets, "mine")
    assert str(caught.value).startswith("mine: ")
    assert "\n" not in str(caught.value)


def test_a_npz_file(tmp_path):
    np.savez(tmp_path / "my.npz", x=INPUTS, y=CLASSES, z=np.array([{}, []], object))
    assert (from_npz(tmp_path / "my.npz", "x", "y").inputs == INPUTS).all()
    for names, said in {("x", "t"): "has no array t: it has x, y, z", ("z", "y"): "holds Python objects"}.items():
        with pytest.raises(UserError, match=said):
            from_npz(tmp_path / "my.npz", *names)
    (tmp_path / "torn.npz").write_bytes((tmp_path / "my.npz").read_bytes()[:200])
    (tmp_path / "text.npz").write_text("no arrays")
    for name, said in (("torn", "numpy.savez"), ("text", "numpy.savez"), ("none", "there is no such file")):
        with pytest.raises(UserError, match=rf"{name}\.npz is no \.npz file: .*{said}"):
            from_npz(tmp_path / f"{name}.npz")


def test_a_csv_file(tmp_path):
    path = tmp_path / "my.csv"
    path.write_text("age,city,kind\n1,Oslo,b\n2,Rome,a\n3,Oslo,a\n")
    examples = from_csv(path, "kind")
    assert examples.inputs.tolist() == [[1, 1, 0], [2, 0, 1], [3, 1, 0]]
    assert examples.targets.tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("text", "target", "said"),
    [
        ("age,kind\n1,b\n", "class", "has no column class: it has age, kind"),
        ("age,kind\n1,b\n,a\n", "kind", "column age misses 1 values"),
        ("", "kind", "cannot be read as a CSV file"),
        ("a,b\n1,2,3\n1,2\n1,2,3,4\n", "b", "cannot be read as a CSV file"),
    ],
)
def test_a_csv_file_that_cannot_be_right(tmp_path, text, target, said):
    (tmp_path / "my.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        from_csv(tmp_path / "my.csv", target)
    with pytest.raises(UserError, match="cannot be read as a CSV file"):
        from_csv(tmp_path / "none.csv", target)


def test_a_frame_with_categories():
    frame = pd.DataFrame({"size": [1.5, 2.5, 3.5], "kind": pd.Categorical(["x", "y", "x"]), "price": [1.0, 2.0, 4.0]})
    examples = from_frame(frame, "price")
    assert examples.inputs.tolist() == [[1.5, 1, 0], [2.5, 0, 1], [3.5, 1, 0]]
    assert examples.targets.dtype == np.float32


ARFF = "@relation tiny\n@attribute x numeric\n@attribute kind {a,b}\n@data\n" + "1,a\n2,b\n3.5,a\n"
ANSWERS = {
    "data/list/data_name/tiny": {"data": {"dataset": [{"did": 7, "name": "tiny", "version": 1, "status": "active"}]}},
    "data/features/7": {"data_features": {"feature": [
        {"index": "0", "name": "x", "data_type": "numeric", "is_target": "false", "is_ignore": "false",
         "is_row_identifier": "false", "number_of_missing_values": "0"},
        {"index": "1", "name": "kind", "data_type": "nominal", "is_target": "true", "is_ignore": "false",
         "is_row_identifier": "false", "number_of_missing_values": "0", "nominal_value": ["a", "b"]},
    ]}},
    "data/qualities/7": {"data_qualities": {"quality": [{"name": "NumberOfInstances", "value": "3"}]}},
    "data/7": {"data_set_description": {"id": "7", "name": "tiny", "version": "1", "format": "ARFF", "file_id": "9",
               "url": "https://openml.org/data/v1/download/9", "status": "active", "md5_checksum": "",
               "default_target_attribute": "kind", "description": "Three rows."}},
}  # fmt: skip


def openml(request, *_, **__):
    """What OpenML says of a data set of three rows."""
    address = request if isinstance(request, str) else request.full_url
    if "download" in address:
        return Answer(gzip.compress(ARFF.encode()))
    for path, answer in ANSWERS.items():
        if re.search(rf"json/{path}(/|$|\?)", address):
            return Answer(gzip.compress(json.dumps(answer).encode()))
    raise AssertionError(address)


class Answer(io.BytesIO):
    """A response over HTTP."""

    def info(self):
        return {"Content-Encoding": "gzip"}


def test_openml_by_name_from_a_copy_of_its_answers(tmp_path, monkeypatch):
    import sklearn.datasets._openml as loader

    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    monkeypatch.setattr(loader, "urlopen", openml)
    monkeypatch.setitem(ANSWERS["data/7"]["data_set_description"], "md5_checksum", md5(ARFF))
    examples = from_openml("tiny", version=1)
    assert examples.inputs.ravel().tolist() == [1, 2, 3.5]
    assert examples.targets.tolist() == [0, 1, 0]
    monkeypatch.setattr(loader, "urlopen", unreachable)
    assert from_openml("tiny", version=1).targets.tolist() == [0, 1, 0]  # kept on disk


def md5(text):
    import hashlib

    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def unreachable(*_, **__):
    raise urllib.error.URLError("Name or service not known")


def test_without_a_network_one_sentence_says_what_to_do(tmp_path, monkeypatch):
    import sklearn.datasets._openml as loader

    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    monkeypatch.setattr(loader, "urlopen", unreachable)
    with pytest.raises(UserError, match=r"OpenML cannot be reached for adult: .*CSV"):
        from_openml("adult")


@given(st.integers(2, 40), st.integers(1, 9))
def test_windows_lie_side_by_side_and_each_target_is_the_next_token(size, length):
    tokens = np.arange(size)
    if size < length + 1:
        with pytest.raises(UserError, match=f"at least {length + 1} whole numbers"):
            windows(tokens, length)
        return
    examples = windows(tokens, length)
    assert (examples.targets == examples.inputs + 1).all()
    assert (examples.inputs.ravel() == np.arange(examples.inputs.size)).all()
    assert size - 1 - examples.inputs.size < length


@pytest.mark.parametrize("tokens", [np.arange(9.0), -np.arange(9), np.arange(9).reshape(3, 3)])
def test_what_is_no_text_is_said(tokens):
    with pytest.raises(UserError, match="cannot be cut into windows"):
        windows(tokens, 2)


def test_tokens_and_numbers_split_without_classes():
    for examples in (windows(np.arange(100) % 7, 4), from_arrays(np.eye(24), np.linspace(0, 1, 24))):
        split = draw_split(examples, 0, 10, 5)
        everyone = np.concatenate([split.train, split.validation, split.test])
        assert sorted(everyone) == list(range(24))
        batch = standardised(examples, split, split.train, split.train_targets)
        assert (batch.targets == examples.targets[split.train]).all()
        if examples.inputs.dtype == np.int32:
            assert (batch.inputs == examples.inputs[split.train]).all()
        with pytest.raises(UserError, match=r"--label-noise .* has no classes"):
            draw_split(examples, 0, 10, 5, label_noise=0.1)


def test_a_class_too_small_for_all_parts_is_named():
    examples = from_arrays(np.eye(31), np.array([0, 1] * 15 + [2]))
    with pytest.raises(UserError, match="class 2 has too few examples"):
        draw_split(examples, 0, 10, 5)


def test_every_loader_is_in_the_guide():
    guide = (Path(__file__).parents[2] / "docs" / "your_own.md").read_text()
    for name in ("from_arrays", "from_npz", "from_csv", "from_frame", "from_openml", "windows"):
        assert f"`{name}(" in guide
