"""A small residual net: shapes, norms, and which of its leaves decay."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wd_research as wd
from wd_research.flags import UserError
from wd_research.training.resnet import ResNet

IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(6, 8, 8, 1)), jnp.float32)


def made(norm, train=False, images=IMAGES, **changes):
    net = ResNet((8, 12), 10, norm=norm, **changes)
    variables = net.init(jax.random.key(0), images)
    outputs, after = net.apply(variables, images, train, mutable=["batch_stats"])
    return outputs, variables, after


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
@pytest.mark.parametrize("sides", [(8, 8), (7, 9), (28, 28)])
def test_images_of_any_sides_have_logits(norm, sides):
    outputs, _, _ = made(norm, images=jnp.zeros((2, *sides, 3)))
    assert outputs.shape == (2, 10)


def test_in_training_batch_norm_sees_the_batch_and_group_norm_each_example_alone():
    others = IMAGES.at[3:].set(5 * IMAGES[3:] + 1)
    for norm, alike in (("batch", False), ("group", True)):
        one, two = (made(norm, train=True, images=images)[0][:3] for images in (IMAGES, others))
        assert np.allclose(one, two, atol=1e-5) == alike
    _, before, after = made("batch", train=True)
    assert not np.allclose(before["batch_stats"]["norm"]["mean"], after["batch_stats"]["norm"]["mean"])


def test_kernels_decay_and_biases_and_norms_do_not():
    params = made("batch")[1]["params"]
    taken = jax.tree_util.tree_leaves_with_path(wd.kernels(params))
    chosen = {path[-1].key for path, leaf in taken if np.any(leaf)}
    left = {path[-1].key for path, leaf in taken if not np.any(leaf)}
    assert (chosen, left) == ({"kernel"}, {"bias", "scale"})


def test_it_learns_digits(tmp_path):
    digits = wd.digits()
    full = np.zeros((len(digits.targets), 64), np.float32)
    full[:, :61] = digits.inputs
    images = wd.Examples(full.reshape(-1, 8, 8, 1), digits.targets)
    task = wd.classification(ResNet((4, 8), 10), images, lambda seed: wd.draw_split(images, seed, 400, 200), 50)

    def adam(h):
        return wd.decoupled(wd.cores.adam(), wd.decay_weights(h.decay), h.learning_rate, lambda step: 1.0)

    arm = wd.Arm(task, adam, wd.grid(learning_rate=(0.01,), decay=(0.0, 0.1)), "decay")
    result = wd.run(wd.Experiment({"arm": arm}, 2, 60, 2, confirm=0, figures=lambda arms: {}), tmp_path,
                    tensorboard=False)  # fmt: skip
    assert result.arms["arm"]["test_accuracy"].to_numpy()[..., -1].min() > 0.5


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"channels": ()}, "a net without channels sees nothing"),
        ({"channels": (8, 6), "norm": "group"}, "6 channels make no 4 groups"),
        ({"channels": (0,)}, "--channels 0 is too few"),
        ({"classes": 0}, "--classes 0 is too few"),
    ],
)
def test_a_net_that_cannot_be_is_said_where_it_is_declared(given, says):
    with pytest.raises(UserError) as raised:
        ResNet(**({"channels": (8,), "classes": 10} | given))
    assert says in str(raised.value)
