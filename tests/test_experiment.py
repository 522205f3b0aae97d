"""From a declaration to a folder: arms that are trained or computed, with and without validation data; the audit."""

import io
import json
import sys
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

import numpy as np
import pytest
import xarray as xr
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training import cases
from wd_research.audit.arms import middle
from wd_research.cli import main
from wd_research.decay.masks import matching
from wd_research.decay.places import decoupled
from wd_research.decay.transforms import decay_weights
from wd_research.evidence.choices import choose
from wd_research.evidence.claims import Claim, everywhere
from wd_research.experiment import Experiment
from wd_research.points import grid
from wd_research.reporting import record
from wd_research.reporting.sentences import verdicts
from wd_research.results import labelled
from wd_research.running import run
from wd_research.scheduling import How
from wd_research.training.plan import Limits


class Ridge(NamedTuple):
    decay: np.ndarray


def ridge(seeds):
    """An arm that is computed: (decay - 1)^2, and a seed's noise."""
    decays = np.array([0.0, 1.0, 2.0], np.float32)
    noise = 0.01 * np.random.default_rng(0).normal(size=(seeds, 1))
    return labelled(Ridge(decays), "decay", 1, {"risk": (decays - 1.0) ** 2 + noise})


def claim(name, expected):
    return Claim(name, f"{name}.", "here", lambda arms: {"ridge": arms["ridge"].risk[:, 1, -1].to_numpy()},
                 expected, everywhere)  # fmt: skip


def small(**changes):
    arms = {"ridge": ridge, "trained": cases.arm()}
    claims = (claim("Decay helps", (-0.5, 0.5)), claim("It does not", (0.5, 9.0)))
    declared = Experiment(arms, seeds=3, steps=4, evaluations=2, confirm=0, claims=claims, question="Which?")
    return replace(declared, **changes)


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    folder, printed = tmp_path_factory.mktemp("computed"), io.StringIO()
    experiment = small(arms={"ridge": ridge}, figures=lambda arms: {})
    return run(experiment, folder, console=Console(file=printed, width=100)), printed.getvalue()


def test_an_arm_may_be_computed_and_the_claims_are_the_answer(computed):
    result, printed = computed
    assert result.summary["answer"] == "1 of 2 claims holds (judged on 3 exploring seeds); fails: It does not."
    assert result.summary["answer"] in printed
    assert result.summary["best"] == {}
    assert result.summary["speed"]["members"] == 0
    assert json.loads((result.folder / "experiment.json").read_text())["status"] == "finished"
    with xr.open_datatree(result.folder / "results.nc") as tree:
        assert dict(tree["ridge"].sizes) == {"seed": 3, "point": 3, "step": 1}
    assert (result.folder / "audit.txt").read_text() == "nothing is trained, so nothing decays\n"


def test_a_computed_arm_is_in_tensorboard(computed):
    result, _ = computed
    events = EventAccumulator(str(result.folder / "tensorboard" / "ridge")).Reload()
    (seen,) = events.Scalars("risk/decay_2/mean")
    assert seen.value == pytest.approx(1.0, abs=0.02)


def test_both_kinds_of_arm_stand_side_by_side_and_each_is_answered_as_it_can_be(tmp_path):
    console, sequential = Console(file=io.StringIO()), Limits(blocks=(1,))
    result = run(small(figures=lambda arms: {}), tmp_path, How(sequential), console=console)
    assert list(result.summary["best"]) == ["trained"]
    assert set(result.arms) == {"ridge", "trained"}
    assert result.summary["speed"]["members"] == 3 * 3
    audit, trained = (tmp_path / "audit.txt").read_text(), result.arms["trained"]
    decay = trained["decay"].to_numpy()[choose(trained, trained["decay"].to_numpy() > 0).point]
    assert audit.startswith(f"trained, at learning rate 0.01, decay {decay:g}, dropout 0\n")
    assert "Dense_0/kernel  61x8   kernel  name: kernel  decoupled  w " in audit
    assert json.loads((tmp_path / "experiment.json").read_text())["seconds"]["audit"] > 0


def test_verdicts_name_what_fails_and_what_is_open():
    claims = [{"statement": f"{v}.", "verdict": v, "stage": "exploring", "seeds": 8}
              for v in ("holds", "holds", "undecided", "fails")]  # fmt: skip
    assert verdicts(claims) == "2 of 4 claims hold (judged on 8 exploring seeds); fails: fails; undecided: undecided."


def test_the_audit_takes_the_middle_of_the_grid():
    points = grid(cases.Hypers, learning_rate=(1, 2, 3), decay=(0, 10, 20, 30), dropout=(0.0,))
    assert tuple(map(float, middle(replace(cases.arm(), points=points)))) == (2, 20, 0)
    off = grid(cases.Hypers, learning_rate=(1, 2, 3), decay=(0,), dropout=(0.0,))
    assert tuple(map(float, middle(replace(cases.arm(), points=off)))) == (2, 0, 0)


def test_the_question_is_the_first_line_of_the_module_that_declares_it():
    declared = Experiment({"ridge": ridge}, seeds=2, steps=1)
    assert declared.question == __doc__.partition("\n")[0]
    assert replace(declared, question="Why?").question == "Why?"


@pytest.mark.parametrize(("steps", "segments"), [(7, [(0, 3), (3, 3), (6, 1)]), (2, [(0, 1), (1, 1)])])
def test_segments_are_of_one_length_but_for_the_last(steps, segments):
    assert Experiment({"ridge": ridge}, seeds=2, steps=steps, evaluations=3).segments_of(ridge) == segments


@pytest.mark.parametrize(("steps", "evaluations"), [(1, 1), (600, 1), (1_000, 2), (2_500, 6), (10**6, 10)])
def test_training_is_evaluated_ten_times_or_as_often_as_costs_a_tenth_of_it(steps, evaluations):
    """An example is evaluated in a third of the time that a step takes for one."""
    arm = cases.arm()
    parts = arm.task.splits(arm.task.data, arm.task.split(0))
    evaluated = sum(len(part.targets) for part in parts.values())
    declared = Experiment({"net": arm, "longer": replace(arm, steps=10 * steps)}, seeds=2, steps=steps)
    assert evaluations == max(1, min(10, int(0.1 * 3 * steps * 16 / evaluated)))
    for times, each in zip((1, 10), declared.arms.values(), strict=True):  # whatever other arms there are
        segments = declared.segments_of(each)
        assert len(segments) == max(1, min(10, int(0.1 * 3 * times * steps * 16 / evaluated)))
        assert sum(segments[-1]) == declared.steps_of(each)
    assert len(replace(declared, evaluations=3).segments_of(arm)) == min(3, steps)


def by_command_line(experiment, *words):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["experiment", *map(str, words)])
        return main(experiment)


def test_the_audit_is_printed_and_nothing_is_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def experiment(*, steps: int = 10) -> Experiment:
        return small(steps=steps)

    by_command_line(experiment, "--audit", "--steps", "7")
    printed = capsys.readouterr().out
    assert "trained, at learning rate" in printed
    assert "15.5" in printed  # runs of 7 steps that the time scale is
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [(), ("--audit",)])
def test_a_mask_that_matches_nothing_gets_one_sentence(capsys, tmp_path, words):
    arm = cases.arm()
    optimizer = lambda h: decoupled(
        cases.optax.scale_by_adam(), decay_weights(h.decay, mask=matching("kernal")), h.learning_rate, cases.COSINE
    )

    def experiment() -> Experiment:
        return small(arms={"mistyped": replace(arm, optimizer=optimizer)})

    with pytest.raises(SystemExit) as stopped:
        by_command_line(experiment, "--workdir", tmp_path / "run", *words)
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert "the mask pattern 'kernal' matches no leaf; the leaves are: Dense_0/bias, " in said
    assert said.count("\n") == 1


def test_a_checkout_that_is_not_installed_runs_all_the_same(monkeypatch):
    def of_what_is_installed(name):
        if name == "wd_research":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr("wd_research.reporting.record.version", of_what_is_installed)
    assert set(record.versions()) == {"python", *record.PACKAGES} - {"wd_research"}
