"""Rules that say a decay without a run: a constant times a feature of how the run is set up.

A decay is said as time scales in a run, steps * learning rate * decay: at 1, what decay forgets is as old as the run.

    decay               T eta          one decay for every run, such as .1 of AdamW
    width               T eta sqrt(w)  decay by the root of the width w: Fan et al. (2510.15262)
    step                T              a step takes the same share of a weight in every run
    lambda_norm         sqrt(T)        Loshchilov & Hutter (1711.05101), appendix B.1
    run                 1              a time scale is a share of the run
    epochs              epochs         a time scale is so many epochs: Wang & Aitchison (2405.13698)
    tokens a parameter  sqrt(D / N)    Bergsma et al. (2505.13738), D what is seen, N parameters

A rule of several features takes the largest of them, each times its constant.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np


class Run(NamedTuple):
    """How a run is set up: all that a rule may ask. What is not known is NaN."""

    steps: int
    learning_rate: float
    epochs: float
    width: float = float("nan")
    per_parameter: float = float("nan")  # tokens or rows, each time that they are seen, over parameters


FEATURES: Mapping[str, Callable[[Run], float]] = {
    "decay": lambda run: run.steps * run.learning_rate,
    "width": lambda run: run.steps * run.learning_rate * run.width**0.5,
    "step": lambda run: run.steps,
    "lambda_norm": lambda run: run.steps**0.5,
    "run": lambda run: 1.0,
    "epochs": lambda run: run.epochs,
    "tokens a parameter": lambda run: run.per_parameter**0.5,
}


def scales_of(features: Sequence[str], constants: Sequence[np.ndarray | float], run: Run) -> np.ndarray:
    """The largest of features times constants, for every choice of these; f64[c] each -> f64[c, ...], an axis for each.

    NaN where the run does not say what a feature asks for.
    """
    said = (np.asarray(of) * FEATURES[name](run) for name, of in zip(features, constants, strict=True))
    return reduce(np.maximum, np.ix_(*map(np.atleast_1d, said)))
