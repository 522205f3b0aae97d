"""Language modelling: windows of one text, which lies on the devices once, or on the disk where it is too large."""

import math
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
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


class Windows(NamedTuple):
    """How a text is cut."""

    window: int  # tokens
    batch: int  # windows of a step
    blocks: int  # of the text
    train: int  # blocks that are trained on
    held_out: int  # blocks for validation, and as many for testing
    evaluated: int  # windows of a part

    @property
    def per_block(self) -> int:
        """Windows that a block has."""
        return (BLOCK - 1) // self.window

    @property
    def slack(self) -> int:
        """Places from which an epoch can cut a block into as many windows."""
        return BLOCK - self.per_block * self.window

    @property
    def per_epoch(self) -> int:
        """Steps of an epoch."""
        return max(1, self.train * self.per_block // self.batch)

    @property
    def of_step(self) -> int:
        """Windows that a step takes, fewer where the text has fewer."""
        return min(self.batch, self.train * self.per_block)

    def place(self, items: Any, shifts: Any) -> Any:
        """Where windows lie among a seed's training blocks, by their numbers and the places their epoch begins at."""
        return items // self.per_block * BLOCK + items % self.per_block * self.window + shifts

    def split(self, seed: int) -> Blocks:
        """The blocks of a seed."""
        order = np.random.default_rng(seed).permutation(self.blocks).astype(np.int32)
        held_out = 2 * self.held_out
        return Blocks(order[held_out:][: self.train], *np.split(order[:held_out], 2))


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
    a token is known, "bits_per_byte". A text in memory lies on the devices once; of one on the disk (`texts.from_bin`)
    the host reads the windows of the next steps while a device trains.

    Raises UserError, with one sentence, where the text is too short, a window longer than a block, or the net makes
    logits of another shape.
    """
    counts(window=window, batch_size=batch_size, train_tokens=train_tokens, held_out=held_out, evaluated=evaluated)
    net, blocks = as_net(model), check_sizes(text, window, train_tokens, held_out)
    check_logits(net, text, window)
    cut = Windows(window, batch_size, blocks, -(-train_tokens // BLOCK), -(-held_out // BLOCK), evaluated)

    def init(key: Key) -> tuple[Params, Extras]:
        return net.init(key, jnp.zeros((1, window), jnp.int32))

    def measure(logits: Array, targets: Numbers) -> Metrics:
        nats = cross_entropy(logits, targets)
        bits = {"bits_per_byte": nats / np.log(2) / text.bytes_per_token} if text.bytes_per_token else {}
        return {"loss": nats, **bits}

    loss, of_windows, predict = of_net(net, measure, settings)

    def evaluate(params: Params, extras: Extras, batch: Batch, name: str) -> Metrics:
        # As many windows at a time as a step has: all at once leave a CPU's cache (docs/benchmarks.md).
        at_once = math.gcd(batch_size, len(batch.targets))
        pieces = jax.tree.map(lambda leaf: leaf.reshape(-1, at_once, *leaf.shape[1:]), batch)
        found = jax.lax.map(lambda piece: of_windows(params, extras, piece, name), pieces)
        return jax.tree.map(partial(jnp.mean, axis=0), found)

    source = (on_disk if isinstance(text.tokens, np.memmap) else in_memory)(text, cut)
    return Task(init=init, loss=loss, evaluate=evaluate, predict=predict, loss_unit="nats", **source)


def in_memory(text: Text, cut: Windows) -> dict[str, Any]:
    """What a task reads of a text that lies on the devices; the order of the windows is drawn there."""

    def order(key: Key, start: Array, steps: int) -> Array:
        drawn = shuffled_epochs(key, start, steps, cut.train * cut.per_block, cut.of_step)
        epochs = (start + jnp.arange(steps)) // cut.per_epoch

        def shift(epoch: Array) -> Array:
            return jax.random.randint(jax.random.fold_in(jax.random.fold_in(key, epoch), SHIFT), (), 0, cut.slack)

        return cut.place(drawn, jax.vmap(shift)(epochs)[:, None])

    def at(data: Array, starts: Array) -> Batch:
        tokens, length = jnp.asarray(data), cut.window + 1
        return batch_of(jax.vmap(lambda start: jax.lax.dynamic_slice(tokens, (start,), (length,)))(starts))

    def gather(data: Any, split: Blocks, places: Array) -> Batch:
        return at(data, jnp.asarray(split.train)[places // BLOCK] * BLOCK + places % BLOCK)

    def splits(data: Any, split: Blocks) -> dict[str, Batch]:
        return {name: at(data, spread(jnp.asarray(part), cut)) for name, part in split._asdict().items()}

    data = np.asarray(text.tokens[: cut.blocks * BLOCK])
    return {"data": data, "split": cut.split, "order": order, "gather": gather, "splits": splits}


def on_disk(text: Text, cut: Windows) -> dict[str, Any]:
    """What a task reads of a text on the disk: the windows themselves, which the host makes in the meantime."""
    tokens = text.tokens

    def at(starts: np.ndarray) -> np.ndarray:
        return np.asarray(tokens[starts[..., None] + np.arange(cut.window + 1)])

    @lru_cache(maxsize=4)
    def epoch(seed: int, number: int) -> tuple[np.ndarray, int]:
        rng = np.random.default_rng((seed, number))
        return rng.permutation(cut.train * cut.per_block), int(rng.integers(cut.slack))

    @lru_cache(maxsize=64)
    def blocks(seed: int) -> Blocks:
        return cut.split(seed)

    def places(seed: int, step: int) -> np.ndarray:
        items, shift = epoch(seed, step // cut.per_epoch)
        first = step % cut.per_epoch * cut.of_step
        return cut.place(items[first : first + cut.of_step], shift)

    def pool(seed: int, start: int, steps: int) -> np.ndarray:
        of_steps = np.stack([places(seed, step) for step in range(start, start + steps)])
        return at(np.asarray(blocks(seed).train)[of_steps // BLOCK].astype(np.int64) * BLOCK + of_steps % BLOCK)

    def split(seed: int) -> Blocks:  # the windows of the parts, in place of their blocks
        return Blocks(*(at(spread(np.asarray(part, np.int64), cut)) for part in blocks(seed)))

    def order(key: Key, start: Array, steps: int) -> Array:  # what is looked at before training: any tokens
        shape = steps, cut.of_step, cut.window + 1
        return jax.random.randint(key, shape, 0, text.vocabulary).astype(tokens.dtype)

    def gather(data: Any, split: Blocks, windows: Array) -> Batch:
        return batch_of(windows)

    def splits(data: Any, split: Blocks) -> dict[str, Batch]:
        return {name: batch_of(jnp.asarray(windows)) for name, windows in split._asdict().items()}

    ends = np.concatenate([tokens[:BLOCK], tokens[-BLOCK:]])  # by which another file is told from this one
    return {"data": ends, "split": split, "order": order, "gather": gather, "splits": splits, "pool": pool}


def batch_of(windows: Array) -> Batch:
    """Tokens [b, t + 1] as inputs and what follows each of them; i32[b, t] both."""
    return Batch(windows[:, :-1].astype(jnp.int32), windows[:, 1:].astype(jnp.int32))


def spread(part: Any, cut: Windows) -> Any:
    """Where as many windows begin as a part is evaluated on, or all that it has, spread evenly over its blocks."""
    total = len(part) * cut.per_block
    chosen = np.linspace(0, total, min(cut.evaluated, total), endpoint=False).astype(np.int32)
    return part[chosen // cut.per_block] * BLOCK + chosen % cut.per_block * cut.window


def epochs_of(steps: int, window: int, batch_size: int, train_tokens: int) -> float:
    """How often so many steps see the training text."""
    return steps * batch_size / (-(-train_tokens // BLOCK) * ((BLOCK - 1) // window))


def check_sizes(text: Text, window: int, train_tokens: int, held_out: int) -> int:
    """How many blocks a text has. Raises UserError where it has too few, or a window is longer than a block."""
    if window > BLOCK - 1:
        raise UserError(f"a window of {window} is longer than the blocks in which text is shuffled: give {BLOCK - 1} "
                        "or less")  # fmt: skip
    blocks, wanted = len(text.tokens) // BLOCK, -(-train_tokens // BLOCK) + 2 * -(-held_out // BLOCK)
    if blocks < wanted:
        raise UserError(f"{text.source} has {blocks:,} blocks of {BLOCK:,} tokens, and {train_tokens:,} tokens to "
                        f"train on and twice {held_out:,} held out need {wanted:,}: give fewer train_tokens or "
                        "held_out")  # fmt: skip
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
