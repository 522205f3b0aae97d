"""Which leaves should decay: what each group loses in a step, what the claims compare, and a short run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wd_research as wd
from experiments.language.leaves import (
    GROUPS,
    SHORT,
    Hypers,
    by_group,
    claims_of,
    experiment,
    group_of,
    index_of,
    points_at,
)
from experiments.language.setting import OFTEN, ONCE


def shapes():
    """The params of a decoder of two blocks, as shapes."""
    net, tokens = wd.Decoder(68, 32, 2, 4), jnp.zeros((1, 8), jnp.int32)
    return jax.eval_shape(net.init, jax.random.key(0), tokens)["params"]


def names(tree):
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in paths}


def test_every_leaf_of_the_decoder_has_a_group_and_gains_are_those_with_one_axis():
    found = {name: group_of(name) for name in names(shapes())}
    assert set(found.values()) == set(GROUPS)
    assert {name for name, group in found.items() if group == "gains"} == {
        name for name, leaf in names(shapes()).items() if leaf.ndim == 1
    }
    assert found["embedding"] == "embedding"
    assert found["block_1_out/kernel"] == "value_out"
    assert found["block_0_key/kernel"] == "query_key"


def test_a_step_removes_the_rate_of_its_group_from_a_leaf():
    h = Hypers(jnp.float32(0.5), *(jnp.float32(number) for number in range(7)))
    params = jax.tree.map(lambda leaf: 2 * jnp.ones(leaf.shape), shapes())
    updates = jax.tree.map(jnp.zeros_like, params)

    @jax.jit
    def removed(h):
        link = by_group(h)
        return link.update(updates, link.init(params), params)[0]

    for name, leaf in names(removed(h)).items():
        np.testing.assert_allclose(leaf, 2 * 0.5 * GROUPS.index(group_of(name)), err_msg=name)


def test_one_group_at_a_time_leaves_the_base():
    points = np.stack(points_at(0.5), axis=1)
    assert points.shape == (29, 8)
    np.testing.assert_array_equal(points[0], [0.5, 1, 1, 1, 1, 1, 1, 0])
    np.testing.assert_array_equal((points[1:] != points[0]).sum(axis=1), 1)
    np.testing.assert_array_equal(points[1:5, 1], [0, 0.25, 4, 16])
    np.testing.assert_array_equal(points[-4:, -1], [0.25, 1, 4, 16])


def made_up(loss):
    """Arms whose test loss is loss(group, rate) above that of the base, with the group in question left."""
    points = points_at(0.5)
    arms = {}
    for seen in (OFTEN, ONCE):
        values = np.full((4, 29), 1.5)
        results = wd.labelled(points, "decay", 10, {"test_loss": values})
        for group in GROUPS:
            for rate in (0, 0.25, 1, 4, 16):
                if rate != (group != "gains"):
                    values[:, index_of(results, group, rate)] += loss(group, rate)
        arms[seen] = wd.labelled(points, "decay", 10, {"test_loss": values})
    return wd.Evidence(arms)


def test_a_claim_compares_what_it_says():
    order = ["embedding-off", "embedding-head-less", "embedding-head-more", "gains-on", "one-rate", "query-key-less"]
    assert [claim.id for claim in claims_of()] == order
    arms = made_up(lambda group, rate: (1 + GROUPS.index(group)) * rate / 100 + (rate == 0) / 10)
    found = {claim.id: {name: cell.values[0] for name, cell in arms.score(claim.measure).items()}
             for claim in claims_of()}  # fmt: skip
    both = (OFTEN, ONCE)
    assert found["embedding-off"] == pytest.approx({f"{seen}, embedding times 0": 0.1 for seen in both})
    assert found["embedding-head-less"] == pytest.approx(
        {"seen once, embedding times 0.25": 0.0025, "seen once, head times 0.25": 0.005}
    )
    assert found["embedding-head-more"] == pytest.approx(
        {"seen once, embedding times 16": 0.16, "seen once, head times 16": 0.32}
    )
    assert found["gains-on"] == pytest.approx({f"{seen}, gains times 1": 0.07 for seen in both})
    assert len(found["one-rate"]) == 2 * 6 * 2
    assert found["one-rate"]["seen often, value and out times 4"] == pytest.approx(0.16)
    # 3.75 hundredths a group: 3 of them for queries and keys, 5.5 for the MLP
    assert found["query-key-less"] == pytest.approx(dict.fromkeys(both, 0.0375 * (3 - 5.5)))


@pytest.mark.parametrize(
    ("given", "says"),
    [({"often": 65_536, "once": 65_536}, "--often 65536 is not below --once 65536"),
     ({"often_decay": 0.0}, "--often-decay 0.0 cannot be"),
     ({"once_decay": -0.1}, "--once-decay -0.1 cannot be"),
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
    assert [claim["id"] for claim in result.summary["claims"]] == [claim.id for claim in claims_of()]
    assert not result.summary["best"]
    assert (tmp_path / "figures" / "loss_by_group.png").exists()
