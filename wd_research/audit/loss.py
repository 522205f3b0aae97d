"""Penalties inside a loss, leaf by leaf, and weights whose scale does not change the loss.

`slope(params, batch)` is the loss and its gradient, compiled once. It is asked few times, because it is what an audit
spends its time on.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from wd_research.audit.optimizer import awake
from wd_research.decay.roles import roles
from wd_research.types import Array, Params

Slope = Callable[[Params, Any], tuple[Array, Params]]
LOOSE = 1e-3  # what counts as equal beside 1
EXAMPLES = 8  # of a batch


class InLoss(NamedTuple):
    """The penalty that a loss puts on one leaf: its gradient is strength * along(w)."""

    strength: float
    pull: str  # "w" or "sign(w)"

    def along(self, weights: Any) -> Any:
        """The direction of the pull."""
        return (
            weights if self.pull == "w" else jnp.sign(weights) if isinstance(weights, jax.Array) else np.sign(weights)
        )

    def value(self, weights: Any) -> float:
        """strength * |w|^2 / 2, or strength * |w|_1."""
        return self.strength * float(np.sum(self.along(weights) * weights)) / (2 if self.pull == "w" else 1)


class Gradients(NamedTuple):
    """The model's own gradients."""

    batch: Any  # that they are of: the first examples, where the loss takes fewer
    start: Params  # where training starts
    elsewhere: Params  # at random weights, where nothing is 0

    def alive(self) -> Params:
        """Those at the start; a leaf whose gradient is 0 there alone (the next layer starts at 0) has the other."""
        return jax.tree.map(lambda here, there: here if here.any() else there, self.start, self.elsewhere)


def gradients_of(slope: Slope, params: Params, batch: Any) -> Gradients:
    """The model's gradients, of few examples where the arrays of a batch have one along their first axis."""
    lengths = {np.shape(leaf)[0] if np.ndim(leaf) else 0 for leaf in jax.tree.leaves(batch)}
    few = batch
    if len(lengths) == 1 and min(lengths) > EXAMPLES:
        few = jax.tree.map(lambda leaf: leaf[:EXAMPLES], batch)
    try:
        start = slope(params, few)[1]
    except (TypeError, ValueError):  # also of a loss of each example
        if few is batch:
            raise
        few, start = batch, slope(params, batch)[1]
    elsewhere = slope(awake(params, of_all=True), few)[1]
    return Gradients(few, *(jax.tree.map(np.asarray, gradients) for gradients in (start, elsewhere)))


def decay_in_loss(slope: Slope, params: Params, batch: Any) -> list[InLoss]:
    """The penalty on each leaf, seen in its gradient where no signal passes the net: many leaves and all inputs are 0.

    First all kernels stand alone, then all others, and at last each leaf for which that leaves it open. A gradient
    that depends on the other numbers in the batch (targets) is not a penalty's.
    """
    leaves, treedef = jax.tree.flatten(jax.tree.map(np.asarray, params))
    batches = [_numbers_set(batch, value) for value in (0.0, 1.0)]
    weights = [_random(np.shape(leaf), leaf.dtype, index) for index, leaf in enumerate(leaves)]

    def seen(alone: Iterable[int], scale: float, batch: Any) -> list[Any]:
        tree = [scale * weights[i] if i in alone else np.zeros_like(leaf) for i, leaf in enumerate(leaves)]
        tree = [leaf.astype(like.dtype) for leaf, like in zip(tree, leaves, strict=True)]
        return list(map(np.asarray, jax.tree.leaves(slope(jax.tree.unflatten(treedef, tree), batch)[1])))

    kernels = {index for index, role in enumerate(roles(params).values()) if role.kind == "kernel"}
    found: dict[int, InLoss] = {}
    for group in (kernels, set(range(len(leaves))) - kernels, *({index} for index in range(len(leaves)))):
        open_ones = group - found.keys()
        once = seen(group, 1.0, batches[0]) if open_ones else []
        silent = {index for index in open_ones if not once[index].any()}
        found |= dict.fromkeys(silent, InLoss(0.0, "w"))
        if open_ones - silent:
            twice, other = seen(group, 2.0, batches[0]), seen(group, 1.0, batches[1])
            for index in open_ones - silent:
                penalty = _penalty(weights[index], once[index], twice[index], other[index])
                if penalty.strength or len(group) == 1:
                    found[index] = penalty
    return [found[index] for index in range(len(leaves))]


def _penalty(weights: Any, once: Any, twice: Any, other_batch: Any) -> InLoss:
    """L2 doubles its gradient with the weights, l1 keeps it; neither heeds the batch."""
    size = _size(once)
    none = InLoss(0.0, "w")
    if not (np.isfinite(size) and size > 1e-12) or _size(once - other_batch) > LOOSE * size:
        return none
    for penalty, expected in ((InLoss(1.0, "w"), 2 * once), (InLoss(1.0, "sign(w)"), once)):
        along = penalty.along(weights)
        strength = float(np.real(np.sum(once * np.conj(along)) / np.sum(np.abs(along) ** 2)))
        if max(_size(once - strength * along), _size(twice - expected)) < LOOSE * size:
            return InLoss(strength, penalty.pull)
    return none


def scale_invariant(slope: Slope, params: Params, gradients: Gradients, penalties: list[InLoss]) -> list[bool]:
    """Whether the loss, less its penalty, sees the direction of each leaf and not its length, as where a norm follows.

    Then a gradient has nothing along the weights, anywhere (Euler). It is looked at where training starts and at random
    weights; then all leaves for which that is so are doubled together, or each where that changes the loss, which
    turning them does.
    """
    leaves, treedef = jax.tree.flatten(jax.tree.map(np.asarray, params))
    elsewhere = jax.tree.leaves(awake(params, of_all=True))
    along = [_along(*pair, penalties) for pair in ((leaves, gradients.start), (elsewhere, gradients.elsewhere))]
    candidates = [i for i in range(len(leaves)) if all(share[i] < 2e-3 for share in along)]
    turned = [_random(np.shape(leaf), leaf.dtype, 100 + i) for i, leaf in enumerate(leaves)]
    turned = [new * (np.linalg.norm(old) / np.linalg.norm(new)) for new, old in zip(turned, elsewhere, strict=True)]

    def value(which: list[int], weights: list[Any]) -> float:
        pairs = enumerate(zip(weights, elsewhere, strict=True))
        at = [(new if i in which else old).astype(old.dtype) for i, (new, old) in pairs]
        penalty = sum(penalty.value(leaf) for penalty, leaf in zip(penalties, at, strict=True))
        return float(slope(jax.tree.unflatten(treedef, at), gradients.batch)[0]) - penalty

    def are(which: list[int]) -> bool:
        here, there, doubled = value([], turned), value(which, turned), value(which, [2 * leaf for leaf in elsewhere])
        return abs(doubled - here) < 0.01 * abs(there - here)

    if candidates and not are(candidates):
        candidates = [i for i in candidates if are([i])]
    return [i in candidates for i in range(len(leaves))]


def _along(at: list[Any], gradients: Params, penalties: list[InLoss]) -> list[float]:
    """How much of each leaf's gradient, less its penalty's, lies along the weights, from 0 to 1; 1 without any."""
    shares = []
    for weights, gradient, penalty in zip(at, jax.tree.leaves(gradients), penalties, strict=True):
        rest = np.asarray(gradient) - penalty.strength * penalty.along(weights)
        sizes = np.linalg.norm(weights) * np.linalg.norm(rest)
        nothing = np.linalg.norm(rest) <= 1e-5 * np.linalg.norm(penalty.strength * weights)
        shares.append(1.0 if sizes == 0 or nothing else float(abs(np.sum(np.real(np.conj(rest) * weights))) / sizes))
    return shares


def _numbers_set(batch: Any, others: float) -> Any:
    """The batch with its first tree of numbers (the inputs) at 0, and further ones (targets) at a given value."""
    leaves, treedef = jax.tree.flatten(batch)
    floats = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)]
    changed = [
        leaf if i not in floats else np.full_like(leaf, 0.0 if i == 0 else others) for i, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(treedef, changed)


def _random(shape: tuple[int, ...], dtype: Any, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return np.asarray(rng.choice([-1.0, 1.0], shape) * rng.uniform(0.5, 1.5, shape)).astype(dtype)


def _size(leaf: Any) -> float:
    return float(np.sqrt(np.mean(np.abs(leaf) ** 2)))


def silent(gradients: Params, params: Params, penalties: list[InLoss]) -> list[bool]:
    """Whether the gradients, at the random weights of `gradients_of`, have nothing but the penalty in each leaf."""
    weights = awake(params, of_all=True)
    return [
        bool(np.all(np.abs(gradient - penalty.strength * penalty.along(leaf)) <= 1e-6 * np.abs(gradient)))
        for gradient, leaf, penalty in zip(*map(jax.tree.leaves, (gradients, weights)), penalties, strict=True)
    ]
