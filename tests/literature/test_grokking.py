"""Grokking: the clamp of the norm, the size of the logits, when an accuracy is reached, the claims, and a short run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wd_research as wd
from experiments.literature.grokking import (
    FREE,
    HELD,
    MATCHED,
    NORMALIZED,
    SHORT,
    claims_of,
    delay_of,
    experiment,
    reached,
)
from experiments.literature.modular_addition import Hypers, optimizer, task_of

STEPS = np.arange(100, 1_001, 100)


def test_without_gradients_decay_shrinks_free_weights_and_the_clamp_brings_them_to_its_norm():
    params = {"kernel": 3 * jnp.eye(4)}

    def after(decay, norm):
        link = optimizer(Hypers(*map(jnp.float32, (0.1, decay, norm, 1))))
        updates, _ = link.update(jax.tree.map(jnp.zeros_like, params), link.init(params), params)
        return params["kernel"] + updates["kernel"]

    np.testing.assert_allclose(after(0.5, 0), 0.95 * params["kernel"], rtol=1e-6)
    for decay in (0.0, 0.5):
        np.testing.assert_allclose(after(decay, 10), 5 * jnp.eye(4), rtol=1e-6)


def test_logits_grow_as_the_square_of_the_norm_which_a_temperature_makes_up_for():
    task = task_of(5, 0.6, 8, normalize=False)
    params, _ = task.init(jax.random.key(0))
    batch = task.gather(task.data, task.split(0), None)

    def loss(factor, temperature):
        scaled = jax.tree.map(lambda w: factor * w, params)
        of = task.loss(Hypers(*map(jnp.float32, (0, 0, 0, temperature))))
        return float(of(scaled, {}, batch, jax.random.key(0))[0])

    assert loss(3, 9) == pytest.approx(loss(1, 1), rel=1e-5)
    assert loss(3, 1) != pytest.approx(loss(1, 1), rel=1e-2)
    unit = task_of(5, 0.6, 8, normalize=True).predict(params, {}, batch.inputs)
    np.testing.assert_allclose(jnp.mean(unit**2, axis=-1), 1, rtol=1e-4)


def test_every_pair_is_trained_or_tested_on_and_its_target_is_the_sum():
    task = task_of(7, 0.6, 8, normalize=False)
    parts = task.splits(task.data, task.split(3))
    assert [len(parts[name].targets) for name in ("train", "test")] == [29, 20]
    seen = np.concatenate([np.asarray(part.inputs).reshape(-1, 2, 7).argmax(-1) for part in parts.values()])
    assert len(np.unique(seen, axis=0)) == 49
    np.testing.assert_array_equal(seen.sum(axis=1) % 7, np.concatenate([part.targets for part in parts.values()]))


def arm(understood, points, fitted=100.0, norms=65.0):
    """Results whose test accuracy is 1 from a step on, and .5 before; f64[h] or a number each."""
    shape = (4, len(points.decay), len(STEPS))
    test = np.where(np.asarray(understood)[:, None] <= STEPS, 1.0, 0.5)
    train = np.where(fitted <= STEPS, 1.0, 0.5)
    metrics = {"train_accuracy": train, "test_accuracy": test, "weights_norm": np.asarray(norms)}
    parts = [
        wd.labelled(points, "decay", step, {name: np.broadcast_to(of, shape)[..., k] for name, of in metrics.items()})
        for k, step in enumerate(STEPS)
    ]
    return (
        parts[0]
        if len(parts) == 1
        else wd.joined([part.drop_vars("diverged_at") for part in parts], "step").assign(
            diverged_at=parts[0].diverged_at
        )
    )


def points(decay=0.0, norm=0.0, temperature=1.0):
    return Hypers(*(np.float32(column) for column in np.broadcast_arrays([0.01], decay, norm, temperature)))


def test_an_accuracy_is_reached_on_a_line_between_evaluations_and_a_delay_without_end_counts_to_the_last_step():
    results = arm([400, 5_000], points(decay=[0, 1]))
    assert reached(results, "train")[0].tolist() == [90, 90]
    np.testing.assert_allclose(reached(results, "test")[0], [380, np.nan])
    np.testing.assert_allclose(delay_of(results)[0], [290, 910])
    np.testing.assert_allclose(delay_of(results, censored=False)[0], [290, np.nan])


def test_a_claim_compares_what_it_says():
    free, others = [0, 0.01, 0.1, 0.5, 1], np.array([1.1, 1.2])
    held = np.array([1, *others]) * 65
    arms = wd.Evidence({
        FREE: arm([5_000, 5_000, 800, 400, 200], points(decay=free)),
        HELD: arm([200, 400, 800], points(norm=held)),
        MATCHED: arm([200, 200], points(norm=held[1:], temperature=others**2)),
        NORMALIZED: arm([300, 5_000], points(temperature=[0.5, 1])),
    })  # fmt: skip
    found = {claim.id: [cell.values[0] for cell in arms.score(claim.measure).values()] for claim in claims_of(65.0)}
    assert found["decay-shortens"] == pytest.approx([910 / 90])
    assert found["no-late-jump"] == [0.5]
    assert found["exponent"] == pytest.approx([np.polyfit(np.log([0.1, 0.5, 1]), np.log([690, 290, 90]), 1)[0]])
    assert found["critical"] == pytest.approx([np.sqrt(0.01 * 0.1) / 0.0158])
    assert found["one-norm"] == [0]
    assert found["growth"] == pytest.approx([np.polyfit([1, 1.1, 1.2], np.log([90, 290, 690]), 1)[0]])
    assert found["recovered"] == pytest.approx([1])
    assert found["unit-logits"] == pytest.approx([190 / 90, 910 / 90])


@pytest.mark.parametrize(
    ("given", "says"),
    [({"share": 1.0}, "--share 1.0 of the 961 pairs leaves none to train or none to test on"),
     ({"decays": (0, 0.1)}, "--decays has no 1"),
     ({"decays": (0.1, 1)}, "--decays has no 0"),
     ({"factors": (1, 2)}, "--factors needs 1 and two or more above it"),
     ({"modulus": 0}, "--modulus 0 is too few"),
     ({"norm": 0.0}, "--norm 0.0 cannot be")],
)  # fmt: skip
def test_flags_that_cannot_be_are_one_sentence(given, says):
    with pytest.raises(wd.UserError) as raised:
        experiment(**given)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_a_short_run_answers_and_draws(tmp_path):
    declared = experiment(**SHORT)
    result = wd.run(declared, tmp_path, wd.How(audit=False), tensorboard=False)
    assert [claim["id"] for claim in result.summary["claims"]] == [claim.id for claim in claims_of(15.0)]
    assert (tmp_path / "figures" / "grokking.png").exists()
