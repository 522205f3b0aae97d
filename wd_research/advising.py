"""Which decay to begin with, without a run: what rules say of a run, and how they did in worlds whose best is known.

The worlds and the rules are those of `docs/tournament.md`; `tournament.json` beside this file is what came out there.
Rules say time scales of a run, so that a decay of any learning rate, length and schedule follows: the mean over the run
of what a step takes is kept, as the worlds had one schedule alone, a line to 0 behind a warm-up of a twentieth.
"""

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from wd_research.decay.rules import Run, scales_of
from wd_research.decay.setting import Setting, check, schedule
from wd_research.flags import UserError

if TYPE_CHECKING:
    from wd_research.audit.leaves import Audit

Optimizer = Literal["adamw", "muon", "lion", "momentum"]
BEYOND = 8.0  # times longer or shorter than any world, in steps or epochs: no evidence
AS_ADVISED = 1.25  # times more or less is the same
APART = 4.0  # rules of which one says so many times what another says disagree
LIKELY = (0.1, 0.9)  # quantiles over worlds of what is best, over what the rule said


class Said(NamedTuple):
    """What one rule says of a run, and how it did in the tournament."""

    rule: str
    decay: float  # decoupled, as of optax.adamw
    low: float  # in four of five worlds the best lay, over what the rule said, between these
    high: float
    median: tuple[float, float, float]  # share of what decay gains that it lost there, with its 95 % interval
    mean: tuple[float, float, float]
    worst: tuple[float, float, float]
    within: float  # share of worlds where it lost next to nothing


class Near(NamedTuple):
    """A world that is like a run."""

    world: str
    epochs: float
    steps: int
    lost: float  # by the rule, a share of what decay gains there
    gain: float  # what the best decay gains over none
    unit: str  # of the gain


class Advice(NamedTuple):
    """What to begin with."""

    said: Said  # by the rule that lost least in the median world, among those that know enough of the run
    others: tuple[Said, ...]  # that lost less in the median world than no decay does
    near: tuple[Near, ...]
    time_scales: float  # of the run, mean share a step takes * steps
    steps: int
    learning_rate: float

    def __str__(self) -> str:
        return as_text(self)

    def compared(self, audit: "Audit") -> str:
        """What an audited chain of anybody's does to kernels, beside the advice: a sentence.

        `audit` is what `audit_decay(loss, optimizer, params, batch, steps)` says of a run of as many steps. Raises
        UserError where it is of another length.
        """
        if audit.steps != self.steps:
            raise UserError(f"the audit is of {audit.steps:,} steps and the advice of {self.steps:,}: audit as many")
        kernels = [audit.steps / row.time_scale for row in audit.rows if row.role.kind == "kernel"]
        if not kernels or any(map(math.isnan, kernels)):
            return "What decay does to this chain's kernels is not known: nothing can be set beside the advice."
        mine, ratio = float(np.median(kernels)), float(np.median(kernels)) / self.time_scales
        if not mine:
            return f"Kernels do not decay in this chain: the advice is {self.time_scales:.2g} time scales in the run."
        more = f"{max(ratio, 1 / ratio):.2g} times {'more' if ratio > 1 else 'less'} than advised"
        said = "as advised" if 1 / AS_ADVISED < ratio < AS_ADVISED else f"{more}, {self.time_scales:.2g}"
        return f"In this chain decay has {mine:.2g} time scales in the run, {said}."


def advise(
    setting: Setting,
    optimizer: Optimizer = "adamw",
    parameters: float = math.nan,
    tokens: float = 1,
    evidence: Mapping[str, Any] | None = None,
) -> Advice:
    """The decoupled decay to begin with, of a run whose learning rate, steps, batch size and examples are known.

    `parameters` and the width are asked by some rules alone; `tokens` are those of an example, 1 of a row or image.
    `evidence` is what another tournament wrote. Raises UserError, with one sentence, where something is missing or
    cannot be, and where the run is so far from every world that there is no evidence.
    """
    evidence = evidence or shipped()
    run = run_of(setting, parameters, tokens)
    worlds = {name: world for name, world in evidence["worlds"].items() if world["optimizer"] == optimizer}
    check_near(run, optimizer, worlds, evidence)
    undecayed = evidence["rules"]["none"]["median"][0]  # who loses more in the median world is not heard
    found = [said_by(name, rule, run, setting) for name, rule in evidence["rules"].items()]
    heard = sorted((of for of in found if of.decay > 0 and of.median[0] < undecayed), key=lambda of: of.median[0])
    if not heard:
        raise UserError("no rule lost less in the tournament than no decay does: sweep the decay (wd.decades)")
    first, *others = heard
    lost = evidence["rules"][first.rule]["lost"]
    near = sorted(worlds, key=lambda name: distance(run, worlds[name]))[:3]
    return Advice(
        first,
        tuple(others),
        tuple(Near(name, worlds[name]["epochs"], worlds[name]["steps"], lost[name], worlds[name]["gain"],
                   worlds[name]["unit"]) for name in near),
        first.decay * run.learning_rate * run.steps * mean_of(setting),
        run.steps,
        run.learning_rate,
    )  # fmt: skip


@cache
def shipped() -> Mapping[str, Any]:
    """What came out of the tournament that this package was released with."""
    return json.loads((files("wd_research") / "tournament.json").read_text())


def run_of(setting: Setting, parameters: float, tokens: float) -> Run:
    """What rules may ask of a run. Raises UserError where something is missing, or cannot be."""
    check(setting)
    needed = ("learning_rate", "steps", "batch_size", "examples")
    missing = [name.replace("_", " ") for name in needed if getattr(setting, name) is None]
    if missing:
        raise UserError(f"a decay cannot be said without the {', '.join(missing)}: give them")
    for name, value in {"parameters": parameters, "tokens": tokens}.items():
        if value <= 0 or math.isinf(value):
            raise UserError(f"the {name} cannot be {value:g}: give a finite number above 0")
    steps, batch, examples = setting.steps or 0, setting.batch_size or 0, setting.examples or 1
    width, rate = math.nan if setting.width is None else float(setting.width), setting.learning_rate or 0.0
    return Run(steps, rate, steps * batch / examples, width, steps * batch * tokens / parameters)


def mean_of(setting: Setting) -> float:
    """The mean over the run of the learning rate, as a share of its peak."""
    assert setting.steps is not None
    count = min(setting.steps, 100_000)
    return float(np.mean(schedule((np.arange(count) + 0.5) * setting.steps / count, setting)))


def said_by(name: str, rule: Mapping[str, Any], run: Run, setting: Setting) -> Said:
    """What a rule says; NaN where it asks for more than is known."""
    of_worlds = setting._replace(schedule="linear", warmup=run.steps // 20)
    scales = float(np.squeeze(scales_of(rule["features"], rule["constants"], run)))
    decay = scales / (run.steps * run.learning_rate) * mean_of(of_worlds) / mean_of(setting)
    low, high = np.quantile(list(rule["best_over_said"].values()) or [math.nan], LIKELY)
    losses = (tuple(rule[of]) for of in ("median", "mean", "worst"))
    return Said(name, decay, decay * float(low), decay * float(high), *losses, within=rule["within"])


def check_near(run: Run, optimizer: str, worlds: Mapping[str, Any], evidence: Mapping[str, Any]) -> None:
    """Raise UserError where there is no evidence: another optimizer, or far from every world that has this one."""
    if not worlds:
        known = sorted({world["optimizer"] for world in evidence["worlds"].values()})
        raise UserError(f"there is no evidence on {optimizer}: the tournament had {', '.join(known)}")
    for name, unit in (("steps", "steps"), ("epochs", "epochs")):
        of_worlds, mine = [world[name] for world in worlds.values()], getattr(run, name)
        low, high = min(of_worlds), max(of_worlds)
        if not low / BEYOND <= mine <= high * BEYOND:
            raise UserError(
                f"there is no evidence on a run of {mine:,.4g} {unit} of {optimizer}: the tournament had {low:,.4g} to "
                f"{high:,.4g}, and a rule is trusted up to {BEYOND:g} times beyond; sweep the decay (wd.decades)"
            )


def distance(run: Run, world: Mapping[str, Any]) -> float:
    """How far a world is from a run: the ratios of their epochs and of their steps, as logarithms."""
    return math.hypot(math.log(run.epochs / world["epochs"]), math.log(run.steps / world["steps"]))


def as_text(advice: Advice) -> str:
    """The advice as a person reads it."""
    said, points = advice.said, sweep(advice.said)
    worlds = [f"  {of.world}, {of.epochs:.3g} epochs: {100 * of.lost:.0f} % of {of.gain:.2g} {of.unit}"
              for of in advice.near]  # fmt: skip
    others = [f"  {of.decay:<8.2g} {of.rule}, {percent(of.median)}" for of in advice.others]
    every = [of.decay for of in (said, *advice.others)]
    apart = max(every) / min(every)
    careful = ", above what the rule says: too much decay loses more than too little" if said.low > said.decay else ""
    return "\n".join([
        f"Begin with a decay of {said.decay:.2g}, decoupled: optax.adamw(..., weight_decay={said.decay:.2g}).",
        f"In four of five worlds the best lay between {said.low:.2g} and {said.high:.2g}{careful}.",
        f'The rule is "{said.rule}": it lost {percent(said.median)} of what decay gains in the median world, '
        f"{percent(said.mean)} on the mean and {percent(said.worst)} in the worst; in "
        f"{100 * said.within:.0f} % of them next to nothing.",
        "", "Worlds like this run, and what the rule lost there of what decay gains:", *worlds,
        "", "Other rules, and what they lost in the median world:", *(others or ["  none"]),
        *([f"They disagree, by a factor of {float(f'{apart:.2g}'):,g}: a sweep decides."] if apart > APART else []),
        "", f"To sweep, train at {', '.join(f'{point:.2g}' for point in points)}, and take the vertex of the parabola",
        "through the best of them and its neighbours, over the logarithm of decay.",
        "Kernels decay, and embeddings of tokens; biases and gains of norms do not: docs/leaves.md.", "",
    ])  # fmt: skip


def sweep(said: Said) -> np.ndarray:
    """Four decays to train at: over the likely range, and a factor of four around what is said at least; f64[4]."""
    return np.geomspace(min(said.low, said.decay / 4), max(said.high, said.decay * 4), 4)


def percent(estimate: Sequence[float]) -> str:
    """`4 % [2, 7]`."""
    mean, low, high = (f"{100 * number:.0f}" for number in estimate)
    return f"{mean} % [{low}, {high}]"
