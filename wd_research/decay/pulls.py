"""Pulls: the direction in which decay moves the weights, before rate and mask.

A pull sees the updates that flow through the chain (ascent directions: the step before the minus sign) and the weights.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from wd_research.decay.masks import per_leaf
from wd_research.types import Array, Params, Penalty, Pull


def toward_zero(updates: optax.Updates, params: Params) -> optax.Updates:
    """Weight decay proper: the pull is w itself, so w <- (1 - rate) w - ...

    Source: Hanson & Pratt (1988); Loshchilov & Hutter (1711.05101), eq. 1.
    """
    del updates
    return params


def toward(target: Params) -> Pull:
    """Decay toward another tree v, such as pretrained weights: the pull is w - v.

    The trees meet by names. Raises DecayError, at the init of the link, when they do not fit.

    Source: Li, Grandvalet & Davoine (1802.01483), L2-SP, taken out of the loss.
    """
    return lambda updates, params: jax.tree.map(jnp.subtract, params, per_leaf(target, params, "target"))


def down(penalty: Penalty) -> Pull:
    """Decay along the gradient of a penalty: the pull is grad penalty(w), so every penalty can be decoupled.

    The penalty's own mask counts, and then that of the link. For complex weights the direction of ascent is the
    conjugate of what `jax.grad` returns, and the chain wants the gradient of the loss conjugated too.
    """
    gradient: Callable[[Params], Params] = jax.grad(penalty)
    return lambda updates, params: jax.tree.map(jnp.conj, gradient(params))


def cautious(pull: Pull) -> Pull:
    """Decay only where the step goes the same way: the pull where Re(conj(u) pull) >= 0, else 0, entry by entry.

    u is the step before the minus sign, so with the pull w a weight decays unless its step makes |w| grow; for real
    weights the product is u * pull. Where the learning rate falls to 0, the weights rest at a stationary point of the
    loss without decay.

    Source: Cautious Weight Decay (2510.12402).
    """

    def where_aligned(updates: optax.Updates, params: Params) -> optax.Updates:
        def of_leaf(u: Array, d: Array) -> Array:
            # the sign, u / |u|, because a product of two small numbers may round to 0
            return jnp.where(jnp.real(jnp.conj(jnp.sign(u)) * d) >= 0, d, jnp.zeros_like(d))

        return jax.tree.map(of_leaf, updates, pull(updates, params))

    return where_aligned
