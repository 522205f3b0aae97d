"""Rules that pay for runs before they say a decay, as functions (runs, rng) -> time scales in a run.

Those that ask for none are in `wd_research.decay.rules`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from experiments.tournament.table import Table
from wd_research.decay.rules import Run


class Runs:
    """Runs of one world at one learning rate that a rule pays for, on seeds in an order of their own.

    `places` are the decays among which to look, as numbers into `scales`, ascending; `setting` is steps, learning rate,
    epochs and width.
    """

    def __init__(
        self, table: Table, rate: int, places: np.ndarray, budget: int, order: np.ndarray, shorter: Table | None,
        setting: Run,
    ) -> None:  # fmt: skip
        self.scales, self.places, self.budget, self.spent = table.scales, places, budget, 0.0
        self.setting = setting
        self._curves, self._order = table.validation[:, rate], order
        self._shorter = None if shorter is None else shorter.validation[:, rate, :, -1]
        self._times = 1.0 if shorter is None else shorter.world.steps / table.world.steps
        self._paid: dict[tuple[Any, int], int] = {}

    def run(self, place: Any, seed: int = 0, share: float = 1.0) -> float:
        """What a decay loses on validation data after a share of its training; to go on with a run costs the rest."""
        curve = self._curves[self._order[seed % len(self._order)], place]
        looks, known = max(1, int(share * len(curve))), self._paid.get((place, seed), 0)
        self._pay(max(0, looks - known) / len(curve))
        self._paid[place, seed] = max(looks, known)
        return float(curve[looks - 1])

    def shorter(self, place: Any, seed: int = 0) -> float | None:
        """What the same decay loses in a whole run that is several times shorter; None where none was made."""
        nearest = int(np.argmin(np.abs(self.scales - self.scales[place] * self._times)))
        if self._shorter is None:
            return None
        self._pay(self._times)
        return float(self._shorter[self._order[seed % len(self._order)], nearest])

    def _pay(self, cost: float) -> None:
        self.spent += cost
        if self.spent > self.budget + 1e-6:
            raise ValueError(f"a rule has spent {self.spent:g} of {self.budget} runs: let it ask for fewer")


Search = Callable[[Runs, np.random.Generator], float]


def spread_over(places: np.ndarray, count: int) -> np.ndarray:
    """So many of the places, evenly; the middle one of one."""
    middles = (np.arange(count) + 0.5) / count * len(places) - 0.5
    return places[np.unique(np.round(middles).astype(int))]


def best_of(runs: Runs, places: np.ndarray) -> float:
    """The decay of these that loses least on one seed; a single one need not be run."""
    if len(places) == 1:
        return float(runs.scales[places[0]])
    return float(runs.scales[places[np.argmin([runs.run(place) for place in places])]])


def random(runs: Runs, rng: np.random.Generator) -> float:
    """The best of decays drawn at random."""
    return best_of(runs, rng.choice(runs.places, min(runs.budget, len(runs.places)), replace=False))


def evenly(runs: Runs, rng: np.random.Generator) -> float:
    """The best of decays that are evenly spaced in the logarithm."""
    del rng
    return best_of(runs, spread_over(runs.places, runs.budget))


def parabola(runs: Runs, rng: np.random.Generator) -> float:
    """The vertex of a parabola in the logarithm through the best of three to five decays and its neighbours.

    More runs are more seeds of these. Fewer than three runs look at the best of them alone.
    """
    count = min(runs.budget, 5)
    if count < 3:
        return evenly(runs, rng)
    places = spread_over(runs.places, count)
    lost = np.mean([[runs.run(place, seed) for place in places] for seed in range(runs.budget // count)], axis=0)
    best = int(np.argmin(lost))
    if not 0 < best < len(places) - 1:
        return float(runs.scales[places[best]])
    near = slice(best - 1, best + 2)
    x = np.log(runs.scales[places[near]])
    square, slope, _ = np.polyfit(x - x[1], lost[near], 2)
    return float(np.exp(np.clip(x[1] - slope / (2 * square), x[0], x[2])))


def gaussian(runs: Runs, rng: np.random.Generator) -> float:
    """A Gaussian process over the logarithm of decay; the next run is where it expects to improve most.

    Source: Jones et al. (1998), expected improvement; scikit-learn's process, a length of one decade.
    """
    from scipy.stats import norm
    from sklearn.gaussian_process import GaussianProcessRegressor  # here, because scikit-learn takes a second to import
    from sklearn.gaussian_process.kernels import RBF

    if runs.budget < 3:
        return evenly(runs, rng)
    x = np.log10(runs.scales[runs.places])[:, None]
    tried = list(np.searchsorted(runs.places, spread_over(runs.places, 3)))
    lost = [runs.run(runs.places[place]) for place in tried]

    def believed() -> tuple[np.ndarray, np.ndarray]:
        y = (np.array(lost) - np.mean(lost)) / (np.std(lost) + 1e-9)
        process = GaussianProcessRegressor(RBF(1.0, "fixed"), alpha=1e-2).fit(x[tried], y)
        mean, deviation = process.predict(x, return_std=True)
        return mean, np.maximum(deviation, 1e-9)

    for _ in range(3, min(runs.budget, len(runs.places))):
        mean, deviation = believed()
        z = (mean[tried].min() - mean) / deviation
        promise = deviation * (z * norm.cdf(z) + norm.pdf(z))
        promise[tried] = -1
        tried.append(int(np.argmax(promise)))
        lost.append(runs.run(runs.places[tried[-1]]))
    return float(runs.scales[runs.places[np.argmin(believed()[0])]])


def halving(runs: Runs, rng: np.random.Generator) -> float:
    """Twice as many decays as runs begin; the better half goes on at a quarter and again at a half of the schedule.

    Source: Jamieson & Talwalkar (1502.07943).
    """
    del rng
    if runs.budget < 2:
        return best_of(runs, spread_over(runs.places, 1))
    places = spread_over(runs.places, min(2 * runs.budget, len(runs.places)))
    for share in (0.25, 0.5, 1.0):
        lost = [runs.run(place, share=share) for place in places]
        places = places[np.sort(np.argsort(lost)[: max(1, len(places) // 2)])]
    return float(runs.scales[places[np.argmin([runs.run(place) for place in places])]])


def halving_finished(runs: Runs, rng: np.random.Generator) -> float:
    """Twice as many decays as runs are run to the end of a schedule that is four times shorter; the best quarter whole.

    Where there is no such run, as `evenly`.
    """
    places = spread_over(runs.places, min(2 * runs.budget, len(runs.places)))
    lost = [runs.shorter(place) for place in places] if runs.budget > 1 else [None]
    if None in lost:
        return evenly(runs, rng)
    return best_of(runs, places[np.sort(np.argsort(np.array(lost, float))[: max(1, runs.budget // 2)])])


def racing(runs: Runs, rng: np.random.Generator) -> float:
    """Every decay that is still in gets a seed more; out is what loses to the best by twice its standard error.

    It begins with a third of the runs, on two seeds each.
    """
    del rng
    places, seeds = spread_over(runs.places, max(1, runs.budget // 3)), 0
    lost = np.empty((0, len(places)))
    while len(places) > 1 and runs.spent + len(places) <= runs.budget:
        lost = np.vstack([lost, [runs.run(place, seeds) for place in places]])
        seeds += 1
        if seeds > 1:
            behind = lost - lost[:, [int(np.argmin(lost.mean(axis=0)))]]
            stays = behind.mean(axis=0) <= 2 * behind.std(axis=0, ddof=1) / seeds**0.5 + 1e-12
            places, lost = places[stays], lost[:, stays]
    return float(runs.scales[places[int(np.argmin(lost.mean(axis=0))) if len(lost) else 0]])


def descent(runs: Runs, rng: np.random.Generator) -> float:
    """Steps along the sign of the slope of the final loss over the logarithm of decay, halved when it turns.

    A slope costs two runs, as much as forward-mode differentiation of a run by one number; it is taken from the next
    decay above, on a seed that changes with every step. Source: Franceschi et al. (1703.01785).
    """
    del rng
    at, stride, before = len(runs.places) // 2, max(1, len(runs.places) // 4), 0.0
    for step in range(runs.budget // 2):
        at = min(at, len(runs.places) - 2)
        slope = np.sign(runs.run(runs.places[at + 1], step) - runs.run(runs.places[at], step))
        stride = max(1, stride // 2) if slope * before < 0 else stride
        at, before = int(np.clip(at - slope * stride, 0, len(runs.places) - 1)), slope
    return float(runs.scales[runs.places[at]])


SEARCHES: Mapping[str, Search] = {
    "random": random,
    "evenly spaced": evenly,
    "parabola": parabola,
    "Gaussian process": gaussian,
    "halving, unfinished schedules": halving,
    "halving, finished schedules": halving_finished,
    "racing over seeds": racing,
    "descent": descent,
}
