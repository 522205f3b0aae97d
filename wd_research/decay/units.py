"""Units of decay: the conventions of papers and libraries, and the conversions between them.

With eta the learning rate at its peak, s_t the schedule with peak 1, n training examples, a batch size b and T steps, a
convention names the share of a weight that a step removes at the peak; for decay in the gradient, the share that a step
of plain SGD removes. Conventions of one family convert exactly, through that share:

    coupled        in the gradient, before the optimizer       plain SGD removes s_t * share
    scheduled      after the optimizer, with its schedule      a step removes s_t * share
    unscheduled    after the optimizer, at a constant rate     a step removes share

Between families `obstacle` says whether an exact conversion exists. Everything is in double precision, without JAX.
"""

import difflib
import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from wd_research.decay.setting import Setting, check, is_constant, schedule, words
from wd_research.flags import UserError

Family = Literal["coupled", "scheduled", "unscheduled"]


class Unit(NamedTuple):
    """A convention."""

    name: str
    family: Family
    meaning: str  # of its number x
    needs: tuple[str, ...]  # fields of the setting
    formula: str  # of the share
    share: Callable[..., float]  # (x, *needs) -> share of a weight removed per step at the peak
    number: Callable[..., float]  # (share, *needs) -> x


# Bits of a number that count, the leading one among them.
BITS = {"float32": 24, "bfloat16": 8, "float16": 11}

ITSELF = ((), "x", lambda x: x, lambda share: share)
ETA = (("learning_rate",), "eta x", lambda x, eta: eta * x, lambda share, eta: share / eta)
TWO_ETA = (("learning_rate",), "2 eta x", lambda x, eta: 2 * eta * x, lambda share, eta: share / (2 * eta))

UNITS = (
    Unit("l2-half", "coupled", "L + x/2 |w|^2: Krogh & Hertz (1991); penalties.l2", *ETA),
    Unit("l2", "coupled", "L + x |w|^2", *TWO_ETA),
    Unit(
        "l2-per-example",
        "coupled",
        "L + x/(2n) |w|^2, L a mean: Nielsen (2015), chapter 3",
        ("learning_rate", "examples"),
        "eta x / n",
        lambda x, eta, n: eta * x / n,
        lambda share, eta, n: share * n / eta,
    ),
    Unit(
        "sklearn-mlp",
        "coupled",
        "scikit-learn's alpha: L + x/(2b) |w|^2, biases left out",
        ("learning_rate", "batch_size"),
        "eta x / b",
        lambda x, eta, b: eta * x / b,
        lambda share, eta, b: share * b / eta,
    ),
    Unit(
        "sklearn-c",
        "coupled",
        "C of LogisticRegression, LinearSVC: |w|^2/2 + x times the sum of losses, L their mean",
        ("learning_rate", "examples"),
        "eta / (n x)",
        lambda x, eta, n: eta / (n * x),
        lambda share, eta, n: eta / (n * share),
    ),
    Unit(
        "sklearn-ridge",
        "coupled",
        "alpha of Ridge: the sum of squared errors + x |w|^2, L their mean",
        ("learning_rate", "examples"),
        "2 eta x / n",
        lambda x, eta, n: 2 * eta * x / n,
        lambda share, eta, n: share * n / (2 * eta),
    ),
    Unit("sklearn-sgd", "coupled", "alpha of SGDClassifier, SGDRegressor: L + x/2 |w|^2", *ETA),
    Unit("keras-l2", "coupled", "keras.regularizers.L2: L + x |w|^2", *TWO_ETA),
    Unit("torch-coupled", "coupled", "torch.optim.SGD, Adam; optax: add_decayed_weights first; places.coupled", *ETA),
    Unit("torch-adamw", "scheduled", "torch.optim.AdamW, optax.adamw; places.decoupled", *ETA),
    Unit("timm", "scheduled", "weight_decay of timm's AdamW, NAdamW, Lion, SGDW, cautious or not", *ETA),
    Unit("keras-optimizer", "scheduled", "weight_decay of Keras optimizers, .004 in its AdamW", *ETA),
    Unit("big-vision", "scheduled", "wd in big_vision; places.independent", *ITSELF),
    Unit("composer", "scheduled", "Composer's DecoupledAdamW, DecoupledSGDW", *ITSELF),
    Unit("loshchilov-hutter", "scheduled", "lambda of algorithms 1, 2: Loshchilov & Hutter (1711.05101)", *ITSELF),
    Unit(
        "lambda-norm",
        "scheduled",
        "lambda = x sqrt(b / (n epochs)), of the same",
        ("steps",),
        "x / sqrt(T)",
        lambda x, steps: x / math.sqrt(steps),
        lambda share, steps: share * math.sqrt(steps),
    ),
    Unit(
        "time-scale-steps",
        "scheduled",
        "1/(eta lambda): Wang & Aitchison (2405.13698)",
        (),
        "1 / x",
        lambda x: 1 / x,
        lambda share: 1 / share,
    ),
    Unit(
        "time-scale-epochs",
        "scheduled",
        "the same in epochs",
        ("batch_size", "examples"),
        "b / (n x)",
        lambda x, b, n: b / (n * x),
        lambda share, b, n: b / (n * share),
    ),
    Unit(
        "half-life",
        "scheduled",
        "steps at the peak that halve a weight",
        (),
        "1 - 2^(-1/x)",
        lambda x: -math.expm1(-math.log(2) / x),
        lambda share: -math.log(2) / math.log1p(-share),
    ),
    Unit("constant", "unscheduled", "at every step; places.constant", *ITSELF),
    Unit("tensorflow-addons", "unscheduled", "weight_decay of its AdamW, SGDW, given as a number", *ITSELF),
)


class Row(NamedTuple):
    """A decay in one convention: its number, or why there is none."""

    unit: Unit
    number: float | None
    obstacle: str  # why no exact conversion exists; "" where it does
    missing: tuple[str, ...]  # fields of the setting that the convention needs and that are None


class Effect(NamedTuple):
    """What decay does to a weight that no gradient reaches."""

    removed: float  # share of it that is gone after the run
    half: float | None  # steps until half of it is gone; None where that is not within the run
    time_scale: float  # 1 / (mean share removed per step), in steps


def table(number: float, source: str, setting: Setting) -> tuple[Row, ...]:
    """The decay `number` in the convention named `source`, in every convention.

    Raises UserError, with one sentence, when the name is not known, the numbers cannot be, or one is missing that
    `source` itself needs.
    """
    given = find(source)
    share = share_of(number, given, setting)
    return tuple(_row(share, given, unit, setting) for unit in UNITS)


def convert(number: float, source: str, target: str, setting: Setting) -> float:
    """The decay `number` in the convention named `source`, in that named `target`.

    Raises UserError as `table` does, and when no exact conversion exists.
    """
    given = find(source)
    row = _row(share_of(number, given, setting), given, find(target), setting)
    if row.number is None:
        why = row.obstacle or f"that needs the {words(row.missing)}"
        raise UserError(f"{source} cannot become {target}: {why}")
    return row.number


def obstacle(source: Family, target: Family, setting: Setting) -> str:
    """Why no decay of one family gives the trajectory of a decay of another; "" where one does."""
    if source == target:
        return ""
    if "coupled" in (source, target) and setting.optimizer == "momentum":
        return "momentum carries decay in the gradient on into later steps"
    if "coupled" in (source, target) and setting.optimizer == "adam":
        return "Adam divides decay in the gradient by the root of the second moment"
    if "unscheduled" in (source, target) and not is_constant(setting):
        return "the schedule is not constant"
    return ""


def effect(number: float, source: str, setting: Setting) -> Effect | None:
    """What a decay does over the run: it removes 1 - prod_t (1 - s_t share), s_t = 1 where it is unscheduled.

    None where decay has no share of its own (in the gradient, other than under plain SGD) or the steps are not known.
    Beyond a million steps the schedule is sampled at a million of them. Raises UserError as `table` does.
    """
    unit = find(source)
    share = share_of(number, unit, setting)
    if setting.steps is None or not _removes(unit, setting):
        return None
    count = min(setting.steps, 1_000_000)
    each = setting.steps / count
    shares = share * (np.ones(count) if unit.family == "unscheduled" else schedule(np.arange(count) * each, setting))
    log_left = each * np.cumsum(np.log1p(-shares))
    halved = np.flatnonzero(log_left <= -math.log(2))
    half = float(each * (halved[0] + 1)) if len(halved) else None
    return Effect(-math.expm1(log_left[-1]), half, float(1 / np.mean(shares)))


def moved(share: float, dtype: str) -> Literal["all", "some", "no"]:
    """Which weights of a type move at all where a step takes this share of each away and adds nothing.

    w (1 - share) rounds back to w where the share is below half the distance of w to the next number, which is
    2^-(p+1) to 2^-p of w for p bits that count: all weights move from 2^-p on, and none below 2^-(p+1).
    """
    bits = BITS[dtype]
    return "all" if share > 2.0**-bits else "no" if share < 2.0 ** -(bits + 1) else "some"


def find(name: str) -> Unit:
    """The convention of that name. Raises UserError when there is none."""
    names = [unit.name for unit in UNITS]
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.3)
        meant = f"did you mean {close[0]}? Known" if close else "known"
        raise UserError(f"no convention is called {name!r}: {meant} are {', '.join(names)}")
    return UNITS[names.index(name)]


def share_of(number: float, unit: Unit, setting: Setting) -> float:
    """The share of a weight that a step removes at the peak. Raises UserError as `table` does."""
    check(setting)
    if not (math.isfinite(number) and number > 0):
        raise UserError(f"{unit.name} {number:g} {_improper(number, unit)}: give a finite number above 0")
    missing = _missing(unit, setting)
    if missing:
        raise UserError(f"{unit.name} {number:g} says too little alone: give the {words(missing)} too")
    share = unit.share(number, *(getattr(setting, name) for name in unit.needs))
    if not possible(share, unit, setting):
        much = f"{share:.3g} times the weight" if share < 1e300 else "the weight more often than a number can say"
        none = ", which is nothing: give more decay" if share < 1e-200 else ": give less decay"
        raise UserError(f"{unit.name} {number:g} cannot be: a step would remove {much}{none}")
    return share


def number_of(share: float, unit: Unit, setting: Setting) -> float:
    """The number by which the convention names that share; what it needs must be known."""
    return unit.number(share, *(getattr(setting, name) for name in unit.needs))


def possible(share: float, unit: Unit, setting: Setting) -> bool:
    """Whether a step can remove that share; decay in the gradient, other than under plain SGD, has no limit."""
    return 1e-300 < share < (1.0 if _removes(unit, setting) else 1e300)


def _row(share: float, given: Unit, unit: Unit, setting: Setting) -> Row:
    why, missing = obstacle(given.family, unit.family, setting), _missing(unit, setting)
    if why or missing:
        return Row(unit, None, why, missing)
    return Row(unit, number_of(share, unit, setting), "", ())


def _improper(number: float, unit: Unit) -> str:
    """What is wrong with a number that is not finite or not above 0."""
    inverse = [other.name for other in UNITS if is_inverse(other)]
    if number == (math.inf if unit.name in inverse else 0):
        return f"is no decay, which is inf in {', '.join(inverse)} and 0 in all other conventions"
    if number == 0:
        return "cannot be, since decay is inverse to it"
    return "cannot be"


def is_inverse(unit: Unit) -> bool:
    """Whether a larger number means less decay, so that none is infinity."""
    ones = [1] * len(unit.needs)
    return unit.number(0.1, *ones) > unit.number(0.2, *ones)


def _missing(unit: Unit, setting: Setting) -> tuple[str, ...]:
    return tuple(name for name in unit.needs if getattr(setting, name) is None)


def _removes(unit: Unit, setting: Setting) -> bool:
    """Whether the share is what a step really removes."""
    return unit.family != "coupled" or setting.optimizer == "sgd"
