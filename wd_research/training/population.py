"""The population: every member of an arm trains in one compiled program.

Seeds [s] lie outside and points [h] inside: a seed fixes split, noisy labels, initial weights, order of the data and
noise, and all points share them, so that any two points are compared pair by pair. Time is a loop over the steps of a
segment (`member`); space is a `shard_map` of the points over all devices; within a device the points advance together,
or seed by seed in blocks.
"""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from wd_research.training.mapped import AXIS, Block, Used, all_at_once, in_turn, share_of
from wd_research.training.member import Member, Seed, draw_order, evaluate_member, init_member, train_segment
from wd_research.training.programs import ONCE, Compiled, Program, lower
from wd_research.types import Arm, Array, Hypers, Key, Metrics, State

SHARED = PartitionSpec()
POINTS = PartitionSpec(AXIS)  # [h, ...]
MEMBERS = PartitionSpec(None, AXIS)  # [s, h, ...]

Members = Member  # with the axes [s, h] in front of every leaf


class Inputs(NamedTuple):
    """What training reads, on the devices."""

    points: Any  # Hypers: each leaf f32[h], sharded; padded with copies of the last point
    data: Any  # shared by all seeds
    splits: Any  # each leaf [s, ...]
    keys: Any  # Key [s]
    used: Any  # Used; where all points advance together all of them do
    pool: Any = ()  # what the host has made for the steps of a call, [s, length, ...]; () where nothing


class Population(NamedTuple):
    """The compiled functions of an arm, for any points and data of the shapes that it was compiled for."""

    init: Any  # Inputs -> Members
    advance: Any  # (Members, Inputs, first step i32[], steps i32[], sums begin anew bool[]) -> Members, donated before
    evaluate: Any  # (Members, Inputs) -> split -> metric -> f32[s, h, ...]
    put: Callable[..., Inputs]  # (arm, seeds = from 0 on, used points = all) -> its inputs on the devices, padded
    feed: Callable[..., Inputs]  # (inputs, seeds, first step, steps) -> these with the pool of such a call
    put_back: Callable[[Any], Members]  # members on the host -> on the devices
    fetch: Callable[..., Any]  # a tree of [s, h, ...] -> on the host, of (seeds, places): all that are no padding
    points: int  # of a tile
    length: int  # steps that a call takes at most
    memory: int  # bytes that the largest of the three needs on all devices together, the members among them
    text: str  # the hash of the three programs
    members: Members  # their shapes and types, with those that fill up a tile
    devices: int
    on_host: Callable[[Members], Members] = lambda members: members  # as this host can read them

    @property
    def seeds(self) -> int:
        """How many seeds are trained at most."""
        return self.members.diverged_at.shape[0]

    def places(self, points: int) -> np.ndarray:
        """Where so many points stand among all, so that every device has its share of them; i64[points]."""
        each = self.members.diverged_at.shape[1] // self.devices
        shares = [share_of(points, self.devices, device) for device in range(self.devices)]
        return np.concatenate([device * each + np.arange(share) for device, share in enumerate(shares)])

    def of_tile(self, seeds: int, points: int) -> Members:
        """The shapes and types of the members of a tile of so many seeds and points, [s, h]."""
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((seeds, points, *leaf.shape[2:]), leaf.dtype), self.members
        )

    def cut(self, members: Members, seeds: int, points: int) -> Members:
        """The members of such a tile alone, in the order of its points, whichever devices they train on."""
        if self.members.diverged_at.shape == (seeds, points):
            return members
        # by NumPy: JAX would compile it anew for every number of points
        return _indexed(members, range(seeds), self.places(points))

    def filled(self, members: Members) -> Members:
        """The members of a tile at their places, and copies of the last ones between them."""
        seeds, points = members.diverged_at.shape
        if self.members.diverged_at.shape == (seeds, points):
            return members
        return _indexed(members, filled_up(range(seeds), self.seeds), self.laid_out(range(points)))

    def laid_out(self, numbers: Sequence[int]) -> np.ndarray:
        """The points of these numbers at their places, and copies of the last one between them."""
        all_ = np.full(self.members.diverged_at.shape[1], numbers[-1])
        all_[self.places(len(numbers))] = numbers
        return all_


def compile_population(
    arm: Arm, seeds: int, length: int, mesh: Mesh, block: Block = None, compiled: Compiled | None = None
) -> Population:
    """Compile an arm for so many seeds and segments of at most `length` steps.

    A program that is in `compiled` by its text is taken from there, so that arms which compute the same share it,
    however they were built. Raises TypeError when a step changes the type of what it trains.
    """
    compiled = {} if compiled is None else compiled
    init, advance, evaluate = functions(arm, mesh, block)
    to_devices = partial(put, most=seeds, mesh=mesh, block=block, length=length)
    inputs, platform = to_devices(arm), mesh.devices.flat[0].platform
    begin = lower(init, (inputs,), platform, ONCE)
    members = jax.tree.map(lambda leaf: leaf.update(sharding=NamedSharding(mesh, MEMBERS)), begin.out_info)
    clock = np.int32(0), np.int32(length), np.bool_(True)
    segment = lower(partial(advance, length=length), (members, inputs, *clock), platform, donated=members)
    check_types(members, segment.out_info)
    programs = begin, segment, lower(evaluate, (members, inputs), platform)
    missing = {program.text: program for program in programs if program.text not in compiled}
    with ThreadPoolExecutor() as threads:  # XLA compiles without Python's lock
        executables = threads.map(lambda program: program.lowered.compile(), missing.values())
        compiled.update(zip(missing, executables, strict=True))
    init, advance, evaluate = (Program(compiled[program.text], program.out_tree) for program in programs)
    text = hashlib.sha256("".join(program.text for program in programs).encode()).hexdigest()
    memory = memory_of((init, advance, evaluate), mesh)
    back, fed = partial(put_back, mesh=mesh), partial(feed, arm.task.pool, seeds, length, mesh)
    cut = partial(unpadded, places=range(arm.size))
    return Population(
        init, advance, evaluate, to_devices, fed, back, cut, arm.size, length, memory, text, members, mesh.size
    )


def functions(arm: Arm, mesh: Mesh, block: Block = None) -> tuple[Any, Any, Any]:
    """The population's three functions: init(inputs), advance(members, inputs, start, steps, fresh, length=...), which
    takes `steps` of at most `length` steps, and evaluate(members, inputs).

    `block` is how many points of a seed advance together on a device (vmap); block after block, and seed after seed,
    goes through the whole segment while its state is hot in the cache. None: all points of all seeds
    at once, as a GPU wants it. Results in blocks of another size agree to rounding. A CPU evaluates members
    sequentially always.
    """
    platform = mesh.devices.flat[0].platform
    inputs = Inputs(POINTS, SHARED, SHARED, SHARED, SHARED, SHARED)
    on_mesh = partial(jax.shard_map, mesh=mesh, out_specs=MEMBERS, check_vma=False)

    def advance(members: Members, inputs_: Inputs, start: Array, steps: Array, fresh: Array, *, length: int):
        on_device = partial(_advance, arm, block, platform == "gpu", length)
        specs = MEMBERS, inputs, SHARED, SHARED, SHARED
        return on_mesh(on_device, in_specs=specs)(members, inputs_, start, steps, fresh)

    # An evaluation takes whole splits through nets: on a CPU all members at once leave the cache (docs/benchmarks.md).
    evaluation_block = 1 if platform == "cpu" else block
    return (
        on_mesh(partial(_init, arm), in_specs=(inputs,)),
        advance,
        on_mesh(partial(_evaluate, arm, evaluation_block), in_specs=(MEMBERS, inputs)),
    )


def all_devices(devices: Sequence[Any] | None = None) -> Mesh:
    """A one-dimensional mesh of these devices, by default all of this process."""
    devices = jax.local_devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def put(
    arm: Arm, seeds: range | None = None, used: int | None = None, *, most: int, mesh: Mesh, block: Block = None,
    length: int = 1,
) -> Inputs:  # fmt: skip
    """Put an arm's inputs for at most so many seeds on the mesh, its points padded to whole blocks per device.

    `used` is how many of the points are trained, each at its place; by default all.
    """
    seeds = range(most) if seeds is None else seeds
    padding = -arm.size % (mesh.size * (block or 1))
    points = jax.tree.map(lambda leaf: np.pad(leaf, (0, padding), mode="edge"), arm.points)
    numbers = filled_up(seeds, most)
    splits = jax.tree.map(lambda *leaves: np.stack(leaves), *map(arm.task.split, numbers))
    keys = jax.vmap(jax.random.key)(np.array(numbers, np.uint32))
    shared = NamedSharding(mesh, SHARED)
    inputs = Inputs(
        on_devices(points, NamedSharding(mesh, POINTS)),
        on_devices(arm.task.data, shared),
        on_devices(splits, shared),
        on_devices(keys, shared),
        on_devices(Used(np.int32(len(seeds)), np.int32(used or arm.size + padding)), shared),
    )
    return feed(arm.task.pool, most, length, mesh, inputs, seeds, 0, 1)


def feed(
    pool: Callable[[int, int, int], np.ndarray] | None, most: int, length: int, mesh: Mesh,
    inputs: Inputs, seeds: range, start: int, steps: int,
) -> Inputs:  # fmt: skip
    """The inputs with what a pool has for `steps` steps of these seeds, followed by zeros up to `length`."""
    if pool is None:
        return inputs
    made = np.stack(filled_up([pool(seed, start, steps) for seed in seeds], most))
    padded = np.pad(made, ((0, 0), (0, length - steps), *((0, 0),) * (made.ndim - 2)))
    return inputs._replace(pool=on_devices(padded, NamedSharding(mesh, SHARED)))


def put_back(members: Members, *, mesh: Mesh) -> Members:
    """Put members that lie on the host, padding and all, on the mesh again; the next call may take them away."""
    return on_devices(members, NamedSharding(mesh, MEMBERS), may_alias=False)


def on_devices(tree: Any, sharding: NamedSharding, **how: Any) -> Any:
    """Put a tree that every process has on the devices of all."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding, **how)

    def put(leaf: Any) -> Any:
        here = np.asarray(leaf)
        return jax.make_array_from_callback(here.shape, sharding, lambda part: here[part])

    return jax.tree.map(partial(by_words, put), tree)


def by_words(act: Callable[[Any], Any], leaf: Any) -> Any:
    """Act on an array, or on its shape, and on keys by the numbers that they are made of."""
    if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return act(leaf)
    is_array = isinstance(leaf, jax.Array)
    words = jax.random.key_data(leaf) if is_array else jax.eval_shape(jax.random.key_data, leaf)
    return jax.random.wrap_key_data(act(words), impl=jax.random.key_impl(leaf))


def unpadded(tree: Any, seeds: int | None = None, *, places: Sequence[int]) -> Any:
    """Bring a tree of [s, h, ...] to the host: so many seeds, by default all, and the points at these places."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:seeds, list(places)], tree)


def _indexed(members: Members, seeds: Sequence[int], points: Any) -> Members:
    """The members of these seeds and points, on the host."""
    return jax.tree.map(partial(by_words, lambda leaf: np.asarray(leaf)[np.ix_(seeds, points)]), members)


def filled_up(seeds: Sequence[Any], most: int) -> list[Any]:
    """What there is for each seed, and copies of the last one where there are fewer than the most."""
    return [*seeds, *[seeds[-1]] * (most - len(seeds))]


def memory_of(programs: tuple[Program, Program, Program], mesh: Mesh) -> int:
    """The bytes that the largest of init, advance and evaluate needs on all devices together, the members among them.

    What a donated argument and its result share is counted once.
    """
    init, advance, evaluate = (program.executable.memory_analysis() for program in programs)
    initial = init.argument_size_in_bytes + init.output_size_in_bytes + init.temp_size_in_bytes
    advanced = advance.output_size_in_bytes - advance.alias_size_in_bytes + advance.temp_size_in_bytes
    evaluated = evaluate.output_size_in_bytes + evaluate.temp_size_in_bytes
    # While they are evaluated all of the members is there, though the weights alone are read.
    return mesh.size * max(initial, advance.argument_size_in_bytes + max(advanced, evaluated))


def check_types(before: Members, after: Members) -> None:
    """Raise TypeError, naming the leaf, unless both trees have the same shapes, dtypes and weak types."""

    def kind(leaf: Any) -> tuple[Any, ...]:
        return leaf.shape, leaf.dtype, leaf.weak_type

    changed = [
        f"{jax.tree_util.keystr(path)}: {kind(old)} became {kind(new)}"
        for (path, old), new in zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True)
        if kind(old) != kind(new)
    ]
    if changed:
        raise TypeError(
            "a step changes the type of what it trains, so no second step could follow: " + "; ".join(changed)
        )


def _init(arm: Arm, inputs: Inputs) -> Members:
    def one_seed(split: Any, key: Key) -> Members:
        return jax.vmap(partial(init_member, arm, Seed(inputs.data, split, key)))(inputs.points)

    return jax.vmap(one_seed)(inputs.splits, inputs.keys)


def _advance(
    arm: Arm,
    block: Block,
    own_batch: bool,
    length: int,
    members: Members,
    inputs: Inputs,
    start: Array,
    steps: Array,
    fresh: Array,
) -> Members:
    def with_order(of_seed: tuple[Any, Key, Any]) -> tuple[Seed, Array]:
        split, key, pool = of_seed
        return Seed(inputs.data, split, key), pool if arm.task.pool else draw_order(arm, key, start, length)

    def trained(of_seed: tuple[Seed, Array], member: Member, hypers: Hypers) -> Member:
        return train_segment(arm, *of_seed, start, steps, fresh, member, hypers, own_batch=own_batch)

    seeds = inputs.splits, inputs.keys, inputs.pool
    if block is None:
        return all_at_once(with_order, trained, seeds, members, inputs.points)
    return in_turn(with_order, trained, block, inputs.used, seeds, members, inputs.points, in_place=True)


def _evaluate(arm: Arm, block: Block, members: Members, inputs: Inputs) -> dict[str, Metrics]:
    def evaluated(parts: Any, state: State, hypers: Hypers) -> dict[str, Metrics]:
        del hypers
        return evaluate_member(arm, parts, state)

    parts_of = partial(arm.task.splits, inputs.data)
    if block is None:
        return all_at_once(parts_of, evaluated, inputs.splits, members.state, inputs.points)
    return in_turn(parts_of, evaluated, block, inputs.used, inputs.splits, members.state, inputs.points)
