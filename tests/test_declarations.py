"""Declarations in Python check themselves: each input with the sentence that it gets, before anything is compiled."""

import io
from collections import namedtuple
from dataclasses import replace

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rich.console import Console

import wd_research as wd
from tests.training import cases
from wd_research.training.checks import check_arm

ARM = cases.arm()
EXAMPLES = cases.EXAMPLES
Two = namedtuple("Two", "learning_rate decay")


def experiment(**changes):
    given = {"arms": {"an arm": ARM}, "seeds": 2, "steps": 4, "evaluations": 2, "confirm": 0, "question": "Which?"}
    return wd.Experiment(**{**given, **changes})


def claim(**changes):
    given = {
        "id": "a-claim", "statement": "Decay helps.", "source": "us",
        "measure": lambda arms: {"cell": np.zeros(2)}, "expected": (0.0, np.inf), "quantifier": wd.everywhere,
    }  # fmt: skip
    return wd.Claim(**{**given, **changes})


def drawn(**changes):
    return lambda seed: wd.draw_split(EXAMPLES, seed, 40, 30)._replace(**changes)


def task(split=None, model=None, **options):
    draw = split or drawn()
    return wd.classification(model or wd.Mlp((8,), 10), EXAMPLES, draw, **{"batch_size": 16, **options})


NAMES = [" ", "", "a/b", "../x", "/etc/x", "(a)", "-wd", "w/o decay", "Adam ", "a\nb", "[bold]x", "<script>", "a\0b",
         "x" * 300, ".hidden", 'a"b', "a:b"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_files_cannot_hold_is_refused(name):
    with pytest.raises(wd.UserError, match="no arm can be called"):
        experiment(arms={name: ARM})
    with pytest.raises(wd.UserError, match="no claim can be called"):
        claim(id=name)


@pytest.mark.parametrize(
    "name", ["Adam", "weight decay", "L2 (coupled)", "lr=1e-3, 5 %", "AdamW 2.0", "größer", "重み"]
)
def test_a_name_that_files_can_hold_is_one(name):
    assert name in experiment(arms={name: ARM}).arms


class Scalar(nn.Module):
    @nn.compact
    def __call__(self, inputs):
        return inputs.mean() + self.param("w", nn.initializers.ones, ())


class Pair(nn.Module):
    @nn.compact
    def __call__(self, inputs):
        return nn.Dense(10)(inputs), inputs


REFUSED = {
    "no arm": (lambda: experiment(arms={}), "there is no arm"),
    "a list of arms": (lambda: experiment(arms=[ARM]), "there is no arm: give at least one, as {name: arm}"),
    "an arm that is none": (lambda: experiment(arms={"a": 3}), "a is a int and no arm"),
    "two names alike": (lambda: experiment(arms={"an arm": ARM, "An_arm": ARM}), "which files cannot tell apart"),
    "a name of a curve": (
        lambda: experiment(arms={"a": ARM, "a without decay": ARM}), "no arm can be called 'a without decay' beside",
    ),
    "no seed": (lambda: experiment(seeds=0), "--seeds 0 is too few"),
    "minus one seed": (lambda: experiment(seeds=-1), "--seeds -1 is too few"),
    "half a seed": (lambda: experiment(seeds=1.5), "--seeds 1.5 is no whole number"),
    "seeds as text": (lambda: experiment(seeds="3"), "--seeds '3' is no whole number"),
    "seeds as a bool": (lambda: experiment(seeds=True), "--seeds True is no whole number"),
    "no step": (lambda: experiment(steps=0), "--steps 0 is too few"),
    "half a step": (lambda: experiment(steps=2.5), "--steps 2.5 is no whole number"),
    "10^12 steps": (lambda: experiment(steps=10**12), "--steps 1000000000000 is too many"),
    "no evaluation": (lambda: experiment(evaluations=0), "--evaluations 0 is too few"),
    "half a confirming seed": (lambda: experiment(confirm=2.5), "--confirm 2.5 is no whole number"),
    **{
        f"{name} as {given!r}": (
            lambda name=name, given=given: experiment(**{"confirm": 2, name: given}),
            f"--{name.replace('_', '-')} {given!r} is no whole number",
        )
        for name in ("seeds", "steps", "evaluations", "confirm", "until_decided")
        for given in (True, np.True_, 2.0, np.float32(2), "2", np.array([2]))
    },
    "a claim that is none": (lambda: experiment(claims=["Decay helps."]), "'Decay helps.' is no claim"),
    "two claims alike": (lambda: experiment(claims=[claim(), claim()]), "two claims are called 'a-claim'"),
    "a claim expects nothing": (lambda: claim(expected=None), "expects None: give two numbers"),
    "a claim expects the reverse": (lambda: claim(expected=(1.0, 0.0)), "expects (1.0, 0.0): give two numbers"),
    "a claim expects NaN": (lambda: claim(expected=(np.nan, 1.0)), "give two numbers, low and high"),
    "a claim measures a number": (lambda: claim(measure=3), "needs a function that measures"),
    **{
        f"a unit of the format {form!r}": (
            lambda form=form: claim(unit=wd.Unit("x", 1.0, form)), "which shows no number: give wd.Unit"
        )
        for form in ("nonsense", "s", "d", "x", "c", "n", "%%", ".f", ".100f", "1000000000f", "{}", "+.2f ", None, 2)
    },
    **{
        f"a unit with the factor {factor!r}": (
            lambda factor=factor: claim(unit=wd.Unit("x", factor, "+.2f")), "which is no finite number: give wd.Unit"
        )
        for factor in (None, "1", np.nan, np.inf, True, 1j)
    },
    "a unit that is a word": (lambda: claim(unit="points"), "which is none: give wd.Unit"),
    "a unit without a name": (lambda: claim(unit=wd.Unit(None, 1.0, "+.2f")), "which is none: give wd.Unit"),
    "a task that is none": (lambda: replace(ARM, task=wd.Mlp((8,), 10)), "needs a Task, and this is a Mlp"),
    "an optimizer that is made": (
        lambda: replace(ARM, optimizer=optax.adamw(1e-3)), "a function of the hyperparameters that makes its optimizer",
    ),
    "points of unequal length": (
        lambda: replace(ARM, points=Two(np.ones(2), np.ones(3))), "learning_rate of shape (2,), decay of shape (3,)",
    ),
    "a scalar point": (lambda: replace(ARM, points=Two(0.1, 0.1)), "give each hyperparameter one number"),
    "no points": (lambda: replace(ARM, points=Two(np.ones(0), np.ones(0))), "give each hyperparameter one number"),
    "points as a dict": (lambda: replace(ARM, points={"decay": np.ones(2)}), "the points are a dict: make them by"),
    "a point that is not finite": (
        lambda: replace(ARM, points=Two(np.ones(2), np.array([0, np.nan]))), "values of decay that are no finite",
    ),
    "a point beyond float32": (
        lambda: replace(ARM, points=Two(np.ones(2), np.array([0, 1e300]))), "values of decay that are no finite",
    ),
    "a point twice": (
        lambda: experiment(arms={"a": replace(ARM, points=Two(np.ones(2), np.ones(2)))}),
        "the points have learning_rate 1, decay 1 more than once",
    ),
    "an axis that is no field": (lambda: replace(ARM, axis="wd"), "the points have no wd: the axis is one of"),
    "a batch of none": (lambda: task(batch_size=0), "--batch-size 0 is too few"),
    "a batch of None": (lambda: task(batch_size=None), "--batch-size None is no whole number"),
    "a negative index": (lambda: task(drawn(train=np.arange(-1, 39))), "has train indices -1 to 38"),
    "an index beyond": (lambda: task(drawn(test=np.array([2000]))), "has test indices 2000 to 2000, and the pool 1797"),
    "indices that are floats": (lambda: task(drawn(validation=np.array([0.5]))), "has validation indices of shape"),
    "an empty part": (lambda: task(drawn(validation=np.array([], int))), "give whole numbers in one row, at least one"),
    "a test example among the training ones": (
        lambda: task(lambda seed: drawn()(seed)._replace(test=drawn()(seed).train[:3])), "among train and test",
    ),
    "too few targets": (lambda: task(drawn(train_targets=np.zeros(3, np.int32))), "has train targets of shape (3,)"),
    "a target that is no class": (
        lambda: task(drawn(train_targets=np.full(40, 11, np.int32))), "has train targets 11 to 11, and the classes",
    ),
    "a negative target": (lambda: task(drawn(train_targets=np.full(40, -1, np.int32))), "has train targets -1 to -1"),
    "a tuple for a split": (
        lambda: task(lambda seed: (np.arange(9), np.arange(9, 12), np.arange(12, 20))),
        "the split is a tuple: give what wd.draw_split makes, or wd.Split(train, validation, test, train_targets, mean",
    ),
    "all of a split in a tuple": (lambda: task(lambda seed: tuple(drawn()(seed))), "the split is a tuple: give what"),
    "a dictionary for a split": (lambda: task(lambda seed: drawn()(seed)._asdict()), "the split is a dict: give what"),
    "a split for all seeds": (lambda: task(drawn()(0)), "the split is a Split, and every seed draws its own: give a"),
    "no split": (lambda: task(lambda seed: None), "the split is a NoneType: give what wd.draw_split makes"),
    **{
        f"a {type(value).__name__} for a split's {name}": (
            lambda name=name, value=value: task(drawn(**{name: value})),
            f"the split has a {type(value).__name__} for {name}: give an array, numpy.asarray({name})",
        )
        for name in ("train", "validation", "test", "train_targets", "mean", "scale")
        for value in ([0, 1], (0, 1), range(2), None)
    },
    "a scale that is not finite": (lambda: task(drawn(scale=np.float32(np.inf))), "a scale that is no finite number"),
    "a net that makes two things": (lambda: task(model=Pair()), "the net makes a tuple: let it return one array"),
    "a net that makes one output of all": (lambda: task(model=Scalar()), "give each example an output of its own"),
}  # fmt: skip


@pytest.mark.parametrize(("declare", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused_when_it_is_declared(declare, sentence):
    with pytest.raises(wd.UserError) as refused:
        declare()
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", [np.int64, np.int8, np.uint16])
def test_whole_numbers_of_numpy_are_those_of_python(kind):
    whole = {"seeds": 2, "steps": 6, "evaluations": 3, "confirm": 2, "until_decided": 4}
    made = experiment(**{name: kind(value) for name, value in whole.items()})
    assert made == experiment(**whole)
    assert {name: type(getattr(made, name)) for name in whole} == dict.fromkeys(whole, int)
    assert type(replace(made, seeds=kind(5)).seeds) is int
    assert (made.looks, made.segments_of(None)) == ([2, 4], [(0, 2), (2, 2), (4, 2)])


def test_an_experiment_of_numpys_numbers_runs(tmp_path):
    result = run(experiment(seeds=np.int64(2), steps=np.int64(4), confirm=np.int64(2)), tmp_path)
    assert (tmp_path / "report.html").exists()
    assert result.summary["seeds"]["exploring"] == 2


def test_parts_of_unlike_sizes_for_unlike_seeds_are_refused():
    made = task(lambda seed: wd.draw_split(EXAMPLES, seed, 40 + seed, 30))
    made.split(0)
    with pytest.raises(wd.UserError, match="41 train examples for one seed and 40 for another"):
        made.split(1)


def test_a_seed_has_one_split_however_often_it_is_asked_for():
    calls = []

    def counted(seed):
        calls.append(seed)
        return wd.draw_split(EXAMPLES, len(calls), 40, 30)

    run(experiment(arms={"an arm": replace(ARM, task=task(counted))}, seeds=3))
    assert sorted(calls) == [0, 1, 2]


def net(init):
    return wd.of_functions(
        init, lambda params, inputs: jnp.zeros((len(inputs), 10)) + sum(map(jnp.sum, params.values()))
    )


def with_objective(objective):
    return replace(ARM, objective=objective)


def changing(updates, state, params=None):
    del params
    return updates, {"more": state}


UNTRAINABLE = {
    "no weights": (lambda: replace(ARM, task=task(model=net(lambda key: {}))), "the net has no weights"),
    "whole numbers for weights": (
        lambda: replace(ARM, task=task(model=net(lambda key: {"w": jnp.ones(3, int)}))), "weight w is of type int32",
    ),
    "a Python number for a weight": (
        lambda: replace(ARM, task=task(model=net(lambda key: {"w": jnp.asarray(1.0)}))), "weight w is a Python number",
    ),
    "a penalty that is a vector": (
        lambda: with_objective(
            lambda h: wd.penalized(ARM.task.loss(h), lambda params: params["Dense_0"]["bias"], h.decay)
        ),
        "the objective makes an array of shape (8,)",
    ),
    "a loss without metrics": (
        lambda: with_objective(lambda h: lambda params, extras, batch, key: jnp.float32(0)),
        "the objective returns one thing",
    ),
    "a metric of shape [3]": (
        lambda: with_objective(
            lambda h: lambda params, extras, batch, key: (jnp.float32(0), (extras, {"loss": jnp.zeros(3)}))
        ),
        "the metric loss is of shape (3,)",
    ),
    "a metric of a split of shape [3]": (
        lambda: replace(ARM, task=wd.with_metrics(ARM.task, lambda *where: {"mine": jnp.zeros(3)})),
        "the metric mine is of shape (3,)",
    ),
    "a metric with a slash": (
        lambda: replace(ARM, task=wd.with_metrics(ARM.task, lambda *where: {"a/b": jnp.float32(0)})),
        "no metric can be called 'a/b'",
    ),
    "a schedule that branches on a hyperparameter": (
        lambda: replace(
            ARM,
            optimizer=lambda h: optax.adam(optax.warmup_cosine_decay_schedule(0.0, h.learning_rate, 2, 10)),
        ),
        "branches on a hyperparameter, which is not known when its program is made: multiply instead",
    ),
    "a state that changes": (
        lambda: replace(ARM, optimizer=lambda h: optax.GradientTransformation(lambda params: {}, changing)),
        "a step of the optimizer changes the structure of its state",
    ),
    "a state of another type": (
        lambda: replace(
            ARM,
            optimizer=lambda h: optax.GradientTransformation(
                lambda params: jnp.int32(0), lambda updates, state, params=None: (updates, state + 0.5)
            ),
        ),
        "of its state float32[] of int32[]",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("declare", "sentence"), UNTRAINABLE.values(), ids=UNTRAINABLE)
def test_what_cannot_be_trained_is_refused_before_anything_is_compiled(declare, sentence, tmp_path):
    with pytest.raises(wd.UserError) as refused:
        check_arm("my arm", declare())
    assert str(refused.value).startswith("my arm: ")
    assert sentence in str(refused.value)
    with pytest.raises(wd.UserError, match="an arm: "):
        run(experiment(arms={"an arm": declare()}), tmp_path / "run")
    assert not (tmp_path / "run" / "experiment.json").exists()


def test_a_bug_keeps_its_type_and_says_which_arm_it_was():
    def broken(h):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine") as raised:
        check_arm("my arm", replace(ARM, optimizer=broken))
    assert "This came up when my arm was looked at before its training." in raised.value.__notes__


def run(declared, folder=None, **options):
    import tempfile

    folder = folder or tempfile.mkdtemp()
    return wd.run(declared, folder, console=Console(file=io.StringIO()), tensorboard=False, **options)


@pytest.mark.parametrize("optimizer", [
    lambda h: optax.chain(optax.adamw(h.learning_rate, weight_decay=h.decay), optax.contrib.reduce_on_plateau()),
    lambda h: optax.chain(optax.polyak_sgd(), optax.add_decayed_weights(-h.decay)),
], ids=["reduce_on_plateau", "polyak_sgd"])  # fmt: skip
def test_an_optimizer_that_wants_the_value_gets_it(optimizer, tmp_path):
    result = run(experiment(arms={"an arm": replace(ARM, optimizer=optimizer)}), tmp_path)
    assert np.isfinite(result.arms["an arm"].train_loss).all()


@pytest.mark.parametrize("confirm", [0, 2])
def test_one_seed_is_a_smoke_test_without_intervals(confirm, tmp_path):
    result = run(experiment(seeds=1, confirm=confirm), tmp_path)
    assert result.arms["an arm"].sizes["seed"] == 1
    assert (tmp_path / "report.html").exists()
    best = result.summary["best"]["an arm"]
    assert np.isnan(best["gain"]["low"]) == (confirm == 0)


MEASURES = {
    "an error": lambda arms: 1 / 0,
    "an array": lambda arms: np.zeros(2),
    "nothing": lambda arms: {},
    "a matrix": lambda arms: {"cell": np.zeros((2, 2))},
    "text": lambda arms: {"cell": np.array(["a", "b"])},
    "another arm": lambda arms: {"cell": arms["no arm"].train_loss},
}


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_a_claim_that_cannot_be_measured_costs_nothing_else(measure, tmp_path):
    with pytest.raises(ExceptionGroup):
        run(experiment(claims=[claim(measure=measure)]), tmp_path)
    assert (tmp_path / "results.nc").exists()
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize("text", ["[/b]", "[bold]", "<script>alert(1)</script>", "{x}", "%s"])
def test_what_a_person_wrote_is_text_and_no_markup(text, tmp_path):
    shown = io.StringIO()
    declared = experiment(question=text, answer=lambda summary: text, claims=[claim(statement=text)])
    wd.run(declared, tmp_path, console=Console(file=shown, width=200), tensorboard=False)
    assert shown.getvalue().count(text) >= 3
    assert "<script>" not in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("name", ["a/b", "../x", "[x]"])
def test_a_figure_whose_name_is_none_costs_that_figure_alone(name, tmp_path):
    def figures(arms):
        return {**wd.all_figures(arms), name: next(iter(wd.all_figures(arms).values()))}

    with pytest.raises(ExceptionGroup, match="figure"):
        run(experiment(figures=figures), tmp_path)
    assert list((tmp_path / "figures").glob("*.svg"))
    assert [path.name for path in tmp_path.parent.glob("*.svg")] == []


class Unsound(nn.Module):
    @nn.compact
    def __call__(self, inputs):
        return np.nan * nn.Dense(10)(inputs)


@pytest.mark.parametrize("confirm", [0, 2])
@pytest.mark.parametrize("what", ["a rate that is too large", "a net that makes no number"])
def test_all_members_may_diverge(what, confirm, tmp_path):
    points = wd.grid(cases.Hypers, learning_rate=(1e38,), decay=(0.0, 1.0))
    arm = replace(ARM, points=points) if "rate" in what else replace(ARM, task=task(model=Unsound()))
    result = run(experiment(arms={"an arm": arm}, confirm=confirm, grow=True), tmp_path)
    at = result.arms["an arm"].diverged_at
    assert (at >= 0).all()
    assert result.summary["answer"] == f"No answer: all members diverged, the first at step {int(at.min())}."
    report = (tmp_path / "report.html").read_text()
    assert result.summary["answer"] in report
    assert "generalises best" not in report


def test_a_folder_under_home_is_there(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    run(experiment(), "~/run")
    assert (tmp_path / "run" / "results.nc").exists()
