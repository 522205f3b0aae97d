"""The audit: which leaves decay, where, by how much, and what is suspicious, before the run."""

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from wd_research.audit.course import course
from wd_research.audit.loss import InLoss, decay_in_loss, gradients_of, scale_invariant, silent
from wd_research.audit.optimizer import probe, probes
from wd_research.audit.reading import LOOSE, LeafDecay
from wd_research.audit.suspicions import Leaf, suspicions
from wd_research.decay.masks import DecayError
from wd_research.decay.roles import Role, named, roles
from wd_research.types import Array, Params

UNKNOWN = 0.25  # relative error of what is not said


class Row(NamedTuple):
    """What decay does to one leaf; NaN where that is not known."""

    path: str
    shape: tuple[int, ...]
    role: Role  # and which rule of `decay.roles` says so
    place: str  # "in the loss", "coupled", "decoupled", "constant", "corrected", ...; "" where nothing decays
    pull: str  # what it pulls along: "w", "w - start", "sign(w)" or "other"
    coefficient: float  # a strength in the loss or coupled, else the rate per step at its peak
    left: float  # share of the weights that is left after the run without gradients
    half_life: float  # steps to a half without gradients; inf without decay
    time_scale: float  # 1 / (mean share removed per step beside the model's own gradients), in steps; inf without
    error: float  # of what decay removes, relative, at most: that of the three numbers above which are known
    moves: bool  # whether gradients reach the weights; where they do not and nothing decays, the leaf is frozen


class Audit(NamedTuple):
    """A row per leaf, and a sentence per suspicion."""

    rows: tuple[Row, ...]
    warnings: tuple[str, ...]
    steps: int

    def __str__(self) -> str:
        return as_text(self)


def audit_decay(
    loss: Callable[[Params, Any], Array],
    optimizer: optax.GradientTransformation,
    params: Params,
    batch: Any,
    steps: int = 1_000,
) -> Audit:
    """Find which leaves decay, where and by how much, for any model and any optax chain, over a run of `steps` steps.

    `loss(params, batch)` is f32[]. The optimizer is run over its whole schedule, where it sees the weights and where it
    sees their mirror image (`audit.twins`); the loss is asked with many leaves at 0, so that what is left of the
    gradient is a penalty's; nothing is read from any option. A penalty is thus not found where a leaf alone, without
    inputs, reaches the output. What depends on gradients that only training knows is said to be not known.

    Raises DecayError when a mask or a tree of rates does not fit the params, and for a leaf that is no weight: whole
    numbers, truth values, keys; UserError when the optimizer asks for more than gradients, weights and the loss.
    """
    return auditor(_without_numbers(loss), lambda _: optimizer)((), params, batch, steps)


@lru_cache(maxsize=1)  # one loss may meet several optimizers
def _without_numbers(loss: Callable[[Params, Any], Array]) -> Callable[[Any, Params, Any], Array]:
    return lambda _, params, batch: loss(params, batch)


@lru_cache(maxsize=1)
def _slope_of(loss_of: Callable[[Any, Params, Any], Array]) -> Callable[[Any, Params, Any], tuple[Array, Params]]:
    """The loss and its gradient, compiled."""
    return jax.jit(jax.value_and_grad(loss_of, argnums=1), compiler_options={"xla_backend_optimization_level": 0})


def auditor(
    loss_of: Callable[[Any, Params, Any], Array], optimizer_of: Callable[[Any], optax.GradientTransformation]
) -> Callable[[Any, Params, Any, int], Audit]:
    """The function (numbers, params, batch, steps) -> Audit of a loss and an optimizer that are built from numbers.

    Traced numbers: to audit with other ones compiles nothing.
    """
    slope_of = _slope_of(loss_of)
    alone = probes(optimizer_of)
    penalized = probes(lambda both: optax.chain(_as_gradient(both[1]), optimizer_of(both[0])))

    @np.errstate(all="ignore")  # a leaf alone may overflow; what is not finite is judged, and not printed
    def audit_decay(numbers: Any, params: Params, batch: Any, steps: int) -> Audit:
        _check_dtypes(params)
        params = jax.tree.map(np.asarray, params)
        optimizer = optimizer_of(numbers)
        jax.eval_shape(optimizer.init, params)  # a mask that does not fit is found before anything is compiled
        slope = partial(slope_of, numbers)
        own = gradients_of(slope, params, batch)
        in_loss = decay_in_loss(slope, params, own.batch)
        if any(penalty.strength for penalty in in_loss):
            ask = partial(probe, penalized, params=params, gradients=own.alive(), steps=steps)
            found, whole = (ask((numbers, _strengths(what))) for what in ([InLoss(0.0, "w")] * len(in_loss), in_loss))
        else:
            found = whole = probe(alone, numbers, params, own.alive(), steps)
        leaves = [("/".join(keys), leaf) for keys, leaf in named(params).items() if jax.tree.leaves(leaf)]
        rows = tuple(map(partial(_row, steps), leaves, roles(params).values(), found, whole, in_loss))
        what = zip(
            rows,
            [np.asarray(leaf).dtype for _, leaf in leaves],
            found,
            scale_invariant(slope, params, own, in_loss),
            silent(own.elsewhere, params, in_loss),
            strict=True,
        )
        sentences = suspicions([Leaf(*of_leaf) for of_leaf in what], optimizer, params)
        return Audit(rows, tuple(sentences), steps)

    return audit_decay


def _check_dtypes(params: Params) -> None:
    """Raise DecayError for a leaf that has no gradient."""
    for keys, leaf in named(params).items():
        for array in jax.tree.leaves(leaf):
            dtype = array.dtype if hasattr(array, "dtype") else np.asarray(array).dtype
            if not jnp.issubdtype(dtype, jnp.inexact):
                raise DecayError(
                    f"the leaf {'/'.join(keys)} holds {dtype}, and weights are floats or complex: keep counters, "
                    "masks and keys out of the params"
                )


def _strengths(in_loss: list[InLoss]) -> list[tuple[float, float]]:
    """Of each leaf, the strength of l2 and that of l1 in the loss."""
    return [(p.strength * (p.pull == "w"), p.strength * (p.pull == "sign(w)")) for p in in_loss]


def _as_gradient(strengths: list[tuple[Any, Any]]) -> optax.GradientTransformation:
    """The penalty in the loss as a link in front of the optimizer."""

    def add(updates: optax.Updates, params: Params | None = None) -> optax.Updates:
        leaves, treedef = jax.tree.flatten(params)
        pulls = [l2 * leaf + l1 * jnp.sign(leaf) for (l2, l1), leaf in zip(strengths, leaves, strict=True)]
        return jax.tree.map(jnp.add, updates, jax.tree.unflatten(treedef, pulls))

    return optax.stateless(add)


def _row(
    steps: int, named_leaf: tuple[str, Any], role: Role, found: LeafDecay, whole: LeafDecay, in_loss: InLoss
) -> Row:
    peak = float(found.rate[np.argmax(np.abs(found.rate))])
    places = {"in the loss": in_loss.strength, "coupled": found.strength, place_of(found): peak}
    places = {place: coefficient for place, coefficient in places.items() if coefficient != 0}
    known = not whole.unknown
    if not known and not places:
        places = {place_of(whole): math.nan}
    (forgotten, error), (half_life, half_error) = whole.forgotten.total(), whole.forgotten.reaches(math.log(2))
    own, own_error = course(whole.own_rate, whole.samples).total()
    numbers = float(np.exp(-forgotten)), half_life, steps / own if places and own > 1e-12 * steps else math.inf
    errors = [error, half_error, own_error] if places else [0.0] * 3
    left, half, time_scale = [
        number if known and error <= UNKNOWN else math.nan for number, error in zip(numbers, errors, strict=True)
    ]
    return Row(
        named_leaf[0],
        np.shape(named_leaf[1]),
        role,
        " and ".join(places),
        (in_loss.pull if in_loss.strength else found.pull) if places else "",
        next(iter(places.values()), 0.0) if known else math.nan,
        left,
        half,
        time_scale,
        max((error for error in errors if error <= UNKNOWN), default=0.0),
        not whole.stopped,
    )


def place_of(found: LeafDecay) -> str:
    """Where the decay after the optimizer stands, from how it varies beside the optimizer's steps.

    It follows them (decoupled or independent), their square (corrected), neither while they vary (constant), or has a
    schedule of its own; it may also heed the gradient (cautious; mixed with it, as inside a trust ratio; scaled by what
    the gradients' past is).
    """
    if found.unknown:
        return "scaled by the gradients"
    if found.beside:
        return "beside gradients alone"
    if found.strength == 0 and found.mixed > LOOSE:
        return "cautious" if found.half < LOOSE else "mixed with the gradient"
    late = len(found.rate) // 2  # once the optimizer's memory is filled, if anything decays then
    if np.abs(found.rate[late:]).max() < LOOSE * np.abs(found.rate).max():
        late = 0
    rate = np.abs(found.rate[late:])

    def follows(power: int) -> bool:
        return any(_even(rate, sizes[late:] ** power, 0.05) for sizes in found.step_sizes)

    for place, power in (("decoupled", 1), ("constant", 0), ("corrected", 2)):
        if follows(power):
            return place
    return "on a schedule of its own"


def _even(rate: np.ndarray, reference: np.ndarray, tolerance: float) -> bool:
    """Whether rate / reference is the same at every step that has a reference."""
    there = reference > 1e-6 * max(reference.max(initial=0), 1e-300)
    ratio, beyond = rate[there] / reference[there], rate[~there].max(initial=0)
    return bool(len(ratio) and np.ptp(ratio) <= tolerance * ratio.max() and beyond <= 1e-4 * rate.max())


def as_text(audit_decay: Audit) -> str:
    """The audit as a table that a person reads: columns by width, then the warnings."""
    header = (
        "leaf",
        "shape",
        "role",
        "by",
        "decays",
        "pull",
        "coefficient",
        "left alone",
        "half-life",
        "time scale",
        "in runs",
    )
    table = [header, *(_cells(row, audit_decay.steps) for row in audit_decay.rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    warnings = [f"warning: {warning}" for warning in audit_decay.warnings] or ["no warnings"]
    return "\n".join([*lines, "", *warnings]) + "\n"


def _cells(row: Row, steps: int) -> tuple[str, ...]:
    leaf = (row.path, "x".join(map(str, row.shape)) or "number", *row.role)
    if not row.place:
        return (*leaf, "no" if row.moves else "frozen", "", "", _number(row.left), "", "", "")
    times = (_steps(value) for value in (row.half_life, row.time_scale))
    in_runs = "" if math.isnan(row.time_scale) else f"{row.time_scale / steps:.3g}"
    return (*leaf, row.place, row.pull, _number(row.coefficient), _number(row.left), *times, in_runs)


def _number(value: float) -> str:
    return "not known" if math.isnan(value) else f"{value:.4g}"


def _steps(value: float) -> str:
    return "not known" if math.isnan(value) else "never" if math.isinf(value) else f"{value:,.4g} steps"
