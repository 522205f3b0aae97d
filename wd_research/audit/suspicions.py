"""What is suspicious in an audit: a sentence each, with the leaves that it is about."""

import math
from collections.abc import Iterator
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
import optax

from wd_research.audit.reading import LINEAR, LeafDecay
from wd_research.types import Params

if TYPE_CHECKING:
    from wd_research.audit.leaves import Row

KEPT = 0.8  # of decay that rounding must let through
KNOWN = 0.02  # relative error of what is sampled that need not be said


class Leaf(NamedTuple):
    """What the suspicions about one leaf rest on."""

    row: "Row"
    dtype: np.dtype
    decay: LeafDecay
    invariant: bool  # the loss does not change with its scale
    silent: bool  # the loss does not change with it at all


def suspicions(leaves: list[Leaf], optimizer: optax.GradientTransformation, params: Params) -> list[str]:
    """The sentences, those about all leaves first."""
    decayed = [leaf for leaf in leaves if leaf.row.place]
    known = [leaf for leaf in decayed if not leaf.decay.unknown]
    per_unit = [leaf for leaf in decayed if leaf.row.role.kind in ("bias", "norm")]
    kernels = [leaf for leaf in leaves if leaf.row.role.kind == "kernel"]
    inverted = bool(per_unit and kernels and not any(leaf.row.place for leaf in kernels))
    shrinking = [leaf for leaf in decayed if not leaf.row.left >= 1 - 1e-9]
    found = {
        "the mask looks inverted: biases or norm scales decay and no kernel does": per_unit if inverted else [],
        "biases or norm scales decay": [] if inverted else per_unit,
        "leaves decay that are neither kernels nor embeddings": [
            leaf for leaf in decayed if leaf.row.role.kind == "other"
        ],
        "decay acts twice": [leaf for leaf in decayed if " and " in leaf.row.place],
        "no gradient arrives, yet decay shrinks": [leaf for leaf in shrinking if leaf.silent],
        "the optimizer lets no gradient through, yet decay shrinks": [
            leaf for leaf in shrinking if leaf.decay.stopped and not leaf.silent
        ],
        "the loss does not change with the scale of the weights (a norm follows), so decay only sets how fast they "
        "turn": [leaf for leaf in decayed if leaf.invariant],
        "a step removes more than the whole weight": [
            leaf for leaf in known if leaf.decay.pull in LINEAR and leaf.decay.rate.max() >= 1
        ],
    }
    for leaf in known:
        if leaf.decay.rate.min() < 0 or leaf.decay.strength < 0:
            grows = f"the decay is negative, so the weights grow{_growth(leaf)}"
            found[grows] = [*found.get(grows, []), leaf]
    for leaf in leaves:
        reason = _reason(leaf)
        found[reason] = [*found.get(reason, []), leaf]
    found.pop("", None)
    sentences = [f"{what}: {', '.join(leaf.row.path for leaf in which)}" for what, which in found.items() if which]
    return [*([] if decayed else _switched_off(optimizer.init(params))), *_masked_away(optimizer, params), *sentences]


def _growth(leaf: Leaf) -> str:
    """By how much weights grow without gradients; "" where they do not, as where decay is negative for a while."""
    left = leaf.row.left
    return f", to {left:.3g} times what they were without gradients" if left > 1 + 1e-9 else ""


def _reason(leaf: Leaf) -> str:
    """Why the decay of a leaf is not known, or how much of it rounding takes; "" where neither is so."""
    if leaf.decay.unknown:
        return f"the decay is not known, {leaf.decay.unknown}"
    if not leaf.row.place:
        return ""
    if leaf.decay.rounded < KEPT:
        part = max(leaf.decay.rounded, 0)
        return f"rounding to {leaf.dtype} lets {part:.0%} of the decay through without gradients"
    if leaf.decay.by_moving and np.ptp(leaf.decay.samples.weights) == 0 and leaf.decay.samples.weights[0] > 1:
        seen = len(leaf.decay.samples.steps)
        return f"the optimizer keeps weights of its own, so its decay was seen over the first {seen:,} steps alone"
    return _not_seen(leaf.row)


def _not_seen(row: "Row") -> str:
    """What is not known, or not well, because between the blocks that were looked at decay may have been another."""
    names = {"left alone": row.left, "half-life": row.half_life, "time scale": row.time_scale}
    unknown = [name for name, value in names.items() if np.isnan(value)]
    what = [f"{' and '.join(unknown)} {'is' if len(unknown) == 1 else 'are'} not known"] if unknown else []
    if row.error > KNOWN:
        what.append(f"what it removes is known to {math.ceil(100 * row.error)}%")
    return f"decay changes between the blocks of steps that were looked at, so {'; '.join(what)}" if what else ""


def _switched_off(state: Any) -> list[str]:
    """What the state says, where nothing decays, of decay that a wrapper switched off."""
    held = [
        f"{name} {float(value):g}"
        for node in _nodes(state, optax.InjectStatefulHyperparamsState | optax.InjectHyperparamsState)
        for name, value in node.hyperparams.items()
        if "decay" in name and value != 0
    ]
    if not held:
        return []
    return [
        f"a wrapper of hyperparameters holds {', '.join(held)}, and nothing decays: it takes a mask that is a function "
        "for a schedule; build the chain without the wrapper"
    ]


def _nodes(tree: Any, kind: Any) -> list[Any]:
    """All nodes of a kind, also those inside one another."""
    outer = [n for n in jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, kind)) if isinstance(n, kind)]
    return outer + [inner for node in outer for child in node for inner in _nodes(child, kind)]


def _masked_away(optimizer: optax.GradientTransformation, params: Params) -> list[str]:
    """Whether a part of the optimizer that would decay gets no leaf, by mistake in a pattern for all that one knows."""
    for inner, mask in _masked_parts(optimizer):
        taken = jax.tree.leaves(mask(params) if callable(mask) else mask)
        if taken and not any(map(np.any, taken)) and _would_decay(inner, params):
            return ["a part of the optimizer that decays is masked away for every leaf: its pattern may match nothing"]
    return []


def _masked_parts(optimizer: Any) -> Iterator[tuple[Any, Any]]:
    """The transformations inside an optimizer that `optax.masked` put behind a mask, with their masks.

    The functions that it is made of hold them, as they hold one another.
    """
    waiting, known = [optimizer], set()
    while waiting:
        node = waiting.pop()
        if id(node) in known:
            continue
        known.add(id(node))
        if isinstance(node, FunctionType):
            cells = dict(zip(node.__code__.co_freevars, node.__closure__ or (), strict=True))
            held = {name: cell.cell_contents for name, cell in cells.items() if _is_filled(cell)}
            if node.__module__.startswith("optax") and {"inner", "mask"} <= held.keys():
                yield held["inner"], held["mask"]
            if node.__module__.startswith("optax") and {"transforms", "param_labels"} <= held.keys():
                yield from _parts_of_partition(held["transforms"], held["param_labels"])
            waiting += held.values()
        elif isinstance(node, list | tuple):
            waiting += node
        elif isinstance(node, dict):
            waiting += node.values()


def _parts_of_partition(transforms: Any, labels: Any) -> Iterator[tuple[Any, Any]]:
    for label, inner in transforms.items():

        def mask(params: Params, label: Any = label) -> Params:
            return jax.tree.map(lambda own: own == label, labels(params) if callable(labels) else labels)

        yield inner, mask


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _would_decay(inner: Any, params: Params) -> bool:
    """Whether a transformation moves weights without a gradient."""
    still = jax.tree.map(np.zeros_like, params)
    try:
        updates, _ = inner.update(still, inner.init(params), params)
    except Exception:
        return False
    return any(bool(np.any(np.asarray(update) != 0)) for update in jax.tree.leaves(updates))
