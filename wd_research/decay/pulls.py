"""Pulls: the direction in which decay moves the weights, before rate and mask."""

import optax

from wd_research.types import Params


def toward_zero(updates: optax.Updates, params: Params) -> optax.Updates:
    """Weight decay proper: the pull is w itself, so w <- (1 - rate) w - ...

    Source: Hanson & Pratt (1988); Loshchilov & Hutter (1711.05101), eq. 1.
    """
    del updates
    return params
