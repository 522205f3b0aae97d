"""The vocabulary: what decay, training, statistics and reports say to each other.

Shapes are those of one member, a net with one seed at one point of the hyperparameters; only `training.population`
speaks of seeds [s] and points [h].
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
import optax

from wd_research.flags import UserError, counts
from wd_research.names import check_name

if TYPE_CHECKING:
    from xarray import Dataset as Results  # of an arm, with the dims (seed, point, step): see `results`
else:
    Results = Any  # a name alone: --help need not wait for xarray

Array = jax.Array
Numbers = jax.Array | np.ndarray  # on a device or on the host
Number = jax.Array | float  # f32[], traced or not
Key = jax.Array
Params = Any  # a tree of arrays
Extras = Any  # a tree of arrays that training changes but no gradient reaches (batch statistics); {} without
Hypers = Any  # a NamedTuple of f32[] that an experiment declares; the core never names a field
Metrics = dict[str, Array]  # name -> f32[]

Penalty = Callable[[Params], Array]  # params -> f32[]
Prox = Callable[[Params, Number], Params]  # (params, amount) -> argmin_v amount * penalty(v) + |v - params|^2 / 2
Mask = Callable[[Params], Any]  # params -> tree of bool or float coefficients, one per leaf
Pull = Callable[[optax.Updates, Params], optax.Updates]  # (updates, params) -> direction of decay
Rate = Any  # a Number, or a tree of them, one per leaf or per subtree of the params
Loss = Callable[[Params, Extras, "Batch", Key], tuple[Array, tuple[Extras, Metrics]]]
Observe = Callable[[Params, optax.Updates, Params], Metrics]  # (before, gradients, after) of a step -> metrics, f32[]
ComputedArm = Callable[[int], Results]  # seeds -> results (`results.labelled`): an arm that is computed, not trained

RESERVED = frozenset(  # the names that results and summary.json have for themselves
    ("seed", "point", "step", "edge", "diverged_at", "stopped_at", "by", "unit", "hypers", "stage", "seeds", "without",
     "gain", "exploring_validation", "equal", "bootstrap", "smallest_effect", "axis", "best_values", "neighbours",
     "edges", "edges_without", "grown", "raced", "members", "diverged", "first_diverged", "by_loss", "by_step")
)  # fmt: skip


PREFIXES = ("train_", "validation_", "test_", "running_", "weights_")  # of metrics


class Batch(NamedTuple):
    """Examples that go through a net together."""

    inputs: Numbers  # f32[b, ...], or i32[b, t] tokens
    targets: Numbers  # i32[b] classes, i32[b, t] tokens, or f32[b, ...] numbers


class State(NamedTuple):
    """What a step of training changes; the clock and the keys are shared by all members and live outside."""

    params: Params
    extras: Extras
    opt_state: optax.OptState


class Position(NamedTuple):
    """Where the training of a tile stands: all that has changed since its beginning."""

    step: int  # steps taken
    members: Any  # `training.member.Member` [s, h] of a tile, which the next piece takes away; None without one
    results: Results  # every evaluation so far; None before the first

    @property
    def evaluated(self) -> bool:
        """Whether there is an evaluation after just these steps."""
        return self.results is not None and int(self.results["step"][-1]) == self.step


# (arm, position with the results of all its points), after every evaluation: event files, trackers
Observer = Callable[[str, Position], None]


def no_splits(data: Any, split: Any) -> Mapping[str, Batch]:
    """No examples to evaluate a net on."""
    del data, split
    return {}


def no_metrics(*_: Any) -> Metrics:
    """Nothing is measured."""
    return {}


def unobserved(hypers: Hypers) -> Observe:
    """Nothing is measured of a step."""
    del hypers
    return no_metrics


def no_predictions(*_: Any) -> Array:
    """Raise ValueError: there is no net whose function could be asked for."""
    raise ValueError("this task has no predictions: give it predict=, the net's function outside training")


def as_they_are(split: Any, inputs: Numbers) -> Numbers:
    """The inputs unchanged."""
    del split
    return inputs


class Task(NamedTuple):
    """What a net has to learn: data, and pure functions of them.

    `data` is shared by all seeds, and `split(seed)` says which of them one seed trains, validates and tests on (index
    arrays, noisy labels, statistics of the inputs). Both are trees of NumPy arrays and reach the compiled functions as
    arguments.
    """

    data: Any
    split: Callable[[int], Any]  # seed -> split
    init: Callable[[Key], tuple[Params, Extras]]
    order: Callable[[Key, Array, int], Array]  # (key, first step i32[], steps) -> i32[steps, b] training examples
    gather: Callable[[Any, Any, Array], Batch]  # (data, split, i32[b]) -> training batch
    loss: Callable[[Hypers], Loss]
    splits: Callable[[Any, Any], Mapping[str, Batch]] = no_splits  # (data, split) -> {"train": what is evaluated, ...}
    evaluate: Callable[[Params, Extras, Batch, str], Metrics] = no_metrics  # of the examples of a split, with its name
    predict: Callable[[Params, Extras, Numbers], Array] = no_predictions  # the net's function outside training
    prepare: Callable[[Any, Numbers], Numbers] = as_they_are  # (split, raw inputs) -> inputs as the net sees them
    measure: Callable[[Params, Extras], Metrics] = no_metrics  # of the weights alone, whatever the examples
    loss_unit: str = ""  # of the metric "loss": "nats" where it is a cross entropy
    # (seed, first step, steps) -> [steps, ...], which the host makes in the meantime and which takes the place of
    # `order`: where data are larger than a device, the examples themselves
    pool: Callable[[int, int, int], np.ndarray] | None = None


@dataclass(frozen=True)
class Arm:
    """What is compared: one task and one way to train it, at every point of a grid of hyperparameters.

    `axis` is the hyperparameter in question: 0 switches it off, and the others are tuned for each of its values. The
    objective is the task's loss unless another is given. `observe(h)` measures every step; its metrics are recorded as
    means over the steps between two evaluations.

    Raises UserError when it is made of something else, when its points are no table of finite numbers f32[h] or have no
    such axis, or when a hyperparameter has a name that results use themselves.
    """

    task: Task
    optimizer: Callable[[Hypers], optax.GradientTransformation]
    points: Hypers  # each leaf f32[h]
    axis: str
    objective: Callable[[Hypers], Loss] | None = None
    observe: Callable[[Hypers], Observe] = unobserved
    steps: int | None = None  # of training, where they are others than the experiment's

    def __post_init__(self) -> None:
        if not isinstance(self.task, Task):
            raise UserError(f"an arm needs a Task, and this is a {type(self.task).__name__}: make one by "
                            "classification, regression or supervised")  # fmt: skip
        if not callable(self.optimizer):
            made = type(self.optimizer).__name__
            raise UserError("an arm needs a function of the hyperparameters that makes its optimizer, and this is a "
                            f"{made}: write lambda h: optax.adamw(h.learning_rate)")  # fmt: skip
        if not _takes_one(self.observe):
            raise UserError("an arm's observe is a function of the hyperparameters, as its optimizer is, that returns "
                            "a function of a step (before, gradients, after): write observe=lambda h: ...")  # fmt: skip
        if self.steps is not None:
            counts(steps=self.steps)
            object.__setattr__(self, "steps", int(self.steps))  # NumPy's whole numbers are none that JSON knows
        check_points(self.points)
        if self.axis not in self.points._fields:
            raise UserError(f"the points have no {self.axis}: the axis is one of {', '.join(self.points._fields)}")

    @property
    def minimised(self) -> Callable[[Hypers], Loss]:
        """What the gradient is taken of."""
        return self.objective or self.task.loss

    @property
    def size(self) -> int:
        """How many points there are."""
        return len(jax.tree.leaves(self.points)[0])


def _takes_one(function: Any) -> bool:
    """Whether it can be called with one argument."""
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return False
    return True


def check_points(points: Any) -> None:
    """Raise UserError unless the points are a NamedTuple of arrays [h] of finite numbers."""
    names = getattr(points, "_fields", ())
    if not names:
        raise UserError(f"the points are a {type(points).__name__}: make them by grid(learning_rate=..., decay=...)")
    for name in names:
        check_name("hyperparameter", name)
        if name in RESERVED or name.startswith(PREFIXES):
            raise UserError(f"no hyperparameter can be called {name}, results have that name for themselves: give "
                            "it another one")  # fmt: skip
    columns = {name: np.asarray(values) for name, values in points._asdict().items()}
    shapes = {name: column.shape for name, column in columns.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 or not shape[0] for shape in shapes.values()):
        said = ", ".join(f"{name} of shape {shape}" for name, shape in shapes.items())
        raise UserError(f"the points are {said}: give each hyperparameter one number for every point")
    for name, column in columns.items():
        with np.errstate(over="ignore"):
            fits = column.dtype.kind in "iuf" and np.isfinite(column.astype(np.float32)).all()
        if not fits:
            raise UserError(f"the points have values of {name} that are no finite numbers that float32 can hold")


def check_distinct(points: Any) -> None:
    """Raise UserError where two points are alike in float32."""
    names, columns = points._fields, [np.asarray(column, np.float32) for column in points]
    distinct, counts = np.unique(np.stack(columns, axis=1), axis=0, return_counts=True)
    if len(distinct) < len(columns[0]):
        twice = dict(zip(names, map(float, distinct[counts.argmax()]), strict=True))
        said = ", ".join(f"{name} {value:g}" for name, value in twice.items())
        raise UserError(f"the points have {said} more than once: give each once")
