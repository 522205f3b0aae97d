"""The decay inside an optimizer, leaf by leaf, found by feeding it gradients, whatever it is made of.

Every leaf is cut to a few entries per axis, in double precision, and goes through seven scenarios over the whole run,
side by side: a scenario is a start, a gradient and the weights at which the optimizer is asked. In a long run the
optimizer's clock goes faster: after every step all its counters jump. No option of the optimizer is read.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from wd_research.decay.masks import leaf_name
from wd_research.types import Params

ENTRIES = 4  # of every axis of a leaf
SAMPLES = 2_000  # steps that are looked at; a longer run is strided
COUNTED = 50  # steps that a counter counts, and hardly anything else
NONE, LOOSE = 1e-13, 1e-3  # what counts as nothing, and as equal, beside 1

# What decay may pull along; at its second argument, the start, or at 0 it rests.
PULLS: dict[str, Callable[[Any, Any], Any]] = {
    "w": lambda w, start: w,
    "w - start": lambda w, start: w - start,
    "sign(w)": lambda w, start: w / abs(w),
}
LINEAR = ("w", "w - start", "w - v")


class LeafDecay(NamedTuple):
    """The decay of one leaf; shares and rates are of its weights, per step, at the sampled steps f64[samples]."""

    stride: int  # steps from one sampled step to the next
    strength: float  # of decay that enters as a gradient, before the optimizer; NaN where it is there but not known
    pull: str  # a key of PULLS, "w - v" for a tree v that is not the start, or "other"
    coefficient: np.ndarray  # of that pull, in the part of decay that does not go through the optimizer
    rate: np.ndarray  # the share of the weights that this part removes
    own_rate: np.ndarray  # the share that all of decay removes, beside the model's own gradients with random signs
    left: np.ndarray  # |w| / |start| without gradients
    step_sizes: tuple[np.ndarray, np.ndarray]  # root mean square steps by a lasting and by a single unit gradient
    mixed: float  # how far decay beside gradients is from decay without, from 0
    half: float  # how far it is from half of that, from 0: a cautious rule halves it on average


class Probes(NamedTuple):
    """The compiled questions to an optimizer that is built from numbers, so that other numbers compile nothing."""

    moved: Callable[..., list[Any]]  # (numbers, start) -> whether the first step without a gradient moves each leaf
    traces: Callable[..., list[list[Any]]]  # (numbers, start, gradients, at) -> what a step changes in its memory
    counted: Callable[..., Any]  # (numbers, start) -> the state after COUNTED steps
    scenarios: Callable[..., list["LeafTrace"]]  # (numbers, and what `_scenarios` takes) -> what is seen of each leaf


def probes(optimizer_of: Callable[[Any], optax.GradientTransformation]) -> Probes:
    """Compile, when first asked, all that is asked of the optimizer that `optimizer_of` builds from traced numbers."""

    def moved(numbers: Any, start: Params) -> list[Any]:
        optimizer = optimizer_of(numbers)
        still, at = jax.tree.map(jnp.zeros_like, start), jax.tree.map(lambda leaf: 2 * leaf, start)
        updates, _ = optimizer.update(still, optimizer.init(start), at)
        return [jnp.any(leaf != 0) for leaf in jax.tree.leaves(updates)]

    def traces(numbers: Any, start: Params, gradients: Params, at: Params) -> list[list[Any]]:
        optimizer = optimizer_of(numbers)
        before = optimizer.init(start)
        after = optimizer.update(gradients, before, at)[1]
        return _minus(_by_leaf(after, start), _by_leaf(before, start))

    def counted(numbers: Any, start: Params) -> Any:
        optimizer = optimizer_of(numbers)
        still = jax.tree.map(jnp.zeros_like, start)
        return jax.lax.fori_loop(
            0, COUNTED, lambda _, state: optimizer.update(still, state, start)[1], optimizer.init(start)
        )

    def scenarios(numbers: Any, *inputs: Any) -> list[LeafTrace]:
        return _scenarios(optimizer_of(numbers), *inputs)

    # run once per compilation: at full optimization the compiler takes longer than all that it saves
    compiled = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    return Probes(*map(compiled, (moved, traces, counted, scenarios)))


def probe(ask: Probes, numbers: Any, params: Params, gradients: Params, steps: int) -> list[LeafDecay]:
    """Find what an optimizer does to each leaf of `params` over `steps` steps, `gradients` being the model's own."""
    params, gradients = (jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree) for tree in (params, gradients))
    stride = -(-steps // SAMPLES)
    with jax.enable_x64(True), jax.default_device(_processor()):
        if _may_be_cut(ask, numbers, params):
            params, gradients = (jax.tree.map(_cut, tree) for tree in (params, gradients))
        start = _awake(params)
        weights, others = _like(start, 1), _like(start, 2)
        strengths, pulls = _coupled(ask, numbers, start, weights)

        def cancelling(at: Params) -> Params:
            leaves = zip(strengths, pulls, jax.tree.leaves(at), jax.tree.leaves(start), strict=True)
            return jax.tree.unflatten(
                jax.tree.structure(start), [-strength * PULLS[pull](w, s) for strength, pull, w, s in leaves]
            )

        zeros, ones = (jax.tree.map(partial(np.full_like, fill_value=value), start) for value in (0.0, 1.0))
        starts = _stacked(start, start, zeros, start, start, start, zeros)
        at = _stacked(weights, others, zeros, weights, weights, start, zeros)
        pushes = _stacked(cancelling(weights), cancelling(others), ones, gradients, gradients, zeros, zeros)
        crossing = _stacked(cancelling(others), ones), _stacked(others, zeros)
        signs = np.random.default_rng(3).choice([-1.0, 1.0], -(-steps // stride))
        jumps = _jumps(ask, numbers, start, stride)
        seen = jax.tree.map(
            np.asarray, ask.scenarios(numbers, starts, at, pushes, others, crossing, signs, jumps, stride)
        )
    return [_found(leaf, strength, pull, stride) for leaf, strength, pull in zip(seen, strengths, pulls, strict=True)]


def _processor() -> Any:
    """A CPU, where double precision is at home and small programs compile fast; None, the default, without one."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None


def _stacked(*trees: Params) -> Params:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def _cut(leaf: np.ndarray) -> np.ndarray:
    return leaf[(slice(ENTRIES),) * leaf.ndim]


def _like(tree: Params, seed: int) -> Params:
    """Random weights as large as the tree's, none near 0."""
    rng = np.random.default_rng(seed)

    def drawn(leaf: np.ndarray) -> np.ndarray:
        size = np.sqrt(np.mean(leaf**2))
        return np.asarray(size * rng.choice([-1.0, 1.0], leaf.shape) * rng.uniform(0.5, 1.5, leaf.shape))

    return jax.tree.map(drawn, tree)


def _awake(tree: Params) -> Params:
    """The tree with other weights for leaves of zeros, whose decay could not be seen."""
    others = _like(jax.tree.map(lambda leaf: np.full_like(leaf, 0.1), tree), 0)
    return jax.tree.map(lambda leaf, other: leaf if leaf.any() else other, tree, others)


def _may_be_cut(ask: Probes, numbers: Any, params: Params) -> bool:
    """Whether the optimizer moves the same leaves when they are cut: a mask may depend on sizes, a target too."""
    whole = list(map(bool, ask.moved(numbers, _awake(params))))
    try:
        return list(map(bool, ask.moved(numbers, _awake(jax.tree.map(_cut, params))))) == whole
    except (TypeError, ValueError):  # the shapes of what the optimizer holds do not fit the cut leaves
        return False


def _coupled(ask: Probes, numbers: Any, start: Params, weights: Params) -> tuple[list[float], list[str]]:
    """Decay that the optimizer takes for a gradient: the strength whose opposite leaves no trace in its memory.

    With the gradient -strength * pull(w) such a decay is cancelled, and the state changes as it does at rest. From two
    gradients the strength is guessed, a third proves it. Without a memory that belongs to leaves nothing is found.
    """
    treedef, zeros = jax.tree.structure(start), jax.tree.map(np.zeros_like, start)

    def change(*trees: Params) -> list[list[np.ndarray]]:
        return jax.tree.map(np.asarray, ask.traces(numbers, *trees))

    rest = change(zeros, zeros, zeros)
    seen = _minus(change(start, zeros, weights), rest)
    strengths, pulls = [0.0] * len(seen), ["w"] * len(seen)
    for name, pull in PULLS.items():
        direction = jax.tree.map(pull, weights, start)
        against = _minus(change(start, jax.tree.map(np.negative, direction), weights), rest)
        for guesses in _guesses(seen, against):
            cancelling = jax.tree.map(lambda g, d: -g * d, jax.tree.unflatten(treedef, guesses), direction)
            remains = _minus(change(start, cancelling, weights), rest)
            for leaf, guess in enumerate(guesses):
                size, left = (sum(_dot(a, a) for a in arrays[leaf]) for arrays in (seen, remains))
                if strengths[leaf] == 0 and size > 0 and left < (20 * LOOSE) ** 2 * size:
                    strengths[leaf], pulls[leaf] = float(guess), name
    return strengths, pulls


def _guesses(seen: list[list[Any]], against: list[list[Any]]) -> Iterator[list[float]]:
    """Strengths of each leaf's decay, from the traces of decay alone and of decay with the gradient -1 * pull.

    With the strength s a trace is in proportion to s and to s - 1 (a momentum), or to their squares (a second moment).
    """
    for array in range(max(map(len, seen), default=0)):
        pairs = [
            (a[array], b[array]) if array < len(a) else (np.zeros(1),) * 2 for a, b in zip(seen, against, strict=True)
        ]
        ratios = np.array([_dot(b, a) / max(_dot(a, a), 1e-300) for a, b in pairs])
        roots = np.sqrt(np.maximum(ratios, 0))
        for ratio in (ratios, roots, -roots):
            yield list(1 / np.where(ratio == 1, np.inf, 1 - ratio))


def _by_leaf(state: Any, params: Params) -> list[list[Any]]:
    """The arrays of a state that belong to each leaf, by the end of their path."""
    names = [leaf_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    arrays = [(leaf_name(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(state)]
    owned: dict[str, list[Any]] = {name: [] for name in names}
    for path, leaf in arrays:
        owners = [name for name in names if f"/{path}".endswith(f"/{name}" if name else "")]
        if owners and jnp.issubdtype(leaf.dtype, jnp.floating):
            owned[max(owners, key=len)].append(leaf)
    return list(owned.values())


def _minus(first: list[list[Any]], second: list[list[Any]]) -> list[list[Any]]:
    return [[a - b for a, b in zip(x, y, strict=True)] for x, y in zip(first, second, strict=True)]


def _dot(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.sum(first * second))


STILL, MIRROR, PUSHED, THERE, BACK, FREE, REST = range(7)


class LeafTrace(NamedTuple):
    """One leaf at one step, or f64[samples] of them."""

    rate: Any
    coefficients: Any  # by pull, and last of "w - v"
    misfits: Any  # by pull, and last of "w - v", from the weights of two scenarios
    own_rates: Any  # by pull
    left: Any
    lasting: Any
    single: Any
    remembered: Any
    mixed: Any
    half: Any


def _scenarios(
    optimizer: optax.GradientTransformation, starts: Params, at: Params, pushes: Params, others: Params,
    crossing: tuple[Params, Params], signs: Any, jumps: Any, stride: Any,
) -> list[LeafTrace]:  # fmt: skip
    """Run all scenarios, stacked along the first axis of every leaf; what was seen of each leaf, f64[samples]."""
    flips = np.array([0, 0, 0, 1, -1, 0, 0])  # own gradients come with a random sign, there and back
    many = jax.vmap(optimizer.update)
    weights, start = (jax.tree.map(lambda leaf: leaf[STILL], tree) for tree in (at, starts))

    def step(carry, sign):
        states, at = carry
        factors = jnp.where(flips == 0, 1, sign * flips)
        updates, after = many(jax.tree.map(lambda g: _along(factors, g) * g, pushes), states, at)
        # asked elsewhere: does the memory of one scenario matter to another, what does a single gradient do
        elsewhere = jax.tree.map(lambda leaf: leaf[np.array([STILL, REST])], states)
        asked, _ = many(crossing[0], elsewhere, crossing[1])
        leaves = map(jax.tree.leaves, (updates, asked, weights, others, start, at))
        seen = [_seen(*of_leaf) for of_leaf in zip(*leaves, strict=True)]
        moved = jax.tree.map(lambda w, u: w.at[FREE].add(stride * u[FREE]), at, updates)
        jumped = jax.tree.map(lambda leaf, jump: leaf + jump.astype(leaf.dtype), after, jumps)
        return (jumped, moved), seen

    return jax.lax.scan(step, (jax.vmap(optimizer.init)(starts), at), signs)[1]


def _jumps(ask: Probes, numbers: Any, start: Params, stride: int) -> Any:
    """By how much every leaf of the state jumps after a step: what counts steps goes on to the next sampled step."""
    state = ask.counted(numbers, start)

    def jump(leaf: Any) -> np.ndarray:
        counts = leaf.ndim == 0 and jnp.issubdtype(leaf.dtype, jnp.integer) and int(leaf) == COUNTED
        return np.asarray((stride - 1) * counts)

    return jax.tree.map(jump, state)


def _along(factors: Any, leaf: Any) -> Any:
    return factors.reshape((-1,) + (1,) * (leaf.ndim - 1))


def _seen(updates: Any, asked: Any, weights: Any, others: Any, start: Any, at: Any) -> LeafTrace:
    def share(direction, update):
        return -jnp.sum(direction * update) / jnp.sum(direction**2)

    def size(x):
        return jnp.sqrt(jnp.mean(x**2))

    still, both = updates[STILL], updates[THERE] + updates[BACK]
    beside = jnp.maximum(size(still), 1e-300)
    directions = [pull(weights, start) for pull in PULLS.values()]
    pairs = [(direction, still) for direction in directions] + [(weights - others, still - updates[MIRROR])]
    coefficients = [share(direction, update) for direction, update in pairs]
    return LeafTrace(
        share(weights, still),
        coefficients,
        [
            size(update + c * direction) / jnp.maximum(size(update), 1e-300)
            for c, (direction, update) in zip(coefficients, pairs, strict=True)
        ],
        [share(direction, both / 2) for direction in directions],
        size(at[FREE] + updates[FREE]) / size(start),
        size(updates[PUSHED]),
        size(asked[1]),
        size(asked[0] - updates[MIRROR]) / jnp.maximum(size(updates[MIRROR]), 1e-300),
        size(both / 2 - still) / beside,
        size(both - still) / beside,
    )


def _found(seen: LeafTrace, strength: float, pull: str, stride: int) -> LeafDecay:
    """Read the scenarios of one leaf."""
    rate = np.where(np.abs(seen.rate) > NONE, seen.rate, 0.0)
    if strength == 0 and np.max(seen.remembered) > LOOSE:
        strength = np.nan
    strongest, fits = int(np.argmax(np.abs(rate))), [*PULLS, "w - v"]
    if rate[strongest] != 0:
        misfits = [float(misfit[strongest]) for misfit in seen.misfits]
        fitting = next((name for name, misfit in zip(fits, misfits, strict=True) if misfit < LOOSE), "other")
        if np.isnan(strength) or (strength != 0 and fitting not in LINEAR):
            rate = np.zeros_like(rate)  # what cancelling left, blown up by the optimizer: no decay after it
        else:
            pull = fitting
    coefficients = dict(zip(fits, seen.coefficients, strict=True))
    coefficient = np.where(rate == 0, 0.0, coefficients.get(pull, rate))
    with np.errstate(over="ignore", invalid="ignore"):
        left = np.cumprod(np.abs(1 - coefficient) ** stride) if pull in LINEAR and strength == 0 else seen.left
    return LeafDecay(
        stride=stride,
        strength=strength,
        pull=pull,
        coefficient=coefficient,
        rate=coefficient if pull in LINEAR else rate,
        own_rate=coefficient if pull == "w - v" else seen.own_rates[1 if pull == "w - start" else 0],
        left=left,
        step_sizes=(seen.lasting, seen.single),
        mixed=float(seen.mixed[strongest]),
        half=float(seen.half[strongest]),
    )
