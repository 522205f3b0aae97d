"""Penalties inside a loss, leaf by leaf, and weights whose scale does not change the loss.

`slope(params, batch)` is the loss and its gradient, compiled once.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from wd_research.audit.optimizer import LOOSE
from wd_research.types import Array, Params

Slope = Callable[[Params, Any], tuple[Array, Params]]


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


def decay_in_loss(slope: Slope, params: Params, batch: Any) -> list[InLoss]:
    """The penalty on each leaf, seen in its gradient when it stands alone: all other leaves and all inputs are 0.

    Then no signal passes a net whose activations are 0 at 0, and what is left is the penalty's gradient. A gradient
    that depends on the other numbers in the batch (targets) is not a penalty's.
    """
    leaves, treedef = jax.tree.flatten(jax.tree.map(np.asarray, params))
    batches = [_numbers_set(batch, value) for value in (0.0, 1.0)]
    found = []
    for index, leaf in enumerate(leaves):
        weights = _random(np.shape(leaf), leaf.dtype, index)

        def alone(scale: float, batch: Any, index=index, weights=weights) -> Any:
            tree = [scale * weights if i == index else np.zeros_like(other) for i, other in enumerate(leaves)]
            return np.asarray(jax.tree.leaves(slope(jax.tree.unflatten(treedef, tree), batch)[1])[index])

        found.append(_penalty(weights, alone(1.0, batches[0]), alone(2.0, batches[0]), alone(1.0, batches[1])))
    return found


def _penalty(weights: Any, once: Any, twice: Any, other_batch: Any) -> InLoss:
    """L2 doubles its gradient with the weights, l1 keeps it; neither heeds the batch."""
    size = _size(once)
    none = InLoss(0.0, "w")
    if not (np.isfinite(size) and size > 1e-12) or _size(once - other_batch) > LOOSE * size:
        return none
    for penalty, expected in ((InLoss(1.0, "w"), 2 * once), (InLoss(1.0, "sign(w)"), once)):
        along = penalty.along(weights)
        strength = float(np.sum(once * along) / np.sum(along**2))
        if max(_size(once - strength * along), _size(twice - expected)) < LOOSE * size:
            return InLoss(strength, penalty.pull)
    return none


def is_scale_invariant(slope: Slope, params: Params, batch: Any, index: int, penalty: InLoss) -> bool:
    """Whether the loss, less its penalty, sees the direction of a leaf and not its length, as where a norm follows."""
    leaves, treedef = jax.tree.flatten(jax.tree.map(np.asarray, params))
    leaf = leaves[index]

    def value(weights: Any) -> float:
        changed = [weights if i == index else other for i, other in enumerate(leaves)]
        return float(slope(jax.tree.unflatten(treedef, changed), batch)[0]) - penalty.value(weights)

    other = np.linalg.norm(leaf) * _unit(_random(np.shape(leaf), leaf.dtype, index))
    here, turned = value(leaf), value(other)
    lengthened = max(abs(value(2 * leaf) - here), abs(value(2 * other) - turned))
    return bool(abs(turned - here) > 1e-4 * abs(here) and lengthened < 0.01 * abs(turned - here))


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
    return np.asarray(rng.choice([-1.0, 1.0], shape) * rng.uniform(0.5, 1.5, shape), dtype)


def _unit(leaf: Any) -> Any:
    return leaf / np.linalg.norm(leaf)


def _size(leaf: Any) -> float:
    return float(np.sqrt(np.mean(leaf**2)))
