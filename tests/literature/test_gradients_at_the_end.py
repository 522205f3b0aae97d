"""Gradients near the end of training: what is measured of a step, the noise, and the experiment in small."""

import json
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.literature import gradients_at_the_end
from experiments.literature.gradients_at_the_end import (
    Hypers,
    during,
    equilibrium_ratio,
    experiment,
    growth,
    squares,
)
from experiments.literature.scale_invariant import random_walk
from experiments.literature.wrong_labels import noisy
from wd_research.cli import main
from wd_research.decay.masks import everything, matching
from wd_research.points import grid
from wd_research.running import run
from wd_research.training.step import init_state, train_step
from wd_research.types import Arm, Batch

pytestmark = pytest.mark.slow  # the experiment itself, in little

HYPERS = Hypers(*np.array([0.01, 0.1, 1.0, 0.0, 0.3], np.float32))
POINTS = grid(Hypers, decay=(0.1,))
WALK = random_walk(4)


@pytest.mark.parametrize("mask", [everything, matching("first")])
def test_a_step_is_measured_by_its_gradient_and_the_weights_before_it_on_the_leaves_of_the_mask(mask):
    def loss(hypers):
        return lambda params, extras, batch, key: (
            jnp.sum(params["first"] ** 3) + jnp.sum(params["second"] ** 2),
            (extras, {}),
        )

    params = {"first": jnp.arange(1.0, 4.0), "second": jnp.ones(2)}
    task = WALK._replace(loss=loss, init=lambda key: (params, {}))
    arm = Arm(task, lambda hypers: optax.sgd(0.1), POINTS, axis="decay", observe=lambda h: partial(squares, mask))
    state = init_state(arm, HYPERS, jax.random.key(0))
    _, metrics = train_step(arm, HYPERS, state, Batch(jnp.zeros(1), jnp.zeros(1)), jax.random.key(0))
    gradients = {"first": 3 * params["first"] ** 2, "second": 2 * params["second"]}
    taken_in = [name for name, taken in mask(params).items() if taken]
    of_gradient, of_weights = (sum(np.sum(tree[name] ** 2) for name in taken_in) for tree in (gradients, params))
    np.testing.assert_allclose(metrics["squared_gradient"], of_gradient, rtol=1e-6)
    np.testing.assert_allclose(metrics["squared_weights"], of_weights, rtol=1e-6)
    np.testing.assert_allclose(metrics["squared_ratio"], of_gradient / of_weights, rtol=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_noise_makes_the_share_of_labels_wrong_anew_at_every_step(share):
    def loss(hypers):
        return lambda params, extras, batch, key: (0.0, (extras, {"targets": batch.targets}))

    targets = jnp.tile(jnp.arange(10), 400)
    of_batch = noisy(WALK._replace(loss=loss), share, classes=10).loss(HYPERS)
    first, second = (
        of_batch({}, {}, Batch(jnp.zeros(1), targets), jax.random.key(key))[1][1]["targets"] for key in (0, 1)
    )
    assert ((first >= 0) & (first < 10)).all()
    assert float((first != targets).mean()) == pytest.approx(share, abs=0.03)
    assert bool((first == second).all()) == (share == 0)
    counts = np.bincount(np.asarray((first - targets) % 10), minlength=10)[1:] / len(targets)
    np.testing.assert_allclose(counts, share / 9, atol=0.02)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The experiment with few seeds and steps, to its end."""
    declared = experiment(net_decays=(0.01, 3.0), seeds=3, steps=1_000, widths=(32,))
    return run(declared, tmp_path_factory.mktemp("run") / "small", tensorboard=False)


def test_the_gradient_to_weight_ratio_of_a_walk_is_the_predicted_one(small):
    results = small.arms["walk, constant"]
    measured = during(results, "ratio", 0.5, 1.0).mean(axis=0)
    np.testing.assert_allclose(measured, equilibrium_ratio(results), rtol=0.01)


def test_decoupled_decay_makes_gradients_grow_and_corrected_decay_does_not(small):
    assert growth(small.arms["walk, decoupled"]).min() > 1.1
    np.testing.assert_allclose(growth(small.arms["walk, corrected"]).mean(axis=0), 1, atol=0.03)
    decoupled, corrected = (growth(small.arms[f"net, {name}"])[:, 1] for name in ("decoupled", "corrected"))
    assert (decoupled > 1.2 * corrected).all()


def test_corrected_decay_keeps_the_norm_of_the_normalized_layers(small):
    decoupled, corrected = (growth(small.arms[f"net, {name}"], "weights")[:, 1] for name in ("decoupled", "corrected"))
    np.testing.assert_allclose(corrected.mean(), 1, atol=0.1)
    assert (decoupled < 0.8).all()


def test_every_claim_has_a_verdict_and_the_claims_are_the_answer(small):
    claims = json.loads((small.folder / "summary.json").read_text())["claims"]
    assert [claim["id"] for claim in claims] == [
        "gradient-to-weight-ratio", "walk-grows", "walk-corrected", "net-grows", "net-corrected", "net-norm",
        "corrected-lower-loss", "corrected-as-accurate",
    ]  # fmt: skip
    assert all(claim["verdict"] in ("holds", "fails", "undecided") for claim in claims)
    cells = {claim["id"]: set(claim["cells"]) for claim in claims}
    assert cells["net-grows"] == {"decay 3"}  # with decay 0.01 no equilibrium is reached
    assert cells["corrected-lower-loss"] == {"decay 0.01", "decay 3"}
    assert "of 8 claims" in small.summary["answer"]


def test_the_figure_is_there(small):
    assert (small.folder / "figures" / "gradients.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--decays", "0", "0.1"], "error: --decays 0.0 cannot be"),
        (["--net-decays"], "error: --net-decays is empty"),
        (["--net-learning-rate", "inf"], "error: --net-learning-rate inf cannot be"),
        (["--seeds", "0"], "error: --seeds 0 is too few"),
        (["--steps", "19"], "error: --steps 19 is too few: give 20 or more"),
        (["--steps", "100"], "error: --steps 100 is too few: the net's fastest decay takes more than"),
        (["--widths"], "error: --widths is empty: give the units"),
        (["--noise", "1.5"], "error: --noise 1.5 is not a share"),
        (["--train-size", "5"], "error: train_size 5 does not fit"),
    ],
)
def test_bad_input_gets_one_sentence(capsys, monkeypatch, words, says):
    monkeypatch.setattr(sys, "argv", ["gradients_at_the_end", *words])
    with pytest.raises(SystemExit) as stopped:
        main(gradients_at_the_end.experiment)
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith(says)
    assert message.count("\n") == 1
