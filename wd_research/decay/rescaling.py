"""The decay for another batch size, length, data-set size or width, by the rules that were published.

A rule says what stays when a quantity grows k-fold, hence by which powers of k the share of a weight removed per step
and the learning rate change (`units`). Number, learning rate and steps then change together, in whatever convention the
decay was given. The rules disagree: each holds where its authors looked.
"""

import math
from typing import Literal, NamedTuple

from wd_research.decay.setting import MOST, Setting, check
from wd_research.decay.units import Family, Unit, find, number_of, obstacle, possible, share_of
from wd_research.flags import UserError

Quantity = Literal["batch_size", "steps", "examples", "width"]

# How the number of steps goes with a quantity: the passes over the data stay.
STEPS = {"batch_size": -1, "steps": 1, "examples": 1, "width": 0}


class Rule(NamedTuple):
    """Where the quantity grows k-fold, the share removed per step and the learning rate grow by powers of k."""

    quantity: Quantity
    share: float  # the power of k
    learning_rate: float  # the power of k
    keeps: str
    family: Family
    optimizers: tuple[str, ...]
    source: str
    condition: str


class Rescaled(NamedTuple):
    """What a rule makes of a decay."""

    rule: Rule
    number: float | None  # in the convention it was given in; None where a step would remove the whole weight
    setting: Setting  # of the new run
    learning_rate: float  # by what the learning rate is multiplied


SGD, ANY = ("sgd", "momentum"), ("sgd", "momentum", "adam")
NORMALIZED = ("lambda_norm", "scheduled", ANY, "Loshchilov & Hutter (1711.05101)")

RULES = (
    Rule(
        "batch_size", 1, 0, "the time scale in epochs", "scheduled", ("adam",), "Bergsma et al. (2505.13738)",
        "language models, one pass; the same model, data and learning rate",
    ),
    Rule("batch_size", 0.5, 0, *NORMALIZED, "the same epochs and learning rate"),
    Rule(
        "batch_size", 1, 1, "the strength of L2", "coupled", SGD, "Goyal et al. (1706.02677)",
        "the same epochs, a warm-up; seen on ImageNet up to batches of 8,192",
    ),
    Rule("steps", -0.5, 0, *NORMALIZED, "the same learning rate"),
    Rule(
        "steps", -1, 0, "strength times steps", "coupled", SGD, "Lewkowycz & Gur-Ari (2006.08643)",
        "an overparameterized net at the same learning rate, to be best at the end",
    ),
    Rule(
        "examples", -1, 0, "the time scale in epochs", "scheduled", ("adam",), "Wang & Aitchison (2405.13698)",
        "the same epochs, batch size and learning rate",
    ),
    Rule("examples", -0.5, 0, *NORMALIZED, "the same epochs, batch size and learning rate"),
    Rule(
        "examples", -1, 0, "the prior: strength times examples", "coupled", ANY, "MacKay (1992)",
        "L a mean over examples, trained to its minimum",
    ),
    Rule(
        "width", 0, -1, "the share per step", "scheduled", ("adam",),
        "Wang & Aitchison (2405.13698), Kosson et al. (2510.19093)", "muP, hidden matrices",
    ),
    Rule(
        "width", -0.5, -1, "the gain of a layer", "scheduled", ("adam",), "Fan et al. (2510.15262)",
        "muP, hidden matrices of a net with norms; vectors keep their learning rate and do not decay",
    ),
)  # fmt: skip


def rescale(number: float, source: str, setting: Setting, quantity: Quantity, new: int) -> tuple[Rescaled, ...]:
    """The decay `number` in the convention named `source` when `quantity` becomes `new`, by every rule that applies.

    A rule applies where it speaks of the optimizer, and of the family of `source` or one that converts exactly.

    Raises UserError as `units.table` does, and when the setting does not know the quantity.
    """
    unit, old = find(source), getattr(setting, quantity)
    share = share_of(number, unit, setting)
    if old is None:
        raise UserError(f"a new {_called(quantity)} says too little alone: give the old one too")
    check(setting._replace(**{"warmup": 0, quantity: new}))
    k = new / old
    applying = [
        rule
        for rule in RULES
        if rule.quantity == quantity
        and setting.optimizer in rule.optimizers
        and not obstacle(unit.family, rule.family, setting)
    ]
    return tuple(_rescaled(share, unit, rule, k, _after(rule, setting, k, new)) for rule in applying)


def _after(rule: Rule, setting: Setting, k: float, new: int) -> Setting:
    """The setting of the new run; raises UserError where what follows from the given numbers cannot be, as no steps."""
    said = f"with {_called(rule.quantity)} {new}"
    rate = setting.learning_rate and setting.learning_rate * k**rule.learning_rate
    if rate is not None and not 0 < rate < math.inf:
        raise UserError(f"{said} instead of {getattr(setting, rule.quantity)} the learning rate would be {rate:g}: "
                        "give one that is less far away")  # fmt: skip
    exact = setting.steps and setting.steps * k ** STEPS[rule.quantity]
    if exact and not 1 <= round(exact) <= MOST:
        more = "more" if exact < 1 else "fewer"
        raise UserError(f"{said} the run has {exact:.3g} steps, for as many passes over the data as {setting.steps} "
                        f"steps now: give {more} steps, or another {_called(rule.quantity)}")  # fmt: skip
    steps = exact and round(exact)
    warmup = round(setting.warmup * k ** STEPS[rule.quantity])
    changed = {
        "learning_rate": rate,
        "steps": steps,
        "warmup": min(warmup, steps - 1) if steps else warmup,
        rule.quantity: new,
    }
    after = setting._replace(**changed)
    check(after)
    return after


def _called(quantity: Quantity) -> str:
    """What a quantity is called after "a new"."""
    counted = {"steps": "number of steps", "examples": "number of examples"}
    return counted.get(quantity, quantity.replace("_", " "))


def _rescaled(share: float, unit: Unit, rule: Rule, k: float, after: Setting) -> Rescaled:
    share = share * k**rule.share
    number = number_of(share, unit, after) if possible(share, unit, after) else None
    return Rescaled(rule, number, after, k**rule.learning_rate)
