"""Rotational equilibrium: the measurement against known rotations, the nets' symmetry, and the experiment in small."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray as xr

from experiments.literature import rotational_equilibrium
from experiments.literature.rotational_equilibrium import angle, experiment, late, layers
from experiments.literature.scale_invariant import NormalizedMlp, random_walk, unit
from experiments.literature.turning import ANGLES, Walker, coordinates, rotation, with_decay
from wd_research.cli import main
from wd_research.points import grid
from wd_research.running import run
from wd_research.training.ledger import turned
from wd_research.training.step import init_state, train_step
from wd_research.types import Arm, Batch

pytestmark = pytest.mark.slow  # the experiment itself, in little

HYPERS = Walker(*np.array([0.01, 0.0, 0.1, 0.3], np.float32))
NOTHING = Batch(np.zeros(1), np.zeros(1))
WALK = random_walk(16)


@pytest.mark.parametrize("angle", [1e-5, 1e-3, 0.1, 1.0, 3.0])
@pytest.mark.parametrize("grown", [0.01, 1.0, 100.0])
def test_the_angle_is_the_angle_that_a_matrix_was_rotated_by(angle, grown):
    """Whatever its norm did; a scalar product in float32 could not resolve 1e-5."""
    first, second = np.linalg.qr(np.random.default_rng(0).normal(size=(256, 2)))[0].T.reshape(2, 16, 16)
    after = grown * (np.cos(angle) * first + np.sin(angle) * second)
    metrics = rotation({"w": jnp.float32(3 * first)}, {}, {"w": jnp.float32(after)})
    np.testing.assert_allclose(np.sqrt(metrics["squared_angle_0"]), angle, rtol=1e-2 if angle < 1e-4 else 1e-4)
    np.testing.assert_allclose(metrics["norm_0"], 3, rtol=1e-5)


def test_the_angle_is_of_the_step_itself_and_not_of_the_one_before_it():
    """A loss that remembers the weights of the step before would measure the same angles one step later."""

    def remembering(hypers):
        loss = WALK.loss(hypers)

        def of_step(params, before, batch, key):
            value, _ = loss(params, {}, batch, key)
            return value, (params, {"squared_angle_before": turned(before["w"], params["w"]) ** 2})

        return of_step

    task = WALK._replace(init=lambda key: 2 * WALK.init(key)[:1], loss=remembering)
    arm = Arm(task, with_decay(optax.trace(0.9)), grid(Walker, decay=(0.1,)), axis="decay", observe=lambda h: rotation)
    state, found = init_state(arm, HYPERS, jax.random.key(0)), []
    for step in range(6):
        state, metrics = train_step(arm, HYPERS, state, NOTHING, jax.random.key(1 + step))
        found.append((float(metrics["squared_angle_0"]), float(metrics["squared_angle_before"])))
    of_step, of_step_before = np.transpose(found)  # rad^2
    assert of_step_before[0] == 0
    np.testing.assert_allclose(of_step[:-1], of_step_before[1:], rtol=1e-5)


@pytest.mark.parametrize("norm", [0.1, 10.0])
def test_the_gradient_of_a_walk_is_noise_orthogonal_to_it(norm):
    weights = {"w": norm * unit(jax.random.normal(jax.random.key(0), (64, 64)))}
    loss = random_walk(64).loss(HYPERS)
    first, second = (jax.grad(loss, has_aux=True)(weights, {}, NOTHING, jax.random.key(key))[0]["w"] for key in (1, 2))
    deviation = float(HYPERS.scale) / norm  # of an entry
    assert abs(jnp.sum(first * weights["w"])) < 1e-3 * deviation * norm
    np.testing.assert_allclose(np.std(first), deviation, rtol=0.05)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.1


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_every_layer_of_the_net_is_scale_invariant(factor):
    model = NormalizedMlp((8, 6), classes=4)
    inputs = jax.random.normal(jax.random.key(0), (5, 7))
    leaves, tree = jax.tree.flatten(jax.jit(model.init)(jax.random.key(1), inputs))
    assert len(leaves) == 3
    apply = jax.jit(
        lambda factors: model.apply(tree.unflatten([f * w for f, w in zip(factors, leaves, strict=True)]), inputs)
    )
    before = apply(np.ones(3, np.float32))
    for layer in range(3):
        scaled = apply(np.where(np.arange(3) == layer, factor, 1).astype(np.float32))
        np.testing.assert_allclose(scaled, before, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The experiment with few seeds and steps, to its end."""
    declared = experiment(scales=(0.1, 1.0), decays=(0.2,), net_decays=(1.0, 3.0), net_strengths=(0.02, 0.06), seeds=3,
                          steps=3_000, widths=(32,))  # fmt: skip
    return run(declared, tmp_path_factory.mktemp("run") / "small", tensorboard=False)


@pytest.mark.parametrize("name", ANGLES)
def test_a_walk_turns_as_predicted(small, name):
    predicted = ANGLES[name](*coordinates(small.arms[name]))
    np.testing.assert_allclose(angle(small.arms[name]).mean(axis=0), predicted, rtol=0.05)


def test_under_adamw_the_size_of_the_gradient_does_not_matter_and_under_adam_with_l2_it_does(small):
    ratios = {name: (angle(small.arms[name])[:, 0] / angle(small.arms[name])[:, 1]).mean() for name in ANGLES}
    for name in ("AdamW", "momentum SGD", "Lion"):
        assert ratios[name] == pytest.approx(1, abs=0.01)
    assert ratios["Adam with L2"] == pytest.approx(10 ** (1 / 3), rel=0.03)


def test_the_norm_under_adamw_is_the_predicted_one(small):
    learning_rates, decays, _ = coordinates(small.arms["AdamW"])
    norms = late(small.arms["AdamW"], "running_norm_0").mean(axis=0)
    np.testing.assert_allclose(norms, np.sqrt(learning_rates * 256 / (2 * decays)), rtol=0.1)


def test_the_layers_of_the_net_turn_more_alike_under_adamw(small):
    spread = {name: np.ptp(np.log(layers(small.arms[name])), axis=-1) for name in ("net, AdamW", "net, Adam with L2")}
    assert spread["net, AdamW"].max() < spread["net, Adam with L2"].min()


def test_every_claim_has_a_verdict_and_the_claims_are_the_answer(small):
    claims = json.loads((small.folder / "summary.json").read_text())["claims"]
    assert [claim["id"] for claim in claims] == [
        "rotation-adamw", "rotation-momentum-sgd", "rotation-lion", "rotation-adam-with-l2", "norm-adamw",
        "scale-free-adamw", "balanced-adamw", "unbalanced-adam-with-l2", "adamw-generalises-better",
    ]  # fmt: skip
    assert all(claim["verdict"] in ("holds", "fails", "undecided") for claim in claims)
    verdicts = {claim["id"]: claim["verdict"] for claim in claims}
    assert verdicts["rotation-momentum-sgd"] == verdicts["scale-free-adamw"] == "holds"
    assert verdicts["unbalanced-adam-with-l2"] == "undecided"  # a grid of two decays has nothing but edges
    assert "of 9 claims" in small.summary["answer"]


def test_the_figure_and_the_measurements_are_there(small):
    assert (small.folder / "figures" / "rotation.png").read_bytes()[:4] == b"\x89PNG"
    with xr.open_datatree(small.folder / "results.nc") as tree:
        assert dict(tree["Lion"].to_dataset().sizes) == {"seed": 3, "point": 2, "step": 10, "edge": 42}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--scales", "1"], "error: --scales has one value: give two or more"),
        (["--scales", "0", "1"], "error: --scales 0.0 cannot be"),
        (["--decays", "-1"], "error: --decays -1.0 cannot be"),
        (["--learning-rate", "nan"], "error: --learning-rate nan cannot be"),
        (["--net-strengths"], "error: --net-strengths is empty"),
        (["--seeds", "0"], "error: --seeds 0 is too few"),
        (["--steps", "0"], "error: --steps 0 is too few"),
        (["--train-size", "5000"], "error: train_size 5000 does not fit"),
        (["--label-noise", "2"], "error: label_noise 2.0 is not a share"),
        (["--widths"], "error: --widths is empty: give the units"),
        (["--widths", "8", "0"], "error: --widths 0 is too few"),
    ],
)
def test_bad_input_gets_one_sentence(capsys, monkeypatch, words, says):
    monkeypatch.setattr(sys, "argv", ["rotational_equilibrium", *words])
    with pytest.raises(SystemExit) as stopped:
        main(rotational_equilibrium.experiment)
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith(says)
    assert message.count("\n") == 1
