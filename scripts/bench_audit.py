"""What an audit takes, in CPU-seconds, beside what compiling the loss and its gradient alone takes.

    .venv/bin/python scripts/bench_audit.py

Every audit is made once, with nothing compiled before: a vision transformer and a language model, under AdamW, which
computes entry by entry, and with a norm of all weights clipped after decay, for which whole leaves are run.
"""

import time
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import wd_research as wd

STEPS = 10_000


class Block(nn.Module):
    """A pre-norm block of a transformer."""

    width: int
    causal: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        mask = nn.make_causal_mask(jnp.ones(x.shape[:2])) if self.causal else None
        normed = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(4)(normed, normed, mask=mask)
        return x + nn.Dense(self.width)(nn.gelu(nn.Dense(4 * self.width)(nn.LayerNorm()(x))))


class VisionTransformer(nn.Module):
    """Five blocks of width 48 on patches of 4x4 pixels."""

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        x = nn.Conv(48, (4, 4), (4, 4))(images).reshape(len(images), -1, 48)
        x = x + self.param("pos_embedding", nn.initializers.normal(0.02), (1, x.shape[1], 48))
        for _ in range(5):
            x = Block(48, causal=False)(x)
        return nn.Dense(10)(nn.LayerNorm()(x).mean(1))


class LanguageModel(nn.Module):
    """Two blocks of width 48 on 64 tokens."""

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        x = nn.Embed(64, 48)(tokens) + self.param("wpe", nn.initializers.normal(0.02), (tokens.shape[1], 48))
        for _ in range(2):
            x = Block(48, causal=True)(x)
        return nn.Dense(64, use_bias=False)(nn.LayerNorm()(x))


def clipped_after() -> optax.GradientTransformation:
    """Adam with decoupled decay, and the norm of the whole step clipped."""
    decay = wd.decay_weights(0.1)
    return optax.chain(optax.scale_by_adam(), decay, optax.clip_by_global_norm(1.0), optax.scale(-1e-3))


def adamw() -> optax.GradientTransformation:
    """AdamW with a cosine schedule."""
    return optax.adamw(optax.cosine_decay_schedule(1e-3, STEPS), weight_decay=0.1)


def seconds(work: Callable[[], Any]) -> tuple[float, float]:
    """CPU-seconds and seconds that some work takes."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def main() -> None:
    """Print a row for each net and chain."""
    rng = np.random.default_rng(0)
    images, tokens = rng.normal(size=(50, 32, 32, 3)).astype(np.float32), rng.integers(0, 64, (16, 64))
    nets = {
        "vision transformer": (VisionTransformer(), (images, np.arange(50) % 10)),
        "language model": (LanguageModel(), (tokens, np.roll(tokens, -1, 1))),
    }
    print("| net | leaves, weights | chain | audit, CPU-s | audit, s | gradient alone, compiled and run, CPU-s |")
    print("|---|---|---|---|---|---|")
    for name, (model, batch) in nets.items():
        for optimizer in (adamw, clipped_after):
            print(row(name, model, batch, optimizer), flush=True)


def row(name: str, model: nn.Module, batch: Any, optimizer: Callable[[], optax.GradientTransformation]) -> str:
    """Audit one net under one chain, and compile its gradient, each with nothing compiled before."""
    made: Any = model
    params = jax.jit(made.init)(jax.random.key(0), batch[0][:1])["params"]

    def loss(params: Any, batch: Any) -> jax.Array:
        logits = made.apply({"params": params}, batch[0])
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()

    jax.clear_caches()
    alone, _ = seconds(lambda: jax.block_until_ready(jax.jit(jax.value_and_grad(loss))(params, batch)))
    jax.clear_caches()
    cpu, wall = seconds(lambda: wd.audit_decay(loss, optimizer(), params, batch, STEPS))
    leaves = jax.tree.leaves(params)
    size = f"{len(leaves)}, {sum(leaf.size for leaf in leaves):,}"
    return f"| {name} | {size} | {optimizer.__name__} | {cpu:.1f} | {wall:.1f} | {alone:.1f} |"


if __name__ == "__main__":
    main()
