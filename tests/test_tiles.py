"""Tiles: what is there is not trained again, what is missing is, and together they are what one run would have made."""

import io
import json
import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest
from rich.console import Console

import wd_research as wd
from tests.training import cases
from wd_research.arrays import read_arrays, read_said, write_arrays
from wd_research.flags import UserError
from wd_research.measuring import measure
from wd_research.reporting.folder import read_confirming, read_results
from wd_research.scheduling import IncompleteError, Share
from wd_research.tiles import Wanted, missing, read_tile, united
from wd_research.training.plan import Limits
from wd_research.weights import kept_of, member, read_weights

DECAYS = (0.0, 0.5, 1.0, 1.5)


def descent(decays=DECAYS, **changes):
    """An experiment of one arm that compiles in no time."""
    given = {"seeds": 2, "steps": 6, "evaluations": 3, "confirm": 0, "question": "Which?", "figures": lambda arms: {}}
    arms = {"net": cases.parabola(decays)}
    return wd.Experiment(**({"arms": arms} | given | changes))


def classifier(**changes):
    """An experiment whose choices are confirmed."""
    given = {"seeds": 2, "steps": 6, "evaluations": 3, "confirm": 3, "question": "Which?", "figures": lambda arms: {}}
    return wd.Experiment(**({"arms": {"net": cases.arm()}} | given | changes))


def trained(experiment, folder, **options):
    """What a run measures, and how many member-steps it trained for that."""
    steps = []
    evidence = measure(experiment, folder, advance=steps.append, **options)
    return dict(evidence), sum(steps)


def everything(folder):
    """The results and the confirming results in a folder."""
    return read_results(folder / "results.nc"), read_confirming(folder / "confirming.nc")


def assert_same(one, other, tolerance=0.0):
    assert one.keys() == other.keys()
    for name, results in one.items():
        if not tolerance:
            assert results.identical(other[name])
        assert list(results.data_vars) == list(other[name].data_vars)
        for metric in results.data_vars:
            np.testing.assert_allclose(results[metric], other[name][metric], rtol=tolerance)


# What is there is not trained again


def test_the_same_run_again_trains_nothing_and_leaves_the_same(tmp_path):
    first, steps = trained(classifier(), tmp_path)
    again, none = trained(classifier(), tmp_path)
    assert steps > 0 == none
    assert_same(first, again)


GROWN = {
    "seeds": (descent(), descent(seeds=5), 3 * 4 * 6),
    "fewer seeds": (descent(seeds=5), descent(), 0),
    "points between": (descent(), descent((0.0, 0.25, 0.5, 0.75, 1.0, 1.5)), 2 * 2 * 6),
    "points in another order": (descent(), descent(DECAYS[::-1]), 0),
    "fewer points": (descent(), descent(DECAYS[1:3]), 0),
    "seeds and points": (descent(), descent((0.0, 0.5, 9.0), seeds=3), (2 * 1 + 1 * 3) * 6),
    "an arm": (descent(), descent(arms={"net": cases.parabola(DECAYS), "more": cases.parabola((0.0, 1.0))}), 2 * 2 * 6),
}


@pytest.mark.parametrize("name", GROWN)
def test_a_run_that_grows_trains_what_is_missing_alone_and_is_what_it_would_have_been(name, tmp_path):
    before, after, steps = GROWN[name]
    trained(before, tmp_path / "grown")
    grown, count = trained(after, tmp_path / "grown")
    whole, _ = trained(after, tmp_path / "whole")
    assert count == steps
    assert_same(grown, whole, 1e-5)
    for results in grown.values():
        assert results["point"].values.tolist() == list(range(results.sizes["point"]))


def test_more_confirming_seeds_are_added_to_those_that_are_there(tmp_path):
    trained(classifier(), tmp_path / "grown")
    _, steps = trained(classifier(confirm=5), tmp_path / "grown")
    trained(classifier(confirm=5), tmp_path / "whole")
    grown, whole = everything(tmp_path / "grown"), everything(tmp_path / "whole")
    points = whole[1]["net"][0].sizes["point"]
    assert steps == 2 * points * 6
    assert_same(grown[0], whole[0])
    assert_same({"net": grown[1]["net"][0]}, {"net": whole[1]["net"][0]}, 1e-4)


def test_exploring_seeds_that_confirmed_before_are_taken_from_there(tmp_path):
    trained(classifier(), tmp_path)
    chosen = read_confirming(tmp_path / "confirming.nc")["net"][0].sizes["point"]
    _, steps = trained(classifier(seeds=5, confirm=0), tmp_path)
    assert steps == (3 * 3 - 3 * chosen) * 6
    assert not (tmp_path / "confirming.nc").exists()


@pytest.mark.parametrize("tiles", [1, 2, 4])
def test_tiles_are_put_together_to_what_one_would_have_been(tiles, tmp_path):
    whole, _ = trained(descent(), tmp_path / "whole")
    cut, _ = trained(descent(), tmp_path / "cut", how=wd.How(Limits(tiles=tiles)))
    assert len(list((tmp_path / "cut").glob("tiles/net/*.nc"))) == tiles
    assert_same(whole, cut, 1e-5)


def test_what_is_missing_is_blocks_that_hold_every_member_once():
    rng = np.random.default_rng(0)
    for _ in range(50):
        wanted = Wanted(cases.parabola(tuple(np.arange(6.0))), range(3, 8), range(6))
        there = []
        for _ in range(rng.integers(4)):
            rows, columns = (np.flatnonzero(rng.random(size) < 0.5) for size in (5, 6))
            there.append((rows, columns))
        count = np.zeros((5, 6), int)
        for rows, columns in there:
            count[np.ix_(rows, columns)] = 1
        for block in missing(wanted, there):
            count[np.ix_([seed - 3 for seed in block.seeds], list(block.points))] += 1
        assert (count == 1).all()


# Observers


def test_observers_are_told_of_every_evaluation_once_whoever_trained_it(tmp_path):
    def told(experiment, **options):
        seen = []
        measure(experiment, tmp_path, observers=[lambda name, position: seen.append((name, position))], **options)
        return [(name, position.step, position.results.sizes["seed"], position.results.sizes["point"],
                 position.results.sizes["step"]) for name, position in seen]  # fmt: skip

    cut = wd.How(Limits(tiles=2))
    assert told(descent(), how=cut) == [("net", 2, 2, 4, 1), ("net", 4, 2, 4, 2), ("net", 6, 2, 4, 3)]
    assert told(descent()) == [("net", 2, 2, 4, 1), ("net", 4, 2, 4, 2), ("net", 6, 2, 4, 3)]
    assert told(descent(seeds=3)) == [("net", 2, 3, 4, 1), ("net", 4, 3, 4, 2), ("net", 6, 3, 4, 3)]


# What cannot go on


def other_data(experiment):
    task = experiment.arms["net"].task
    return replace(experiment, arms={"net": replace(experiment.arms["net"], task=task._replace(data=2 * task.data))})


def other_split(experiment):
    task = experiment.arms["net"].task
    changed = task._replace(split=lambda seed: task.split(seed)[::-1])
    return replace(experiment, arms={"net": replace(experiment.arms["net"], task=changed)})


REFUSED = {
    "longer": (descent(steps=12), r"holds a run with 6 steps, and this one has 12: schedules depend on the length"),
    "more evaluations": (descent(evaluations=6), r"holds a run with 3 evaluations, and this one has 6"),
    "another loss": (descent(arms={"net": cases.parabola(DECAYS, constant=2.0)}), r"made by another program"),
    "other points of another loss": (descent(arms={"net": cases.parabola((7.0,), constant=2.0)}), r"another program"),
    "another net": (descent(arms={"net": cases.parabola(DECAYS, weights=4)}), r"other data|another program"),
    "other data": (other_data(descent()), r"trained on other data"),
    "another split": (other_split(descent()), r"trained on another split of seed 0"),
    "other arms": (descent(arms={"other": cases.parabola(DECAYS)}), r"holds a run of other arms, net"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_another_experiment_is_refused_and_leaves_the_folder_as_it_was(name, tmp_path):
    experiment, sentence = REFUSED[name]
    trained(descent(), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=sentence) as refused:
        trained(experiment, tmp_path)
    assert "name another folder" in str(refused.value)
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize("ended_by", [RuntimeError, KeyboardInterrupt])
def test_a_folder_in_which_nothing_was_trained_is_free_for_another_experiment(ended_by, tmp_path, monkeypatch):
    def ended(*_):
        raise ended_by

    with monkeypatch.context() as patch:
        patch.setattr("wd_research.measuring.auditing", ended)
        with pytest.raises(ended_by):
            trained(descent(), tmp_path)
    assert json.loads((tmp_path / "experiment.json").read_text())["status"] in ("failed", "interrupted")
    longer, steps = trained(descent(steps=12), tmp_path)
    assert steps == 2 * 4 * 12
    assert int(longer["net"]["step"][-1]) == 12


def test_another_split_of_a_confirming_seed_is_refused(tmp_path):
    def of(other):
        arm = cases.arm()
        split = arm.task.split
        return classifier(arms={"net": replace(arm, task=arm.task._replace(
            split=lambda seed: split(seed + 100 if seed == other else seed)))})  # fmt: skip

    trained(of(None), tmp_path)
    with pytest.raises(UserError, match=r"trained on another split of seed 4"):
        trained(of(4), tmp_path)


class Stopped(KeyboardInterrupt):
    """Training ends here."""


def checkpoint_of(experiment, folder):
    """Leave a checkpoint of a tile in progress, and no record."""

    def stop(member_steps):
        if sum(counts) >= 2:
            raise Stopped
        counts.append(1)

    counts = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wd_research.training.loop.PIECE", 1e-9)
        with pytest.raises(Stopped):
            measure(experiment, folder, wd.How(checkpoint_every=1e-9, share=Share(0, 1)), advance=stop)
    assert list(folder.rglob("*.npz"))
    assert not list(folder.rglob("*.nc"))


@pytest.mark.parametrize("name", [name for name in REFUSED if name != "other arms"])
def test_another_experiment_does_not_go_on_from_a_checkpoint(name, tmp_path):
    experiment, _ = REFUSED[name]
    checkpoint_of(descent(), tmp_path)
    with pytest.raises(UserError, match=r"schedules depend on the length|another program|other data|another split"):
        trained(experiment, tmp_path)


def test_the_same_experiment_goes_on_from_a_checkpoint(tmp_path):
    checkpoint_of(descent(), tmp_path / "run")
    found, steps = trained(descent(), tmp_path / "run")
    whole, all_steps = trained(descent(), tmp_path / "whole")
    assert 0 < steps < all_steps
    assert_same(found, whole)


def test_an_arm_that_prints_goes_on(tmp_path, capfd):
    def said(seen=None):
        arm = cases.parabola(DECAYS)
        plain = arm.task.loss

        def loss(hypers):
            def of_batch(params, extras, batch, key):
                jax.debug.callback(lambda value: None, params["w"][0])
                return plain(hypers)(params, extras, batch, key)

            return of_batch

        return descent(arms={"net": replace(arm, task=arm.task._replace(loss=loss))})

    trained(said(), tmp_path)
    assert trained(said(), tmp_path)[1] == 0


def test_a_folder_that_grows_keeps_its_record_until_it_has_other_results(tmp_path):
    quiet = {"tensorboard": False, "console": Console(file=io.StringIO())}
    first = wd.run(descent(), tmp_path, **quiet)
    before = (tmp_path / "experiment.json").read_bytes()

    def stop(name, position):
        assert (tmp_path / "experiment.json").read_bytes() == before
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(descent(seeds=4), tmp_path, observers=[stop])
    assert (tmp_path / "experiment.json").read_bytes() == before
    assert wd.conclude(descent(), tmp_path).summary == first.summary
    with pytest.raises(UserError, match="was measured with the seeds 2, and this experiment has 4"):
        wd.conclude(descent(seeds=4), tmp_path)


def test_a_folder_in_which_a_run_goes_on_is_not_concluded(tmp_path):
    def conclude(name, position):
        with pytest.raises(UserError, match="holds a run that still goes on"):
            wd.conclude(descent(), tmp_path)
        told.append(position.step)

    told = []
    wd.run(descent(), tmp_path, tensorboard=False, console=Console(file=io.StringIO()))
    measure(descent(seeds=3), tmp_path, observers=[conclude])
    assert told == [2, 4, 6]


@pytest.mark.parametrize("what", ["versions", "platform"])
def test_another_version_or_platform_is_refused(what, tmp_path, monkeypatch):
    trained(descent(), tmp_path)
    if what == "versions":
        monkeypatch.setattr("wd_research.measuring.versions", lambda: {"jax": "0.1"})
    else:
        monkeypatch.setattr("wd_research.tiles.jax.default_backend", lambda: "tpu")
    with pytest.raises(UserError, match=r"'jax': '0.1'|here is a tpu"):
        trained(descent(), tmp_path)


def test_a_run_without_tiles_is_refused(tmp_path):
    trained(descent(), tmp_path)
    for path in (tmp_path / "tiles" / "net").iterdir():
        path.unlink()
    (tmp_path / "tiles" / "net").rmdir()
    (tmp_path / "tiles").rmdir()
    with pytest.raises(UserError, match="holds a run already, without the tiles"):
        trained(descent(), tmp_path)


# Damage


def sentence_of(function, *arguments):
    """What is said of bad input; "" where nothing is."""
    try:
        function(*arguments)
    except UserError as error:
        return str(error)
    return ""


def test_a_changed_bit_of_a_tile_is_found(tmp_path):
    trained(descent(), tmp_path)
    (path,) = (tmp_path / "tiles" / "net").glob("*.nc")
    content = bytearray(path.read_bytes())
    whole, rng = read_tile(path), np.random.default_rng(0)
    found = 0
    for place in rng.integers(len(content), size=150):
        changed = bytearray(content)
        changed[place] ^= 1 << rng.integers(8)
        path.write_bytes(changed)
        said = sentence_of(read_tile, path)
        assert "is damaged: remove it and give the command again" in said or read_tile(path).identical(whole)
        found += bool(said)
    assert found > 15  # the rest changes times, padding and unused room
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="is damaged"):
        trained(descent(), tmp_path)
    path.unlink()
    again, steps = trained(descent(), tmp_path)
    assert steps == 2 * 4 * 6
    assert_same(again, {"net": united(Wanted(cases.parabola(DECAYS), range(2), range(4)), [whole])}, 1e-30)


@pytest.mark.parametrize("content", ["", "{", "[]", "[{}]", '{"cuts": [], "sha256": ""}', "null", "[" * 10**5, "1e400"])
def test_a_damaged_list_of_tiles_is_named_or_made_anew(content, tmp_path):
    trained(descent(), tmp_path)
    (path,) = (tmp_path / "tiles" / "net").glob("*.json")
    path.write_text(content)
    said = sentence_of(trained, descent(), tmp_path)
    assert f"{path} is damaged: remove it" in said or trained(descent(), tmp_path)[1] == 0


@pytest.mark.parametrize("what", ["a link to nothing", "a folder", "a file for the folder"])
def test_what_is_no_tile_is_one_sentence_and_leaves_the_record(what, tmp_path):
    trained(descent(), tmp_path)
    folder = tmp_path / "tiles" / "net"
    (path,), before = folder.glob("*.nc"), (tmp_path / "experiment.json").read_bytes()
    if what == "a file for the folder":
        shutil.rmtree(folder)
        folder.write_text("")
    else:
        path.unlink()
        path.symlink_to("nowhere") if what == "a link to nothing" else path.mkdir()
    assert "tiles/net" in sentence_of(trained, descent(), tmp_path)
    assert (tmp_path / "experiment.json").read_bytes() == before


def test_files_of_others_beside_the_tiles_are_left_alone(tmp_path):
    trained(descent(), tmp_path)
    for name in ("._s0-2.p4-00000000.nc", "foo.nc", "notes.txt"):
        (tmp_path / "tiles" / "net" / name).write_text("not ours")
    assert trained(descent(), tmp_path)[1] == 0


# Shares


def test_every_share_trains_its_tiles_and_the_last_one_goes_on(tmp_path):
    whole, all_steps = trained(classifier(confirm=0), tmp_path / "whole")
    counts = []
    for number in range(2):
        steps = []
        with pytest.raises(IncompleteError, match=r"this share is trained, 1 of \d tiles; once all others are, --join"):
            measure(classifier(confirm=0), tmp_path / "run", wd.How(Limits(tiles=3), share=Share(number, 3)),
                    advance=steps.append)  # fmt: skip
        counts.append(sum(steps))
        assert not (tmp_path / "run" / "experiment.json").exists()
    last, steps = trained(classifier(confirm=0), tmp_path / "run", how=wd.How(Limits(tiles=3), share=Share(2, 3)))
    assert min(counts) > 0 < steps
    assert sum(counts) + steps == all_steps
    assert_same(whole, last, 1e-4)
    joined, none = trained(classifier(confirm=0), tmp_path / "run", how=wd.How(join=True))
    assert none == 0
    assert_same(last, joined)


def test_a_folder_in_which_a_run_goes_on_is_said(tmp_path):
    def second(name, position):
        with pytest.raises(UserError, match=r"holds a run that still goes on, process \d+ on .*--join"):
            measure(descent(), tmp_path)
        with pytest.raises(IncompleteError, match=r"process \d+ on .* concludes in"):
            measure(descent(arms={"other": cases.parabola((0.0,))}), tmp_path, wd.How(join=True))
        told.append(position.step)

    told = []
    measure(descent(), tmp_path, observers=[second])
    assert told == [2, 4, 6]


# The record


def test_what_was_trained_in_other_processes_counts_in_the_speed(tmp_path):
    quiet = Console(file=io.StringIO())
    runs = [wd.run(classifier(), tmp_path, tensorboard=False, console=quiet) for _ in range(2)]
    seconds = [json.loads((run.folder / "summary.json").read_text())["speed"]["train_s"] for run in runs]
    assert seconds[0] == pytest.approx(seconds[1])
    assert seconds[1] > 0
    assert runs[0].summary["answer"] == runs[1].summary["answer"]
    assert json.loads((tmp_path / "experiment.json").read_text())["status"] == "finished"


# Weights


@pytest.mark.parametrize(("block", "programs"), [(1, 1), (2, 2), (None, 2)])
def test_what_confirms_goes_through_the_program_that_explored_unless_points_advance_together(block, programs, tmp_path):
    announced = []
    experiment = classifier(seeds=2, confirm=5, grow=True)
    how = wd.How(Limits(blocks=(block,)), keep="all")
    measure(experiment, tmp_path, how, announce=lambda what, *_: announced.append(what))
    assert sum(what.startswith("compiling") for what in announced) == programs
    growths = sum(what == "growing grids" for what in announced)
    tiles = {tile.sizes["seed"] for tile in map(read_tile, (tmp_path / "tiles" / "net").glob("*.nc"))}
    assert tiles == ({1, 2} if block == 1 else {2, 5})
    assert growths <= 3


@pytest.mark.parametrize("limits", [Limits(blocks=(1,)), Limits(blocks=(3,)), Limits(blocks=(1,), tiles=2)])
def test_members_that_share_a_program_with_fewer_are_what_they_would_be_alone(limits, tmp_path):
    """The kept weights of every confirming member, and observers' members, are those of its own point and seed."""
    seen = {}

    def observe(name, position):
        shape = position.members.diverged_at.shape
        assert shape[1] <= position.results.sizes["point"]
        seen[name] = shape

    experiment = classifier(seeds=2, confirm=3)
    result = wd.run(experiment, tmp_path, wd.How(limits, keep="all"), observers=(observe,), **QUIET)
    arm, (fresh,) = experiment.arms["net"], result.arms.confirming["net"]
    for seed in fresh["seed"].values.tolist():
        split = arm.task.split(seed)
        inputs, targets = arm.task.data.inputs[split.test], arm.task.data.targets[split.test]
        for point in fresh["point"].values.tolist():
            decay = {"decay": float(fresh["decay"].sel(point=point))}
            kept, place = kept_of(tmp_path / "tiles" / "net", seed, decay)
            params, extras = member(kept, arm, *place)
            outputs = arm.task.predict(params, extras, arm.task.prepare(split, inputs))
            recorded = float(fresh["test_accuracy"].sel(seed=seed, point=point).values[-1])
            assert np.mean(np.argmax(outputs, axis=1) == targets) == pytest.approx(recorded, abs=1e-6)
    assert "net, confirming" in seen


QUIET = {"tensorboard": False, "console": Console(file=io.StringIO())}


@pytest.mark.parametrize("kind", ["decoupled", "batch norm"])
def test_what_kept_weights_predict_has_the_accuracy_that_was_recorded(kind, tmp_path):
    arm = cases.arm(kind)
    result = wd.run(classifier(arms={"net": arm}), tmp_path, **QUIET)
    for seed in (0, 1, 2, 3, 4):  # two explore, three confirm
        stage = result.arms["net"] if seed < 2 else result.arms.confirming["net"][0]
        recorded = stage.sel(seed=seed, point=wd.choose(result.arms["net"]).point)["test_accuracy"].values[-1]
        split = arm.task.split(seed)
        outputs = result.predict(arm.task.data.inputs[split.test], seed=seed)
        right = np.argmax(outputs, axis=1) == arm.task.data.targets[split.test]
        assert right.mean() == pytest.approx(recorded, abs=1e-6)
    assert result.predict(arm.task.data.inputs[:3]).shape == (3, 10)


def test_weights_of_all_or_of_none_are_kept_on_request(tmp_path):
    everyone = wd.run(classifier(), tmp_path / "all", wd.How(keep="all"), **QUIET)
    nobody = wd.run(classifier(), tmp_path / "none", wd.How(keep="none"), **QUIET)
    assert len(list((tmp_path / "all").rglob("*.weights.npz"))) == 3  # two seeds explore, two and one confirm
    assert not list((tmp_path / "none").rglob("*.weights.npz"))
    everyone.weights("net", 1)
    with pytest.raises(LookupError, match=r"weights of net at .* of seed 2 were not kept: give --keep all"):
        nobody.weights()
    with pytest.raises(ValueError, match="no trained arm is called other: choose among net"):
        everyone.weights("other")


def test_an_arm_starts_from_the_weights_of_another_run(tmp_path):
    result = wd.run(classifier(), tmp_path / "first", **QUIET)
    arm = cases.arm()
    params, extras = result.weights()
    tuned = replace(arm, task=wd.starting_from(arm.task, params, extras))
    started, _ = tuned.task.init(jax.random.key(5))
    assert cases.leaves_equal(started, params)
    again = wd.run(classifier(arms={"net": tuned}, steps=1, evaluations=1), tmp_path / "second", **QUIET)
    assert final_loss(again) < final_loss(wd.run(classifier(steps=1, evaluations=1), tmp_path / "fresh", **QUIET))
    with pytest.raises(UserError, match=r"the task has float32\[.*\] at .* there is float32\[.*\] to start from"):
        wd.starting_from(arm.task, jax.tree.map(lambda leaf: leaf[None], params))
    with pytest.raises(UserError, match=r"there is nothing to start from"):
        wd.starting_from(cases.arm("batch norm").task, params)


def final_loss(result):
    return wd.final(result.arms["net"], "train_loss").min()


def test_keys_among_the_extras_of_a_task_cost_no_training_and_are_kept(tmp_path):
    arm = cases.parabola((0.0, 1.0))
    task = arm.task

    def init(key):
        return task.init(key)[0], {"noise": jax.random.fold_in(key, 7)}

    def loss(hypers):
        def of_batch(params, extras, batch, key):
            value, (_, metrics) = task.loss(hypers)(params, {}, batch, key)
            return value, (extras, metrics)

        return of_batch

    noisy = replace(arm, task=task._replace(init=init, loss=loss))
    result = wd.run(descent(arms={"net": noisy}), tmp_path, wd.How(keep="all"), **QUIET)
    (path,) = tmp_path.rglob("*.weights.npz")
    kept = read_weights(path)
    assert jax.random.key_data(kept.leaves["extras/noise"]).shape == (2, 2, 2)
    _, extras = member(kept, noisy, 0, 1)
    assert jax.random.bits(extras["noise"]).shape == ()
    assert result.arms["net"].sizes["seed"] == 2


def test_every_changed_bit_of_a_file_of_arrays_is_found_or_harmless(tmp_path):
    """Every one, of the zip format's own words too: one says that a file is encrypted, one that it is compressed."""
    path, arrays = tmp_path / "arrays.npz", {"w": np.ones(3, np.float32), "key": jax.random.key(0)}
    write_arrays(path, {"said": 1}, arrays)
    content, found = path.read_bytes(), 0
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        assert read_said(path) in ({}, {"said": 1})
        said = sentence_of(read_arrays, path)
        found += "is damaged" in said
        if not said:
            known, restored = read_arrays(path)
            assert (known, restored["w"].tolist()) == ({"said": 1}, [1, 1, 1])
            assert restored["key"] == jax.random.key(0)
    assert found > 0.7 * 8 * len(content)


def test_a_changed_bit_of_kept_weights_is_found(tmp_path):
    result = wd.run(classifier(), tmp_path, **QUIET)
    (path, *_) = sorted(tmp_path.rglob("s2-*.weights.npz"))
    content, rng, whole = bytearray(path.read_bytes()), np.random.default_rng(0), result.weights()
    found = 0
    for place in rng.integers(len(content), size=100):
        changed = bytearray(content)
        changed[place] ^= 1 << rng.integers(8)
        path.write_bytes(changed)
        said = sentence_of(result.weights)
        assert "is damaged" in said or cases.leaves_equal(result.weights(), whole)
        found += bool(said)
    assert found > 80
