"""Data: one pool of examples that all seeds share, and what each seed sees of it."""

from itertools import combinations
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from wd_research.flags import UserError
from wd_research.types import Array, Batch, Numbers

PARTS = ("train", "validation", "test")


class Examples(NamedTuple):
    """The pool: every example of a data set."""

    inputs: Numbers  # f32[n, ...], or i32[n, t] tokens
    targets: Numbers  # i32[n] classes, i32[n, t] what follows each token, or f32[n, ...] numbers


class Split(NamedTuple):
    """What one seed sees of the pool."""

    train: Numbers  # i32[n_train] indices into the pool
    validation: Numbers  # i32[n_validation]
    test: Numbers  # i32[n_test]
    train_targets: Numbers  # [n_train, ...], with label noise
    mean: Numbers  # f32[...] of the training inputs; f32[] 0 for tokens
    scale: (
        Numbers  # f32[...] 1 / standard deviation of the training inputs, 0 where they are constant; f32[] 1 for tokens
    )


def digits() -> Examples:
    """Handwritten digits: 1,797 images of 8x8 grey values 0 ... 16, ten classes; f32[1797, 61], i32[1797].

    The three pixels that are constant over the whole pool are dropped.
    Source: Alpaydin & Kaynak (1998), the test part of the UCI set, inside scikit-learn's wheel.
    """
    from sklearn.datasets import load_digits  # here, because scikit-learn takes a second to import

    inputs, targets = (np.asarray(part) for part in load_digits(return_X_y=True))
    return Examples(inputs[:, inputs.std(axis=0) > 0].astype(np.float32), targets.astype(np.int32))


def draw_split(examples: Examples, seed: int, train_size: int, validation_size: int, label_noise: float = 0.0) -> Split:
    """Draw a seed's split: train and validation as large as asked, the rest for testing; classes in equal shares.

    round(label_noise * train_size) training labels become another class, each other class equally likely. Validation
    and test labels are left as they are. Inputs that are constant in the training part get scale 0 and hence become 0
    everywhere: they hold nothing to learn. Tokens are not scaled.

    Raises UserError when the sizes do not fit the pool (`check_sizes`), or a class has too few examples.
    """
    check_sizes(examples, train_size, validation_size, label_noise)
    rest, train = _parted(examples, np.arange(len(examples.targets)), train_size, seed)
    test, validation = _parted(examples, rest, validation_size, seed)
    targets = np.asarray(examples.targets)[train]
    if classes(examples):
        targets = with_label_noise(targets, label_noise, classes(examples), seed)
    train, validation, test = (np.asarray(part, np.int32) for part in (train, validation, test))
    return Split(train, validation, test, targets, *_mean_and_scale(np.asarray(examples.inputs)[train]))


def check_split(examples: Examples, split: Split, like: Split | None = None) -> None:
    """Raise UserError unless a split can be one: parts of the pool that do not meet, and a target for each example.

    `like` is another seed's, whose parts have the sizes that those of every seed have.
    """
    _check_arrays(split)
    parts = {name: np.asarray(getattr(split, name)) for name in PARTS}
    for name, part in parts.items():
        _check_part(name, part, len(examples.targets))
        if like is not None and len(part) != len(getattr(like, name)):
            raise UserError(f"the split has {len(part)} {name} examples for one seed and {len(getattr(like, name))} "
                            "for another: give every seed as many")  # fmt: skip
    for one, other in combinations(PARTS, 2):
        shared = np.intersect1d(parts[one], parts[other])
        if len(shared):
            raise UserError(f"the split has example {shared[0]} among {one} and {other} examples, {len(shared)} in "
                            "all: each part needs examples of its own")  # fmt: skip
    _check_targets(examples, split)
    for name in ("mean", "scale"):
        if not np.isfinite(np.asarray(getattr(split, name))).all():
            raise UserError(f"the split has a {name} that is no finite number: take it over the training inputs")


def _check_arrays(split: Any) -> None:
    """Raise UserError unless this is a Split of arrays, or of single numbers for its mean and scale."""
    if not isinstance(split, Split):
        raise UserError(f"the split is a {type(split).__name__}: give what wd.draw_split makes, or wd.Split("
                        f"{', '.join(Split._fields)})")  # fmt: skip
    for name, part in split._asdict().items():
        if not isinstance(part, np.ndarray | np.generic | Array | int | float):
            raise UserError(f"the split has a {type(part).__name__} for {name}: give an array, numpy.asarray({name})")


def _check_part(name: str, part: np.ndarray, pool: int) -> None:
    if part.ndim != 1 or part.dtype.kind not in "iu" or not len(part):
        raise UserError(f"the split has {name} indices of shape {part.shape}, type {part.dtype}: give whole numbers in "
                        "one row, at least one")  # fmt: skip
    if part.min() < 0 or part.max() >= pool:
        raise UserError(f"the split has {name} indices {part.min()} to {part.max()}, and the pool {pool} examples: "
                        f"give 0 to {pool - 1}")  # fmt: skip


def _check_targets(examples: Examples, split: Split) -> None:
    targets, own, known = np.asarray(split.train_targets), np.asarray(examples.targets), classes(examples)
    wanted = (len(split.train), *own.shape[1:])
    if targets.shape != wanted or targets.dtype.kind != own.dtype.kind:
        raise UserError(f"the split has train targets of shape {targets.shape}, type {targets.dtype}: give {wanted}, "
                        f"type {own.dtype}, one for each training example")  # fmt: skip
    if known and (targets.min() < 0 or targets.max() >= known):
        raise UserError(f"the split has train targets {targets.min()} to {targets.max()}, and the classes are 0 to "
                        f"{known - 1}")  # fmt: skip


def classes(examples: Examples) -> int:
    """How many classes the targets name; 0 where they are numbers, or rows of tokens."""
    targets = np.asarray(examples.targets)
    return int(targets.max()) + 1 if targets.dtype.kind == "i" and targets.ndim == 1 else 0


def _parted(examples: Examples, among: np.ndarray, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw `size` of the examples i32[n], classes in equal shares: the others, and those drawn."""
    from sklearn.model_selection import train_test_split

    targets = np.asarray(examples.targets)[among]
    strata = targets if classes(examples) else None
    rest: Any
    drawn: Any
    try:
        rest, drawn = train_test_split(among, test_size=size, stratify=strata, random_state=seed)
    except ValueError as error:  # the sizes fit, so it is a class
        numbers, counts = np.unique(targets, return_counts=True)
        raise UserError(
            f"class {numbers[counts.argmin()]} has too few examples to be in each part in its share ({counts.min()} of "
            f"{len(among)} where {size} are drawn): leave that class out, or ask for larger parts"
        ) from error
    return rest, drawn


def _mean_and_scale(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What standardises the inputs [n, ...]; tokens stay what they are."""
    if inputs.dtype.kind != "f":
        return np.zeros((), np.float32), np.ones((), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        deviation = inputs.std(axis=0)
    varies = inputs.max(axis=0) > inputs.min(axis=0)
    if not (np.isfinite(deviation) & ((deviation > 0) == varies)).all():  # squares of so large or small numbers
        deviation = inputs.astype(np.float64).std(axis=0)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)
    return inputs.mean(axis=0, dtype=inputs.dtype), scale.astype(np.float32)


def with_label_noise(targets: np.ndarray, share: float, classes: int, seed: int) -> np.ndarray:
    """Give round(share * n) of the labels i32[n] another class, every other class equally likely; i32[n]."""
    rng = np.random.default_rng([seed, 0xF11])
    chosen = rng.permutation(len(targets))[: round(share * len(targets))]
    shifted = targets.copy()
    shifted[chosen] = (targets[chosen] + rng.integers(1, classes, len(chosen))) % classes
    return shifted


def check_sizes(examples: Examples, train_size: int, validation_size: int, label_noise: float = 0.0) -> None:
    """Raise UserError, with one sentence, unless a split of these sizes can be drawn from the pool."""
    pool, least = len(examples.targets), max(1, classes(examples))
    most = pool - validation_size - least
    if not least <= train_size <= most:
        raise UserError(
            f"train_size {train_size} does not fit: of {pool} examples, {validation_size} are for validation and at "
            f"least {least} for testing, so give {least} to {most}"
        )
    if not 0 <= label_noise <= 1:
        raise UserError(f"label_noise {label_noise} is not a share: give a number from 0 to 1")
    if label_noise and not classes(examples):
        raise UserError(f"label_noise {label_noise} has no classes: targets are numbers or tokens, so give 0")


def standardised(examples: Examples, split: Split, indices: Numbers, targets: Numbers) -> Batch:
    """The examples at the indices i32[b], (x - mean) * scale by those of the training part; tokens as they are."""
    return Batch(scaled(split, examples.inputs[indices]), targets)


def scaled(split: Split, inputs: Numbers) -> Numbers:
    """Inputs (x - mean) * scale by the training part; tokens as they are."""
    return (inputs - split.mean) * split.scale if jnp.issubdtype(inputs.dtype, jnp.floating) else inputs
