"""Language modelling: windows of one text that lies on the devices once, whatever is drawn from it."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from wd_research.flags import UserError, counts
from wd_research.training.nets import Net, as_net
from wd_research.training.tasks import cross_entropy, no_settings, of_net, shuffled_epochs
from wd_research.training.texts import Text
from wd_research.types import Array, Batch, Extras, Hypers, Key, Metrics, Numbers, Params, Task

BLOCK = 2_048  # tokens: shuffled blocks make train, validation and test parts of one distribution
SHIFT = 1  # purpose of an epoch's randomness, beside its order


class Blocks(NamedTuple):
    """Which blocks of the text one seed sees."""

    train: Numbers  # i32[n_train]
    validation: Numbers  # i32[n_held_out]
    test: Numbers  # i32[n_held_out]


def language(
    model: nn.Module | Net,
    text: Text,
    window: int,
    batch_size: int,
    train_tokens: int,
    held_out: int = 65_536,
    evaluated: int = 64,
    settings: Callable[[Hypers], Mapping[str, Any]] = no_settings,
) -> Task:
    """Learn what follows each of `window` tokens, by the mean cross entropy; `batch_size` windows make a step.

    A seed shuffles the text's blocks of 2,048 tokens: `held_out` tokens are for validation, as many for testing,
    `train_tokens` others are trained on, and smaller trainings see parts of larger ones. An epoch cuts every block into
    windows from a place of its own on, and takes each once. The net makes logits f32[b, t, vocabulary]. A part is
    evaluated on `evaluated` windows, the same at every point and step: "loss" in nats per token and, where the size of
    a token is known, "bits_per_byte".

    Raises UserError, with one sentence, where the text is too short, a window longer than a block, or the net makes
    logits of another shape.
    """
    counts(window=window, batch_size=batch_size, train_tokens=train_tokens, held_out=held_out, evaluated=evaluated)
    net, blocks = as_net(model), check_sizes(text, window, train_tokens, held_out)
    check_logits(net, text, window)
    train_blocks, held_out_blocks = -(-train_tokens // BLOCK), -(-held_out // BLOCK)
    per_block = (BLOCK - 1) // window
    slack = BLOCK - per_block * window  # places from which an epoch can cut a block into as many windows
    at_once = math.gcd(batch_size, min(evaluated, held_out_blocks * per_block, train_blocks * per_block))
    data = np.asarray(text.tokens[: blocks * BLOCK])

    def split(seed: int) -> Blocks:
        order = np.random.default_rng(seed).permutation(blocks).astype(np.int32)
        return Blocks(order[2 * held_out_blocks :][:train_blocks], *np.split(order[: 2 * held_out_blocks], 2))

    def init(key: Key) -> tuple[Params, Extras]:
        return net.init(key, jnp.zeros((1, window), jnp.int32))

    def order(key: Key, start: Array, steps: int) -> Array:
        items, per_epoch = train_blocks * per_block, max(1, train_blocks * per_block // batch_size)
        drawn = shuffled_epochs(key, start, steps, items, min(batch_size, items))
        epochs = (start + jnp.arange(steps)) // per_epoch

        def shift(epoch: Array) -> Array:
            return jax.random.randint(jax.random.fold_in(jax.random.fold_in(key, epoch), SHIFT), (), 0, slack)

        return drawn // per_block * BLOCK + drawn % per_block * window + jax.vmap(shift)(epochs)[:, None]

    def gather(data: Any, split: Blocks, places: Array) -> Batch:
        return windows_at(data, jnp.asarray(split.train)[places // BLOCK] * BLOCK + places % BLOCK, window)

    def splits(data: Any, split: Blocks) -> dict[str, Batch]:
        return {name: windows_at(data, spread(part, per_block, window, evaluated), window)
                for name, part in split._asdict().items()}  # fmt: skip

    def measure(logits: Array, targets: Numbers) -> Metrics:
        nats = cross_entropy(logits, targets)
        bits = {"bits_per_byte": nats / np.log(2) / text.bytes_per_token} if text.bytes_per_token else {}
        return {"loss": nats, **bits}

    loss, of_windows, predict = of_net(net, measure, settings)

    def evaluate(params: Params, extras: Extras, batch: Batch, name: str) -> Metrics:
        # As many windows at a time as a step has: all at once leave a CPU's cache (docs/benchmarks.md).
        pieces = jax.tree.map(lambda leaf: leaf.reshape(-1, at_once, *leaf.shape[1:]), batch)
        found = jax.lax.map(lambda piece: of_windows(params, extras, piece, name), pieces)
        return jax.tree.map(partial(jnp.mean, axis=0), found)

    return Task(data, split, init, order, gather, loss, splits, evaluate, predict, loss_unit="nats")


def windows_at(data: Array, starts: Array, window: int) -> Batch:
    """The windows of a text that begin at some places, and what follows each of their tokens; i32[b, window] both."""
    cut = jax.vmap(lambda start: jax.lax.dynamic_slice(jnp.asarray(data), (start,), (window + 1,)))(starts)
    return Batch(cut[:, :-1].astype(jnp.int32), cut[:, 1:].astype(jnp.int32))


def spread(part: Numbers, per_block: int, window: int, count: int) -> Array:
    """Where `count` windows begin, or all that there are, spread evenly over the blocks of a part; i32[count]."""
    total = len(part) * per_block
    chosen = np.linspace(0, total, min(count, total), endpoint=False).astype(np.int32)
    return jnp.asarray(part)[chosen // per_block] * BLOCK + chosen % per_block * window


def epochs_of(steps: int, window: int, batch_size: int, train_tokens: int) -> float:
    """How often so many steps see the training text."""
    return steps * batch_size / (-(-train_tokens // BLOCK) * ((BLOCK - 1) // window))


def check_sizes(text: Text, window: int, train_tokens: int, held_out: int) -> int:
    """How many blocks a text has. Raises UserError where it has too few, or a window is longer than a block."""
    if window > BLOCK - 1:
        raise UserError(f"--window {window} is longer than a block of the text, which are shuffled: give {BLOCK - 1} "
                        "or less")  # fmt: skip
    blocks, wanted = len(text.tokens) // BLOCK, -(-train_tokens // BLOCK) + 2 * -(-held_out // BLOCK)
    if blocks < wanted:
        raise UserError(f"{text.source} has {blocks:,} blocks of {BLOCK:,} tokens, and {train_tokens:,} tokens to "
                        f"train on and twice {held_out:,} held out need {wanted:,}: take less")  # fmt: skip
    return blocks


def check_logits(net: Net, text: Text, window: int) -> None:
    """Raise UserError where the net does not make logits of every token of the vocabulary."""

    def made(key: Key) -> Array:
        tokens = jnp.zeros((2, window), jnp.int32)
        return net.apply(*net.init(key, tokens), tokens, False)[0]

    shape = jax.eval_shape(made, jax.eval_shape(lambda: jax.random.key(0))).shape
    if len(shape) != 3 or shape[:2] != (2, window) or shape[2] < text.vocabulary:
        raise UserError(f"the net makes outputs of shape {shape} of tokens of shape {(2, window)}: a vocabulary of "
                        f"{text.vocabulary} needs logits of shape {(2, window, text.vocabulary)}")  # fmt: skip
