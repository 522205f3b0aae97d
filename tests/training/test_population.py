"""Laws of the population engine.

Those that rest on rounding are tried in float64; those that are true to the last bit in float32, on the machine code
that users run. One case, a net with dropout, serves all laws that are not about the kind of the net.
"""

from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from tests.training.cases import KINDS, arm, assert_close, in_double, leaves_equal, parabola, points
from wd_research.training import population
from wd_research.training import programs as of_engine
from wd_research.training.member import INIT, NEVER, NOISE, ORDER
from wd_research.training.plan import points_at
from wd_research.training.population import _advance, all_devices, check_types, compile_population, put, unpadded
from wd_research.training.step import init_state, train_step
from wd_research.types import Batch, no_splits

SEEDS, LENGTH = 2, 20
DECAYS = (0.0, 0.1, 1.0)


def one_device():
    return jax.make_mesh((1,), ("points",), axis_types=(AxisType.Auto,), devices=jax.devices()[:1])


def case(kind="dropout"):
    """An arm of three points, without examples to be evaluated on."""
    of_kind = arm(kind)
    return replace(of_kind, task=of_kind.task._replace(splits=no_splits), points=points(DECAYS, dropouts=(0.4,)))


COMPILED = {}


def compiled(kind="dropout", mesh=None, block=1, double=False):
    """The arm and its population, which is compiled once for all tests."""
    wanted = kind, mesh, block, double
    if wanted not in COMPILED:
        of_kind = in_double(case(kind)) if double else case(kind)
        COMPILED[wanted] = of_kind, compile_population(of_kind, SEEDS, LENGTH, mesh or all_devices(), block)
    return COMPILED[wanted]


def train(segments, mesh=None, block=1, kind="dropout", double=False, **changes):
    """The members after the segments, without padding."""
    of_kind, programs = compiled(kind, mesh, block, double)
    inputs = programs.put(replace(of_kind, **changes))
    members, start = programs.init(inputs), 0
    for length in segments:
        members = programs.advance(members, inputs, np.int32(start), np.int32(length), np.bool_(start == 0))
        start += length
    return programs.fetch(members)


@cache
def train_sequentially(kind, steps=(1, LENGTH)):
    """The same training as a loop over seeds, points and steps: no vmap, no scan, no mesh. The states after `steps`."""
    of_kind, _ = compiled(kind, double=True)
    task = of_kind.task
    init = jax.jit(lambda hypers, key: init_state(of_kind, hypers, key))

    @jax.jit
    def step(hypers, state, data, split, indices, key):
        return train_step(of_kind, hypers, state, task.gather(data, split, indices), key)[0]

    rows = {number: [] for number in steps}
    for seed in range(SEEDS):
        key, split = jax.random.key(seed), task.split(seed)
        order = task.order(jax.random.fold_in(key, ORDER), jnp.int32(0), max(steps))
        row = {number: [] for number in steps}
        for point in zip(*of_kind.points, strict=True):
            hypers = type(of_kind.points)(*map(jnp.asarray, point))
            state = init(hypers, jax.random.fold_in(key, INIT))
            for time, indices in enumerate(order):
                noise = jax.random.fold_in(jax.random.fold_in(key, NOISE), time)
                state = step(hypers, state, task.data, split, indices, noise)
                if time + 1 in steps:
                    row[time + 1].append(state)
        for number, states in row.items():
            rows[number].append(stacked(states))
    return {number: stacked(states) for number, states in rows.items()}


def stacked(trees):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("kind", KINDS)
def test_one_step_of_the_population_is_one_step_of_each_member(kind):
    assert_close(train([1], kind=kind, double=True).state, train_sequentially(kind)[1], 1e-9)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("kind", KINDS)
def test_twenty_steps_of_the_population_are_twenty_steps_of_each_member(kind):
    assert_close(train([LENGTH], kind=kind, double=True).state, train_sequentially(kind)[LENGTH], 1e-9)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("kind", ["dropout", pytest.param("batch norm", marks=pytest.mark.slow)])
def test_neither_the_mesh_nor_the_block_changes_more_than_rounding(kind):
    reference = train([LENGTH], one_device(), None, kind, double=True)
    for mesh, block in ((None, None), (None, 1), (None, 2), (None, 3)):
        assert_close(train([LENGTH], mesh, block, kind, double=True), reference, 1e-9)


@pytest.mark.usefixtures("users_code")
@pytest.mark.parametrize("block", [None, 1])
def test_the_same_program_twice_and_one_segment_or_two_are_bitwise_the_same(block):
    once = train([20], block=block)
    assert leaves_equal(once, train([20], block=block))
    assert leaves_equal(once, train([10, 10], block=block))


@pytest.mark.usefixtures("users_code")
@pytest.mark.parametrize("block", [None, 1])
def test_a_member_does_not_feel_its_neighbours_even_when_they_diverge(block):
    plain = case().points
    others = points(decays=(0.0, 7.0, 1.0), dropouts=(0.4,))
    broken = plain._replace(learning_rate=np.float32([0.01, 1e30, 0.01]))
    ends = [train([LENGTH], block=block, points=variant) for variant in (plain, others, broken)]
    for end in ends[1:]:
        for member in (0, 2):
            pick = lambda tree, m=member: jax.tree.map(lambda leaf: leaf[:, m], tree)
            assert leaves_equal(pick(ends[0]), pick(end))
    assert (ends[2].diverged_at[:, 1] >= 0).all()
    assert (ends[2].diverged_at[:, [0, 2]] == NEVER).all()
    assert not leaves_equal(ends[0].state.params, ends[1].state.params)


@pytest.mark.usefixtures("users_code")
def test_a_diverged_member_keeps_its_last_finite_weights():
    """Weights overflow at the second step: what stays are those of the first."""
    overflowing = points(decays=(0.0, 1e35, 0.1), learning_rates=(100.0,), dropouts=(0.4,))
    first, end = train([1], points=overflowing), train([LENGTH], points=overflowing)
    assert (end.diverged_at[:, 1] == 1).all()
    for before, after in zip(jax.tree.leaves(first.state.params), jax.tree.leaves(end.state.params), strict=True):
        assert np.isfinite(after[:, 1]).all()
        assert np.array_equal(before[:, 1], after[:, 1])
        assert not np.array_equal(before[:, 2], after[:, 2]) or not before.any()


@pytest.mark.usefixtures("users_code")
def test_where_a_step_overflows_the_weights_that_stay_finite_take_it_and_then_nothing_moves():
    """The first step takes 1e38 * 100 times a weight from it: too much where that is not a float32."""
    overflowing = points(decays=(0.0, 1e38, 0.1), learning_rates=(100.0,), dropouts=(0.4,))
    initial, first, end = (train(segments, points=overflowing) for segments in ([], [1], [LENGTH]))
    assert (end.diverged_at[:, 1] == 0).all()
    params = (initial.state.params, first.state.params, end.state.params)
    for before, once, after in zip(*map(jax.tree.leaves, params), strict=True):
        assert np.isfinite(after[:, 1]).all()
        assert np.array_equal(once[:, 1], after[:, 1])
        decayed = before.ndim == 4  # [s, h, in, out]: matrices
        overflows = decayed & (np.abs(before[:, 1].astype(float)) * 1e40 > np.finfo(np.float32).max)
        assert np.array_equal(once[:, 1] == before[:, 1], overflows)
        assert overflows.any() == decayed


@pytest.mark.usefixtures("double")
def test_members_with_batches_of_their_own_train_as_with_one_for_all():
    """What a GPU does, on whatever is here."""
    of_kind, programs = compiled(mesh=one_device(), block=None, double=True)
    inputs = programs.put(of_kind)
    own = partial(_advance, of_kind, None, True, LENGTH)
    clock = np.int32(0), np.int32(LENGTH), np.bool_(True)
    apart = jax.jit(own, compiler_options=of_engine.CPU_OPTIONS)(programs.init(inputs), inputs, *clock)
    assert_close(programs.fetch(apart), train([LENGTH], one_device(), None, double=True), 1e-9)


@pytest.mark.usefixtures("users_code")
def test_new_values_and_the_second_segment_neither_trace_nor_compile_again():
    of_kind, traces = case(), []

    def counted(hypers, build=of_kind.optimizer):
        traces.append(1)
        return build(hypers)

    of_kind = replace(of_kind, optimizer=counted)
    programs = compile_population(of_kind, SEEDS, LENGTH, all_devices(), 1)
    traced = len(traces)
    inputs = programs.put(of_kind)
    members = programs.advance(programs.init(inputs), inputs, np.int32(0), np.int32(5), np.bool_(True))
    programs.advance(members, inputs, np.int32(5), np.int32(5), np.bool_(True))
    others = points(decays=(0.3, 0.7, 5.0), learning_rates=(0.1,), dropouts=(0.1,))
    other = programs.put(replace(of_kind, points=others))
    programs.advance(programs.init(other), other, np.int32(0), np.int32(5), np.bool_(True))
    assert len(traces) == traced > 0


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
    of_kind, mesh = case(), all_devices()
    init, advance, _ = population.functions(of_kind, mesh, block)
    inputs = put(of_kind, most=SEEDS, mesh=mesh, block=block)
    members = jax.eval_shape(init, inputs)
    jaxpr = jax.make_jaxpr(partial(advance, length=4))(members, inputs, np.int32(0), np.int32(4), np.bool_(True))
    found = list(equations(jaxpr.jaxpr))
    pixels = of_kind.task.data.inputs.shape
    gathered = [e.outvars[0].aval.shape for e in found if e.primitive.name == "gather" and shape_in(e) == pixels]
    drawn = [e.outvars[0].aval.shape for e in found if e.primitive.name == "random_bits"]
    assert gathered == [(*seeds, 16, pixels[1])]
    assert [shape for shape in drawn if shape[-2:] == (16, 8)] == [(*seeds, 16, 8)]


def shape_in(equation):
    """The shape of what an equation reads first."""
    return equation.invars[0].aval.shape


@pytest.mark.usefixtures("double")
def test_no_collective_and_donated_state():
    of_kind, programs = compiled("batch norm", double=True)
    inputs = programs.put(of_kind)
    members = programs.init(inputs)
    text = programs.advance.executable.as_text()
    collectives = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")
    assert not [word for word in collectives if word in text]
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(members)) / jax.device_count()
    assert programs.advance.executable.memory_analysis().alias_size_in_bytes >= size
    programs.advance(members, inputs, np.int32(0), np.int32(4), np.bool_(True))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(members))


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("block", [1, 2, 3, None])
def test_points_are_padded_to_whole_blocks_and_nobody_sees_it(block):
    of_kind, programs = compiled(block=block, double=True)
    inputs = programs.put(of_kind)
    padded, at_once = len(inputs.points.decay), jax.device_count() * (block or 1)
    assert padded % at_once == 0
    assert 0 <= padded - 3 < at_once
    assert (np.asarray(inputs.points.decay)[3:] == DECAYS[-1]).all()
    end = train([LENGTH], block=block, double=True)
    assert {leaf.shape[:2] for leaf in jax.tree.leaves(end)} == {(SEEDS, 3)}
    assert_close(end.state.params, train_sequentially("dropout")[LENGTH].params, 1e-9)


@pytest.mark.parametrize("block", [1, 2])
@pytest.mark.parametrize(("seeds", "points"), [(range(1), 1), (range(1, 2), 3), (range(2), 2)])
def test_of_a_program_for_more_those_members_alone_are_trained_that_are_used(block, seeds, points):
    """Each is bit for bit what it is among all of them, and its neighbours take no step."""
    of_kind, programs = compiled(block=block)
    everyone = train([LENGTH], block=block)
    inputs = programs.put(points_at(of_kind, programs.laid_out(range(points))), seeds, points)
    before = jax.device_get(jax.tree.leaves((members := programs.init(inputs)).state.params))
    after = programs.advance(members, inputs, np.int32(0), np.int32(LENGTH), np.bool_(True))
    places = programs.places(points)
    some = programs.fetch(after, len(seeds), places=places)
    for one, other in zip(*map(jax.tree.leaves, (some.state.params, everyone.state.params)), strict=True):
        np.testing.assert_array_equal(one, other[list(seeds), :points])
    taken = -(-points // (programs.devices * block)) * block  # of each device
    each = before[0].shape[1] // programs.devices
    for start, end in zip(before, jax.device_get(jax.tree.leaves(after.state.params)), strict=True):
        moved = (start != end).any(axis=tuple(range(2, start.ndim)))
        assert not moved[len(seeds) :].any()
        assert not moved.reshape(SEEDS, programs.devices, each)[:, :, taken:].any()


def test_every_device_has_its_share_of_the_points():
    _, programs = compiled()
    for count in range(1, programs.members.diverged_at.shape[1] + 1):
        devices = programs.places(count) // (programs.members.diverged_at.shape[1] // programs.devices)
        shares = np.bincount(devices, minlength=programs.devices)
        assert shares.max() - shares.min() <= 1
        assert programs.laid_out(range(count))[programs.places(count)].tolist() == list(range(count))


def test_what_is_fetched_is_what_was_computed_without_the_padding():
    table = np.arange(SEEDS * 4).reshape(SEEDS, 4)
    fetched = unpadded({"a": table, "b": (jnp.asarray(table)[..., None],)}, places=range(3))
    assert fetched["a"].tolist() == table[:, :3].tolist()
    assert fetched["b"][0].tolist() == table[:, :3, None].tolist()
    assert isinstance(fetched["b"][0], np.ndarray)


@pytest.mark.usefixtures("users_code")
def test_points_share_what_a_seed_fixes_and_seeds_do_not():
    """At step 0 all points of a seed have the same weights, and two seeds have others."""
    kernel = train([]).state.params["Dense_0"]["kernel"]
    np.testing.assert_array_equal(kernel[:, 0], kernel[:, 1])
    assert not np.array_equal(kernel[0], kernel[1])


def test_a_step_that_changes_a_type_is_refused_by_name():
    of_kind = case()
    init, *_ = population.functions(of_kind, all_devices(), 1)
    members = jax.eval_shape(init, put(of_kind, most=SEEDS, mesh=all_devices(), block=1))
    changed = jax.tree.map(lambda leaf: leaf, members)
    kernel = changed.state.params["Dense_0"]["kernel"]
    changed.state.params["Dense_0"]["kernel"] = jax.ShapeDtypeStruct(kernel.shape, jnp.bfloat16)
    with pytest.raises(TypeError, match=r"kernel.*bfloat16"):
        check_types(members, changed)


def built_apart(constant=1.0, target=0.0):
    """An arm whose functions are its own: its loss holds a number, and an array with another number in its middle."""
    far = np.full(10_000, 1.0, np.float32)
    far[5_000] = target
    return parabola(
        constant=constant,
        splits=lambda data, split: {"train": Batch(data, split)},
        evaluate=lambda params, extras, batch, name: {"far": jnp.sum(params["w"][0] * far)},
    )


SHARED = {}  # programs by their texts


def population_of(**numbers):
    return compile_population(built_apart(**numbers), SEEDS, 3, all_devices(), 1, SHARED)


def test_arms_built_apart_share_a_program_where_they_compute_the_same():
    first, known = population_of(), len(SHARED)
    assert population_of().text == first.text
    assert len(SHARED) == known


@pytest.mark.parametrize("other", [{"constant": 2.0}, {"target": 0.5}])
def test_arms_whose_functions_hold_another_number_do_not_share_a_program(other):
    """Nor where the number is one in an array of 10,000, which a text leaves out when it is printed for people."""
    assert population_of(**other).text != population_of().text
