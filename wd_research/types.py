"""The vocabulary: what the three wings say to each other.

Shapes are those of ONE member; only `training.population` speaks of seeds [s] and points [h].
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
import optax

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from xarray import Dataset as Results  # of an arm: dims (seed, point, step)
else:
    Axes = Figure = Results = Any  # names alone: these libraries take a second that --help need not wait for

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
Exact = Callable[[int], Results]  # seeds -> what came out (`looks.labelled`): an arm that is computed, not trained


class Batch(NamedTuple):
    """Examples that go through a net together."""

    inputs: Numbers  # f32[b, ...]
    targets: Numbers  # i32[b]


class State(NamedTuple):
    """What a step of training changes; the clock and the keys are shared by all members and live outside."""

    params: Params
    extras: Extras
    opt_state: optax.OptState


class Task(NamedTuple):
    """What a net has to learn: data, and pure functions of them.

    `data` is shared by all seeds and `split(seed)` is what one seed sees of it (index arrays, flipped labels,
    statistics); both are trees of NumPy arrays, and both reach the compiled functions as arguments.
    """

    data: Any
    split: Callable[[int], Any]  # seed -> split
    init: Callable[[Key], tuple[Params, Extras]]
    order: Callable[[Key, Array, int], Array]  # (key, first step i32[], steps) -> i32[steps, b] training examples
    gather: Callable[[Any, Any, Array], Batch]  # (data, split, i32[b]) -> training batch
    parts: Callable[[Any, Any], Mapping[str, Batch]]  # (data, split) -> {"train": whole part, ...}
    loss: Callable[[Hypers], Loss]
    evaluate: Callable[[Params, Extras, Batch], Metrics]


class Kept(NamedTuple):
    """What the folder of a run holds, for a person to read."""

    name: str  # of the folder
    record: Mapping[str, Any]  # experiment.json
    summary: Mapping[str, Any]  # summary.json; {} where the run did not come so far
    audit: str  # audit.txt
    figures: Mapping[str, bytes]  # name -> SVG, in the order in which they were drawn


class Arm(NamedTuple):
    """What is compared: one net and one way to train it, at every point of its own grid.

    Arms that share the functions of their tasks, objective and optimizer (the same objects) share one compiled program
    where their inputs have the same shapes: `task._replace(split=...)` sees other data through the same program.
    """

    task: Task
    objective: Callable[[Hypers], Loss]
    optimizer: Callable[[Hypers], optax.GradientTransformation]
    points: Hypers  # each leaf f32[h]
    axis: (
        str  # the field of `points` that is the question; at 0 it is switched off. The others are tuned for each value
    )
