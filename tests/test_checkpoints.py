"""Checkpoints: a position comes back as it was, or the one before it does."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.training import cases
from wd_research.checkpoints import checkpoints, last_position, read_checkpoint, remove_checkpoints, write_checkpoint
from wd_research.decay.transforms import decay_weights
from wd_research.flags import UserError
from wd_research.training.loop import Pace, train_tile
from wd_research.training.plan import Limits, make_plan
from wd_research.training.population import all_devices

SEGMENTS = [(0, 4), (4, 4), (8, 2)]


def of_type(dtype):
    """An arm whose weights have another type, with a key in the optimizer's state."""
    arm = cases.parabola((0.0, 1.0))

    def init(key):
        params, extras = arm.task.init(key)
        return jax.tree.map(lambda leaf: leaf.astype(dtype), params), extras

    noisy = replace(arm, optimizer=lambda h: optax.chain(optax.add_noise(0.01, 0.5, 0), decay_weights(h.decay),
                                                         optax.scale(-0.1)))  # fmt: skip
    return replace(noisy, task=arm.task._replace(init=init))


ARMS = {"float32": cases.parabola((0.0, 1.0)), "bfloat16 and a key": of_type(jnp.bfloat16), "Adam": cases.arm(),
        "batch norm": cases.arm("batch norm")}  # fmt: skip


@pytest.fixture(scope="module", params=ARMS)
def trained(request):
    """An arm's population and its positions, on the host."""
    arm = ARMS[request.param]
    population = make_plan(arm, 2, 4, 10, all_devices(), Limits(blocks=(1,))).population
    return arm, population


def positions(arm, population, since=None):
    return train_tile(population, arm, range(arm.size), SEGMENTS, {}, pace=Pace(3), since=since)


def host(tree):
    return jax.tree.map(
        lambda leaf: np.asarray(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf),
        tree,
    )


def test_from_a_checkpoint_training_goes_on_bit_for_bit(trained, tmp_path):
    arm, population = trained
    tile, ends = tmp_path / "tile", []
    for number, position in enumerate(positions(arm, population)):
        write_checkpoint(tile.with_name(f"tile{number}"), position, {"seconds": 1.5})
        ends.append((position.step, host(position.members)))
    last = position
    for number, (step, members) in enumerate(ends[:-1]):
        found, cost = last_position(tile.with_name(f"tile{number}"), population.members, pytest.fail)
        assert (found.step, cost) == (step, {"seconds": 1.5})
        assert cases.leaves_equal(host(found.members), members)
        *_, end = positions(arm, population, found)
        assert end.results.identical(last.results)
        assert cases.leaves_equal(host(end.members), ends[-1][1])


def test_two_positions_are_kept_and_none_of_a_finished_tile(trained, tmp_path):
    arm, population = trained
    tile, steps = tmp_path / "tile", []
    for position in positions(arm, population):
        write_checkpoint(tile, position, {})
        steps.append(position.step)
        assert [path.stem for path in checkpoints(tile)] == [f"tile.step{step:09d}" for step in steps[-2:]]
    remove_checkpoints(tile)
    assert not list(tmp_path.iterdir())
    assert last_position(tile, population.members, pytest.fail) == (None, {})


@pytest.mark.parametrize("flips", [100, pytest.param(1_000, marks=pytest.mark.slow)])
def test_a_changed_bit_or_a_cut_is_found_and_the_position_before_is_taken(flips, tmp_path):
    arm = ARMS["float32"]
    population = make_plan(arm, 2, 4, 10, all_devices(), Limits(blocks=(1,))).population
    tile = tmp_path / "tile"
    for position in positions(arm, population):
        write_checkpoint(tile, position, {})
    before, path = checkpoints(tile)
    content, rng, found = path.read_bytes(), np.random.default_rng(0), 0
    whole, earlier = read_checkpoint(path, population.members), read_checkpoint(before, population.members)
    for place in rng.integers(len(content), size=flips):
        changed = bytearray(content)
        changed[place] ^= 1 << rng.integers(8)
        path.write_bytes(bytes(changed) if rng.random() < 0.9 else content[:place])
        said = []
        (position, _) = last_position(tile, population.members, said.append)
        expected = earlier if said else whole
        assert (position.step, cases.leaves_equal(position.members, expected[0].members)) == (expected[0].step, True)
        assert position.results.identical(expected[0].results)
        assert all(f"{path} is damaged" in sentence and "passed over" in sentence for sentence in said)
        found += len(said)
    assert found > 0.9 * flips


def test_a_checkpoint_of_other_members_is_passed_over(tmp_path):
    arm, other = ARMS["float32"], ARMS["Adam"]
    populations = [make_plan(each, 2, 4, 10, all_devices(), Limits(blocks=(1,))).population for each in (arm, other)]
    write_checkpoint(tmp_path / "tile", next(positions(arm, populations[0])), {})
    (path,) = checkpoints(tmp_path / "tile")
    with pytest.raises(UserError, match="is of other members"):
        read_checkpoint(path, populations[1].members)
