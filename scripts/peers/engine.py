"""Ours: the population engine; and its net and step under plain jit(vmap(scan)), and with flax's own convolution."""

from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from scripts.peers import work as the
from scripts.peers.work import Training, Weights, Work
from wd_research.decay.masks import matrices
from wd_research.decay.places import decoupled
from wd_research.decay.transforms import decay_weights
from wd_research.points import grid
from wd_research.training import models
from wd_research.training.data import Examples, Split
from wd_research.training.decoder import Decoder
from wd_research.training.member import Member, Seed, init_member
from wd_research.training.population import Inputs, Population, all_devices, compile_population, unpadded
from wd_research.training.resnet import ResNet
from wd_research.training.tasks import classification
from wd_research.types import Arm, no_splits


class Hypers(NamedTuple):
    """A member's hyperparameters."""

    learning_rate: Any
    decay: Any


def net_of(work: Work) -> nn.Module:
    """The net of the work as a user would take it."""
    if work.net == "convolution":
        return models.ConvolutionalNet((work.width, 2 * work.width), the.CLASSES)
    if work.net == "resnet":
        return ResNet(work.stages, the.CLASSES, the.BLOCKS, "group")
    if work.net == "decoder":
        return Decoder(the.VOCABULARY, work.width, work.depth, the.HEADS)
    if work.net == "transformer":
        return models.Transformer(the.MODULUS + 1, the.MODULUS, work.width, the.HEADS)
    return models.Mlp((work.width, work.width), the.CLASSES)


def arm_of(work: Work, given: bool = False, net: nn.Module | None = None) -> Arm:
    """The work as an arm; `given`: from the work's own weights, in its own order, instead of drawing them."""
    inputs, targets = the.examples(work)
    # all examples are trained on, and copies of the first 200 are what is evaluated, twice
    pool = Examples(*(np.concatenate([part, part[:200], part[:200]]) for part in (inputs, targets)))
    everyone, some, others = np.split(np.arange(len(pool.targets), dtype=np.int32), (len(targets), len(targets) + 200))
    still = np.zeros((), inputs.dtype), np.ones((), inputs.dtype)  # mean and scale: what is given is standardised
    split = Split(everyone, some, others, targets, *still)
    task = classification(net or net_of(work), pool, lambda seed: split, work.batch)
    if given:
        weights, order = nested(the.first_weights(work)), the.batches(work)
        task = task._replace(
            init=lambda key: (jax.tree.map(jnp.asarray, weights), {}),
            order=lambda key, start, length: jax.lax.dynamic_slice_in_dim(jnp.asarray(order), start, length),
        )

    def optimizer(hypers: Hypers) -> optax.GradientTransformation:
        adam = optax.scale_by_adam(the.BETA1, the.BETA2, the.EPSILON)
        decay = decay_weights(hypers.decay, mask=matrices)  # as the loop in PyTorch does
        return decoupled(adam, decay, hypers.learning_rate, optax.constant_schedule(1.0))

    points = grid(Hypers, learning_rate=(the.LEARNING_RATE,), decay=tuple(map(float, work.decays)))
    return Arm(task, optimizer, points, axis="decay")


def train(
    work: Work, length: int, block: int | None = None, given: bool = False, net: nn.Module | None = None
) -> Training:
    """By the engine on all devices, `block` points of each at a time; compiled for calls of at most `length` steps.

    It is compiled, without an evaluation on examples, in the first call.
    """
    arm = arm_of(work, given, net)
    arm = replace(arm, task=arm.task._replace(splits=no_splits))
    members, clock = None, 0

    @cache
    def compiled() -> tuple[Population, Inputs]:
        population = compile_population(arm, 1, length, all_devices(), block)
        return population, population.put(arm)

    def step(steps: int) -> None:
        nonlocal members, clock
        population, inputs = compiled()
        members = population.init(inputs) if members is None else members
        when = np.int32(clock), np.int32(steps), np.bool_(True)
        members = jax.block_until_ready(population.advance(members, inputs, *when))
        clock += steps

    def weights() -> Weights:
        assert members is not None, "nothing was trained yet"
        return flat(jax.tree.map(lambda leaf: leaf[0], unpadded(members.state.params, places=range(arm.size))))

    return Training(work.members, step, weights)


def train_plainly(work: Work, length: int) -> Training:
    """The engine's own step, as one would write it: vmap over the members on one device, a scan over the steps."""
    from wd_research.training.member import _step_or_stay  # the very same step

    arm = arm_of(work)
    data, split, points = jax.tree.map(jnp.asarray, (arm.task.data, arm.task.split(0), arm.points))
    key = jax.random.key(0)

    @partial(jax.jit, donate_argnums=0)
    def advance(members: Member, points: Any, data: Any, start: Any) -> Member:
        order = arm.task.order(key, start, length)

        def one(member: Member, hypers: Hypers) -> Member:
            def step(member: Member, now: Any) -> tuple[Member, None]:
                batch = arm.task.gather(data, split, now)
                return _step_or_stay(arm, hypers, member, batch, key, start), None

            return jax.lax.scan(step, member, order)[0]

        return jax.vmap(one)(members, points)

    members = jax.jit(jax.vmap(partial(init_member, arm, Seed(data, split, key))))(points)
    clock = 0

    def step(steps: int) -> None:
        nonlocal members, clock
        members = jax.block_until_ready(advance(members, points, data, np.int32(clock)))
        clock += steps

    return Training(work.members, step, lambda: flat(jax.device_get(members.state.params)))


def nested(weights: Weights) -> dict[str, Any]:
    """{"Dense_0/kernel": w} as flax nests it."""
    tree: dict[str, Any] = {}
    for name, weight in weights.items():
        *modules, last = name.split("/")
        inner = tree
        for module in modules:
            inner = inner.setdefault(module, {})
        inner[last] = weight
    return tree


def flat(params: Any) -> Weights:
    """The other way."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {"/".join(key.key for key in path): leaf for path, leaf in leaves}
