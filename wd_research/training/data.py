"""Data: one pool of examples that all seeds share, and what each seed sees of it."""

from typing import NamedTuple

import numpy as np

from wd_research.types import Batch, Numbers


class Examples(NamedTuple):
    """The pool: every example of a data set."""

    inputs: Numbers  # f32[n, ...]
    targets: Numbers  # i32[n]


class Split(NamedTuple):
    """What one seed sees of the pool."""

    train: Numbers  # i32[n_train] indices into the pool
    validation: Numbers  # i32[n_validation]
    test: Numbers  # i32[n_test]
    train_targets: Numbers  # i32[n_train], some of them flipped
    mean: Numbers  # f32[...] of the training inputs
    scale: Numbers  # f32[...] 1 / standard deviation of the training inputs; 0 where they are constant


def digits() -> Examples:
    """Handwritten digits: 1,797 images of 8x8 grey values 0 ... 16, ten classes; f32[1797, 61], i32[1797].

    The three pixels that are constant over the whole pool are dropped.
    Source: Alpaydin & Kaynak (1998), the test part of the UCI set, inside scikit-learn's wheel.
    """
    from sklearn.datasets import load_digits  # here, because scikit-learn takes a second to import

    inputs, targets = (np.asarray(part) for part in load_digits(return_X_y=True))
    return Examples(inputs[:, inputs.std(axis=0) > 0].astype(np.float32), targets.astype(np.int32))


def draw_split(examples: Examples, seed: int, train_size: int, validation_size: int, flipped: float) -> Split:
    """Draw a seed's split, stratified by class: train and validation as large as asked, the rest for testing.

    round(flipped * train_size) training labels become another class, each other class equally likely. Validation and
    test labels are left as they are. Inputs that are constant in the training part get scale 0 and hence become 0
    everywhere: they hold nothing to learn.

    Raises ValueError when the sizes do not fit the pool (`check_sizes`).
    """
    from sklearn.model_selection import train_test_split

    check_sizes(examples, train_size, validation_size, flipped)
    rest, train = train_test_split(
        np.arange(len(examples.targets)), test_size=train_size, stratify=examples.targets, random_state=seed
    )
    test, validation = train_test_split(
        rest, test_size=validation_size, stratify=examples.targets[rest], random_state=seed
    )
    inputs = np.asarray(examples.inputs)[train]
    deviation = inputs.std(axis=0)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)
    targets = flip(np.asarray(examples.targets)[train], flipped, int(examples.targets.max()) + 1, seed)
    train, validation, test = (np.asarray(part, np.int32) for part in (train, validation, test))
    return Split(train, validation, test, targets, inputs.mean(axis=0), scale)


def flip(targets: np.ndarray, share: float, classes: int, seed: int) -> np.ndarray:
    """Give round(share * n) of the labels i32[n] another class, every other class equally likely; i32[n]."""
    rng = np.random.default_rng([seed, 0xF11])
    chosen = rng.permutation(len(targets))[: round(share * len(targets))]
    shifted = targets.copy()
    shifted[chosen] = (targets[chosen] + rng.integers(1, classes, len(chosen))) % classes
    return shifted


def check_sizes(examples: Examples, train_size: int, validation_size: int, flipped: float) -> None:
    """Raise ValueError, with one sentence, unless a split of these sizes can be drawn from the pool."""
    pool, classes = len(examples.targets), len(np.unique(examples.targets))
    most = pool - validation_size - classes
    if not classes <= train_size <= most:
        raise ValueError(
            f"--train-size {train_size} does not fit: of {pool} examples, {validation_size} are for validation and at "
            f"least {classes} for testing, so give {classes} to {most}"
        )
    if not 0 <= flipped <= 1:
        raise ValueError(f"--flipped {flipped} is not a share: give a number from 0 to 1")


def standardised(examples: Examples, split: Split, indices: Numbers, targets: Numbers) -> Batch:
    """The examples at the indices i32[b] by the training part's mean and scale: (x - mean) * scale."""
    return Batch((examples.inputs[indices] - split.mean) * split.scale, targets)
