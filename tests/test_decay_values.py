"""The main job as a person runs it: real processes, a real folder, real signals, bad input."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from experiments import decay_values
from wd_research.cli import main

ROOT = Path(__file__).parent.parent
SMALL = ["--steps", "30", "--seeds", "3", "--confirm", "4", "--evaluations", "3", "--decays", "0", "0.1", "1",
         "--strengths", "0", "0.01", "--learning-rates", "1e-3", "1e-2"]  # fmt: skip


def command(*words):
    return [sys.executable, "-W", "error", "-m", "experiments.decay_values", *map(str, words)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small run to its end, warnings being errors."""
    folder = tmp_path_factory.mktemp("run") / "small"
    done = subprocess.run(command(*SMALL, "--workdir", folder), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_it_prints_progress_the_table_the_claims_and_one_sentence(finished):
    _, done = finished
    assert done.stderr == ""
    for words in ("member-steps/s", "s left", "test accuracy", "gain", "verdict", "generalises best"):
        assert words in done.stdout
    assert done.stdout.rstrip().splitlines()[-2].startswith("Which decay generalises best")


def test_the_folder_is_the_contract(finished):
    folder, _ = finished
    record = json.loads((folder / "experiment.json").read_text())
    assert record["status"] == "finished"
    assert record["flags"]["decays"] == [0, 0.1, 1]
    assert record["flags"]["steps"] == 30
    assert set(record["seconds"]) == {"import", "audit", "compile", "train", "evaluate", "write", "conclude"}
    assert min(record["seconds"].values()) > 0
    assert record["device"]["platform"] == "cpu"
    assert record["versions"]["jax"]
    summary = json.loads((folder / "summary.json").read_text())
    assert set(summary["best"]) == {"coupled", "decoupled"}
    for arm in summary["best"].values():
        for name in ("test_accuracy", "gain"):
            assert set(arm[name]) == {"mean", "low", "high"}
            assert arm[name]["low"] <= arm[name]["mean"] <= arm[name]["high"]
        assert {"learning_rate", "decay", "strength"} <= set(arm)
    for claim in summary["claims"]:
        assert set(claim) >= {"id", "statement", "source", "measured", "low", "high", "expected", "verdict"}
        assert claim["verdict"] in ("holds", "fails", "undecided", "equal here")
        assert (claim["stage"], claim["seeds"]) == ("confirming", 4)
    assert summary["speed"]["members"] == 3 * (4 + 6) + confirming_members(folder)
    assert summary["seeds"] == {"exploring": 3, "confirming": 4, "looks": [4], "alpha": 0.05}
    assert set(summary["speed"]) == {"members", "member_steps_per_s", "compile_s", "train_s"}
    assert not [path for path in folder.rglob("*") if "unfinished" in path.name]
    audit = (folder / "audit.txt").read_text()
    assert audit.count("Dense_0/kernel") >= 2
    assert "in the loss" in audit


def confirming_members(folder):
    """How many nets were trained on fresh seeds, of each arm at two points or more."""
    with xr.open_datatree(folder / "confirming.nc") as tree:
        rounds = [arm["0"].to_dataset() for arm in tree.children.values()]
        assert [each.seed.values.tolist() for each in rounds] == [[3, 4, 5, 6]] * 2
        assert min(each.sizes["point"] for each in rounds) >= 2
        return sum(each.sizes["seed"] * each.sizes["point"] for each in rounds)


def test_the_results_are_labelled(finished):
    folder, _ = finished
    with xr.open_datatree(folder / "results.nc") as tree:
        arm = tree["decoupled"].to_dataset()
        assert dict(arm.sizes) == {"seed": 3, "point": 6, "step": 3, "edge": 42}
        assert arm.step.values.tolist() == [10, 20, 30]
        np.testing.assert_allclose(np.unique(arm.decay), [0, 0.1, 1])
        np.testing.assert_allclose(np.unique(arm.learning_rate), [1e-3, 1e-2])
        assert arm.attrs["axis"] == "decay"
        assert ((arm.test_accuracy >= 0) & (arm.test_accuracy <= 1)).all()
        assert (arm.diverged_at == -1).all()
        assert arm.running_loss[..., -1].mean() < arm.running_loss[..., 0].mean()


def test_both_arms_are_one_arm_where_nothing_decays(finished):
    """Without decay it does not matter where it would act: same seeds, same program, same bits."""
    folder, _ = finished
    with xr.open_datatree(folder / "results.nc") as tree:
        coupled, decoupled = (tree[name].to_dataset() for name in ("coupled", "decoupled"))
        without = (
            coupled.test_loss[:, coupled.strength.values == 0],
            decoupled.test_loss[:, decoupled.decay.values == 0],
        )
        np.testing.assert_array_equal(*without)


def test_the_figures_and_event_files_are_there(finished):
    folder, _ = finished
    for name in ("accuracy", "heat_map", "time_scale"):
        assert (folder / "figures" / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        xml.etree.ElementTree.parse(folder / "figures" / f"{name}.svg")
    assert len(list((folder / "tensorboard").rglob("events.out.tfevents.*"))) == 9


def test_a_run_is_judged_again_without_training(finished, tmp_path, capsys):
    folder, _ = finished
    again = shutil.copytree(folder, tmp_path / "again")
    (again / "summary.json").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wd_research.running.measure", None)
        patch.setattr(sys, "argv", ["decay_values", "--conclude", str(again)])
        main(decay_values.experiment)
    assert "generalises best" in capsys.readouterr().out
    for name in ("summary.json", "results.nc", "figures/accuracy.png"):
        assert (again / name).read_bytes() == (folder / name).read_bytes(), name
    assert json.loads((again / "experiment.json").read_text())["status"] == "finished"


def test_a_finished_run_is_not_overwritten(finished, capsys):
    folder, _ = finished
    before = (folder / "summary.json").read_bytes()
    said = refused(capsys, *SMALL, "--steps", 7, "--workdir", folder)
    assert said.startswith(f"error: --workdir {folder} holds a run with ")
    assert said.endswith(f"that is another run; name another folder, or remove {folder}\n")
    said = refused(capsys, *SMALL, "--width", 17, "--workdir", folder)
    assert "is another one now" in said
    assert said.count("\n") == 1
    assert (folder / "summary.json").read_bytes() == before


def refused(capsys, *words):
    """What the command line says before it exits with 2."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["decay_values", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main(decay_values.experiment)
    assert stopped.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--steps", "0"], "error: --steps 0 is too few"),
        (["--seeds", "0"], "error: --seeds 0 is too few"),
        (["--decays"], "error: --decays is empty"),
        (["--learning-rates"], "error: --learning-rates is empty"),
        (["--decays", "0", "-1"], "error: --decays -1.0 cannot be"),
        (["--strengths", "0", "nan"], "error: --strengths nan cannot be"),
        (["--train-size", "5000"], "error: train_size 5000 does not fit: of 1797 examples"),
        (["--label-noise", "2"], "error: label_noise 2.0 is not a share"),
        (["--validation-size", "0"], "error: --validation-size 0 is too few"),
        (["--workdir", "/dev/null/here"], "error: --workdir /dev/null/here cannot be written: Not a directory"),
        (["--looks", "3"], "error: --looks is called --evaluations now"),
        (["--flipped=0.1"], "error: --flipped is called --label-noise now"),
        (["--block", "one"], "error: --block one is called --block sequential now"),
    ],
)
def test_bad_input_gets_one_sentence(capsys, words, says):
    said = refused(capsys, *words)
    assert said.startswith(says)
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [(["--stpes", "3"], "--steps"), (["--decay", "0"], "--decays"), (["--steps", "many"], "is no whole number")],
)
def test_a_wrong_flag_or_type_gets_a_suggestion(capsys, words, says):
    assert says in refused(capsys, *words)


def test_bad_input_starts_no_jax_and_leaves_no_folder(tmp_path):
    folder = tmp_path / "never"
    done = subprocess.run(
        command("--decays", "0", "-1", "--workdir", folder), cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "JAX_PLATFORMS": "no_such_platform"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: --decays -1.0 cannot be")
    assert not folder.exists()


def test_help_shows_the_question_and_every_flag(capsys):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["decay_values", "--help"])
        with pytest.raises(SystemExit) as stopped:
            main(decay_values.experiment)
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    for words in (
        "Which decay generalises best",
        "--strengths",
        "--decays",
        "--seeds",
        "--workdir",
        "--no-tensorboard",
    ):
        assert words in text


def test_an_interrupted_run_says_so_and_keeps_what_it_wrote(tmp_path, interruptible):
    folder = tmp_path / "interrupted"
    run = subprocess.Popen(
        command("--steps", "200000", "--evaluations", "2000", "--workdir", folder), cwd=ROOT, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    while run.poll() is None and not list((folder / "tensorboard").rglob("events.out.tfevents.*")):
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate()
    assert run.returncode == 130
    assert "Traceback" not in errors
    assert str(folder) in errors
    assert json.loads((folder / "experiment.json").read_text())["status"] == "interrupted"
    assert list((folder / "tensorboard").rglob("events.out.tfevents.*"))


@pytest.mark.slow
def test_members_that_diverge_are_reported_and_the_others_answer(tmp_path):
    """A learning rate at which everything overflows, and a decay at which it does: warnings are still errors."""
    folder = tmp_path / "diverged"
    words = ["--steps", 20, "--seeds", 2, "--evaluations", 2, "--decays", 0, 0.1, 1e30, "--strengths", 0, 0.01,
             "--learning-rates", 1e-3, 1e25]  # fmt: skip
    done = subprocess.run(command(*words, "--workdir", folder), cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "members diverged" in done.stdout
    best = json.loads((folder / "summary.json").read_text())["best"]["decoupled"]
    assert best["diverged"] == 8
    assert best["learning_rate"] == pytest.approx(1e-3)
    with xr.open_datatree(folder / "results.nc") as tree:
        arm = tree["decoupled"].to_dataset()
        wild = (arm.learning_rate > 1) | (arm.decay > 1)
        assert ((arm.diverged_at >= 0) == wild).all()
        assert np.isfinite(arm.test_accuracy).all()
