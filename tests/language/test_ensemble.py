"""Decay of an ensemble: its nets train as they would alone, what the claims compare, and a short run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wd_research as wd
from experiments.language.ensemble import (
    SHORT,
    averaged,
    best_decays,
    claims_of,
    ensemble_of,
    experiment,
    losses_of,
    optimizer_of,
)
from experiments.language.setting import Hypers, adamw

HYPERS = Hypers(jnp.float32(0.03), jnp.float32(0.5))
DECAYS = np.float32([0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2])
TEXT = wd.texts.from_string("a man, a plan, a canal: Panama; " * 512)


def test_every_net_trains_as_it_would_alone():
    nets, steps = 3, 4
    task = wd.language(wd.Decoder(TEXT.vocabulary, 8, 1, 2), TEXT, 16, 2, 4_096, 2_048)
    many, split, key = ensemble_of(task, nets), task.split(0), jax.random.key(1)
    both = {"together": (many, optimizer_of(20)(HYPERS)), "alone": (task, adamw(20)(HYPERS))}

    def trained(which, init_key, order_key):
        task, optimizer = both[which]
        (params, extras), loss = task.init(init_key), task.loss(HYPERS)

        def step(carry, places):
            params, state = carry
            batch = task.gather(task.data, split, places)
            gradients = jax.grad(lambda params: loss(params, extras, batch, key)[0])(params)
            updates, state = optimizer.update(gradients, state, params)
            return (jax.tree.map(jnp.add, params, updates), state), None

        order = task.order(order_key, jnp.int32(0), steps)
        return jax.lax.scan(step, (params, optimizer.init(params)), order)[0][0]

    init_keys, order_keys = jax.random.split(jax.random.key(2), nets), jax.random.split(jax.random.key(3), nets)
    together = jax.jit(lambda: trained("together", jax.random.key(2), jax.random.key(3)))()
    alone = jax.jit(lambda: jax.lax.map(lambda keys: trained("alone", *keys), (init_keys, order_keys)))()
    for one, other in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)
    assert all(not np.allclose(leaf[0], leaf[1]) for leaf in jax.tree.leaves(together))


def test_averages_are_never_worse_than_a_net_and_alike_nets_are_one():
    logits, targets = jax.random.normal(jax.random.key(0), (4, 2, 5, 7)), jnp.arange(10).reshape(2, 5) % 7
    found = losses_of(logits, targets)
    assert found["loss"] < found["member_loss"]
    assert found["logits_loss"] < found["member_loss"]
    assert jnp.exp(averaged(logits)).sum(axis=-1) == pytest.approx(np.ones((2, 5)), rel=1e-5)
    alike = {name: float(loss) for name, loss in losses_of(jnp.stack([logits[0]] * 3), targets).items()}
    assert alike == pytest.approx(dict.fromkeys(alike, alike["member_loss"]), rel=1e-5)


def parabola(best, none=2.0, least=1.0):
    """A loss over the decays with its least at one of them; f32[h]."""
    return np.float32([none, *least + 0.1 * np.log(DECAYS[1:] / best) ** 2])


def arm(**losses):
    """Results whose validation and test losses are these, for every seed; f32[h] each."""
    metrics = {f"{part}_{name}": np.stack([loss] * 4) for name, loss in losses.items() for part in PARTS}
    return wd.labelled(Hypers(np.full_like(DECAYS, 0.03), DECAYS), "decay", 10, metrics)


PARTS = "validation", "test"


@pytest.mark.parametrize("best", [0.2, 0.5, 1.6])
def test_the_best_decay_is_a_vertex(best):
    assert best_decays(arm(loss=parabola(best)), np.stack([parabola(best)])) == pytest.approx([best], rel=1e-3)


@pytest.mark.parametrize("best", [0.03, 0.1, 3.2, 10.0])
def test_there_is_no_best_decay_on_an_edge(best):
    assert np.isnan(best_decays(arm(loss=parabola(best)), np.stack([parabola(best)]))).all()


def test_a_claim_compares_what_it_says():
    of_one, of_both = (
        parabola(0.8, 2.0, 1.5),
        {"loss": parabola(0.4, 1.4, 1.2), "logits_loss": parabola(0.2, 1.3, 1.25)},
    )
    arms = wd.Evidence({"ensemble": arm(member_loss=of_one, **of_both)})
    found = {claim.id: {name: cell.values[0] for name, cell in arms.score(claim.measure).items()}
             for claim in claims_of("ensemble")}  # fmt: skip
    both = "averaged probabilities", "averaged logits"
    assert found["lower"] == pytest.approx(dict(zip(both, (1, 2), strict=True)), abs=1e-3)
    assert found["gains-less"] == pytest.approx(dict(zip(both, (0.3, 0.45), strict=True)), abs=1e-5)
    away = 0.1 * np.log(2) ** 2
    assert found["matters"] == pytest.approx(dict(zip(both, (away, 4 * away), strict=True)), abs=1e-5)


@pytest.mark.parametrize(
    ("given", "says"),
    [({"nets": 1}, "--nets 1 is no ensemble"),
     ({"decays": (0.1, 1)}, "--decays has no 0"),
     ({"characters": 9_000_000}, "the King James Bible"),
     ({"steps": 0}, "--steps 0 is too few")],
)  # fmt: skip
def test_flags_that_cannot_be_are_one_sentence(given, says):
    with pytest.raises(wd.UserError) as raised:
        experiment(**given)
    assert says in str(raised.value)


@pytest.mark.slow
def test_a_short_run_answers_and_draws(tmp_path):
    declared = experiment(**SHORT)
    result = wd.run(declared, tmp_path, wd.How(audit=False), tensorboard=False)
    assert [claim["id"] for claim in result.summary["claims"]] == ["lower", "gains-less", "matters"]
    assert {"loss_over_decay", "gains"} <= {path.stem for path in (tmp_path / "figures").glob("*.png")}
