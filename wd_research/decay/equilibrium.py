"""The angle by which decay and gradients turn a weight per step, once they balance, by theory.

It holds for weights whose size the net does not notice (a normalization follows), gradients that are mostly noise, a
constant learning rate, and longer than 1 / (learning_rate decay) steps after the start; elsewhere it says nothing. In
equilibrium a step adds to |w|^2 what decay takes from it. Adam's steps have entries of mean square (1 - b1) / (1 + b1),
and over many steps their sum grows as if entries were independent and of mean square 1.

Decay is that of `decoupled`, as optax counts it: a step multiplies by 1 - learning_rate decay. Numbers or arrays.

Source: Kosson et al. (2305.17212), rotational equilibrium; that of momentum is with L2.
"""

import math
from typing import Any


def adam(learning_rate: Any, decay: Any, b1: float = 0.9) -> Any:
    """sqrt(2 eta lambda (1 - b1) / (1 + b1)), in rad a step: of AdamW, whatever the size of gradients."""
    return _turn(learning_rate, decay) * ((1 - b1) / (1 + b1)) ** 0.5


def lion(learning_rate: Any, decay: Any, b1: float = 0.9, b2: float = 0.99) -> Any:
    """sqrt(pi / 2) sqrt(2 eta lambda) sqrt((1 - b1)^2 + b1^2 (1 - b2) / (1 + b2)), in rad a step."""
    return _turn(learning_rate, decay) * (math.pi / 2 * ((1 - b1) ** 2 + b1**2 * (1 - b2) / (1 + b2))) ** 0.5


def momentum(learning_rate: Any, strength: Any, share: float = 0.9) -> Any:
    """sqrt(2 eta lambda / (1 + a)), in rad a step: of gradients with momentum a and L2 of this strength."""
    return _turn(learning_rate, strength) / (1 + share) ** 0.5


def norm_under_adam(learning_rate: Any, decay: Any, entries: int) -> Any:
    """sqrt(eta C / (2 lambda)): the Euclidean norm of C entries under AdamW."""
    return (learning_rate * entries / (2 * decay)) ** 0.5


def _turn(learning_rate: Any, decay: Any) -> Any:
    """sqrt(2 eta lambda)."""
    return (2 * learning_rate * decay) ** 0.5
