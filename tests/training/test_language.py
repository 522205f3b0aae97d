"""Language modelling: what is drawn from a text, the decoder, and wrappers of tasks."""

from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import wd_research as wd
from wd_research.flags import UserError
from wd_research.training import loop
from wd_research.training.decoder import Decoder, causal_attention, turned
from wd_research.training.language import BLOCK, Windows, check_sizes, epochs_of, language, spread
from wd_research.training.texts import Text, from_bin
from wd_research.training.wrappers import accumulated, with_average, with_weights_of

WINDOW, BATCH = 100, 4
RNG = np.random.default_rng(0)
TEXT = Text(RNG.integers(0, 20, 30 * BLOCK + 77).astype(np.uint8), 20, 2.0, "noise")
NET = partial(Decoder, 20, width=8, depth=1, heads=2)


def task(train_tokens=10 * BLOCK, net=None, **changes):
    given = {"window": WINDOW, "batch_size": BATCH, "held_out": 3 * BLOCK, "evaluated": 8} | changes
    return language(net or NET(), TEXT, train_tokens=train_tokens, **given)


# What is drawn


def test_parts_share_no_block_and_smaller_trainings_see_parts_of_larger_ones():
    small, large = (task(size * BLOCK).split(3) for size in (5, 20))
    for split in (small, large):
        blocks = np.concatenate(split)
        assert len(set(blocks.tolist())) == len(blocks)
    assert small.train.tolist() == large.train[:5].tolist()
    assert small.test.tolist() == large.test.tolist()
    assert task().split(3).test.tolist() != task().split(4).test.tolist()


def test_an_epoch_takes_every_window_of_the_training_blocks_once_from_one_place_on():
    one, key = task(), jax.random.key(0)
    per_block = (BLOCK - 1) // WINDOW
    per_epoch = 10 * per_block // BATCH
    assert epochs_of(per_epoch, WINDOW, BATCH, 10 * BLOCK) == 1
    places = np.asarray(one.order(key, jnp.int32(0), 3 * per_epoch)).reshape(3, -1)
    shifts = []
    for epoch in places:
        within = epoch % BLOCK
        (shift,) = set((within % WINDOW).tolist())
        shifts.append(shift)
        assert len(set(epoch.tolist())) == len(epoch)
        assert within.max() + WINDOW < BLOCK  # what follows the last token is of the same block
    assert len(set(shifts)) > 1


@pytest.mark.parametrize("start", [1, 46, 47, 100])
def test_the_order_does_not_depend_on_where_a_run_is_cut(start):
    one, key = task(), jax.random.key(5)
    whole = one.order(key, jnp.int32(0), start + 7)
    assert np.array_equal(one.order(key, jnp.int32(start), 7), whole[start:])


def test_a_window_is_of_the_text_and_its_targets_are_what_follows():
    one, tokens = task(), np.asarray(TEXT.tokens)
    split = one.split(0)
    places = one.order(jax.random.key(0), jnp.int32(0), 1)[0]
    batch = one.gather(one.data, split, places)
    assert batch.inputs.dtype == jnp.int32
    for row, place in enumerate(np.asarray(places)):
        first = split.train[place // BLOCK] * BLOCK + place % BLOCK
        assert np.array_equal(batch.inputs[row], tokens[first : first + WINDOW])
        assert np.array_equal(batch.targets[row], tokens[first + 1 : first + WINDOW + 1])


def test_a_part_is_evaluated_on_windows_spread_over_its_blocks():
    part, cut = np.array([7, 3, 11], np.int32), Windows(WINDOW, BATCH, 30, 10, 3, 6)
    assert (spread(part, cut) // BLOCK).tolist() == [7, 7, 3, 3, 11, 11]
    every = spread(part, cut._replace(evaluated=1_000))
    assert len(set(every.tolist())) == 60


def test_the_loss_of_a_part_is_the_mean_over_its_windows_whatever_a_step_has():
    params, extras = task().init(jax.random.key(1))
    losses = []
    for batch_size in (1, 4, 8):
        one = task(batch_size=batch_size)
        part = one.splits(one.data, one.split(0))["test"]
        losses.append(one.evaluate(params, extras, part, "test")["loss"])
    logits = one.predict(params, extras, part.inputs)
    wanted = optax.softmax_cross_entropy_with_integer_labels(logits, part.targets).mean()
    assert np.allclose(losses, wanted, rtol=1e-6)
    found = one.evaluate(params, extras, part, "test")
    assert found["bits_per_byte"] == pytest.approx(float(wanted) / np.log(2) / 2.0, rel=1e-6)


def test_a_text_whose_tokens_have_no_known_size_has_no_bits_per_byte():
    one = language(NET(), TEXT._replace(bytes_per_token=None), WINDOW, BATCH, 5 * BLOCK, BLOCK)
    params, extras = one.init(jax.random.key(1))
    part = one.splits(one.data, one.split(0))["test"]
    assert set(one.evaluate(params, extras, part, "test")) == {"loss"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"window": 0}, "--window 0 is too few"),
        ({"window": BLOCK}, f"a window of {BLOCK} is longer than the blocks"),
        ({"batch_size": 0}, "--batch-size 0 is too few"),
        ({"train_tokens": 25 * BLOCK}, "noise has 30 blocks of 2,048 tokens, and 51,200 tokens to train on and twice"),
        ({"net": Decoder(19)}, "a vocabulary of 20 needs logits of shape (2, 100, 20)"),
        ({"net": wd.Mlp((4,), 20)}, "the net makes outputs of shape (2, 20) of tokens of shape (2, 100)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_before_anything_is_compiled(changes, says):
    with pytest.raises(UserError) as raised:
        task(**changes)
    assert says in str(raised.value)


def test_a_short_text_has_no_block():
    with pytest.raises(UserError, match="has 0 blocks"):
        check_sizes(TEXT._replace(tokens=TEXT.tokens[:100]), 10, 10, 10)


# A text that is larger than a device


@pytest.fixture
def on_disk(tmp_path):
    """The text, in a file of 16-bit tokens."""
    (tmp_path / "text.bin").write_bytes(TEXT.tokens.astype("<u2").tobytes())
    return from_bin(tmp_path / "text.bin", 20)


def streamed(text, **changes):
    given = {"window": WINDOW, "batch_size": BATCH, "train_tokens": 10 * BLOCK, "held_out": 3 * BLOCK, "evaluated": 8}
    return language(NET(), text, **(given | changes))


def test_what_the_host_reads_is_every_window_of_the_training_blocks_once_an_epoch(on_disk):
    one, tokens = streamed(on_disk), np.asarray(TEXT.tokens)
    per_epoch = 10 * ((BLOCK - 1) // WINDOW) // BATCH
    train = Windows(WINDOW, BATCH, 30, 10, 3, 8).split(5).train
    where = {tokens[start : start + WINDOW + 1].tobytes(): start for start in range(30 * BLOCK - WINDOW)}
    for epoch in range(2):
        windows = one.pool(5, epoch * per_epoch, per_epoch).reshape(-1, WINDOW + 1)
        starts = np.array([where[window.astype(np.uint8).tobytes()] for window in windows])
        assert len(set(starts.tolist())) == len(starts) == per_epoch * BATCH
        assert set((starts // BLOCK).tolist()) == set(train.tolist())
        assert (starts % BLOCK + WINDOW < BLOCK).all()
    assert not np.array_equal(one.pool(5, 0, 3), one.pool(6, 0, 3))
    assert np.array_equal(one.pool(5, 0, 9)[4:], one.pool(5, 4, 5))


def test_parts_are_those_of_the_text_in_memory(on_disk):
    one, other = streamed(on_disk), task()
    params, extras = one.init(jax.random.key(1))
    for name, part in other.splits(other.data, other.split(2)).items():
        mine = one.splits(one.data, one.split(2))[name]
        assert np.array_equal(mine.inputs, part.inputs)
        assert one.evaluate(params, extras, mine, name)["loss"] == other.evaluate(params, extras, part, name)["loss"]


@pytest.mark.parametrize("piece", [1e-6, 0.01, 100.0])
def test_it_trains_to_the_same_bits_whatever_a_call_takes(on_disk, tmp_path, monkeypatch, piece):
    monkeypatch.setattr(loop, "PIECE", piece)
    found = run_of(streamed(on_disk), tmp_path / "run", steps=12).arms["arm"]
    monkeypatch.setattr(loop, "PIECE", 0.1)
    whole = run_of(streamed(on_disk), tmp_path / "other", steps=12).arms["arm"]
    assert found.equals(whole)
    assert np.isfinite(found["test_loss"].to_numpy()).all()


def test_a_device_holds_the_windows_of_one_call_and_not_the_text(on_disk):
    from wd_research.training.population import all_devices, put

    one = arm(streamed(on_disk))
    inputs = put(one, most=2, mesh=all_devices(), length=7)
    assert inputs.pool.shape == (2, 7, BATCH, WINDOW + 1)
    held = sum(leaf.nbytes for leaf in jax.tree.leaves((inputs.data, inputs.splits, inputs.pool)))
    assert held < on_disk.tokens.nbytes / 2


# The decoder

OPTIONS = [
    {"norm": "layer"}, {"norm": "none"}, {"positions": "learned"}, {"qk_norm": False}, {"activation": "gelu"},
    {"activation": "swiglu"}, {"tied": True}, {"dtype": jnp.bfloat16}, {"depth": 3},
]  # fmt: skip


@pytest.mark.parametrize("options", [{}, *OPTIONS], ids=str)
def test_no_token_sees_what_follows_it(options):
    net, tokens = NET(**options), jnp.asarray(RNG.integers(0, 20, (2, 12)))
    params = net.init(jax.random.key(0), tokens)
    logits = net.apply(params, tokens)
    assert (logits.shape, logits.dtype) == ((2, 12, 20), jnp.float32)
    others = net.apply(params, tokens.at[:, 7:].set(3))
    assert np.array_equal(logits[:, :7], others[:, :7])
    assert not np.allclose(logits[:, 7:], others[:, 7:])


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_changes_what_the_net_says(options):
    tokens = jnp.asarray(RNG.integers(0, 20, (2, 12)))
    plain, other = (net.apply(net.init(jax.random.key(0), tokens), tokens) for net in (NET(), NET(**options)))
    assert not np.array_equal(plain, other)


def test_the_logits_begin_at_the_size_of_one():
    net, tokens = Decoder(50, width=64, depth=4), jnp.asarray(RNG.integers(0, 50, (4, 64)))
    for tied in (False, True):
        logits = net.clone(tied=tied).apply(net.clone(tied=tied).init(jax.random.key(0), tokens), tokens)
        assert 0.7 < logits.std() < 1.4


def test_rotary_positions_keep_lengths_and_know_distances_alone():
    query, key = (jnp.asarray(RNG.normal(size=(1, 1, 1, 6)), jnp.float32) for _ in range(2))
    queries, keys = (turned(jnp.tile(x, (1, 9, 1, 1)))[0, :, 0] for x in (query, key))
    products = queries @ keys.T
    for distance in range(-8, 9):
        along = np.diagonal(products, distance)
        assert np.allclose(along, along[0], atol=1e-5)
    assert np.allclose(jnp.linalg.norm(queries, axis=-1), jnp.linalg.norm(query), rtol=1e-6)


def test_attention_is_that_of_jax():
    query, key, value = (jnp.asarray(RNG.normal(size=(2, 7, 3, 4)), jnp.float32) for _ in range(3))
    wanted = jax.nn.dot_product_attention(query, key, value, is_causal=True)
    assert np.allclose(causal_attention(query, key, value), wanted, atol=1e-6)


def test_matrices_decay_and_embeddings_and_gains_do_not():
    tokens = jnp.zeros((1, 5), jnp.int32)
    params = NET(positions="learned").init(jax.random.key(0), tokens)["params"]
    taken = wd.kernels(params)
    chosen = {"/".join(str(key.key) for key in path)
              for path, leaf in jax.tree_util.tree_leaves_with_path(taken) if np.any(leaf)}  # fmt: skip
    assert chosen == {f"block_0_{part}/kernel" for part in ("query", "key", "value", "out", "up", "down")} | {
        "head/kernel"
    }


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"width": 10, "heads": 4}, "a width of 10 cannot be shared by 4 heads: give a multiple of 4"),
        ({"width": 12, "heads": 4}, "rotary positions turn pairs, and a head has 3 entries"),
        ({"vocabulary": 0}, "--vocabulary 0 is too few"),
        ({"depth": 0}, "--depth 0 is too few"),
    ],
)
def test_a_net_that_cannot_be_is_said_where_it_is_declared(given, says):
    with pytest.raises(UserError) as raised:
        Decoder(**({"vocabulary": 20} | given))
    assert says in str(raised.value)


# Wrappers


def arm(of_task, steps=6):
    def optimizer(h):
        return wd.decoupled(wd.cores.adam(), wd.decay_weights(h.decay), h.learning_rate, wd.schedules.cosine(steps, 2))

    return wd.Arm(of_task, optimizer, wd.grid(learning_rate=(0.01,), decay=(0.0, 1.0)), "decay")


def gradients_of(of_task, batch, extras=None):
    params, own = of_task.init(jax.random.key(0))
    loss = of_task.loss(None)
    return jax.value_and_grad(loss, has_aux=True)(params, own, batch, jax.random.key(1))


@pytest.mark.parametrize("pieces", [1, 2, 4])
def test_a_batch_in_pieces_has_the_gradient_of_the_batch(pieces):
    one = task()
    batch = one.gather(one.data, one.split(0), one.order(jax.random.key(0), jnp.int32(0), 1)[0])
    (value, (_, metrics)), gradients = gradients_of(one, batch)
    (also, (_, others)), found = gradients_of(accumulated(one, pieces), batch)
    assert also == pytest.approx(float(value), rel=1e-6)
    assert others["loss"] == pytest.approx(float(metrics["loss"]), rel=1e-6)
    for wanted, leaf in zip(jax.tree.leaves(gradients), jax.tree.leaves(found), strict=True):
        assert np.allclose(wanted, leaf, rtol=1e-4, atol=1e-6)


def test_a_batch_that_cannot_be_cut_is_said_before_anything_is_compiled():
    from wd_research.training.checks import check_arm

    with pytest.raises(UserError, match="a batch of 4 cannot be cut into 3 pieces"):
        check_arm("arm", arm(accumulated(task(), 3)))


def run_of(of_task, tmp_path, steps=6):
    return wd.run(wd.Experiment({"arm": arm(of_task, steps)}, seeds=2, steps=steps, evaluations=2, confirm=0,
                                figures=lambda arms: {}), tmp_path, tensorboard=False)  # fmt: skip


def test_an_average_is_the_mean_of_the_weights_so_far_and_is_evaluated_beside_them(tmp_path):
    one = with_average(task(), share=0.01)
    results = run_of(one, tmp_path).arms["arm"]
    assert {"test_loss", "test_average_loss", "test_average_bits_per_byte"} <= set(results.data_vars)
    assert not np.array_equal(results["test_loss"], results["test_average_loss"])

    params, extras = one.init(jax.random.key(0))
    batch = one.gather(one.data, one.split(0), one.order(jax.random.key(0), jnp.int32(0), 1)[0])
    seen = []
    for number in range(5):
        moved = jax.tree.map(lambda leaf, number=number: leaf + number, params)
        seen.append(moved)
        _, (extras, _) = one.loss(None)(moved, extras, batch, jax.random.key(0))
    for leaf, *steps in zip(*map(jax.tree.leaves, (extras["average"], *seen)), strict=True):
        assert np.allclose(leaf, np.mean(steps, axis=0), rtol=1e-5)


def test_what_is_trained_learns(tmp_path):
    """Of noise there is nothing to learn but how often each token is."""
    text = Text(np.tile(np.arange(20, dtype=np.uint8), 30 * BLOCK // 20 + 1), 20, 1.0, "a row of twenty")
    one = language(NET(width=16), text, WINDOW, BATCH, 10 * BLOCK, 3 * BLOCK, evaluated=8)
    results = run_of(one, tmp_path, steps=60).arms["arm"]
    assert results.attrs["loss_unit"] == "nats"
    loss = results["test_loss"].to_numpy()
    assert (loss[..., -1] < 1.5).all()
    assert (loss[..., -1] < loss[..., 0]).all()


def test_weights_of_another_precision_stay_so():
    from wd_research.training.member import Seed, draw_order, init_member, train_segment

    one = arm(with_weights_of(task(), jnp.bfloat16))
    seed, hypers = Seed(one.task.data, one.task.split(0), jax.random.key(0)), jax.tree.map(lambda x: x[1], one.points)
    member = init_member(one, seed, hypers)
    order = draw_order(one, seed.key, jnp.int32(0), 2)
    after = train_segment(one, seed, order, jnp.int32(0), jnp.int32(2), jnp.bool_(True), member, hypers)
    assert {leaf.dtype for leaf in jax.tree.leaves(after.state.params)} == {jnp.dtype(jnp.bfloat16)}
    moved = jax.tree.map(lambda a, b: (a != b).any(), member.state.params, after.state.params)
    assert all(jax.tree.leaves(moved))
    with pytest.raises(UserError, match="weights of type int32 have no gradients"):
        with_weights_of(task(), jnp.int32)


def test_a_linen_net_of_ones_own_is_a_language_model_too():
    class Bigrams(nn.Module):
        @nn.compact
        def __call__(self, tokens):
            return nn.Embed(20, 20)(tokens)

    one = task(net=Bigrams())
    assert jax.eval_shape(one.init, jax.random.key(0))[0]["Embed_0"]["embedding"].shape == (20, 20)
    assert replace(arm(one), axis="decay").size == 2
