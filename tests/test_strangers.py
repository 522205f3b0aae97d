"""What strangers do: names, types, observers and tasks that nobody here made end in a sentence, or cost no training."""

import io
import json
from collections import namedtuple
from dataclasses import fields, replace
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rich.console import Console

import wd_research as wd
from tests.training import cases
from wd_research.cli import RunFlags, main
from wd_research.reporting.folder import read_results
from wd_research.training.plan import Limits, make_plans
from wd_research.training.programs import text_hash


def run(experiment, folder, **options):
    return wd.run(experiment, folder, console=Console(file=io.StringIO()), tensorboard=False, **options)


def small(**changes):
    return replace(
        wd.Experiment({"an arm": cases.arm()}, seeds=2, steps=4, evaluations=2, confirm=0, question="Which?"), **changes
    )


# Programs are shared by text: what no text shows must not be shared


@pytest.mark.parametrize("call", [
    lambda factor: lambda x: jax.pure_callback(lambda x: np.asarray(factor * x), jax.ShapeDtypeStruct((), "f4"), x),
    lambda factor: lambda x: jax.ffi.ffi_call(f"kernel_{factor}", jax.ShapeDtypeStruct((), "f4"))(x),
], ids=["a callback into Python", "a kernel of one's own"])  # fmt: skip
def test_functions_that_differ_outside_of_their_text_have_other_hashes(call):
    once, thrice = (text_hash(jax.jit(call(factor)).lower(jnp.float32(1))) for factor in (1, 3))
    assert once != thrice


def test_functions_that_read_another_argument_have_other_hashes_in_a_population():
    Hypers = namedtuple("Hypers", "learning_rate first second")
    points = wd.grid(Hypers, learning_rate=(0.1,), first=(0.0, 0.1), second=(0.3,))

    def arm(name):
        def sgd(hypers):
            return wd.constant(optax.identity(), wd.decay_weights(getattr(hypers, name)),
                               hypers.learning_rate, lambda step: 1.0)  # fmt: skip

        return wd.Arm(cases.task(), sgd, points, "first")

    plans = make_plans(
        {"first": arm("first"), "second": arm("second")},
        {"first": 2, "second": 2},
        lambda arm: [(0, 4)],
        Limits(),
        lambda what: None,
    )
    assert plans["first"].population.text != plans["second"].population.text


# Metrics of any type


def test_a_metric_of_every_step_is_a_mean_whatever_its_type(tmp_path):
    def observe(before, gradients, after):
        return {"always": jnp.bool_(True), "one": jnp.uint8(1), "half": jnp.bfloat16(0.5)}

    run(small(arms={"an arm": replace(cases.arm(), observe=lambda h: observe)}, steps=600), tmp_path)
    results = read_results(tmp_path / "results.nc")["an arm"]
    for name, expected in (("always", 1), ("one", 1), ("half", 0.5)):
        np.testing.assert_array_equal(results[f"running_{name}"], expected)


def test_a_net_in_half_precision_is_measured_in_full(tmp_path):
    class Half(nn.Module):
        @nn.compact
        def __call__(self, inputs):
            return nn.Dense(10, dtype=jnp.bfloat16)(inputs)

    examples = wd.digits()
    task = wd.classification(Half(), examples, lambda seed: wd.draw_split(examples, seed, 40, 30), 16)
    result = run(small(arms={"half": replace(cases.arm(), task=task)}), tmp_path)
    assert result.arms["half"].test_loss.dtype == np.float32


# Declarations


@pytest.mark.parametrize(("changes", "said"), [
    ({"seeds": 0}, "--seeds 0 is too few"),
    ({"steps": 0}, "--steps 0 is too few"),
    ({"evaluations": 0}, "--evaluations 0 is too few"),
    ({"arms": {}}, "there is no arm"),
    ({"arms": {"a/b": cases.arm()}}, "no arm can be called 'a/b'"),
    ({"arms": {" ": cases.arm()}}, "no arm can be called ' '"),
])  # fmt: skip
def test_an_experiment_that_cannot_be_is_refused_when_it_is_declared(changes, said):
    with pytest.raises(wd.UserError, match=said):
        small(**changes)


@pytest.mark.parametrize("name", ["test_accuracy", "train_loss", "running_loss", "weights_norm", "gain", "seed"])
def test_a_hyperparameter_with_a_name_of_results_is_refused_when_it_is_declared(name):
    with pytest.raises(wd.UserError, match=f"no hyperparameter can be called {name}"):
        wd.Arm(cases.task(), cases.arm().optimizer, wd.grid(**{name: (0.0, 1.0)}), name)


# Observers


def test_observers_that_raise_cost_no_training_and_no_other_observer(tmp_path):
    steps = []
    broken = [lambda name, position: 1 / 0, lambda name, position: [][0]]
    with pytest.raises(ExceptionGroup) as raised:
        run(small(), tmp_path, observers=[*broken, lambda name, position: steps.append(position.step)])
    assert [type(error) for error in raised.value.exceptions] == [ZeroDivisionError, IndexError]
    assert steps == [2, 4]
    assert (tmp_path / "summary.json").exists()
    wd.conclude(small(), str(tmp_path))  # they stay in the record when the run is concluded again
    record = json.loads((tmp_path / "experiment.json").read_text())
    assert "ZeroDivisionError" in str(record["errors"])
    assert "IndexError" in str(record["errors"])


# Tasks that cannot be tuned, and other experiments' results


def test_a_task_without_validation_data_has_no_answer_and_no_figure_but_results(tmp_path):
    task = cases.task()
    blind = task._replace(splits=lambda data, split: {"train": task.splits(data, split)["train"]})
    result = run(small(arms={"blind": replace(cases.arm(), task=blind)}), tmp_path)
    assert result.summary["answer"].startswith("No answer: no arm has validation data")
    assert "train_loss" in result.arms["blind"]


@pytest.mark.parametrize("changes", [{"steps": 6}, {"seeds": 3}, {"arms": {"another": cases.arm()}}])
def test_results_of_another_experiment_are_not_concluded_from(changes, tmp_path):
    run(small(), tmp_path)
    with pytest.raises(wd.UserError, match="was measured with the"):
        wd.conclude(small(**changes), tmp_path)


def test_a_run_is_concluded_with_its_flags_in_their_types(tmp_path, monkeypatch, capsys):
    seen = []

    def experiment(*, where: Path = Path("here"), top: float = np.inf, pair: tuple[int, ...] = (1,)) -> wd.Experiment:
        seen.append((where, top, pair))
        return small()

    for words in (["--where", "there", "--pair", "1", "2"], ["--conclude"]):
        folder = ["--workdir", str(tmp_path / "run")] if words[0] != "--conclude" else [str(tmp_path / "run")]
        monkeypatch.setattr("sys.argv", ["stranger", *words, *folder])
        main(experiment)
    assert seen[0] == seen[-1] == (Path("there"), np.inf, (1, 2))
    capsys.readouterr()


def of_parameter(name):
    """An experiment function with one parameter, of that name."""
    made = {}
    exec(f"def experiment(*, {name}: int = 3): raise UserError(f'the experiment got {{{name}}}')",
         {"UserError": wd.UserError}, made)  # fmt: skip
    return made["experiment"]


RUN_FLAGS = ["workdir", "tensorboard", "no_tensorboard", "audit", "plan", "conclude", "member_runs", "confirm",
             "until_decided", "grow", "race", "checkpoint_every", "keep", "join", "shard", "tiles", "memory", "block",
             "distributed", "no_audit", "help"]  # fmt: skip


def test_the_flags_of_a_run_are_these():
    assert {field.name for field in fields(RunFlags)} == {*RUN_FLAGS} - {"no_tensorboard", "help"}


@pytest.mark.parametrize("words", [[], ["--help"], ["--plan"], ["--audit"]], ids=" ".join)
@pytest.mark.parametrize("name", RUN_FLAGS)
def test_a_parameter_with_the_name_of_a_runs_flag_is_one_sentence(name, words, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["stranger", *words])
    with pytest.raises(SystemExit) as stopped:
        main(of_parameter(name))
    assert stopped.value.code == 2
    taken = f"--{name.replace('_', '-')}"
    assert capsys.readouterr().err == (
        f"error: the experiment's parameter {name} cannot be a flag, for every run has the flag {taken} already: "
        f"give it another name, such as my_{name}\n"
    )


@pytest.mark.parametrize("name", ["my_confirm", "tile", "run", "experiment", "no_plan", "looks", "flipped"])
def test_a_parameter_with_another_name_is_a_flag(name, monkeypatch, capsys):
    """Names that a flag of a run had once are free."""
    monkeypatch.setattr("sys.argv", ["stranger", f"--{name.replace('_', '-')}", "7"])
    with pytest.raises(SystemExit):
        main(of_parameter(name))
    assert capsys.readouterr().err == "error: the experiment got 7\n"


def test_a_decay_that_does_not_fit_leaves_the_folder_free(tmp_path):
    def nowhere(hypers):
        return wd.decay_weights(hypers.decay, mask=wd.matching("nowhere"))

    with pytest.raises(wd.DecayError):
        run(small(arms={"mistyped": replace(cases.arm(), optimizer=nowhere)}), tmp_path)
    run(small(), tmp_path)
