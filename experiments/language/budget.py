"""What fits into so many minutes: ways to train, and the largest part of them that this machine trains in that time."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

import wd_research as wd
from wd_research.training.plan import make_plans

COMPILING = 20.0  # seconds an arm, on one core
BESIDE = 1.3  # what evaluating, writing and confirming add to training


class Case(NamedTuple):
    """One way to train: so many characters, so wide a net, so many times the steps."""

    characters: int
    width: int
    length: int

    @property
    def name(self) -> str:
        """`64k, width 32, 2 times the steps`."""
        longer = f", {self.length} times the steps" if self.length > 1 else ""
        return f"{self.size}, width {self.width}{longer}"

    @property
    def size(self) -> str:
        """`64k`, of 1,024 characters each; all digits where they are no multiple of that."""
        return str(self.characters) if self.characters % 1024 else f"{self.characters // 1024}k"


def within(
    seconds: float, arm: Callable[[Case], wd.Arm], cases: list[Case], seeds: int, steps: int
) -> tuple[list[Case], int]:
    """The largest part of the cases, and as many seeds, that train within so many seconds here.

    Raises UserError where not even two sizes on three seeds do: fewer decide nothing.
    """
    cost = {case.width: seconds_of(arm, case) for case in cases if case.length == 1}

    def taken(chosen: Sequence[Case], seeds: int) -> float:
        return sum(BESIDE * seeds * steps * case.length * cost[case.width] + COMPILING / 2 for case in chosen)

    fewest = min(seeds, 3)
    for chosen, count in product(parts_of(cases), range(seeds, fewest - 1, -1)):
        if taken(chosen, count) <= seconds:
            return chosen, count
    least = taken(parts_of(cases)[-1], fewest) / 60
    raise wd.UserError(f"--minutes {seconds / 60:g} is too little: the smallest part takes about {least:.0f} here")


def parts_of(cases: list[Case]) -> list[list[Case]]:
    """All cases, and smaller parts of them: without the longest trainings, with every second size, then with two."""
    sizes = sorted({case.characters for case in cases})
    middle = next((case.characters for case in cases if case.length > 1), sizes[len(sizes) // 2])
    longest = max(case.length for case in cases)
    shorter = [[case for case in cases if case.length <= most] for most in (longest, 4, 2)]
    fewer = [case for case in shorter[-1] if case.characters in (*sizes[::2], middle)]
    other = middle if middle > sizes[0] else sizes[min(1, len(sizes) - 1)]
    two = [case for case in shorter[-1] if case.characters in (sizes[0], other)]
    wide = [case for case in two if case.width == cases[0].width or case.characters == sizes[0]]
    lean = [case for case in wide if case.width <= cases[0].width]
    return [*shorter, fewer, two, wide, lean, [case for case in lean if case.width == cases[0].width]]


def seconds_of(arm: Callable[[Case], wd.Arm], case: Case) -> float:
    """How long a step of all points of a seed takes here, after compiling and timing a few of them."""
    print(f"timing a step at width {case.width}", flush=True)
    wd.prepare_jax()
    of_case = arm(case)
    plans = make_plans(
        {"": of_case}, {"": 1}, lambda arm: [(0, 100)], wd.Limits(blocks=(1,), timed=True), lambda what: None
    )
    return plans[""].seconds_per_step
