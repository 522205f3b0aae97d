"""Which layers decay: every leaf decays at its own rate, every choice of layers has equal trials."""

import io
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from rich.console import Console

from experiments.article.rows import ROWS, row_of
from experiments.article.which_layers import (
    CLAIMS,
    DECAYED,
    UNDER_NORMS,
    Hypers,
    alike,
    experiment,
    gain,
    rates,
    rates_under_norms,
)
from wd_research.evidence.claims import judge
from wd_research.evidence.measured import Evidence
from wd_research.running import run

pytestmark = pytest.mark.slow  # the experiment itself, in little

LEAVES = {  # name of a leaf -> the field of Hypers that is its rate, without norms and with
    False: {
        "Dense_0/kernel": "input", "Dense_1/kernel": "hidden", "Dense_2/kernel": "output",
        "Dense_0/bias": "biases", "Dense_1/bias": "biases", "Dense_2/bias": "biases",
    },
    True: {
        "Dense_0/kernel": "input", "Dense_1/kernel": "hidden", "Dense_2/kernel": "output", "Dense_2/bias": "biases",
        "BatchNorm_0/scale": "norms", "BatchNorm_0/bias": "norms", "BatchNorm_1/scale": "norms",
        "BatchNorm_1/bias": "norms",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The experiment for a few steps."""
    folder = tmp_path_factory.mktemp("which_layers") / "small"
    small = replace(experiment(seeds=2, steps=8), confirm=2)
    return run(small, folder, tensorboard=False, console=Console(file=io.StringIO()))


def known(accuracy):
    """Results of four seeds, alike but for rounding, at rates 0, 1, 2, 3 of the hidden layer; validation as test."""
    values = np.broadcast_to(np.array(accuracy)[:, None], (4, 4, 1)) + 1e-9 * np.arange(4)[:, None, None]
    return xr.Dataset(
        {f"{part}_accuracy": (("seed", "point", "step"), values) for part in ("validation", "test")}
        | {"diverged_at": (("seed", "point"), np.full((4, 4), -1))},
        {"hidden": ("point", np.float32([0, 1, 2, 3])), "step": [10]},
        {"axis": "hidden"},
    )


@pytest.mark.parametrize("batch_norm", [False, True])
def test_every_leaf_shrinks_at_the_rate_of_its_own_field(batch_norm):
    arm = experiment().trained["normalized" if batch_norm else "all layers"]
    params, _ = arm.task.init(jax.random.key(0))
    params = jax.tree.map(jnp.ones_like, params)
    hypers = Hypers(0.1, 1.0, 2.0, 3.0, 4.0, 5.0)
    optimizer = arm.optimizer(hypers)
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    found = {f"{layer}/{leaf}": float(update.mean()) for layer, of in updates.items() for leaf, update in of.items()}
    expected = {leaf: -0.1 * getattr(hypers, field) for leaf, field in LEAVES[batch_norm].items()}
    assert found == pytest.approx(expected, rel=1e-4)


def test_the_rates_name_every_layer_and_no_other():
    for batch_norm, of_leaves in ((False, rates), (True, rates_under_norms)):
        layers = {leaf.partition("/")[0] for leaf in LEAVES[batch_norm]}
        assert set(of_leaves(Hypers(*range(6)))) == layers


def test_every_choice_has_equal_trials_and_decays_its_layers_at_one_rate():
    arms = experiment().trained
    assert set(arms) == set(DECAYED) | set(UNDER_NORMS)
    assert len({len(arm.points.input) for arm in arms.values()}) == 1
    for name, arm in arms.items():
        fields = (DECAYED | UNDER_NORMS)[name]
        shared = getattr(arm.points, arm.axis)
        assert (shared == 0).any()
        assert len(set(zip(*arm.points, strict=True))) == len(shared)
        for field in Hypers._fields[1:]:
            np.testing.assert_array_equal(getattr(arm.points, field), shared if field in fields else 0)


def test_the_choices_differ_in_what_decays():
    assert len(set(DECAYED.values())) == len(DECAYED)
    assert set(DECAYED["all layers"]) - set(DECAYED["all but the output"]) == {"output"}
    assert set(DECAYED["all layers and biases"]) - set(DECAYED["all layers"]) == {"biases"}
    assert set(UNDER_NORMS["normalized, norms too"]) - set(UNDER_NORMS["normalized"]) == {"norms"}


def test_gains_are_over_the_same_net_without_and_differences_over_another_choice():
    arms = Evidence({"hidden": known([0.5, 0.5, 0.6, 0.5]), "all layers": known([0.5, 0.5, 0.58, 0.5])})
    assert judge(gain("C8-x", "", "hidden"), arms)["measured"] == pytest.approx(0.1)
    assert judge(alike("C8-x", "", "hidden", "all layers"), arms)["measured"] == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("first", "at_least", "verdict"),
    [(0.603, False, "holds"), (0.61, False, "fails"), (0.61, True, "holds"), (0.59, False, "fails"),
     (0.59, True, "fails")],
)  # fmt: skip
def test_alike_is_within_half_a_point_or_not_below_it(first, at_least, verdict):
    arms = Evidence({"one": known([0.5, 0.5, first, 0.5]), "other": known([0.5, 0.5, 0.6, 0.5])})
    assert judge(alike("C8-x", "", "one", "other", at_least), arms)["verdict"] == verdict


def test_two_programs_train_all_of_it(finished):
    assert '"programs": 2' in (finished.folder / "experiment.json").read_text()
    assert set(finished.arms) == set(DECAYED) | set(UNDER_NORMS)


def test_without_decay_all_choices_are_the_same_net(finished):
    for names in (DECAYED, UNDER_NORMS):
        losses = [
            results.test_loss.to_numpy()[:, results[results.attrs["axis"]].to_numpy() == 0]
            for results in (finished.arms[name] for name in names)
        ]
        for other in losses[1:]:
            np.testing.assert_allclose(other, losses[0], rtol=1e-5)


def test_every_claim_has_a_verdict_and_a_row(finished):
    claims = {claim["id"]: claim for claim in finished.summary["claims"]}
    assert set(claims) == {claim.id for claim in CLAIMS}
    assert {row_of(name) for name in claims} == {"C8"} <= set(ROWS)
    for claim in claims.values():
        assert claim["verdict"] in ("holds", "fails", "undecided", "equal here")
        assert claim["low"] <= claim["measured"] <= claim["high"]


def test_the_picture_is_written(finished):
    assert (finished.folder / "figures" / "which_layers.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("flags", "says"), [({"seeds": 0}, "--seeds 0 is too few"), ({"steps": 0}, "--steps 0 is too few")]
)
def test_bad_flags_get_one_sentence(flags, says):
    with pytest.raises(ValueError, match=says) as refused:
        experiment(**flags)
    assert "\n" not in str(refused.value)
