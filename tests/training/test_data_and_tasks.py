"""Laws of the data, the order of examples, the nets."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wd_research.flags import UserError
from wd_research.training.data import Examples, digits, draw_split, standardised, with_label_noise
from wd_research.training.loading import from_arrays
from wd_research.training.models import Dropout, Mlp
from wd_research.training.nets import as_net
from wd_research.training.products import matrix_product
from wd_research.training.resnet import ResNet
from wd_research.training.tasks import classification, cross_entropy, shuffled_epochs

DIGITS = digits()


def test_digits_are_the_digits_without_constant_pixels():
    assert DIGITS.inputs.shape == (1797, 61)
    assert np.bincount(DIGITS.targets).sum() == 1797
    assert (DIGITS.inputs.std(axis=0) > 0).all()


@settings(max_examples=15)
@given(st.integers(0, 2**31 - 1), st.integers(10, 500), st.integers(10, 500), st.floats(0, 1))
def test_a_split_is_a_partition_with_so_many_labels_mislabelled(seed, train_size, validation_size, label_noise):
    split = draw_split(DIGITS, seed, train_size, validation_size, label_noise)
    assert (len(split.train), len(split.validation)) == (train_size, validation_size)
    every = np.concatenate([split.train, split.validation, split.test])
    np.testing.assert_array_equal(np.sort(every), np.arange(1797))
    assert (split.train_targets != DIGITS.targets[split.train]).sum() == round(label_noise * train_size)
    assert set(split.train_targets) <= set(range(10))


def test_the_training_part_is_standardised_and_constant_pixels_are_0_everywhere():
    split = draw_split(DIGITS, 3, 50, 100, 0.0)
    train = standardised(DIGITS, split, split.train, split.train_targets).inputs
    alive = split.scale > 0
    assert 0 < (~alive).sum() < 20
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(train.std(axis=0)[alive], 1, rtol=1e-5)
    assert not standardised(DIGITS, split, split.test, None).inputs[:, ~alive].any()


@pytest.mark.parametrize("most", [30, 60, 10_000])
def test_a_part_is_evaluated_on_as_many_of_its_examples_as_were_asked_for_from_all_along_it(most):
    split = draw_split(DIGITS, 3, 50, 100, 0.4)
    task = classification(Mlp((4,), 10), DIGITS, lambda seed: split, 10, evaluated=most)
    parts = task.splits(task.data, split)
    for name, places in (("train", split.train), ("validation", split.validation), ("test", split.test)):
        size = min(most, len(places))
        first = np.arange(size) * len(places) // size  # of every stretch
        assert parts[name].inputs.shape == (size, 61)
        targets = split.train_targets if name == "train" else DIGITS.targets[places]
        np.testing.assert_array_equal(parts[name].targets, targets[first])
        np.testing.assert_array_equal(parts[name].inputs, standardised(DIGITS, split, places[first], None).inputs)


def test_a_split_is_the_seeds_own_and_repeatable():
    first, again, other = (draw_split(DIGITS, seed, 50, 100, 0.2) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.train, other.train)


def test_every_other_class_is_equally_likely_where_a_label_is_wrong():
    noisy = with_label_noise(np.full(9000, 3), 1.0, 10, seed=0)
    counts = np.bincount(noisy, minlength=10)
    assert counts[3] == 0
    assert np.abs(np.delete(counts, 3) - 1000).max() < 5 * np.sqrt(1000)


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ((1388, 400, 0.2), r"train_size 1388 does not fit.*give 10 to 1387"),
        ((5, 400, 0.2), "train_size 5 does not fit"),
        ((200, 400, 1.2), "label_noise 1.2 is not a share"),
        ((200, 400, float("nan")), "label_noise nan is not a share"),
    ],
)
def test_sizes_that_do_not_fit_are_named(sizes, says):
    with pytest.raises(UserError, match=says):
        draw_split(DIGITS, 0, *sizes)


WHOLE = 42  # steps


@cache
def order_of(examples, batch, steps):
    """A function of the first step."""
    return jax.jit(lambda first: shuffled_epochs(jax.random.key(7), first, steps, examples, batch))


@pytest.mark.parametrize(("examples", "batch", "steps"), [(5, 1, 12), (23, 4, 1), (40, 5, 9), (7, 5, 2)])
@given(start=st.integers(0, 30))
def test_the_order_does_not_depend_on_where_segments_are_cut(examples, batch, steps, start):
    whole, segment = (
        np.asarray(order_of(examples, batch, count)(first)) for first, count in ((0, WHOLE), (start, steps))
    )
    np.testing.assert_array_equal(segment, whole[start : start + steps])
    per_epoch = examples // batch
    for epoch in range(len(whole) // per_epoch):
        seen = whole[epoch * per_epoch : (epoch + 1) * per_epoch].ravel()
        assert len(set(seen)) == len(seen)


def test_cross_entropy_is_the_mean_surprise_in_nats():
    logits, targets = jnp.array([[0.0, 0.0], [jnp.log(3.0), 0.0]]), jnp.array([1, 0])
    assert float(cross_entropy(logits, targets)) == pytest.approx((np.log(2) + np.log(4 / 3)) / 2, rel=1e-6)


def test_the_matrix_product_and_its_derivatives_are_jaxs():
    """Value, gradient, and the gradient of a gradient, under vmap."""
    key = jax.random.key(0)
    inputs, kernels = jax.random.normal(key, (5, 4)), jax.random.normal(key, (3, 4, 2))

    def derivatives(product):
        def value(x, kernel):
            return jnp.sum(jnp.sin(product(x, kernel)))

        def slope(x, kernel):
            return jnp.sum(jnp.stack([jnp.sum(g**2) for g in jax.grad(value, (0, 1))(x, kernel)]))

        run = jax.vmap(lambda kernel: (value(inputs, kernel), jax.grad(value, (0, 1))(inputs, kernel),
                                       jax.grad(slope, (0, 1))(inputs, kernel)))  # fmt: skip
        return jax.jit(run)(kernels)

    ours, theirs = derivatives(matrix_product), derivatives(jnp.matmul)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), ours, theirs)


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.9])
def test_dropout_drops_its_share_keeps_the_mean_and_may_be_traced(rate):
    ones = jnp.ones((200, 500))
    drop = jax.jit(lambda rate: Dropout().apply({}, ones, rate, rngs={"dropout": jax.random.key(0)}))
    out = np.asarray(drop(rate))
    assert (out == 0).mean() == pytest.approx(rate, abs=5e-3)
    assert out.mean() == pytest.approx(1, abs=0.02)
    assert np.unique(out[out > 0]).tolist() == pytest.approx([1 / (1 - rate)])


def test_batch_norm_lives_in_the_extras_and_replaces_the_bias():
    variables = jax.eval_shape(Mlp((4,), 3, batch_norm=True).init, jax.random.key(0), jnp.ones((2, 5)))
    assert set(variables) == {"params", "batch_stats"}
    assert set(variables["params"]["Dense_0"]) == {"kernel"}


def test_examples_may_be_anybodys_arrays():
    pool = Examples(
        np.zeros((30, 2, 2), np.float32) + np.arange(30, dtype=np.float32)[:, None, None], np.arange(30) % 3
    )
    split = draw_split(pool, 0, 6, 6, 0.5)
    assert split.mean.shape == (2, 2)
    assert len(split.test) == 18


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_images_that_are_evaluated_in_pieces_have_the_numbers_of_all_together(norm):
    """Seven images, three at a time: the last piece is filled up, and that does not show."""
    rng = np.random.default_rng(0)
    images = from_arrays(rng.normal(size=(20, 4, 4, 2)), rng.integers(0, 3, 20), "noise")
    net, split = ResNet((4,), 3, norm=norm), draw_split(images, 0, 9, 7)
    task = classification(net, images, lambda _: split, 3)
    params, extras = task.init(jax.random.key(0))
    validation = task.splits(images, split)["validation"]
    together = as_net(net).apply(params, extras, validation.inputs, False)[0]
    found = task.evaluate(params, extras, validation, "validation")
    np.testing.assert_allclose(task.predict(params, extras, validation.inputs), together, rtol=1e-5, atol=1e-6)
    assert found["loss"] == pytest.approx(float(cross_entropy(together, validation.targets)), rel=1e-5)
    assert found["accuracy"] == pytest.approx(float(np.mean(together.argmax(axis=1) == validation.targets)))
