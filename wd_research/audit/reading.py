"""What twins show of the decay of one leaf: its pull, its share at every step, or why it is not known."""

from typing import NamedTuple

import numpy as np

from wd_research.audit.clock import Samples
from wd_research.audit.course import Course, course
from wd_research.audit.twins import PAIRS, TURNED_FOR

COARSE = 1e-4  # relative steps of dtypes of half precision are larger
NOTHING, LOOSE = 1e-7, 1e-2  # a share that rounding may make; what counts as equal beside 1
GONE = 1e-60  # the part of the squared weights below which nothing is seen of them
MOST = 700.0  # of the logarithm of what a step leaves
LINEAR = ("w", "w - start", "w - v")  # pulls


class LeafDecay(NamedTuple):
    """The decay of one leaf; shares are of its weights, per step, at the sampled steps f64[samples]."""

    samples: Samples
    strength: float  # of decay that enters as a gradient, before the optimizer; NaN where it is there but not known
    pull: str  # "w", "w - start", "sign(w)", "w - v" for a tree v that is not the start, or "other"
    rate: np.ndarray  # the share that decay removes which does not go through the optimizer, of its pull
    own_rate: np.ndarray  # the share that all of decay removes, beside the model's own gradients with random signs
    forgotten: Course  # -log of what is left of the start without gradients
    rounded: float  # the part of that decay which arrives in the leaf's dtype
    step_sizes: tuple[np.ndarray, np.ndarray]  # root mean square steps by a lasting and by a single unit gradient
    mixed: float  # how far decay beside gradients is from decay without, from 0
    half: float  # how far it is from half of that, from 0: a cautious rule halves it on average
    stopped: bool  # whether gradients do not reach the update
    by_moving: bool  # whether it was seen on twins that move, because the optimizer has weights of its own
    beside: bool  # whether it acts beside gradients alone
    unknown: str  # why the decay is not known; "" where it is


class _Twins(NamedTuple):
    """What twins show of one leaf; f64[samples] each."""

    share: np.ndarray  # of the weights, that an update takes
    of_signs: np.ndarray  # of their signs
    misfit: np.ndarray  # how far what it takes is from a share of the weights, from 0
    sign_misfit: np.ndarray  # how far from a share of their signs
    even: np.ndarray  # what both twins do alike, beside what they lose
    start_misfit: np.ndarray  # how far that is from going to the start by the same share
    gone: np.ndarray  # share of the weights that the step took, rounding included
    left: np.ndarray  # log(|weights| after the step / before)
    there: np.ndarray  # whether any weight is left to be seen
    seen: np.ndarray  # whether what a step leaves of it is


def _twins_of(sums: dict[str, np.ndarray], name: str) -> _Twins:
    along, weights, odd, signs, even, to_start, gone, moved = (
        sums[f"{name} {what}"] for what in ("along", "weights", "odd", "signs", "even", "to start", "gone", "moved")
    )
    share, of_signs = along / weights, signs / sums["entries"]
    back = even - 2 * share * to_start + share**2 * sums["start"]
    there = weights > 1e-6 * weights[0]
    return _Twins(
        share=np.where(there, share, 0.0),
        of_signs=of_signs,
        misfit=np.sqrt(np.maximum((odd - along * share) / odd, 0)),
        sign_misfit=np.sqrt(np.maximum((odd - signs * of_signs) / odd, 0)),
        even=np.sqrt(even / odd),
        start_misfit=np.sqrt(np.maximum(back / odd, 0)),
        gone=gone / weights,
        left=np.log1p(np.maximum((moved - 2 * gone) / np.maximum(weights, 1e-300), -1)) / 2,
        there=there,
        seen=weights > GONE * weights[0],
    )


@np.errstate(divide="ignore", invalid="ignore", over="ignore")
def read_leaf(sums: dict[str, np.ndarray], looked: Samples, strength: float, pull: str, resolution: float) -> LeafDecay:
    """Read the runs of one leaf."""
    twins = {name: _twins_of(sums, name) for name in PAIRS}
    still, moving, free = twins["rest"], twins["moving"], twins["free"]
    of_others = False  # whether the step is of another size because other leaves decay
    if strength == 0:
        rate, pull, shown = _after(twins, sums, looked, resolution)
        of_others = shown is not still and _differ_by_a_factor(sums)
        if of_others:
            rate, pull, shown = np.zeros_like(rate), "w", moving
        asked = np.maximum(sums["asked"], (1e-9) ** 2 * sums["rest weights"])
        remembered = (sums["remembered"] / asked)[TURNED_FOR:]
        if np.max(remembered, initial=0) > LOOSE**2 and shown is still and (rate.any() or _shows(twins["lasting"])):
            rate, strength = np.zeros_like(rate), np.nan
    else:
        rate, pull, shown = _beside_coupled(twins, pull)
    unknown = ""
    if strength == 0 and not of_others:
        unknown = _unknown(twins, rate, pull, shown, looked)
    elif np.isnan(strength):
        unknown = _out_of_hand(twins["lasting"], rate)
    strongest = int(np.argmax(np.abs(rate)))
    alone = free if np.isfinite(free.left).all() and shown is not moving else moving
    own = moving if shown is moving else twins["noise"]
    stays = strength == 0 and pull in ("w - start", "w - v")
    logarithm = np.log(np.abs(1 - rate))
    if not (stays or of_others):
        logarithm = _left(alone, logarithm if strength == 0 and pull == "w" and shown is still else None)
    return LeafDecay(
        samples=looked,
        strength=strength,
        pull=pull,
        rate=rate,
        own_rate=rate if pull == "w - v" and strength == 0 else own.share,
        forgotten=course(np.clip(-np.nan_to_num(logarithm, nan=0.0), -MOST, MOST), looked),
        rounded=_part(alone, looked),
        step_sizes=(
            np.sqrt(sums["lasting steps"] / sums["entries"]),
            np.sqrt(sums["single steps"] / sums["entries"]),
        ),
        mixed=_distance(sums, "mixed", strongest, resolution) if shown is still else 0.0,
        half=_distance(sums, "half", strongest, resolution) if shown is still else 1.0,
        stopped=not np.any(sums["noise even"]),
        by_moving=shown is moving,
        beside=shown is twins["noise"],
        unknown=unknown,
    )


def _left(alone: _Twins, by_rate: np.ndarray | None) -> np.ndarray:
    """The logarithm of what steps leave; once the twins are gone it is by the rate, or what was seen last."""
    if by_rate is not None:
        return np.where(alone.seen, alone.left, by_rate)
    last = np.maximum.accumulate(np.where(alone.seen, np.arange(len(alone.seen)), 0))
    return alone.left[last]


def _distance(sums: dict[str, np.ndarray], name: str, step: int, resolution: float) -> float:
    """How large a difference is beside decay at rest; 0 where it may be rounding of what both twins do."""
    if sums[name][step] <= (8 * resolution) ** 2 * sums["noise even"][step]:
        return 0.0
    return float(np.nan_to_num(np.sqrt(sums[name][step] / sums["rest odd"][step])))


def _differ_by_a_factor(sums: dict[str, np.ndarray]) -> bool:
    """Whether twins beside lasting gradients take the same step at another size, which decay of other leaves makes.

    Of a leaf of one number that cannot be told.
    """
    odd, even, both = (sums[f"lasting {what}"] for what in ("odd", "even", "both"))
    first = np.flatnonzero(np.isfinite(odd) & (odd > 1e-10 * even))[:3]  # later on they may have left each other
    return bool(sums["entries"][0] > 1 and len(first) and np.all((both**2 > (1 - LOOSE) * odd * even)[first]))


def _part(twins: _Twins, looked: Samples) -> float:
    """The part of the decay that is asked for which rounding lets through."""
    arrived = np.where(twins.there, twins.gone, 0.0)
    asked, gone = (float(np.sum(looked.weights * share)) for share in (twins.share, arrived))
    return gone / asked if asked and np.isfinite(gone / asked) else 1.0


def _after(
    twins: dict[str, _Twins], sums: dict[str, np.ndarray], looked: Samples, resolution: float
) -> tuple[np.ndarray, str, _Twins]:
    """The decay that does not go through the optimizer: its share at every step, its pull, and the twins that show it.

    They are the held ones at rest. Where these are not finite (the optimizer divides by its gradients), or seem to be
    drawn somewhere while moving ones are not (it keeps weights of its own), it is the ones that move.
    """
    still, moving = twins["rest"], twins["moving"]
    if np.isfinite(still.share).all():
        rate, pull, _ = _read(still, "w")
        late = slice(len(rate) // 2, None)
        step = int(np.argmax(np.abs(rate)))
        steady, sizes = sums["steady"], np.sqrt(sums["rest even"] * sums["rest even"][0])
        agrees = _agree(twins["free"], rate, 0.1)
        noisy = agrees and np.sum(steady[late]) < 0.5 * np.sum(sizes[late])  # as where noise is added
        if not rate.any():
            return _beside_gradients(twins)
        if pull != "w" or still.even[step] < LOOSE or noisy:
            return rate, pull, still
        returned = np.nansum(sums["back"][late]) / max(np.nansum(sums["away"][late]), 1e-300)
        if still.start_misfit[step] < LOOSE and 0.5 < returned / np.mean(rate[late]) < 2:
            return rate, "w - start", still
        if still.start_misfit[step] >= LOOSE and agrees:
            return rate, "w - v", still
    return *_of_moving(twins, looked, resolution), moving


def _of_moving(twins: dict[str, _Twins], looked: Samples, resolution: float) -> tuple[np.ndarray, str]:
    """The share that moving twins lose and their pull, nothing where that may be rounding.

    Where rounding is coarse, or what they lose goes to and fro (averaged weights), it is the mean.
    """
    moving, total = twins["moving"], float(np.sum(looked.weights))
    rate, pull, _ = _read(moving, "w")
    small = abs(np.mean(moving.share)) < NOTHING and np.max(np.abs(moving.share)) < 10 * NOTHING
    lost = -float(np.sum(looked.weights * moving.left))
    if small and _shows(twins["lasting"]):  # beside gradients that last it is more
        return moving.share, "other"
    if small or abs(lost) < 8 * max(resolution, NOTHING):
        return np.zeros_like(rate), "w"
    if resolution > COARSE or rate.min() < 0 < rate.max():
        return np.full_like(rate, lost / total), "w" if resolution > COARSE else pull
    return rate, pull


def _beside_gradients(twins: dict[str, _Twins]) -> tuple[np.ndarray, str, _Twins]:
    """Decay that acts where a gradient arrives, and only there: held twins and moving ones show the same.

    What is along neither weights nor signs is the gradient's, divided by a norm that decay has a part in.
    """
    held, moving = twins["noise"], twins["moving"]
    rate, pull, _ = _read(held, "w")
    if rate.any() and pull != "other" and 0.5 < np.sum(moving.share) / np.sum(held.share) < 2:
        return rate, pull, held
    return np.zeros_like(rate), "w", twins["rest"]


def _beside_coupled(twins: dict[str, _Twins], pull: str) -> tuple[np.ndarray, str, _Twins]:
    """The same where decay enters as a gradient, along a pull: what is left when that is undone.

    Where held weights are drawn somewhere, that is by weights of the optimizer's own, and no decay.
    """
    rate, pull_after, shown = _read(twins["clean"], pull)
    step = int(np.argmax(np.abs(rate)))
    if rate.any() and pull == "w" and twins["rest"].even[step] > LOOSE:
        return np.zeros_like(rate), pull, shown
    return rate, pull_after if rate.any() else pull, shown


def _read(twins: _Twins, default: str) -> tuple[np.ndarray, str, _Twins]:
    """The share that twins lose at every step, and what they are pulled along."""
    step = int(np.nanargmax(np.abs(np.append(twins.share, 0.0)))) % len(twins.share)
    misfits = {"w": twins.misfit[step], "sign(w)": twins.sign_misfit[step]}
    pull = next((name for name, misfit in misfits.items() if misfit < LOOSE), "other")
    shares = np.nan_to_num(twins.of_signs if pull == "sign(w)" else twins.share)
    if not shares.any() or (np.abs(shares).max() < NOTHING and pull == "other"):
        return np.zeros_like(shares), default, twins
    return shares, pull, twins


def _unknown(twins: dict[str, _Twins], rate: np.ndarray, pull: str, shown: _Twins, looked: Samples) -> str:
    """Why the decay after the optimizer cannot be known beforehand; "" where it can.

    It is known where twins at rest show it and those beside lasting gradients, which move, agree.
    """
    still, lasting, step = twins["rest"], twins["lasting"], int(np.argmax(np.abs(rate)))
    mixed = abs(twins["noise"].share[step] - rate[step]) > LOOSE * abs(rate[step])
    if shown is still and pull == "w" and not _agree(twins["free"], rate, 0.2):
        return "it depends on how far the weights have moved"
    if rate[step] and shown is still and mixed and pull == "w":
        return _out_of_hand(twins["pushed"], rate)
    if not rate[step] or (shown is still and pull != "w"):
        return "" if np.isfinite(shown.share).all() else "it is finite neither at rest nor beside gradients"
    if shown is twins["noise"]:
        return _out_of_hand(twins["pushed"], rate)
    if shown is not still and (pull == "other" or abs(rate[step]) >= 1):
        return "it depends on the gradients, beside which it is no share of the weights"
    if shown is still:
        lasting = twins["pushed"]
    return _out_of_hand(lasting, rate) or _unlike(rate, shown, lasting, looked.weights)


def _agree(free: _Twins, rate: np.ndarray, tolerance: float) -> bool:
    """Whether free twins lose at their first steps what held ones do, as long as anything of them is left."""
    there = free.there[:3]
    return np.allclose(free.share[:3][there], rate[:3][there], rtol=tolerance, atol=0)


def _shows(twins: _Twins) -> bool:
    """Whether what twins lose is more than rounding beside what they do alike."""
    return bool(np.nanmin(np.append(twins.even, np.inf)) < 1 / (1000 * NOTHING))


def _unlike(rate: np.ndarray, shown: _Twins, lasting: _Twins, weights: np.ndarray) -> str:
    """Whether late in the run lasting gradients make another decay of it."""
    seen = (np.arange(len(rate)) >= len(rate) // 2) & shown.there & lasting.there
    if not seen.any():
        return ""
    less, more = sorted(abs(float(np.average(share[seen], weights=weights[seen]))) for share in (rate, lasting.share))
    if more <= 3 * less or more < NOTHING:
        return ""
    return f"it depends on the gradients: {less:.2g} or {more:.2g} of the weights per step in two trials"


def _out_of_hand(lasting: _Twins, rate: np.ndarray) -> str:
    """Whether decay blows up beside gradients that last."""
    share = lasting.share
    bounded = np.isfinite(share).all() and np.max(np.abs(share)) < max(1.0, 3 * np.max(np.abs(rate)))
    return "" if bounded else "it depends on the gradients: beside lasting ones it grows without bound"
