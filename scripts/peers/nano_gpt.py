"""A user's first experiment with a small GPT in flax, of 28 leaves, by the laboratory and by a loop written by hand.

    python -m scripts.peers.nano_gpt --points 12 --confirm 0      # the laboratory
    python -m scripts.peers.nano_gpt by-hand 12                   # a jitted step of flax and optax, net after net

Both train every point for 300 steps and evaluate it 7 times on 64 windows of each of three parts.
"""

import sys
from functools import partial
from itertools import pairwise
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import wd_research as wd

WINDOW, BATCH, STEPS, TRAINED, HELD_OUT = 64, 16, 300, 262_144, 65_536
WARMUP, EVALUATIONS, EVALUATED = 20, 7, 64
RATES, DECAYS = (3e-3, 1e-2, 3e-2), (0.0, 0.1, 0.3, 1.0, 2.0, 4.0)


class Block(nn.Module):
    """Attention and a hidden layer, each behind a norm, with one product for queries, keys and values."""

    heads: int = 4

    @nn.compact
    def __call__(self, stream: Any) -> Any:
        batch, length, width = stream.shape
        joint = nn.Dense(3 * width)(nn.LayerNorm()(stream)).reshape(batch, length, 3, self.heads, -1)
        query, key, value = jnp.moveaxis(joint, 2, 0)
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) / jnp.sqrt(width / self.heads)
        seen = nn.softmax(jnp.where(jnp.tril(jnp.ones((length, length), bool)), scores, -jnp.inf))
        mixed = jnp.einsum("bhqk,bkhd->bqhd", seen, value).reshape(stream.shape)
        stream = stream + nn.Dense(width)(mixed)
        return stream + nn.Dense(width)(nn.gelu(nn.Dense(4 * width)(nn.LayerNorm()(stream))))


class NanoGpt(nn.Module):
    """Two blocks of width 32 on learned positions."""

    vocabulary: int
    width: int = 32

    @nn.compact
    def __call__(self, tokens: Any, train: bool = False) -> Any:
        del train
        stream = nn.Embed(self.vocabulary, self.width)(tokens)
        stream += self.param("position", nn.initializers.normal(0.02), (tokens.shape[1], self.width))
        for _ in range(2):
            stream = Block()(stream)
        return nn.Dense(self.vocabulary, use_bias=False)(nn.LayerNorm()(stream))


def point(number: int) -> tuple[float, float]:
    """Learning rate and decay of a point: decays of one learning rate after the other."""
    rate, decay = divmod(number, len(DECAYS))
    return RATES[rate], DECAYS[decay]


def experiment(*, points: int = 12, steps: int = STEPS) -> wd.Experiment:
    """Which decay generalises best, as a user would write it.

    Args:
        points: Learning rates and decays.
        steps: Steps of training.
    """
    text = wd.texts.kjv()
    task = wd.language(NanoGpt(text.vocabulary), text, WINDOW, BATCH, TRAINED, HELD_OUT, EVALUATED)
    schedule = wd.schedules.cosine(steps, WARMUP)

    def optimizer(h: Any) -> optax.GradientTransformation:
        adamw = wd.decoupled(wd.cores.adam(), wd.decay_weights(h.decay), h.learning_rate, schedule)
        return optax.chain(optax.clip_by_global_norm(1.0), adamw)

    table = wd.grid(learning_rate=RATES, decay=DECAYS)
    first = type(table)(*(np.asarray(column)[:points] for column in table))
    return wd.Experiment({"AdamW": wd.Arm(task, optimizer, first, "decay")}, seeds=1, steps=steps)


def by_hand(points: int) -> None:
    """The same by a jitted step, compiled once for all points, and a jitted evaluation."""
    text = wd.texts.kjv()
    tokens, net, rng = jnp.asarray(text.tokens), NanoGpt(text.vocabulary), np.random.default_rng(0)
    begin = net.init(jax.random.key(0), jnp.zeros((1, WINDOW), jnp.int32))
    schedule = optax.warmup_cosine_decay_schedule(0.0, 1.0, WARMUP, STEPS)

    def optimizer(rate: Any, decay: Any) -> optax.GradientTransformation:
        decayed = optax.add_decayed_weights(decay, lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params))
        scaled = optax.scale_by_schedule(lambda step: -rate * schedule(step))
        return optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam(), decayed, scaled)

    def loss(params: Any, tokens: Any, starts: Any) -> Any:
        windows = tokens[starts[:, None] + jnp.arange(WINDOW + 1)]
        logits = net.apply(params, windows[:, :-1])
        return optax.softmax_cross_entropy_with_integer_labels(logits, windows[:, 1:]).mean()

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, state: Any, rate: Any, decay: Any, tokens: Any, starts: Any) -> Any:
        gradients = jax.grad(loss)(params, tokens, starts)
        updates, state = optimizer(rate, decay).update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    evaluate = jax.jit(loss)
    order = rng.integers(0, TRAINED - WINDOW - 1, (STEPS, BATCH))
    ends = np.cumsum([0, TRAINED - WINDOW - 1, HELD_OUT, HELD_OUT])
    parts = [rng.integers(*bounds, EVALUATED) for bounds in pairwise(ends)]
    for number in range(points):
        rate, decay = point(number)
        params = jax.tree.map(jnp.copy, begin)
        state = optimizer(rate, decay).init(params)
        for now in range(STEPS):
            params, state = step(params, state, rate, decay, tokens, order[now])
            if (now + 1) % -(-STEPS // EVALUATIONS) == 0 or now + 1 == STEPS:
                losses = [float(evaluate(params, tokens, part)) for part in parts]
        print(f"learning rate {rate:g}, decay {decay:g}: {losses}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["by-hand"]:
        by_hand(int(sys.argv[2]))
    else:
        wd.main(experiment)
