"""The population engine: every member of an arm trains in one compiled program.

A member is one seed at one point of the hyperparameters. Seeds [s] lie outside and points [h] inside: a seed fixes
split, flipped labels, initial weights, order of the data and noise, and all points share them, so that any two points
are compared pair by pair. Time is a loop over the steps of a segment; space is a `shard_map` of the points over all
devices; within a device the points advance together, or seed by seed in blocks.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from wd_research.training.step import init_state, train_step
from wd_research.training.weights import of_weights
from wd_research.types import Arm, Array, Batch, Hypers, Key, Metrics, State

INIT, ORDER, NOISE = range(3)  # purposes of a seed's randomness: fold_in(fold_in(seed, purpose), step)
NEVER = -1
# On a CPU, LLVM's -O1 compiles in half the time of its -O3, and no program ran slower for it (docs/benchmarks.md). Of
# YNNPACK's kernels we take the products: with the others, a transformer's members together end in a segmentation fault
# (jaxlib 0.10.2), and nothing is faster for them.
CPU_OPTIONS = {
    "xla_backend_optimization_level": 1,
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT",
}

SHARED = PartitionSpec()
POINTS = PartitionSpec("points")  # [h, ...]
MEMBERS = PartitionSpec(None, "points")  # [s, h, ...]


class Members(NamedTuple):
    """What training changes; in a population every leaf has the axes [s, h] in front."""

    state: State
    diverged_at: Array  # i32[]: the first step whose loss or new weights were not finite, or NEVER


class Inputs(NamedTuple):
    """What training reads."""

    points: Any  # Hypers: each leaf f32[h], sharded; padded with copies of the last point
    data: Any  # shared by all seeds
    splits: Any  # each leaf [s, ...]
    keys: Any  # Key [s]


class Programs(NamedTuple):
    """The compiled functions of a population; `advance` and `evaluate` take any points of the shape compiled for."""

    init: Any  # Inputs -> Members
    advance: Any  # (Members, Inputs, first step i32[], steps i32[]) -> (Members, Metrics); the members are donated
    evaluate: Any  # (Members, Inputs) -> part -> metric -> f32[s, h, ...]

    def memory(self, mesh: Mesh) -> int:
        """The bytes that the hungriest of them needs on all devices together, the members among them.

        What a donated argument and its result share is counted once.
        """
        init, advance, evaluate = (program.memory_analysis() for program in self)
        made = init.argument_size_in_bytes + init.output_size_in_bytes + init.temp_size_in_bytes
        new = advance.output_size_in_bytes - advance.alias_size_in_bytes + advance.temp_size_in_bytes
        seen = evaluate.output_size_in_bytes + evaluate.temp_size_in_bytes
        # While they are evaluated all of the members is there, though the weights alone are read.
        return mesh.size * max(made, advance.argument_size_in_bytes + max(new, seen))


def all_devices() -> Mesh:
    """A one-dimensional mesh of all devices."""
    return jax.make_mesh((jax.device_count(),), ("points",), axis_types=(AxisType.Auto,))


def place(arm: Arm, seeds: int, mesh: Mesh, block: int | None = None) -> Inputs:
    """Put an arm's inputs for seeds 0 ... seeds-1 on the mesh, its points padded to whole blocks on every device."""
    height = len(jax.tree.leaves(arm.points)[0])
    padding = -height % (mesh.size * (block or 1))
    points = jax.tree.map(lambda leaf: np.pad(leaf, (0, padding), mode="edge"), arm.points)
    splits = jax.tree.map(lambda *leaves: np.stack(leaves), *(arm.task.split(seed) for seed in range(seeds)))
    keys = jax.vmap(jax.random.key)(np.arange(seeds, dtype=np.uint32))
    shared = NamedSharding(mesh, SHARED)
    return Inputs(
        jax.device_put(points, NamedSharding(mesh, POINTS)),
        jax.device_put(arm.task.data, shared),
        jax.device_put(splits, shared),
        jax.device_put(keys, shared),
    )


def fetch(tree: Any, arm: Arm) -> Any:
    """Bring a tree of [s, h, ...] to the host without the padding."""
    height = len(jax.tree.leaves(arm.points)[0])
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:, :height], tree)


def jitted(arm: Arm, mesh: Mesh, block: int | None = None) -> tuple[Any, Any, Any]:
    """The population's three functions, jitted: init(inputs), advance(members, inputs, start, steps, length=...), which
    takes `steps` of at most `length` steps and donates the members, and evaluate(members, inputs).

    `block` is how many points of a seed advance together on a device (vmap); block after block, and seed after seed,
    goes through the whole segment (lax.map) while its state is hot in the cache. None: all points of all seeds
    together, as a GPU wants it. Results in blocks of another size agree to rounding. A CPU evaluates one by one always.
    """
    platform = mesh.devices.flat[0].platform
    inputs = Inputs(POINTS, SHARED, SHARED, SHARED)
    on_mesh = partial(jax.shard_map, mesh=mesh, out_specs=MEMBERS, check_vma=False)

    def advance(members: Members, inputs_: Inputs, start: Array, steps: Array, *, length: int):
        on_device = partial(_advance, arm, block, platform == "gpu", length)
        return on_mesh(on_device, in_specs=(MEMBERS, inputs, SHARED, SHARED))(members, inputs_, start, steps)

    jit = partial(jax.jit, compiler_options=CPU_OPTIONS if platform == "cpu" else None)
    # A look takes whole parts of the data through nets: on a CPU all together leave the cache (docs/benchmarks.md).
    seen = 1 if platform == "cpu" else block
    return (
        jit(on_mesh(partial(_init, arm), in_specs=(inputs,))),
        jit(advance, static_argnames="length", donate_argnums=0),
        jit(on_mesh(partial(_evaluate, arm, seen), in_specs=(MEMBERS, inputs))),
    )


def compile_programs(
    arm: Arm, inputs: Inputs, length: int, mesh: Mesh, block: int | None = None, known: Programs | None = None
) -> Programs:
    """Compile init, evaluate, and advance for segments of at most `length` steps.

    What is `known` of the same arm in another block is taken from there; to advance alone is compiled. Raises TypeError
    when a segment's output types are not its input types: no second segment could follow.
    """
    init, advance, evaluate = jitted(arm, mesh, block)
    members = jax.eval_shape(init, inputs)
    members = jax.tree.map(lambda leaf: leaf.update(sharding=NamedSharding(mesh, MEMBERS)), members)
    lowered = advance.lower(members, inputs, np.int32(0), np.int32(length), length=length)
    check_types(members, lowered.out_info[0])
    if known:
        return known._replace(advance=lowered.compile())
    with ThreadPoolExecutor() as threads:  # XLA compiles without Python's lock
        all_three = Programs(init.lower(inputs), lowered, evaluate.lower(members, inputs))
        return Programs(*threads.map(lambda program: program.compile(), all_three))


def check_types(before: Members, after: Members) -> None:
    """Raise TypeError, naming the leaf, unless both trees have the same shapes, dtypes and weak types."""

    def kind(leaf):
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
    """[s, h] members: the initial weights are the seed's, the same at every point."""

    def member(key: Key, hypers: Hypers) -> Members:
        return Members(init_state(arm, hypers, jax.random.fold_in(key, INIT)), jnp.int32(NEVER))

    over_points = jax.vmap(member, in_axes=(None, 0))
    return jax.vmap(over_points, in_axes=(0, None))(inputs.keys, inputs.points)


def _advance(
    arm: Arm,
    block: int | None,
    own_batches: bool,
    length: int,
    members: Members,
    inputs: Inputs,
    start: Array,
    steps: Array,
) -> tuple[Members, Metrics]:
    """Take `steps` steps, at most `length`, from step `start` on; the metrics f32[s, h] are means over these steps."""

    def one_seed(of_seed: tuple[Members, Any, Key]) -> tuple[Members, Metrics]:
        members, split, key = of_seed
        # Nothing here knows the point: under vmap a batch is gathered and noise drawn once per seed (and block).
        order = arm.task.order(jax.random.fold_in(key, ORDER), start, length)

        def one_member(member_and_hypers: tuple[Members, Hypers]) -> tuple[Members, Metrics]:
            member, hypers = member_and_hypers

            def step(number: Array, member: Members) -> tuple[Members, Metrics]:
                batch = arm.task.gather(inputs.data, split, order[number])
                if own_batches:
                    batch = own(batch, member)
                noise = jax.random.fold_in(jax.random.fold_in(key, NOISE), start + number)
                return _step_or_stay(arm, hypers, member, batch, noise, start + number)

            def accumulated(number: Array, carry: tuple[Members, Metrics]) -> tuple[Members, Metrics]:
                member, metrics = step(number, carry[0])
                return member, jax.tree.map(jnp.add, carry[1], metrics)

            _, metrics = jax.eval_shape(step, start, member)
            # Zeros of this member: zeros of nobody would make each vmap go through the loop a second time.
            zero = 0 * member.diverged_at
            zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype) + zero.astype(leaf.dtype), metrics)
            member, totals = jax.lax.fori_loop(0, steps, accumulated, (member, zeros))
            return member, jax.tree.map(lambda total: total / steps, totals)

        return _over_points(one_member, block)((members, inputs.points))

    return _over_seeds(one_seed, block)((members, inputs.splits, inputs.keys))


def own(batch: Batch, member: Members) -> Batch:
    """The batch that all members share, as one that vmap takes for the member's own.

    With a shared one XLA joins the members' first layers to one wide product, for which a GPU turns weights and
    gradients at every step: a tenth of its time. On a CPU the wide product is the quicker one (docs/benchmarks.md).
    """
    nothing = 0 * member.diverged_at
    return jax.tree.map(lambda leaf: leaf + nothing.astype(leaf.dtype), batch)


def _step_or_stay(
    arm: Arm, hypers: Hypers, member: Members, batch: Batch, key: Key, time: Array
) -> tuple[Members, Metrics]:
    """One step, unless the member has diverged: then its last finite weights stay.

    Where a new weight is not finite that weight stays, and from the next step on all of them do: were none written
    before all are known to be finite, a GPU would read and write them twice (docs/benchmarks.md). The optimizer's state
    goes on: nothing reads it any more, and selecting it costs.
    """
    old = member.state
    new, metrics = train_step(arm, hypers, old, batch, key)
    alive = (member.diverged_at == NEVER) & jnp.isfinite(metrics["objective"])
    diverged_at = jnp.where((member.diverged_at == NEVER) & ~(alive & all_finite(new.params)), time, member.diverged_at)
    params = jax.tree.map(lambda w, before: jnp.where(alive & jnp.isfinite(w), w, before), new.params, old.params)
    extras = jax.tree.map(lambda now, before: jnp.where(alive, now, before), new.extras, old.extras)
    return Members(State(params, extras, new.opt_state), diverged_at), metrics


def all_finite(params: Any) -> Array:
    """Whether no entry is NaN or infinite, nor so large that a sum along the first axis overflows; bool[].

    By sums, which vectorize where a reduction of booleans does not (docs/benchmarks.md).
    """
    return jnp.stack(
        [jnp.isfinite(leaf.sum(axis=0)).all() for leaf in map(jnp.atleast_1d, jax.tree.leaves(params))]
    ).all()


def _evaluate(arm: Arm, block: int | None, members: Members, inputs: Inputs) -> dict[str, Metrics]:
    """Every metric of every part, f32[s, h], and what is measured of the "weights" (`weights.of_weights`)."""

    def one_seed(of_seed: tuple[State, Any]) -> dict[str, Metrics]:
        state, split = of_seed
        parts = arm.task.parts(inputs.data, split)

        def one_member(state: State) -> dict[str, Metrics]:
            seen = {name: arm.task.evaluate(state.params, state.extras, part) for name, part in parts.items()}
            return {**seen, "weights": of_weights(state.params)}

        return _over_points(one_member, block)(state)

    return _over_seeds(one_seed, block)((members.state, inputs.splits))


def _over_seeds(function: Callable[[Any], Any], block: int | None) -> Callable[[Any], Any]:
    """Map a function over the leading axis [s], one after the other unless all points are together."""
    return jax.vmap(function) if block is None else partial(jax.lax.map, function)


def _over_points(function: Callable[[Any], Any], block: int | None) -> Callable[[Any], Any]:
    """Map a function over the leading axis [h], `block` entries at a time."""
    if block is None:
        return jax.vmap(function)
    return partial(jax.lax.map, function, batch_size=block if block > 1 else None)  # one by one without a vmap over one
