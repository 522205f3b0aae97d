"""The members as the real tensorboard server shows them: a session each, seeds averaged, true ends, curves if asked."""

import json
import urllib.parse
import urllib.request

import numpy as np
import pytest

from tests.evidence.cases import confirming, diverged, results
from tests.reporting.test_tensorboard import eventually, fetch, served
from wd_research.reporting.hparams import write_members
from wd_research.reporting.tensorboard import file_name

STATUSES = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
CURVES = 7
# Two rounds of confirming seeds, of different points.
CONFIRMED = [confirming(points, seeds=2, first=first, axis="strength", seed=1)
             for points, first in (([3, 7], 3), ([7], 5))]  # fmt: skip
MEMBERS = 2 * 15 * 3 + 2 * 2 + 2


@pytest.fixture(scope="module")
def arms():
    return {"coupled": results(seeds=3, axis="strength", seed=1), "a/../../b": diverged(results(seeds=3), 4, seed=1)}


@pytest.fixture(scope="module")
def folder(arms, tmp_path_factory):
    folder = tmp_path_factory.mktemp("outer") / "tensorboard"
    write_members(folder, arms, CURVES, {"coupled": CONFIRMED})
    return folder


@pytest.fixture(scope="module")
def address(folder):
    with served(folder) as address:
        yield address


def groups(address, **more):
    """What the plugin answers when its table asks, once all members are loaded."""
    asked = {"experimentName": "", "allowedStatuses": STATUSES, "startIndex": 0, "sliceSize": 1000, **more}
    asked.setdefault("colParams", [])

    def answer():
        request = urllib.request.Request(f"{address}/data/plugin/hparams/session_groups", json.dumps(asked).encode())
        request.add_header("Content-Type", "application/json")
        return json.loads(urllib.request.urlopen(request).read())

    def whole():
        said = answer()
        ends = [session.get("endTimeSecs") for group in said["sessionGroups"] for session in group["sessions"]]
        return said if len(ends) == MEMBERS and all(ends) else None

    return eventually(whole)["sessionGroups"]


def test_there_is_a_group_per_point_whose_metrics_are_means_over_seeds(address, arms):
    found = [group for group in groups(address) if group["hparams"]["seeds"] == "exploring"]
    assert len(found) == 2 * 15
    for group in found:
        arm = arms[group["hparams"]["arm"]]
        point = int(group["name"].rpartition(" ")[2])
        names = [name for name in group["hparams"] if name not in ("arm", "seeds")]
        assert {name: group["hparams"][name] for name in names} == {name: float(arm[name][point]) for name in names}
        values = {value["name"]["tag"]: value["value"] for value in group["metricValues"]}
        assert values["test_accuracy"] == pytest.approx(float(arm.test_accuracy[:, point, -1].mean()), rel=1e-5)
        assert len(group["sessions"]) == 3


def test_confirming_members_have_groups_of_their_own_with_their_own_seeds_and_points(address):
    found = {group["name"]: group for group in groups(address) if group["hparams"]["seeds"] == "confirming"}
    assert {name: sorted(session["name"] for session in group["sessions"]) for name, group in found.items()} == {
        "coupled, confirming, point 3": ["coupled, confirming/3-3", "coupled, confirming/3-4"],
        "coupled, confirming, point 7": [f"coupled, confirming/7-{seed}" for seed in (3, 4, 5, 6)],
    }
    both = np.concatenate([part.sel(point=7).test_accuracy[:, -1] for part in CONFIRMED])
    group = found["coupled, confirming, point 7"]
    values = {value["name"]["tag"]: value["value"] for value in group["metricValues"]}
    assert values["test_accuracy"] == pytest.approx(both.mean(), rel=1e-5)
    assert group["hparams"]["strength"] == pytest.approx(float(CONFIRMED[1].strength[0]))


def test_a_member_that_diverged_failed_and_no_other(address):
    failed = {s["name"] for g in groups(address) for s in g["sessions"] if s["status"] == "STATUS_FAILURE"}
    assert failed == {f"{file_name('a/../../b')}/4-1"}


def test_the_best_one_is_first_when_the_table_is_sorted(address, arms):
    column = [{"metric": {"group": "", "tag": "test_accuracy"}, "order": "ORDER_DESC", "missingValuesFirst": False}]
    first = next(g for g in groups(address, colParams=column) if g["hparams"]["seeds"] == "exploring")
    means = {name: arm.test_accuracy[:, :, -1].mean("seed").to_numpy() for name, arm in arms.items()}
    best = max(means, key=lambda name: means[name].max())
    assert (first["hparams"]["arm"], first["name"]) == (best, f"{best}, point {means[best].argmax()}")


def test_curves_are_of_as_many_members_as_asked(address, arms):
    groups(address)
    shown = json.loads(fetch(f"{address}/data/plugin/scalars/tags"))
    lengths = []
    for run in shown:
        query = urllib.parse.urlencode({"run": run, "tag": "test_accuracy"})
        lengths.append(len(json.loads(fetch(f"{address}/data/plugin/scalars/scalars?{query}"))))
    assert sorted(lengths) == [1] * (MEMBERS - CURVES) + [2] * CURVES


def test_no_name_leaves_the_folder(folder):
    assert {path.name for path in folder.parent.iterdir()} == {"tensorboard"}
    inside = {path.name for path in folder.iterdir() if path.is_dir()}
    assert inside == {"coupled", "coupled, confirming", file_name("a/../../b")}


@pytest.mark.parametrize("name", ["", ".", "..", "../up", "/root", "a\\b", "a:b", "...x"])
def test_a_file_name_is_one_folder_down(name, tmp_path):
    inside = (tmp_path / file_name(name)).resolve()
    assert inside.parent == tmp_path


def test_a_plain_name_stays():
    assert file_name("decoupled, rate 0.1 (AdamW)") == "decoupled, rate 0.1 (AdamW)"


def test_a_nan_leaves_a_gap(tmp_path):
    arm = results(seeds=2)
    arm["test_loss"][0, 0, -1] = np.nan
    write_members(tmp_path, {"arm": arm})
    record = next((tmp_path / "arm" / "0-0").iterdir()).read_bytes()
    assert b"test_accuracy" in record
    assert b"test_loss" not in record
