"""An experiment: what is asked, and all that it takes to answer it."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wd_research.evidence.claims import Claim
from wd_research.evidence.measured import Evidence
from wd_research.flags import UserError, confirming_seeds, counts
from wd_research.names import check_apart, check_arms
from wd_research.reporting.drawing import Figure
from wd_research.reporting.figures import all_figures
from wd_research.reporting.sentences import sentence
from wd_research.training.loop import bearable
from wd_research.types import Arm, ComputedArm, check_distinct


def first_line_of_caller() -> str:
    """The first line of the module that declares an experiment: its question, unless it gives another one."""
    declaring = sys._getframe(2).f_globals  # pyright: ignore[reportPrivateUsage]  0 is here, 1 the dataclass's __init__
    said = declaring.get("__doc__") if "__file__" in declaring else None  # a notebook's docstring is not the author's
    return str(said or "Which point generalises best?").strip().partition("\n")[0]


@dataclass(frozen=True)
class Experiment:
    """A question, and all that it takes to answer it.

    The seeds explore every point; what they choose is confirmed on `confirm` fresh seeds, or with `until_decided` on
    more of them, as many at a time, until every claim is decided or there are so many. With confirm=0 choices are
    scored by halves of the exploring seeds. `grow` adds points beyond an edge of a grid on which a best point lies, and
    with `race` only the first four exploring seeds see every point: the others see what may still be chosen.
    Training can bear ten evaluations, or as many as cost a tenth of it.

    Raises UserError when there is no seed, no step, no evaluation or no arm, when it is made of something else, or when
    names are none that files can hold.
    """

    arms: Mapping[str, Arm | ComputedArm]
    seeds: int
    steps: int
    evaluations: int | None = None  # how often training stops to evaluate and write; None: as often as it can bear
    confirm: int = 16
    until_decided: int | None = None
    grow: bool = False
    race: bool = False
    claims: Sequence[Claim] = ()
    figures: Callable[[Evidence], dict[str, Figure]] = all_figures  # what was measured -> name of the file -> it
    answer: Callable[[Mapping[str, Any]], str] = sentence  # summary -> the answer in one sentence
    question: str = field(default_factory=first_line_of_caller)

    def __post_init__(self) -> None:
        counts(seeds=self.seeds, steps=self.steps, evaluations=1 if self.evaluations is None else self.evaluations)
        confirming_seeds(self.confirm, self.until_decided)
        for name in ("seeds", "steps", "evaluations", "confirm", "until_decided"):
            if getattr(self, name) is not None:  # NumPy's whole numbers are none that JSON knows
                object.__setattr__(self, name, int(getattr(self, name)))
        if not isinstance(self.arms, Mapping) or not self.arms:
            raise UserError("there is no arm: give at least one, as {name: arm}")
        check_arms(self.arms)
        for name, arm in self.arms.items():
            if not isinstance(arm, Arm) and not callable(arm):
                raise UserError(f"{name} is a {type(arm).__name__} and no arm: give wd.Arm(...), or a function of the "
                                "number of seeds that computes results")  # fmt: skip
        for arm in self.trained.values():
            check_distinct(arm.points)
        for claim in self.claims:
            if not isinstance(claim, Claim):
                raise UserError(f"{claim!r:.40} is no claim: give wd.Claim(...)")
        check_apart("claim", [claim.id for claim in self.claims])

    @property
    def trained(self) -> dict[str, Arm]:
        """The arms that are trained, not computed."""
        return {name: arm for name, arm in self.arms.items() if isinstance(arm, Arm)}

    @property
    def members(self) -> int:
        """How many nets explore."""
        return sum(self.seeds * arm.size for arm in self.trained.values())

    @property
    def looks(self) -> list[int]:
        """The numbers of confirming seeds after which claims are judged."""
        return list(range(self.confirm, (self.until_decided or self.confirm) + 1, self.confirm)) if self.confirm else []

    def steps_of(self, arm: Arm | ComputedArm) -> int:
        """How many steps an arm takes: its own, or those of the experiment."""
        return (isinstance(arm, Arm) and arm.steps) or self.steps

    def segments_of(self, arm: Arm | ComputedArm) -> list[tuple[int, int]]:
        """The first step and the length of every segment: all of one length, but for the last where they do not divide.

        After each of them there is an evaluation.
        """
        steps = self.steps_of(arm)
        evaluations = self.evaluations or (bearable(arm, steps) if isinstance(arm, Arm) else 1)
        length = -(-steps // evaluations)
        return [(start, min(length, steps - start)) for start in range(0, steps, length)]
