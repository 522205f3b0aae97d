"""The ledger: norm, relative step and angle of every leaf, against NumPy, in half precision, and through a run."""

import io
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray as xr
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training.cases import arm, leaves_equal
from wd_research.decay import equilibrium
from wd_research.decay.places import decoupled
from wd_research.decay.transforms import decay_weights
from wd_research.experiment import Experiment
from wd_research.flags import UserError
from wd_research.reporting.courses import LEDGER, ledger_figure, ledger_leaves
from wd_research.running import run
from wd_research.training.ledger import ledger, turned

RNG = np.random.default_rng(0)
STEPS = 4
LEAVES = ["Dense_0.bias", "Dense_0.kernel", "Dense_1.bias", "Dense_1.kernel"]


def of_leaf(old, new):
    """Ratio and angle of one leaf."""
    found = ledger()({"w": old}, {}, {"w": new})
    np.testing.assert_allclose(found["w_norm"], np.linalg.norm(np.ravel(new).astype(float)), rtol=1e-5)
    return float(found["w_ratio"]), float(found["w_angle"])


def in_double(old, new):
    """The same by NumPy, in double precision and by another formula: tan(angle) = |rejection| / projection."""
    old, new = (np.asarray(leaf, np.float64).ravel() for leaf in (old, new))
    unit = old / np.linalg.norm(old)
    along = new @ unit
    return np.linalg.norm(new - old) / np.linalg.norm(old), np.arctan2(np.linalg.norm(new - along * unit), along)


def rotated(angle, grown=1.0):
    """A matrix of norm 1, and the same rotated by an angle, its norm multiplied; f32[16, 16]."""
    first, second = np.linalg.qr(RNG.normal(size=(256, 2)))[0].T.reshape(2, 16, 16)
    return np.float32(first), np.float32(grown * (np.cos(angle) * first + np.sin(angle) * second))


@pytest.mark.parametrize("shape", [(3,), (4, 5), (2, 3, 4, 5)])
@pytest.mark.parametrize("size", [1e-3, 1.0, 10.0])
def test_ratio_and_angle_are_those_of_numpy(shape, size):
    old = RNG.normal(size=shape).astype(np.float32)
    new = old + size * RNG.normal(size=shape).astype(np.float32)
    np.testing.assert_allclose(of_leaf(old, new), in_double(old, new), rtol=1e-4)


@pytest.mark.parametrize("angle", [1e-3, 0.1, 1.0, 3.0])
@pytest.mark.parametrize("grown", [0.01, 1.0, 100.0])
def test_the_angle_is_the_one_that_a_leaf_was_rotated_by_whatever_its_norm(angle, grown):
    assert of_leaf(*rotated(angle, grown))[1] == pytest.approx(angle, rel=1e-4)


@pytest.mark.parametrize("angle", [1e-7, 1e-6, 1e-5, 1e-4])
def test_tiny_angles_are_exact_to_the_rounding_of_the_weights_in_float32(angle):
    old, new = rotated(angle)
    assert of_leaf(old, new)[1] == pytest.approx(in_double(old, new)[1], abs=1e-7)
    assert np.arccos(min(1, np.sum(old * new, dtype=np.float32))) != pytest.approx(angle, rel=0.1)  # by the product


def test_a_leaf_of_zeros_has_neither_ratio_nor_angle():
    something, nothing = jnp.ones(3), jnp.zeros(3)
    assert of_leaf(nothing, something) == of_leaf(nothing, nothing) == (0, 0)
    assert of_leaf(something, nothing) == (1, 0)
    assert of_leaf(jnp.zeros((0, 3)), jnp.zeros((0, 3))) == (0, 0)


def test_what_is_not_finite_shows():
    assert np.isnan(of_leaf(jnp.ones(3), jnp.array([1.0, np.nan, 1.0]))).all()


@pytest.mark.parametrize("rate", [1e-3, 0.1])
def test_decay_without_gradient_rotates_nothing_and_its_ratio_is_the_rate(rate):
    params = {"w": jnp.float32(RNG.normal(size=(8, 8)))}
    optimizer = decoupled(optax.identity(), decay_weights(rate), 1.0, optax.constant_schedule(1.0))
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    found = ledger()(params, {}, optax.apply_updates(params, updates))
    assert float(found["w_ratio"]) == pytest.approx(rate, rel=1e-4)
    assert float(found["w_angle"]) < 1e-6


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_measured_in_float32(dtype):
    """Squares of 300 overflow float16, those of 1e-4 underflow it."""
    for size in (1e-4, 300.0):
        old = jnp.asarray(size * RNG.normal(size=(64, 64)), dtype)
        new = old * dtype(0.9)
        found = ledger()({"w": old}, {}, {"w": new})
        assert all(value.dtype == jnp.float32 for value in found.values())
        np.testing.assert_allclose((found["w_ratio"], found["w_angle"]), in_double(old, new), rtol=1e-3)
        np.testing.assert_allclose(found["w_norm"], np.linalg.norm(np.asarray(new, float)), rtol=1e-3)


def test_a_scalar_has_angle_0_or_pi():
    assert of_leaf(jnp.float32(2), jnp.float32(3)) == (0.5, 0)
    assert of_leaf(jnp.float32(2), jnp.float32(-1)) == pytest.approx((1.5, np.pi))
    assert turned(jnp.float32(-1), jnp.float32(-5)) == 0


def test_every_leaf_of_a_tree_has_a_name_that_netcdf_and_tensorboard_allow():
    tree = {"mlp/~/linear 0": {"w": jnp.ones(2)}, "layers": [jnp.ones(3), (jnp.float32(1), {"größe": jnp.ones(1)})]}
    names = {name.rpartition("_")[0] for name in ledger()(tree, {}, tree)}
    assert names == {"mlp___linear_0.w", "layers.0", "layers.1.0", "layers.1.1.gr__e"}
    assert set(ledger()(jnp.ones(2), {}, jnp.ones(2))) == {f"weights_{kind}" for kind in LEDGER}


def walk(predicted, steps=6_000):
    """A vector of 256 whose gradients are noise across it, under AdamW; every metric at every step of the last half."""
    eta, lam = 0.01, 0.1
    optimizer = decoupled(optax.scale_by_adam(0.9, 0.999), decay_weights(lam), eta, optax.constant_schedule(1.0))
    params = {"kernel": jnp.asarray(0.22 * RNG.normal(size=(16, 16)), jnp.float32), "bias": jnp.ones(16)}
    observe = ledger(predicted(eta, lam))

    def step(carried, key):
        params, state = carried
        noise = jax.tree.map(lambda w: jax.random.normal(key, w.shape), params)
        across = jax.tree.map(lambda g, w: g - w * jnp.sum(g * w) / jnp.sum(w * w), noise, params)
        updates, state = optimizer.update(
            jax.tree.map(lambda g, w: g / jnp.linalg.norm(w), across, params), state, params
        )
        after = optax.apply_updates(params, updates)
        return (after, state), observe(params, across, after)

    _, metrics = jax.lax.scan(step, (params, optimizer.init(params)), jax.random.split(jax.random.key(0), steps))
    return {name: np.asarray(values)[steps // 2 :] for name, values in metrics.items()}


def test_a_leaf_that_decays_turns_as_predicted_and_others_have_no_prediction():
    metrics = walk(equilibrium.adam)
    assert np.sqrt(np.mean(metrics["kernel_turning"] ** 2)) == pytest.approx(1, abs=0.02)
    assert np.mean(metrics["kernel_norm"]) == pytest.approx(equilibrium.norm_under_adam(0.01, 0.1, 256), rel=0.05)
    assert "bias_turning" not in metrics
    np.testing.assert_allclose(
        metrics["kernel_turning"], metrics["kernel_angle"] / equilibrium.adam(0.01, 0.1), rtol=1e-5
    )


def test_without_decay_nothing_is_predicted():
    metrics = walk(lambda eta, lam: jnp.float32(0), steps=4)
    assert np.isnan(metrics["kernel_turning"]).all()
    assert np.isfinite(metrics["kernel_angle"]).all()


def train(observe, folder):
    """A run evaluated after every step, and its weights then: [step, s, h, ...]."""
    after_steps = []

    def keep(name, position):
        after_steps.append(jax.tree.map(np.asarray, position.members.state.params))

    arms = {"AdamW": replace(arm("decoupled"), observe=lambda h: observe)}
    done = run(Experiment(arms, seeds=2, steps=STEPS, evaluations=STEPS, confirm=0), folder, observers=[keep],
               console=Console(file=io.StringIO()))  # fmt: skip
    return done, jax.tree.map(lambda *leaves: np.stack(leaves), *after_steps)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small run with a ledger, and its weights."""
    return train(ledger(), tmp_path_factory.mktemp("run") / "small")


def test_a_run_records_the_step_from_the_weights_before_it_to_those_after_it(trained):
    done, params = trained
    for path, weights in jax.tree_util.tree_leaves_with_path(params):
        name = f"running_{'.'.join(key.key for key in path)}"
        ratio, angle = (done.arms["AdamW"][f"{name}_{kind}"].to_numpy() for kind in ("ratio", "angle"))
        for seed, point, step in np.ndindex(2, 3, STEPS - 1):
            found = ratio[seed, point, step + 1], angle[seed, point, step + 1]
            before, after = weights[step : step + 2, seed, point]
            np.testing.assert_allclose(found, in_double(before, after), rtol=1e-3, atol=1e-6)


def test_a_ledger_changes_no_weight(trained, tmp_path):
    assert leaves_equal(trained[1], train(lambda before, gradients, after: {}, tmp_path / "without")[1])


def test_a_run_leaves_every_leaf_in_its_results_and_event_files(trained):
    done, _ = trained
    assert ledger_leaves(done.arms["AdamW"]) == LEAVES
    events = EventAccumulator(str(done.folder / "tensorboard" / "AdamW")).Reload()
    with xr.open_datatree(done.folder / "results.nc") as tree:
        for name in (f"running_{leaf}_{kind}" for leaf in LEAVES for kind in LEDGER):
            values = tree["AdamW"][name].to_numpy()
            assert values.shape == (2, 3, STEPS)
            assert np.isfinite(values).all()
            assert [event.step for event in events.Scalars(f"{name}/mean")] == [1, 2, 3, 4]


def test_the_figure_has_a_line_and_a_label_for_every_leaf(trained, tmp_path):
    figure = ledger_figure("AdamW", trained[0].arms["AdamW"])
    for panel in figure.axes:
        assert panel.get_yscale() == "log"
        assert [line.get_label() for line in panel.lines] == LEAVES
        styles = {(str(line.get_color()), line.get_linestyle(), line.get_marker()) for line in panel.lines}
        assert len(styles) == len(LEAVES)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == LEAVES
    figure.savefig(tmp_path / "ledger.png")


def test_the_figure_shows_the_predicted_angle_where_there_is_one(tmp_path):
    def observed(h):
        return ledger(equilibrium.adam(h.learning_rate, h.decay))

    arms = {"AdamW": replace(arm("decoupled"), observe=observed)}
    done = run(Experiment(arms, seeds=2, steps=STEPS, evaluations=STEPS, confirm=0), tmp_path / "run",
               console=Console(file=io.StringIO()))  # fmt: skip
    without = done.arms["AdamW"]["decay"].to_numpy() == 0
    *_, panel = ledger_figure("AdamW", done.arms["AdamW"].isel(point=~without)).axes
    assert panel.get_title().replace("\n", " ") == "AdamW: angle per step / predicted angle"
    assert [line.get_label() for line in panel.lines[:-1]] == ["Dense_0.kernel", "Dense_1.kernel"]
    assert len(ledger_figure("AdamW", done.arms["AdamW"].isel(point=without)).axes) == len(LEDGER)
    for leaf in ("Dense_0.kernel", "Dense_1.kernel"):
        turning = done.arms["AdamW"][f"running_{leaf}_turning"].to_numpy()
        assert np.isnan(turning[:, without]).all()
        assert np.isfinite(turning[:, ~without]).all()


def test_an_observer_of_steps_in_the_place_of_a_function_of_hyperparameters_is_refused():
    with pytest.raises(UserError, match="observe=lambda h"):
        replace(arm("decoupled"), observe=ledger())


def test_what_is_observed_is_one_number(tmp_path):
    arms = {"AdamW": replace(arm("decoupled"), observe=lambda h: lambda before, gradients, after: {"all": jnp.ones(3)})}
    with pytest.raises(UserError, match=r"the metric all is of shape \(3,\)"):
        run(Experiment(arms, seeds=2, steps=STEPS, confirm=0), tmp_path / "run", console=Console(file=io.StringIO()))
