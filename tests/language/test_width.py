"""How the best decay depends on the width: muP's rules, what decay removes, what the claims compare, a short run."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import wd_research as wd
from experiments.language.powers import best_of_axis, lost_by_rule, slope_of
from experiments.language.setting import OFTEN, ONCE, clipped, schedule_of
from experiments.language.width import (
    SHORT,
    Hypers,
    claims_of,
    experiment,
    name_of,
    of_mup,
    optimizer_of,
    task_of,
)

STEPS = 40
WIDTHS = (16, 32, 64)
SHARES = np.float32([0, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064])
TEXT = wd.texts.from_string("abcd" * 60_000)


def params_of(width):
    return task_of(TEXT, 4_096, width).init(jax.random.key(0))[0]


def trained(optimizer, params, gradients, steps=STEPS):
    """The params after so many steps with the same gradients."""

    def step(_, carry):
        params, state = carry
        updates, state = optimizer.update(gradients, state, params)
        return jax.tree.map(jnp.add, params, updates), state

    return jax.lax.fori_loop(0, steps, step, (params, optimizer.init(params)))[0]


@pytest.mark.parametrize("width", WIDTHS)
def test_without_gradients_every_kernel_loses_its_share_whatever_the_width_and_the_learning_rate(width):
    params = params_of(width)
    optimizer = optimizer_of(width, STEPS)(Hypers(jnp.float32(0.03), jnp.float32(0.1)))
    left = trained(optimizer, params, jax.tree.map(jnp.zeros_like, params))
    factor = np.prod([1 - 0.1 * float(schedule_of(STEPS)(step)) for step in range(STEPS)])
    for taken, before, after in zip(*map(jax.tree.leaves, (wd.kernels(params), params, left)), strict=True):
        np.testing.assert_allclose(after, factor * before if taken else before, rtol=1e-4)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_share_is_decoupled_decay_times_the_learning_rate_that_mup_gives_to_kernels(width):
    params, rate, share = params_of(width), jnp.float32(0.03), jnp.float32(0.02)
    gradients = jax.tree.map(lambda leaf: jnp.cos(leaf + 1.0), params)
    decay = share / (rate * 32 / width)
    link = optax.chain(wd.decay_weights(decay), of_mup(width))
    decoupled = clipped(wd.decoupled(wd.cores.adam(), link, rate, schedule_of(STEPS)))
    first = trained(decoupled, params, gradients)
    second = trained(optimizer_of(width, STEPS)(Hypers(rate, share)), params, gradients)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), first, second)


def test_kernels_and_the_head_learn_at_one_over_width_and_the_rest_at_one():
    for width in WIDTHS:
        params = params_of(width)
        ones = jax.tree.map(jnp.ones_like, params)
        factors = of_mup(width).update(ones, of_mup(width).init(params), params)[0]
        found = {jax.tree_util.keystr(path, simple=True, separator="/"): float(leaf.mean())
                 for path, leaf in jax.tree_util.tree_leaves_with_path(factors)}  # fmt: skip
        assert all(value == 32 / width for name, value in found.items() if name.endswith("kernel"))
        assert "head/kernel" in found
        assert all(value == 1 for name, value in found.items() if not name.endswith("kernel"))
        assert len(found) == 19


def test_the_head_begins_with_the_variance_of_mup_and_hidden_matrices_with_one_over_inputs():
    for width in (16, 64):
        many = jax.vmap(lambda key, width=width: task_of(TEXT, 4_096, width).init(key)[0])(
            jax.random.split(jax.random.key(1), 40)
        )
        assert float(many["head"]["kernel"].var()) == pytest.approx(32 / width**2, rel=0.1)
        assert float(many["block_0_query"]["kernel"].var()) == pytest.approx(1 / width, rel=0.1)
        assert float(many["embedding"].var()) == pytest.approx(1, rel=0.1)


def arm(*best, base=1.0):
    """An arm whose seeds have these best shares: losses are parabolas over log share, and 2 without decay."""
    loss = [np.log(np.maximum(SHARES, 1e-9) / share) ** 2 * 0.1 + base for share in best]
    loss = np.where(SHARES > 0, loss, 2.0).astype(np.float32)
    grid = Hypers(np.full(len(SHARES), 0.03, np.float32), SHARES)
    return wd.labelled(grid, "share", 10, {"validation_loss": loss, "test_loss": loss})


def test_the_best_value_lies_between_those_of_the_grid_and_none_is_known_at_an_end():
    assert best_of_axis(arm(0.003, 0.005, 0.011)) == pytest.approx([0.003, 0.005, 0.011], rel=1e-3)
    assert np.isnan(best_of_axis(arm(0.0005, 0.0005))).all()
    assert np.isnan(best_of_axis(arm(0.1, 0.1))).all()


def test_a_slope_is_the_power():
    x = np.array([16.0, 32.0, 64.0])
    assert slope_of(x, [np.array([w**-0.5, 7 * w]) for w in x]) == pytest.approx([-0.5, 1.0])


def test_a_rule_takes_the_nearest_value_and_pays_for_it():
    base, other = arm(0.004, 0.004, 0.004), arm(0.008, 0.008, 0.008)
    for factor, distance in ((1.0, 2.0), (2.0, 1.0), (0.5, 4.0), (2.2, 1.0)):
        arms = wd.Evidence({"base": base, "other": other})
        cell = arms.score(lambda arms, f=factor: {"x": lost_by_rule(arms["base"], arms["other"], f)})["x"]
        assert cell.values == pytest.approx([0.1 * np.log(distance) ** 2] * 3, abs=1e-5)


def test_a_claim_compares_what_it_says():
    best = {OFTEN: {16: 0.004, 32: 0.008, 64: 0.016}, ONCE: {16: 0.008, 32: 0.004, 64: 0.002}}
    arms = wd.Evidence({name_of(seen, width): arm(*[share] * 4) for seen, row in best.items()
                        for width, share in row.items()})  # fmt: skip
    found = {claim.id: {name: cell.values[0] for name, cell in arms.score(claim.measure).items()}
             for claim in claims_of(WIDTHS)}  # fmt: skip
    off = 0.1 * np.log(2) ** 2
    for name, (seen, slope) in {"once-constant": (ONCE, -1), "once-root": (ONCE, -1), "once-decoupled": (ONCE, -1),
                                "often-wider": (OFTEN, 1)}.items():  # fmt: skip
        assert found[name] == pytest.approx({seen: slope}, rel=1e-3)
    others = [name_of(seen, width) for seen in (OFTEN, ONCE) for width in (16, 64)]
    assert found["share"] == pytest.approx(dict.fromkeys(others, off), abs=1e-5)
    assert found["decoupled"] == pytest.approx(dict.fromkeys(others[:2], 4 * off), abs=1e-5)


@pytest.mark.parametrize(
    ("given", "says"),
    [({"widths": (16, 64, 128)}, "--widths (16, 64, 128) cannot be"),
     ({"widths": (16, 32)}, "--widths (16, 32) cannot be"),
     ({"widths": (16, 20, 32)}, "--widths (16, 20, 32) cannot be: give three or more multiples of 8"),
     ({"shares_once": (0.1, 1)}, "--shares-once has no 0"),
     ({"often": 65_536, "once": 65_536}, "--often 65536 is not below --once 65536"),
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
    assert [claim["id"] for claim in result.summary["claims"]] == [claim.id for claim in claims_of((8, 16, 32))]
    assert all((tmp_path / "figures" / f"{name}.png").exists() for name in ("best_share", "loss_over_decay"))
