"""Racing: points that have lost are dropped between rounds of seeds; what is left answers as the whole grid does."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import wd_research as wd
from tests.test_stages import HELPS, computed, declared, replace_measure, run, words
from tests.training import cases
from wd_research.evidence.choices import SPENT, rivals
from wd_research.evidence.measured import Evidence
from wd_research.evidence.selection import likely_best
from wd_research.racing import level, looks, still_in
from wd_research.reporting.figures import all_figures
from wd_research.reporting.folder import read_results
from wd_research.reporting.hparams import write_members
from wd_research.reporting.panels import explored
from wd_research.results import UNTRAINED, mean_of_seeds, trained
from wd_research.training.plan import Limits

ROOT = Path(__file__).parent.parent
SEEDS = 12


def graded(decays=(0.0, 1e-3, 1.0, 30.0), noise=0.003, **changes):
    """An experiment in whose arm the validation score falls with the norm of the weights, and a large decay wins."""
    arm = cases.arm()

    def evaluate(params, extras, batch, name):
        measured = arm.task.evaluate(params, extras, batch, name)
        norm = sum((leaf**2).sum() for leaf in params["Dense_0"].values())
        return {**measured, "accuracy": 1 / (1 + norm) + noise * measured["loss"]}

    task = arm.task._replace(evaluate=evaluate)
    points = cases.points(decays=decays, learning_rates=(0.01, 0.02))
    given = {"arms": {"net": replace(arm, task=task, points=points)}, "seeds": SEEDS, "claims": (), "race": True}
    return declared(**(given | changes))


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same run with a race, and with the whole grid."""
    folders = tmp_path_factory.mktemp("raced"), tmp_path_factory.mktemp("whole")
    return run(graded(), folders[0]), run(graded(race=False), folders[1])


def test_what_is_trained_is_as_in_the_whole_grid(both):
    raced, whole = (result.arms["net"] for result in both)
    there = trained(raced)
    assert there[:4].all()
    assert 0 < there[4:].mean() < 1
    for name in ("test_loss", "validation_accuracy", "weights_norm"):
        np.testing.assert_allclose(raced[name].to_numpy()[there], whole[name].to_numpy()[there], rtol=1e-4)
        assert np.isnan(raced[name].to_numpy()[~there]).all()
    assert (raced["diverged_at"].to_numpy()[~there] == UNTRAINED).all()
    assert (whole["diverged_at"] == -1).all()


def test_it_chooses_what_the_whole_grid_chooses(both):
    raced, whole = both
    for among in (None, wd.has_value(whole.arms["net"], 0)):
        assert wd.choose(raced.arms["net"], among).point == wd.choose(whole.arms["net"], among).point
    assert raced.best() == whole.best()


def test_every_member_is_counted_once(both):
    raced, whole = both
    fresh = sum(each.sizes["seed"] * each.sizes["point"] for each in raced.arms.confirming["net"])
    record = json.loads((raced.folder / "experiment.json").read_text())
    entry = raced.summary["best"]["net"]
    assert entry["members"] == trained(raced.arms["net"]).sum() < whole.summary["best"]["net"]["members"]
    assert record["members"] == entry["members"] + fresh
    assert entry["diverged"] == 0
    assert record["race"]


def test_the_confidence_set_holds_nothing_that_was_dropped(both):
    raced, _ = both
    likely = likely_best(raced.arms["net"])
    assert likely.any()
    assert not likely[~trained(raced.arms["net"]).all(axis=0)].any()


def test_means_are_over_the_seeds_that_there_are(both):
    raced, whole = both
    lost, all_ = (result.table()["test_loss"].to_numpy() for result in both)
    there = trained(raced.arms["net"])
    values = wd.final(whole.arms["net"], "test_loss")
    expected = [values[seeds, point].mean() for point, seeds in enumerate(there.T)]
    np.testing.assert_allclose(lost, expected, rtol=1e-4)
    np.testing.assert_allclose(lost[there.all(axis=0)], all_[there.all(axis=0)], rtol=1e-4)
    assert np.isfinite(raced.table()["test_loss_low"].to_numpy()).all()


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_every_figure_draws_the_points_that_were_dropped(tmp_path, kind):
    """Of a grid in three hyperparameters, judged by accuracy and by loss, with a member that diverged."""
    rng, points = np.random.default_rng(0), cases.points((0.0, 0.1, 1.0, 10.0), (0.01, 0.02), (0.0, 0.4))
    size = len(points.decay)
    metrics = {f"{part}_{name}": rng.uniform(0.5, 1, (8, size)) for part in ("train", "validation", "test")
               for name in (("accuracy", "loss") if kind == "classes" else ("loss",))}  # fmt: skip
    metrics["weights_below"] = np.sort(rng.uniform(size=(8, size, 42)))
    results = wd.labelled(points, "decay", 5, {name: values.astype(np.float32) for name, values in metrics.items()})
    at = np.full((8, size), -1)
    at[4:, [1, 5, 6]], at[2, 7] = UNTRAINED, 3
    for name in metrics:
        results[name] = results[name].where((at != UNTRAINED)[(..., *[None] * (results[name].ndim - 2))])
    results["diverged_at"] = (("seed", "point"), at)
    figures = all_figures(Evidence({"net": results}))
    assert set(figures) == {"tuned", "accuracy" if kind == "classes" else "loss", "heat_map", "time_scale", "points"}
    for name, figure in figures.items():
        figure.savefig(tmp_path / f"{name}.png")
    assert explored({"net": results}) == "4 to 8 exploring seeds"
    assert np.isfinite(mean_of_seeds(results, "test_loss")).sum() == size - 1
    write_members(tmp_path / "members", {"net": results})
    assert len(list((tmp_path / "members").glob("net/*"))) == (at != UNTRAINED).sum()


def test_it_goes_on_and_is_concluded_from_its_folder(both):
    raced, _ = both
    assert wd.conclude(graded(), raced.folder).summary == raced.summary
    again = run(graded(), raced.folder)
    assert again.arms["net"].equals(raced.arms["net"])


def test_a_race_that_was_interrupted_goes_on(both, tmp_path):
    raced, _ = both

    def interrupt(name, position):
        if "racing" in name:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(graded(), tmp_path, observers=[interrupt])
    assert run(graded(), tmp_path).arms["net"].equals(raced.arms["net"])


def test_more_seeds_are_a_race_that_goes_on(both, tmp_path):
    raced, _ = both
    short = run(graded(seeds=8), tmp_path)
    assert run(graded(), tmp_path).arms["net"].equals(raced.arms["net"])
    assert trained(short.arms["net"])[:8].sum() <= trained(raced.arms["net"])[:8].sum()


@pytest.mark.slow
def test_a_race_grows_beyond_an_edge(tmp_path):
    result = run(graded(decays=(0.0, 1e-3, 8.0, 10.0), grow=True), tmp_path)
    results = result.arms["net"]
    beyond = results["decay"].to_numpy() > 10
    assert beyond.any()
    assert trained(results)[:, beyond].all()
    assert not trained(results).all()


def test_a_claim_on_the_whole_grid_keeps_it(tmp_path, capsys):
    curve = replace_measure(lambda arms: {"loss": wd.final(arms["net"], "test_loss")[:, 1]}, (0.0, np.inf))
    result = run(graded(claims=(HELPS, replace(curve, id="curve"))), tmp_path)
    assert trained(result.arms["net"]).all()
    assert capsys.readouterr().err.count("the claim curve rests on the whole grid") == 1


def test_a_condition_keeps_what_may_be_best_in_it(tmp_path):
    def small(arms):
        results = arms["net"]
        return {"small": wd.tuned(results, "test_accuracy", results["decay"].to_numpy() == np.float32(1e-3))}

    among = graded().arms["net"].points.decay == np.float32(1e-3)
    result = run(graded(claims=(replace_measure(small, (0.0, 1.0)),)), tmp_path)
    whole = trained(result.arms["net"]).all(axis=0)
    assert whole[among].any()
    assert result.summary["claims"][0]["verdict"] == "holds"


@pytest.mark.slow
def test_points_on_which_a_choice_falls_later_come_back(tmp_path):
    """Before all seeds are there a claim looks elsewhere than behind it."""

    def late(arms):
        results = arms["net"]
        decay = np.float32(1e-3 if results.sizes["seed"] >= 8 else 0.0)
        return {"late": wd.tuned(results, "test_accuracy", results["decay"].to_numpy() == decay)}

    result = run(graded(claims=(replace_measure(late, (0.0, 1.0)),)), tmp_path)
    among = result.arms["net"]["decay"].to_numpy() == np.float32(1e-3)
    assert trained(result.arms["net"])[:, among].all(axis=0).any()
    assert result.summary["claims"][0]["verdict"] == "holds"


def test_a_computed_arm_is_raced_beside_what_is_trained(tmp_path):
    result = run(graded(arms={**graded().arms, "law": computed}), tmp_path)
    assert result.arms["law"].sizes["seed"] == SEEDS
    assert not trained(result.arms["net"]).all()


def test_few_seeds_are_one_round(tmp_path):
    assert trained(run(graded(seeds=4, confirm=0), tmp_path).arms["net"]).all()


@pytest.mark.parametrize(
    ("seeds", "rounds"), [(1, [1]), (4, [4]), (5, [4, 5]), (8, [4, 8]), (12, [4, 8, 12]), (40, [4, 8, 16, 32, 40])]
)
def test_rounds_double(seeds, rounds):
    assert looks(seeds) == rounds


def test_what_a_round_may_err_adds_up_to_what_is_spent():
    assert sum(map(level, range(1, 10_000))) == pytest.approx(SPENT, rel=1e-3)


def test_rivals_of_a_choice(both):
    _, whole = both
    results = whole.arms["net"]
    choice = wd.choose(results)
    left = rivals(results.assign_attrs(arm="net"), choice, SPENT)
    assert choice.point in left < set(range(results.sizes["point"]))
    assert rivals(results, choice._replace(contest=None), SPENT) == {choice.point}
    by_others = wd.choose(results, scores=-wd.final(results, "test_loss"))
    assert rivals(results, by_others, SPENT) == set(range(results.sizes["point"]))
    for derived in (wd.stopped_early(results), results.assign(validation_accuracy=results["validation_accuracy"] ** 2)):
        assert rivals(results, wd.choose(derived), SPENT) == set(range(results.sizes["point"]))
    at_any = wd.choose(results, any_step=True)
    assert at_any.point in rivals(results, at_any, SPENT)


def test_an_arm_from_which_nothing_is_chosen_keeps_all_points():
    points = cases.points((0.0, 1.0, 2.0))
    metrics = {"test_loss": np.random.default_rng(0).normal(size=(4, len(points.decay)))}
    assert still_in({"net": wd.labelled(points, "decay", 1, metrics)}, (), SPENT)["net"] == list(
        range(len(points.decay))
    )


def test_the_flag_reaches_the_run_and_the_plan_says_it(tmp_path, capsys):
    words("--workdir", tmp_path / "run", "--race", "--seeds", 5, "--no-tensorboard")
    assert json.loads((tmp_path / "run" / "experiment.json").read_text())["race"]
    words("--plan", "--race", "--seeds", 5)
    assert "of 5 seeds the first 4 see every point" in capsys.readouterr().out


def test_a_race_of_points_that_advance_together_chooses_the_same(both, tmp_path):
    _, whole = both
    raced = run(graded(), tmp_path, how=wd.How(Limits(blocks=(None,)))).arms["net"]
    there, expected = trained(raced), whole.arms["net"]
    assert not there.all()
    np.testing.assert_allclose(raced["test_loss"].to_numpy()[there], expected["test_loss"].to_numpy()[there], rtol=1e-4)
    assert wd.choose(raced).point == wd.choose(expected).point


@pytest.mark.slow
def test_processes_that_share_a_folder_race_as_one_does(tmp_path):
    sizes = "--steps 60 --decays 0 0.1 1 1000 --strengths 0 0.01 10 --learning-rates 0.001 0.01 --seeds 8 --confirm 2"
    few = [*sizes.split(" "), "--race", "--no-tensorboard", "--tiles", "4", "--no-audit"]
    command = [sys.executable, "-m", "experiments.decay_values", *few]
    shared = [subprocess.Popen([*command, "--join", str(tmp_path / "shared")], cwd=ROOT) for _ in range(2)]
    assert [process.wait() for process in shared] == [0, 0]
    subprocess.run([*command, "--workdir", str(tmp_path / "alone")], cwd=ROOT, check=True)
    one, other = (read_results(tmp_path / name / "results.nc") for name in ("shared", "alone"))
    assert all(one[name].equals(other[name]) for name in one)
    assert any(not trained(one[name]).all() for name in one)
