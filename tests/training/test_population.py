"""Laws of the population engine."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from tests.training.worlds import KINDS, arm, assert_close, in_double, leaves_equal, points
from wd_research.training.population import (
    INIT,
    NEVER,
    NOISE,
    ORDER,
    _advance,
    all_devices,
    check_types,
    compile_programs,
    fetch,
    jitted,
    place,
)
from wd_research.training.step import init_state, train_step

SEEDS = 2


def train(arm, segments, mesh=None, block=1, seeds=SEEDS):
    """The members after the segments, without padding."""
    mesh = mesh or all_devices()
    inputs = place(arm, seeds, mesh, block)
    init, advance, _ = jitted(arm, mesh, block)
    members, start = init(inputs), 0
    for length in segments:
        members, _ = advance(members, inputs, np.int32(start), np.int32(length), length=20)
        start += length
    return fetch(members, arm)


def train_one_by_one(arm, steps, seeds=SEEDS):
    """The same training as a loop over seeds, points and steps: no vmap, no scan, no mesh."""
    step = jax.jit(lambda hypers, state, batch, key: train_step(arm, hypers, state, batch, key)[0])
    rows = []
    for seed in range(seeds):
        key, split = jax.random.key(seed), arm.task.split(seed)
        data, split = jax.tree.map(jnp.asarray, (arm.task.data, split))
        order = arm.task.order(jax.random.fold_in(key, ORDER), jnp.int32(0), steps)
        row = []
        for point in zip(*arm.points, strict=True):
            hypers = type(arm.points)(*map(jnp.asarray, point))
            state = init_state(arm, hypers, jax.random.fold_in(key, INIT))
            for time, indices in enumerate(order):
                noise = jax.random.fold_in(jax.random.fold_in(key, NOISE), time)
                state = step(hypers, state, arm.task.gather(data, split, indices), noise)
            row.append(state)
        rows.append(jax.tree.map(lambda *leaves: np.stack(leaves), *row))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)


@pytest.mark.parametrize("kind", KINDS)
def test_one_step_of_the_population_is_one_step_of_each_member(kind):
    world = arm(kind)
    assert_close(train(world, [1]).state, train_one_by_one(world, 1), 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_twenty_steps_of_the_population_are_twenty_steps_of_each_member(kind):
    with jax.enable_x64(True):
        world = in_double(arm(kind))
        assert_close(train(world, [20]).state, train_one_by_one(world, 20), 1e-9)


@pytest.mark.parametrize("kind", ["decoupled", pytest.param("batch norm", marks=pytest.mark.slow)])
def test_neither_the_mesh_nor_the_block_changes_more_than_rounding(kind):
    with jax.enable_x64(True):
        world = in_double(arm(kind))
        one_device = jax.make_mesh((1,), ("points",), axis_types=(AxisType.Auto,), devices=jax.devices()[:1])
        reference = train(world, [20], one_device, block=None)
        for mesh, block in ((all_devices(), None), (all_devices(), 1), (one_device, 2)):
            assert_close(train(world, [20], mesh, block), reference, 1e-9)


@pytest.mark.parametrize("block", [None, 1])
def test_the_same_program_twice_and_one_segment_or_two_are_bitwise_the_same(block):
    world = arm("dropout")
    once = train(world, [20], block=block)
    assert leaves_equal(once, train(world, [20], block=block))
    assert leaves_equal(once, train(world, [10, 10], block=block))


@pytest.mark.parametrize("block", [None, 1])
def test_a_member_does_not_feel_its_neighbours_even_when_they_diverge(block):
    world, mesh = arm("decoupled"), all_devices()
    others = world._replace(points=points(decays=(0.0, 7.0, 1.0)))
    broken = world._replace(points=world.points._replace(learning_rate=np.float32([0.01, 1e30, 0.01])))
    programs = compile_programs(world, place(world, SEEDS, mesh, block), 20, mesh, block)
    ends = []
    for variant in (world, others, broken):
        inputs = place(variant, SEEDS, mesh, block)
        ends.append(fetch(programs.advance(programs.init(inputs), inputs, np.int32(0), np.int32(20))[0], variant))
    for end in ends[1:]:
        for member in (0, 2):
            pick = lambda tree, m=member: jax.tree.map(lambda leaf: leaf[:, m], tree)  # noqa: E731
            assert leaves_equal(pick(ends[0]), pick(end))
    assert (ends[2].diverged_at[:, 1] >= 0).all()
    assert (ends[2].diverged_at[:, [0, 2]] == NEVER).all()
    assert not leaves_equal(ends[0].state.params, ends[1].state.params)


def test_a_diverged_member_keeps_its_last_finite_weights():
    """Weights overflow at the second step: what stays are those of the first."""
    world = arm("decoupled")
    world = world._replace(points=points(decays=(0.0, 1e35, 0.1), learning_rates=(100.0,)))
    first, end = train(world, [1]), train(world, [20])
    assert (end.diverged_at[:, 1] == 1).all()
    for before, after in zip(jax.tree.leaves(first.state.params), jax.tree.leaves(end.state.params), strict=True):
        assert np.isfinite(after[:, 1]).all()
        assert np.array_equal(before[:, 1], after[:, 1])
        assert not np.array_equal(before[:, 2], after[:, 2]) or not before.any()


def test_where_a_step_overflows_the_weights_that_stay_finite_take_it_and_then_nothing_moves():
    """The first step takes 1e38 * 100 times a weight from it: too much where that is not a float32."""
    world, mesh = arm("decoupled"), all_devices()
    world = world._replace(points=points(decays=(0.0, 1e38, 0.1), learning_rates=(100.0,)))
    initial = fetch(jitted(world, mesh)[0](place(world, SEEDS, mesh)), world).state.params
    first, end = train(world, [1]), train(world, [20])
    assert (end.diverged_at[:, 1] == 0).all()
    for before, once, after in zip(*map(jax.tree.leaves, (initial, first.state.params, end.state.params)), strict=True):
        assert np.isfinite(after[:, 1]).all()
        assert np.array_equal(once[:, 1], after[:, 1])
        decayed = before.ndim == 4  # [s, h, in, out]: matrices
        overflows = decayed & (np.abs(before[:, 1].astype(float)) * 1e40 > np.finfo(np.float32).max)
        assert np.array_equal(once[:, 1] == before[:, 1], overflows)
        assert overflows.any() == decayed


def test_members_with_batches_of_their_own_train_as_with_one_for_all():
    """What a GPU does, on whatever is here."""
    with jax.enable_x64(True):
        world = in_double(arm("dropout"))
        mesh = jax.make_mesh((1,), ("points",), axis_types=(AxisType.Auto,), devices=jax.devices()[:1])
        inputs = place(world, SEEDS, mesh)
        members = jitted(world, mesh)[0](inputs)
        apart, shared = (
            jax.jit(partial(_advance, world, None, own_batches, 20))(members, inputs, np.int32(0), np.int32(20))
            for own_batches in (True, False)
        )
        assert_close(apart, shared, 1e-9)


def test_new_values_and_the_second_segment_neither_trace_nor_compile_again():
    world, mesh, traces = arm("decoupled"), all_devices(), []

    def counted(hypers, build=world.optimizer):
        traces.append(1)
        return build(hypers)

    world = world._replace(optimizer=counted)
    init, advance, _ = jitted(world, mesh, 1)
    inputs = place(world, SEEDS, mesh, 1)
    members, _ = advance(init(inputs), inputs, np.int32(0), np.int32(5), length=5)
    traced = len(traces)
    members, _ = advance(members, inputs, np.int32(5), np.int32(5), length=5)
    other = place(world._replace(points=points(decays=(0.3, 0.7, 5.0), learning_rates=(0.1,))), SEEDS, mesh, 1)
    advance(init(other), other, np.int32(0), np.int32(5), length=5)
    assert len(traces) == traced > 0
    assert advance._cache_size() == 1


def equations(jaxpr):
    """Every equation of a jaxpr and of those inside it."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, (list, tuple)) else [value]:
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from equations(inner)


@pytest.mark.parametrize(("block", "seeds"), [(None, (SEEDS,)), (1, ())])
def test_a_batch_is_gathered_and_a_dropout_mask_drawn_once_per_seed(block, seeds):
    world, mesh = arm("dropout"), all_devices()
    init, advance, _ = jitted(world, mesh, block)
    inputs = place(world, SEEDS, mesh, block)
    members = jax.eval_shape(init, inputs)
    jaxpr = advance.trace(members, inputs, np.int32(0), np.int32(4), length=4).jaxpr
    found = list(equations(jaxpr.jaxpr))
    pixels = world.task.data.inputs.shape
    gathered = [e.outvars[0].aval.shape for e in found if e.primitive.name == "gather" and shape_in(e) == pixels]
    drawn = [e.outvars[0].aval.shape for e in found if e.primitive.name == "random_bits"]
    assert gathered == [(*seeds, 16, pixels[1])]
    assert [shape for shape in drawn if shape[-2:] == (16, 8)] == [(*seeds, 16, 8)]


def shape_in(equation):
    """The shape of what an equation reads first."""
    return equation.invars[0].aval.shape


def test_no_collective_and_donated_state():
    world, mesh = arm("batch norm"), all_devices()
    init, advance, _ = jitted(world, mesh, 1)
    inputs = place(world, SEEDS, mesh, 1)
    members = init(inputs)
    compiled = advance.lower(members, inputs, np.int32(0), np.int32(4), length=4).compile()
    text = compiled.as_text()
    collectives = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")
    assert not [word for word in collectives if word in text]
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(members)) / mesh.size
    assert compiled.memory_analysis().alias_size_in_bytes >= size
    compiled(members, inputs, np.int32(0), np.int32(4))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(members))


@pytest.mark.parametrize("block", [1, 2, 3, None])
def test_points_are_padded_to_whole_blocks_and_nobody_sees_it(block):
    world, mesh = arm("decoupled"), all_devices()
    padded, at_once = len(place(world, SEEDS, mesh, block).points.decay), mesh.size * (block or 1)
    assert padded % at_once == 0
    assert 0 <= padded - 3 < at_once
    end = train(world, [3], block=block)
    assert {leaf.shape[:2] for leaf in jax.tree.leaves(end)} == {(SEEDS, 3)}
    assert_close(end.state.params, train_one_by_one(world, 3).params, 1e-4)


def test_points_share_what_a_seed_fixes_and_seeds_do_not():
    """At step 0 all points of a seed have the same weights, and two seeds have others."""
    world, mesh = arm("decoupled"), all_devices()
    inputs = place(world, SEEDS, mesh, 1)
    kernel = fetch(jitted(world, mesh, 1)[0](inputs), world).state.params["Dense_0"]["kernel"]
    np.testing.assert_array_equal(kernel[:, 0], kernel[:, 1])
    assert not np.array_equal(kernel[0], kernel[1])


def test_a_step_that_changes_a_type_is_refused_by_name():
    world, mesh = arm("decoupled"), all_devices()
    members = jax.eval_shape(jitted(world, mesh, 1)[0], place(world, SEEDS, mesh, 1))
    changed = jax.tree.map(lambda leaf: leaf, members)
    kernel = changed.state.params["Dense_0"]["kernel"]
    changed.state.params["Dense_0"]["kernel"] = jax.ShapeDtypeStruct(kernel.shape, jnp.bfloat16)
    with pytest.raises(TypeError, match=r"kernel.*bfloat16"):
        check_types(members, changed)
