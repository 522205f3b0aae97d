"""Optimizers as cores: the step without learning rate and decay, for every place of decay (`places`).

    adam      m / (sqrt(v) + eps)                       AdamW, where decay is decoupled
    lion      sign(b1 m + (1 - b1) g)                   a tenth of Adam's learning rate, ten times its decay
    momentum  g + b m                                   SGD; momentum(0) is plain
    muon      the orthogonal factor of the momentum     kernels; Adam for all other leaves

g is the gradient, m its first moment, and v its second.
"""

from typing import Any

import jax
import numpy as np
import optax
from optax import contrib

from wd_research.decay.masks import coefficients, kernels
from wd_research.types import Mask, Number, Params

SIZE = 0.2  # root mean square of Adam's step, to which Muon's is brought


def adam(b1: Number = 0.9, b2: Number = 0.95, eps: Number = 1e-8) -> optax.GradientTransformation:
    """Adam, with the b2 that language models are trained with. Source: Kingma & Ba (1412.6980), algorithm 1."""
    return optax.scale_by_adam(b1, b2, eps)


def lion(b1: Number = 0.9, b2: Number = 0.99) -> optax.GradientTransformation:
    """Lion. Source: Chen et al. (2302.06675), algorithm 2."""
    return optax.scale_by_lion(b1, b2)


def momentum(decay: Number = 0.9, nesterov: bool = False) -> optax.GradientTransformation:
    """Gradient descent with momentum m <- g + decay m. Source: Sutskever et al. (2013), equation 1."""
    return optax.trace(decay, nesterov)


def muon(
    beta: Number = 0.95, mask: Mask | Any = kernels, rest: optax.GradientTransformation | None = None
) -> optax.GradientTransformation:
    """Muon on the leaves that a mask takes, by default all kernels, and `rest`, by default Adam, on all others.

    Muon's step on f32[i, o] is .2 sqrt(max(i, o)) times the orthogonal factor, so that its root mean square is that of
    Adam's and one learning rate and one decay serve both. Which leaves it takes is seen at init.

    Sources: Jordan et al. (2024); the factor, Liu et al. (2502.16982), equation 4.
    """

    def labels(params: Params) -> Any:
        return jax.tree.map(lambda taken: "muon" if np.any(taken) else "rest", coefficients(mask, params))

    def all_matrices(updates: optax.Updates) -> Any:
        return jax.tree.map(lambda update: contrib.MuonDimensionNumbers(), updates)

    as_adam = optax.stateless(lambda updates, params: jax.tree.map(lambda u: SIZE * max(u.shape) ** 0.5 * u, updates))
    chosen = optax.chain(contrib.scale_by_muon(beta=beta, weight_dimension_numbers=all_matrices), as_adam)
    return optax.partition({"muon": chosen, "rest": rest or adam()}, labels)
