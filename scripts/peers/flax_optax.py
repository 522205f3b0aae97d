"""What most people write with JAX: flax, optax.adamw, one net after the other; a jitted step, or a jitted whole run."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from scripts.peers import work as the
from scripts.peers.engine import flat, nested
from scripts.peers.work import Training, Work
from wd_research.training.decoder import turned, unit


class PlainMlp(nn.Module):
    """The same net with flax's own layers."""

    width: int

    @nn.compact
    def __call__(self, inputs, train=False):
        hidden = nn.relu(nn.Dense(self.width)(inputs))
        hidden = nn.relu(nn.Dense(self.width)(hidden))
        return nn.Dense(the.CLASSES)(hidden)


class PlainConvolutionalNet(nn.Module):
    """The same net with flax's own convolution and pooling."""

    width: int

    @nn.compact
    def __call__(self, inputs, train=False):
        hidden = nn.relu(nn.Conv(self.width, (3, 3), name="Convolution_0")(inputs))
        hidden = nn.avg_pool(hidden, (2, 2), (2, 2))
        hidden = nn.relu(nn.Conv(2 * self.width, (3, 3), name="Convolution_1")(hidden))
        return nn.Dense(the.CLASSES)(hidden.mean(axis=(1, 2)))


class PlainResNet(nn.Module):
    """The same net with flax's own convolution, norm and pooling."""

    stages: tuple[int, ...]

    @nn.compact
    def __call__(self, inputs, train=False):
        def normed(name, inputs):
            return nn.GroupNorm(the.GROUPS, name=name)(inputs)

        hidden = nn.relu(normed("norm", nn.Conv(self.stages[0], (3, 3), name="convolution")(inputs)))
        for stage, width in enumerate(self.stages):
            if stage and hidden.shape[1] % 2 == 0:
                hidden = nn.avg_pool(hidden, (2, 2), (2, 2))
            for number in range(the.BLOCKS):
                name = f"block_{stage}_{number}"
                inner = nn.relu(normed(f"{name}_in_norm", nn.Conv(width, (3, 3), name=f"{name}_in")(hidden)))
                inner = normed(f"{name}_out_norm", nn.Conv(width, (3, 3), name=f"{name}_out")(inner))
                if hidden.shape[-1] != width:
                    hidden = nn.Conv(width, (1, 1), name=f"{name}_along")(hidden)
                hidden = nn.relu(hidden + inner)
        return nn.Dense(the.CLASSES, name="head")(hidden.mean(axis=(1, 2)))


class PlainDecoder(nn.Module):
    """The same net with flax's own layers, a lookup, and JAX's attention."""

    width: int
    depth: int

    @nn.compact
    def __call__(self, tokens, train=False):
        batch, length = tokens.shape
        heads = batch, length, the.HEADS, -1
        stream = self.param("embedding", nn.initializers.normal(1.0), (the.VOCABULARY, self.width))[tokens]
        for number in range(self.depth):
            name = f"block_{number}"
            normed = nn.RMSNorm(name=f"{name}_attention_norm")(stream)
            query, key, value = (
                nn.Dense(self.width, use_bias=False, name=f"{name}_{part}")(normed).reshape(*heads)
                for part in ("query", "key", "value")
            )
            seen = jax.nn.dot_product_attention(turned(unit(query)), turned(unit(key)), value, is_causal=True)
            stream += nn.Dense(self.width, use_bias=False, name=f"{name}_out")(seen.reshape(batch, length, -1))
            normed = nn.RMSNorm(name=f"{name}_mlp_norm")(stream)
            hidden = jnp.square(nn.relu(nn.Dense(4 * self.width, use_bias=False, name=f"{name}_up")(normed)))
            stream += nn.Dense(self.width, use_bias=False, name=f"{name}_down")(hidden)
        return nn.Dense(the.VOCABULARY, use_bias=False, name="head")(nn.RMSNorm(name="norm")(stream))


def net_of(work: Work) -> nn.Module:
    """The net of the work as most people write it."""
    if work.net == "resnet":
        return PlainResNet(work.stages)
    if work.net == "decoder":
        return PlainDecoder(work.width, work.depth)
    return PlainMlp(work.width) if work.net == "mlp" else PlainConvolutionalNet(work.width)


def train(work: Work, length: int, whole: bool) -> Training:
    """Member after member; `whole`: calls of `length` steps in one scan, else a call per step."""
    net = net_of(work)
    inputs, targets = map(jnp.asarray, the.examples(work))
    order = jnp.asarray(the.batches(work))
    mask = partial(jax.tree.map, lambda leaf: leaf.ndim > 1)

    def optimizer(decay: Any) -> optax.GradientTransformation:
        return optax.adamw(the.LEARNING_RATE, the.BETA1, the.BETA2, the.EPSILON, weight_decay=decay, mask=mask)

    def loss(params: Any, chosen: Any) -> Any:
        logits = net.apply({"params": params}, inputs[chosen])
        return optax.softmax_cross_entropy_with_integer_labels(logits, targets[chosen]).mean()

    def step(decay: Any, state: Any, chosen: Any) -> Any:
        params, moments = state
        updates, moments = optimizer(decay).update(jax.grad(loss)(params, chosen), moments, params)
        return optax.apply_updates(params, updates), moments

    one_step = jax.jit(step, donate_argnums=1)

    @partial(jax.jit, donate_argnums=1)
    def run(decay: Any, state: Any, chosen: Any) -> Any:
        return jax.lax.scan(lambda state, now: (step(decay, state, now), None), state, chosen)[0]

    first = jax.tree.map(jnp.asarray, nested(the.first_weights(work)))
    decays = work.decays
    states, clock = [(jax.tree.map(jnp.copy, first), optimizer(0.0).init(first)) for _ in decays], 0

    def advance(steps: int) -> None:
        nonlocal clock
        for member, decay in enumerate(decays):
            if whole:
                states[member] = run(decay, states[member], order[clock : clock + steps])
            else:
                for now in range(clock, clock + steps):
                    states[member] = one_step(decay, states[member], order[now])
        jax.block_until_ready(states)
        clock = the.further(clock, steps)

    def weights() -> Any:
        params = [params for params, _ in states]
        return flat(jax.tree.map(lambda *leaves: np.stack(leaves), *params))

    return Training(work.members, advance, weights)
