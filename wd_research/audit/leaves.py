"""The audit: which leaves decay, where, by how much, and what is suspicious, before the run."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from wd_research.audit.loss import InLoss, decay_in_loss, is_scale_invariant
from wd_research.audit.optimizer import LOOSE, LeafDecay, probe, probes
from wd_research.decay.masks import leaf_name
from wd_research.types import Array, Params


class Row(NamedTuple):
    """What decay does to one leaf."""

    path: str
    shape: tuple[int, ...]
    place: str  # "in the loss", "coupled", "decoupled", "constant", "corrected", ...; "" where nothing decays
    pull: str  # what it pulls along: "w", "w - start", "sign(w)" or "other"
    coefficient: float  # a strength in the loss or coupled, else the rate per step at its peak; NaN where not known
    left: float  # share of the weights that is left after the run without gradients
    half_life: float  # steps to a half without gradients; inf without decay
    time_scale: float  # 1 / (mean share removed per step beside the model's own gradients), in steps; inf without


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

    `loss(params, batch)` is f32[]. The optimizer is probed over its whole schedule (without gradients, with unit ones,
    with the model's own), the loss with all leaves but one at 0, so that what is left of the gradient is a penalty's;
    nothing is read from any option. A penalty is thus not found where a leaf alone, without inputs, reaches the output.

    Raises DecayError when a mask or a tree of rates does not fit the params.
    """
    return auditor(lambda _, *where: loss(*where), lambda _: optimizer)((), params, batch, steps)


def auditor(
    loss_of: Callable[[Any, Params, Any], Array], optimizer_of: Callable[[Any], optax.GradientTransformation]
) -> Callable[[Any, Params, Any, int], Audit]:
    """The function (numbers, params, batch, steps) -> Audit of a loss and an optimizer that are built from numbers.

    Traced numbers: to audit with other ones compiles nothing.
    """
    init = jax.jit(lambda numbers, params: optimizer_of(numbers).init(params))
    slope_of = jax.jit(jax.value_and_grad(loss_of, argnums=1), compiler_options={"xla_backend_optimization_level": 0})
    ask = probes(lambda both: optax.chain(_as_gradient(both[1]), optimizer_of(both[0])))

    @np.errstate(all="ignore")  # a leaf alone may overflow; what is not finite is judged, and not printed
    def audit_decay(numbers: Any, params: Params, batch: Any, steps: int) -> Audit:
        state, slope = init(numbers, params), partial(slope_of, numbers)
        params = jax.tree.map(np.asarray, params)
        gradients = jax.tree.map(np.asarray, slope(params, batch)[1])
        in_loss = decay_in_loss(slope, params, batch)
        found = probe(ask, (numbers, _strengths([InLoss(0.0, "w")] * len(in_loss))), params, gradients, steps)
        whole = found
        if any(penalty.strength for penalty in in_loss):
            whole = probe(ask, (numbers, _strengths(in_loss)), params, gradients, steps)
        leaves = jax.tree_util.tree_leaves_with_path(params)
        rows = tuple(
            _row(leaf_name(path), np.shape(leaf), alone, both, penalty, steps)
            for (path, leaf), alone, both, penalty in zip(leaves, found, whole, in_loss, strict=True)
        )
        invariant = [is_scale_invariant(slope, params, batch, leaf, penalty) for leaf, penalty in enumerate(in_loss)]
        without_gradient = [
            bool(np.all(np.abs(gradient - penalty.strength * penalty.along(leaf)) <= 1e-6 * np.abs(gradient)))
            for gradient, leaf, penalty in zip(*map(jax.tree.leaves, (gradients, params)), in_loss, strict=True)
        ]
        return Audit(rows, tuple(_warnings(rows, steps, state, found, invariant, without_gradient)), steps)

    return audit_decay


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


def _row(path: str, shape: tuple[int, ...], found: LeafDecay, whole: LeafDecay, in_loss: InLoss, steps: int) -> Row:
    peak = float(found.coefficient[np.argmax(np.abs(found.coefficient))])
    places = {
        "in the loss": in_loss.strength,
        "coupled": found.strength,
        place_of(found): peak,
    }
    places = {place: coefficient for place, coefficient in places.items() if coefficient != 0}
    pull = in_loss.pull if in_loss.strength else found.pull
    left, own = whole.left, float(np.mean(whole.own_rate))
    below = np.flatnonzero(left <= 0.5)
    forgotten = -math.log(max(left[-1], 1e-300))
    return Row(
        path,
        shape,
        " and ".join(places),
        pull if places else "",
        next(iter(places.values()), 0.0),
        float(left[-1]),
        min(float((below[0] + 1) * whole.stride), steps)
        if len(below)
        else steps * math.log(2) / forgotten
        if forgotten > 1e-12
        else math.inf,
        1 / own if places and own > 1e-12 else math.inf,
    )


def place_of(found: LeafDecay) -> str:
    """Where the decay after the optimizer stands, from how it varies beside the optimizer's steps.

    It follows them (decoupled or independent), their square (corrected), neither while they vary (constant), or has a
    schedule of its own; it may also heed the gradient (cautious; mixed with it, as inside a trust ratio).
    """
    if found.strength == 0 and found.mixed > LOOSE:
        return "cautious" if found.half < LOOSE else "mixed with the gradient"
    late = len(found.rate) // 2  # once the optimizer's memory is filled
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


def _warnings(
    rows: tuple[Row, ...],
    steps: int,
    state: Any,
    found: list[LeafDecay],
    invariant: list[bool],
    without_gradient: list[bool],
) -> list[str]:
    decayed = [row for row in rows if row.place]
    vectors, matrices = [[row for row in rows if (len(row.shape) >= 2) == many] for many in (False, True)]
    decayed_vectors = [row for row in vectors if row.place]
    inverted = bool(decayed_vectors and matrices and not any(row.place for row in matrices))
    twice = [row for row in decayed if " and " in row.place]
    unused = [row for row, without in zip(rows, without_gradient, strict=True) if without and row.left < 1 - 1e-9]
    turning = [row for row, scales in zip(rows, invariant, strict=True) if scales and row.place]
    slow = [row for row in decayed if row.time_scale > steps and row.pull != "other"]
    over = [row for row, what in zip(rows, found, strict=True) if what.rate.max() >= 1]
    suspicions = {
        "the mask looks inverted: biases or norm scales decay and no matrix does": decayed_vectors if inverted else [],
        "biases or norm scales decay": [] if inverted else decayed_vectors,
        "decay acts twice": twice,
        "no gradient arrives, yet decay shrinks": unused,
        "the loss does not change with the scale of the weights (a norm follows), so decay only sets how fast they "
        "turn": turning,
        f"the time scale is longer than the run of {steps} steps, so most of the start will not be forgotten": slow,
        "a step removes more than the whole weight": over,
    }
    warnings = [f"{what}: {', '.join(row.path for row in which)}" for what, which in suspicions.items() if which]
    return [*_of_state(state, bool(decayed)), *warnings]


def _of_state(state: Any, decays: bool) -> list[str]:
    """What the optimizer's state says of masks that match nothing, and of decay that a wrapper switched off."""
    switched_off = [
        f"{name} {float(value):g}"
        for node in _nodes(state, optax.InjectStatefulHyperparamsState | optax.InjectHyperparamsState)
        for name, value in node.hyperparams.items()
        if "decay" in name and value != 0
    ]
    if switched_off and not decays:
        return [
            f"a wrapper of hyperparameters holds {', '.join(switched_off)}, and nothing decays: it takes a mask that "
            "is a function for a schedule; build the chain without the wrapper"
        ]
    masked = list(_nodes(state, optax.MaskedState))
    empty = [node for node in masked if _all_masked(node.inner_state)]
    if empty:
        return ["a part of the optimizer is masked away for every leaf: does its pattern match nothing?"]
    if masked and not decays:
        return ["the optimizer holds a mask, and nothing decays: does its pattern match nothing?"]
    return []


def _nodes(tree: Any, kind: Any) -> list[Any]:
    """All nodes of a kind, also those inside one another."""
    outer = [n for n in jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, kind)) if isinstance(n, kind)]
    return outer + [inner for node in outer for child in node for inner in _nodes(child, kind)]


def _all_masked(tree: Any) -> bool:
    nodes = jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, optax.MaskedNode))
    masked = [isinstance(node, optax.MaskedNode) for node in nodes]
    return any(masked) and all(m or not np.ndim(node) for m, node in zip(masked, nodes, strict=True))


def as_text(audit_decay: Audit) -> str:
    """The audit as a table that a person reads: columns by width, then the warnings."""
    header = ("leaf", "shape", "decays", "pull", "coefficient", "left alone", "half-life", "time scale", "in runs")
    table = [header, *(_cells(row, audit_decay.steps) for row in audit_decay.rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    warnings = [f"warning: {warning}" for warning in audit_decay.warnings] or ["no warnings"]
    return "\n".join([*lines, "", *warnings]) + "\n"


def _cells(row: Row, steps: int) -> tuple[str, ...]:
    shape = "x".join(map(str, row.shape)) or "number"
    if not row.place:
        return (row.path, shape, "no", "", "", f"{row.left:.4g}", "", "", "")
    coefficient = "not known" if math.isnan(row.coefficient) else f"{row.coefficient:.4g}"
    numbers = (f"{row.left:.4g}", *(_steps(value) for value in (row.half_life, row.time_scale)))
    return (row.path, shape, row.place, row.pull, coefficient, *numbers, f"{row.time_scale / steps:.3g}")


def _steps(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:,.4g} steps"
