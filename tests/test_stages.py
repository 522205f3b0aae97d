"""Stages of a run: what explores, what is chosen, what is confirmed on fresh seeds, when a claim is decided, growth."""

import io
import json
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

import wd_research as wd
from tests.training import cases
from wd_research.cli import main
from wd_research.reporting.folder import read_confirming, read_results
from wd_research.stages import beyond, gains_claimed
from wd_research.training.plan import PlanError

Factor = namedtuple("Factor", "factor")


def computed(seeds):
    """An arm that is computed: the distance of a factor from 2, and a seed's noise."""
    factors, noise = np.float32([0, 1, 2, 3]), 0.01 * np.arange(seeds)[:, None]
    return wd.labelled(Factor(factors), "factor", 1, {"distance": np.abs(factors - 2) + noise})


def declared(**changes):
    """Four seeds explore an arm with a claim that follows a choice, and three confirm."""
    given = {"arms": {"net": cases.arm()}, "seeds": 4, "steps": 6, "evaluations": 3, "confirm": 3, "claims": (HELPS,),
             "question": "Which?", "figures": lambda arms: {}}  # fmt: skip
    return wd.Experiment(**(given | changes))


def run(experiment, folder, **options):
    return wd.run(experiment, folder, console=Console(file=io.StringIO()), tensorboard=False, **options)


def gain(arms):
    return {"gain": wd.gain_over_none(arms["net"], "test_accuracy")}


HELPS = wd.Claim("helps", "Decay helps.", "here", gain, (0.0, np.inf), wd.everywhere)


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("confirmed")
    return run(declared(), folder), folder


def test_what_was_chosen_is_trained_on_seeds_that_no_choice_has_seen(confirmed):
    result, folder = confirmed
    exploring, (fresh,) = read_results(folder / "results.nc")["net"], read_confirming(folder / "confirming.nc")["net"]
    assert exploring["seed"].values.tolist() == [0, 1, 2, 3]
    assert fresh["seed"].values.tolist() == [4, 5, 6]
    chosen = {wd.choose(exploring, among).point for among in (None, wd.has_value(exploring, 0))}
    assert chosen <= set(fresh["point"].values.tolist())
    (row,) = result.summary["claims"]
    assert (row["stage"], row["seeds"]) == ("confirming", 3)
    assert result.summary["best"]["net"]["stage"] == "confirming"
    assert result.summary["seeds"] == {"exploring": 4, "confirming": 3, "looks": (3,), "alpha": 0.05}


def test_a_fresh_seed_is_the_member_that_it_would_be_among_the_others(confirmed, tmp_path):
    _, folder = confirmed
    (fresh,) = read_confirming(folder / "confirming.nc")["net"]
    run(declared(seeds=7, confirm=0), tmp_path)
    whole = read_results(tmp_path / "results.nc")["net"].sel(seed=fresh["seed"], point=fresh["point"])
    for name in ("train_loss", "validation_loss", "test_loss", "weights_norm"):
        np.testing.assert_allclose(fresh[name], whole[name], rtol=1e-4)


def test_the_record_counts_every_member(confirmed):
    result, folder = confirmed
    record = json.loads((folder / "experiment.json").read_text())
    (fresh,) = result.arms.confirming["net"]
    assert record["members"] == 4 * 3 + 3 * fresh.sizes["point"] == result.summary["speed"]["members"]
    assert record["looks"] == [3]


def test_it_is_concluded_again_from_the_folder(confirmed):
    result, folder = confirmed
    assert wd.conclude(declared(), folder).summary == result.summary


def test_without_confirming_seeds_a_choice_is_scored_by_halves(tmp_path):
    result = run(declared(confirm=0), tmp_path)
    assert not (tmp_path / "confirming.nc").exists()
    assert result.summary["claims"][0]["stage"] == result.summary["best"]["net"]["stage"] == "halves"
    assert result.summary["claims"][0]["seeds"] == 4


def test_what_no_claim_scores_after_a_choice_needs_no_fresh_seeds(tmp_path):
    curve = replace_measure(lambda arms: {"distance": wd.final(arms["law"], "distance")[:, 1]}, (0.9, 1.1))
    result = run(declared(arms={"law": computed}, claims=(curve,)), tmp_path)
    assert not (tmp_path / "confirming.nc").exists()
    assert result.summary["claims"][0]["verdict"] == "holds"


def test_a_computed_arm_is_confirmed_too(tmp_path):
    def nearest(arms):
        results = arms["law"]
        choice = wd.choose(results, scores=-wd.final(results, "distance"))
        return {"distance": wd.score(results, choice, "distance")}

    result = run(declared(arms={"law": computed}, claims=(replace_measure(nearest, (0.0, 0.2)),)), tmp_path)
    (fresh,) = result.arms.confirming["law"]
    assert (fresh["seed"].values.tolist(), fresh["point"].values.tolist()) == ([4, 5, 6], [2])
    np.testing.assert_allclose(result.arms.score(nearest)["distance"].values, [0.04, 0.05, 0.06])


def replace_measure(measure, expected):
    return replace(HELPS, measure=measure, expected=expected)


def noisy(arms):
    """A claim that no number of seeds decides."""
    scores = wd.tuned(arms["net"], "test_accuracy")
    return {"noise": wd.measured(lambda at: np.where(at["seed"].to_numpy() % 2, 1.0, -1.0), *scores.choices)}


def certain(arms):
    scores = wd.tuned(arms["net"], "test_accuracy")
    return {"one": wd.measured(lambda at: 1.0 + 0.1 * (at["seed"].to_numpy() % 2), *scores.choices)}


OPEN = replace(replace_measure(noisy, (0.0, np.inf)), id="open")
SURE = replace(replace_measure(certain, (0.0, np.inf)), id="sure")


@pytest.mark.parametrize(("claims", "seeds"), [((OPEN, SURE), [3, 3, 3]), ((SURE,), [3])])
def test_seeds_are_added_until_every_claim_is_decided_or_there_are_so_many(tmp_path, claims, seeds):
    result = run(declared(claims=claims, until_decided=9), tmp_path)
    rounds = read_confirming(tmp_path / "confirming.nc")["net"]
    assert [each.sizes["seed"] for each in rounds] == seeds
    assert np.concatenate([each["seed"] for each in rounds]).tolist() == list(range(4, 4 + sum(seeds)))
    rows = {row["verdict"]: row for row in result.summary["claims"]}
    assert rows["holds"]["seeds"] == 3
    assert rows["holds"]["alpha"] == pytest.approx(0.0221, abs=1e-4)
    if OPEN in claims:
        assert rows["undecided"]["seeds"] == 9


def test_only_what_is_undecided_gets_more_seeds(tmp_path):
    run(declared(claims=(OPEN, HELPS), until_decided=6), tmp_path)
    first, second = read_confirming(tmp_path / "confirming.nc")["net"]
    assert set(second["point"].values) <= set(first["point"].values)
    assert second.sizes["point"] <= first.sizes["point"]


def test_without_claims_seeds_are_added_until_the_gain_is_known(confirmed):
    result, _ = confirmed
    (gains,) = gains_claimed(result.arms)
    assert list(gains.measure(result.arms)) == ["gain"]


def test_a_claim_that_fails_to_choose_costs_nothing_else(tmp_path):
    def broken(arms):
        return {}["missing"]

    with pytest.raises(ExceptionGroup, match="claim broken"):
        run(declared(claims=(HELPS, replace(HELPS, id="broken", measure=broken))), tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [(row["id"], row["stage"]) for row in summary["claims"]] == [("helps", "confirming")]


def test_what_was_interrupted_while_confirming_is_concluded_by_halves(tmp_path):
    def interrupt(name, position):
        if "confirming" in name:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(declared(), tmp_path, observers=[interrupt])
    summary = wd.conclude(declared(), tmp_path).summary
    assert summary["claims"][0]["stage"] == "halves"


def test_exploring_is_not_lost_where_confirming_does_not_fit(tmp_path, monkeypatch):
    def too_large(wanted):
        raise PlanError("--memory 1 is not enough")

    monkeypatch.setattr("wd_research.stages.common_rooms", too_large)
    with pytest.raises(PlanError):
        run(declared(), tmp_path)
    assert json.loads((tmp_path / "experiment.json").read_text())["status"] == "failed"
    assert wd.conclude(declared(), tmp_path).summary["claims"][0]["stage"] == "halves"


def test_observers_are_told_of_confirming_seeds_by_another_name(tmp_path):
    seen = {}

    def watch(name, position):
        sizes = position.results.sizes
        seen.setdefault(name, []).append((position.step, sizes["point"], sizes["seed"]))

    result = run(declared(), tmp_path, observers=[watch])
    points = result.arms.confirming["net"][0].sizes["point"]
    assert seen == {
        "net": [(step, 3, 4) for step in (2, 4, 6)],
        "net, confirming": [(step, points, 3) for step in (2, 4, 6)],
    }


# Growth


def rising(folder, **changes):
    """A run whose best decay is the largest of its grid."""
    arm = cases.arm()
    points = cases.points(decays=(0.0, 1e-4, 1e-3), learning_rates=(0.01, 0.02))

    def validation(params, extras, batch, name):
        measured = arm.task.evaluate(params, extras, batch, name)
        norm = sum(np.float32(1) * (leaf**2).sum() for leaf in params["Dense_0"].values())
        return {**measured, "accuracy": 1 / (1 + norm)}  # smaller weights are better

    task = arm.task._replace(evaluate=validation)
    return run(declared(arms={"net": replace(arm, task=task, points=points)}, confirm=2, **changes), folder)


def test_a_grid_grows_beyond_an_edge_on_which_a_best_point_lies(tmp_path):
    small, grown = rising(tmp_path / "small"), rising(tmp_path / "grown", grow=True)
    assert "decay" in small.summary["best"]["net"]["edges"]
    before, after = small.arms["net"], grown.arms["net"]
    values = wd.axis_values(after)
    assert set(wd.axis_values(before)) < set(values)
    assert values.max() == pytest.approx(1e-3 * 10**6)  # two decades at a time, three times
    for rate in np.unique(after["learning_rate"]):  # whatever was added, the grid is whole
        np.testing.assert_array_equal(wd.axis_values(after.isel(point=after["learning_rate"].values == rate)), values)
    assert after["point"].values.tolist() == list(range(after.sizes["point"]))
    known = after.isel(point=slice(before.sizes["point"]))
    np.testing.assert_array_equal(known["test_loss"], before["test_loss"])
    assert wd.conclude(grown.experiment, grown.folder).summary == grown.summary
    added = np.float32(grown.summary["best"]["net"]["grown"]["decay"])
    np.testing.assert_array_equal(np.union1d(np.float32(wd.axis_values(before)), added), np.float32(values))
    assert not np.isin(added, wd.axis_values(before)).any()
    assert (small.summary["best"]["net"]["grown"], grown.arms["net"].attrs["declared"]) == ({}, before.sizes["point"])
    recorded = [json.loads((made.folder / "experiment.json").read_text())["grow"] for made in (small, grown)]
    assert recorded == [False, True]


@pytest.mark.parametrize(
    ("grid", "edge", "added"),
    [
        ((0, 1, 3), 3, (9, 27)),
        ((0, 1, 3), 1, (0.333, 0.111)),
        ((0, 0.5), 0.5, (5, 50)),
        ((0, 1, 3, 9), 3, ()),
    ],
)
def test_two_values_are_added_in_the_step_of_the_grid(grid, edge, added):
    columns = {"decay": np.float32(grid), "rate": np.arange(len(grid), dtype=np.float32)}
    grown = beyond(columns, "decay", np.float32(edge))
    np.testing.assert_allclose(grown["decay"], [*grid, *added], rtol=1e-6)
    np.testing.assert_array_equal(grown["rate"][len(grid) :], [grid.index(edge)] * len(added))


# What cannot be


def words(*given):
    def experiment(*, seeds: int = 4) -> wd.Experiment:
        return declared(seeds=seeds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["experiment", *map(str, given)])
        main(experiment)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("--confirm", 1), "--confirm 1 is too few: give 2 or more, or 0"),
        (("--confirm", -2), "--confirm -2 is too few"),
        (("--until-decided", 7), "--until-decided 7 is no multiple of --confirm 3"),
        (("--until-decided", 0), "--until-decided 0 is no multiple of --confirm 3"),
        (("--confirm", 0, "--until-decided", 32), "give 16, 32, 48 or more with --confirm 16"),
    ],
)
def test_numbers_of_seeds_that_cannot_be_get_one_sentence(capsys, tmp_path, given, says):
    with pytest.raises(SystemExit) as stopped:
        words("--workdir", tmp_path / "run", *given)
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_the_flags_of_the_stages_reach_the_run(tmp_path, capsys):
    words("--workdir", tmp_path / "run", "--confirm", 2, "--until-decided", 4, "--no-tensorboard")
    record = json.loads((tmp_path / "run" / "experiment.json").read_text())
    assert record["looks"] == [2, 4]
    words("--conclude", tmp_path / "run")


def test_arms_of_other_lengths_are_trained_and_confirmed_for_as_many_steps(tmp_path):
    """One arm takes twice the steps of the other: it is what an experiment of twice the steps makes of it."""
    short = cases.parabola((0.0, 0.1, 1.0))
    both = wd.Experiment(
        {"short": short, "long": replace(short, steps=np.int64(16))}, seeds=2, steps=8, evaluations=2, confirm=2
    )
    result = wd.run(both, tmp_path / "both")
    alone = wd.run(replace(both, arms={"long": short}, steps=16), tmp_path / "alone")
    assert {name: results["step"].to_numpy().tolist() for name, results in result.arms.items()} == {
        "short": [4, 8], "long": [8, 16]}  # fmt: skip
    assert result.arms["long"].equals(alone.arms["long"])
    assert [position.attrs["steps"] for position in result.arms.arms.values()] == [8, 16]
    assert wd.run(both, tmp_path / "both").arms["short"].equals(result.arms["short"])
