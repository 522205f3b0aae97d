"""Laws of roles: nets of others decay as their recipes say, and a net decays alike whether its layers are stacked."""

import re
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.decay.trees import NETS, of_linen, of_nnx, shapes
from wd_research.decay import masks, roles
from wd_research.decay.masks import coefficients, kernels, matrices
from wd_research.decay.roles import RULES

INPUTS = (1, 6, 4)


def leaf(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def kinds(tree):
    """The role of every leaf, by its name."""
    return {"/".join(keys): role.kind for keys, role in roles.roles(tree).items()}


def taken(mask, tree):
    """The names of the leaves that decay."""
    return {name for name, c in zip(kinds(tree), jax.tree.leaves(coefficients(mask, tree)), strict=True) if c}


@pytest.mark.parametrize("name", [name for name, net in NETS.items() if net.build])
def test_the_names_are_those_that_flax_gives(name):
    assert shapes(NETS[name].build()) == shapes(NETS[name].tree)


@pytest.mark.parametrize("name", NETS)
def test_every_leaf_has_its_role(name):
    net = NETS[name]
    assert kinds(net.tree) == {leaf: role for leaf, _, role in net.rows}
    assert taken(kernels, net.tree) == {leaf for leaf, _, role in net.rows if role == "kernel"}


@pytest.mark.parametrize("name", NETS)
def test_one_line_decays_what_the_nets_own_recipe_decays(name):
    net = NETS[name]
    own = {leaf for leaf, shape, _ in net.rows if net.recipe(leaf, shape)}
    assert taken(eval(net.line, vars(masks)), net.tree) == own


@pytest.mark.parametrize("stack", [(3,), (2, 3)], ids=["once", "twice"])
@pytest.mark.parametrize("name", NETS)
def test_stacked_layers_have_the_roles_of_single_ones(name, stack):
    tree = NETS[name].tree
    stacked = jax.tree.map(lambda w: leaf(*stack, *w.shape), tree)
    assert kinds(stacked) == kinds(tree)
    assert taken(kernels, stacked) == taken(kernels, tree)


@pytest.mark.parametrize("name", ["ResNet (flax)", "ViT (big_vision)", "LM1B (flax)", "Gemma (flax nnx)", "T5 (t5x)"])
def test_where_names_say_everything_the_stacked_axis_may_be_any(name):
    """t5x scans along axis 1, its `param_scan_axis`."""
    tree = NETS[name].tree
    assert kinds(jax.tree.map(lambda w: leaf(w.shape[0], 3, *w.shape[1:]), tree)) == kinds(tree)


def test_a_scanned_encoder_decays_like_its_blocks():
    single, scanned = (NETS[name].tree for name in ("ViT (big_vision)", "ViT, scanned (big_vision)"))
    for layer in range(3):
        of_block = {leaf.replace(f"_{layer}/", "/", 1) for leaf in taken(kernels, single) if f"block_{layer}/" in leaf}
        assert of_block == {leaf for leaf in taken(kernels, scanned) if "block/" in leaf}
    assert taken(matrices, scanned) > taken(kernels, scanned)  # biases and gains of stacked layers have two axes


class Layers(nn.Module):
    """Layers of flax linen whose leaves have uncommon axes."""

    @nn.compact
    def __call__(self, x):
        x = nn.ConvLocal(4, (3,))(x)
        x = nn.MultiHeadDotProductAttention(num_heads=2)(x, x)
        x = nn.RNN(nn.OptimizedLSTMCell(4))(nn.RNN(nn.GRUCell(4))(x))
        x = nn.PReLU()(nn.WeightNorm(nn.Dense(4))(x))
        return nn.DenseGeneral((2, 2))(x), nn.Embed(3, 4)(jnp.zeros(2, int))


class NnxLayers(nnx.Module):
    """Layers of flax nnx."""

    def __init__(self, rngs):
        self.attention = nnx.MultiHeadAttention(2, 4, rngs=rngs, decode=False, normalize_qk=True)
        self.adapted = nnx.LoRALinear(4, 3, lora_rank=1, rngs=rngs)
        self.cell = nnx.OptimizedLSTMCell(4, 4, rngs=rngs)


@nnx.split_rngs(splits=3)
@nnx.vmap
def stacked_layers(rngs):
    return NnxLayers(rngs)


@pytest.mark.parametrize(
    "build",
    [lambda: of_linen(Layers(), *INPUTS), lambda: of_nnx(NnxLayers), lambda: of_nnx(stacked_layers)],
    ids=["linen", "nnx", "nnx.vmap"],
)
def test_of_flaxs_layers_kernels_and_low_rank_factors_decay_whatever_their_axes(build):
    tree = build()
    assert taken(kernels, tree) == {name for name in shapes(tree) if re.search(r"kernel$|lora_[ab]$", name)}
    assert taken(masks.biases, tree) == {name for name in shapes(tree) if name.endswith("bias")}
    assert {name for name in shapes(tree) if len(shapes(tree)[name]) > 1} & taken(masks.biases, tree)


NAMES = {  # a leaf alone in its tree: its shape, its role
    "mixer/A_log": ((8, 3), "other"), "ssm/Lambda_re": ((3, 4), "other"), "mixer.dt_bias": ((8,), "other"),
    "att/time_mix_k": ((1, 1, 4), "other"), "logit_scale": ((2, 1, 1), "other"), "negative_slope": ((2, 3), "other"),
    "attn.relative_position_bias_table": ((9, 2), "embedding"), "attn.attention_biases": ((2, 9), "embedding"),
    "attn.rel_pos_h": ((5, 4), "embedding"), "mlp/~/linear_0/b": ((4,), "bias"), "norm/offset": ((2, 4), "bias"),
    "attn/bq": ((4,), "bias"), "layer_1/b2": ((4,), "bias"), "batch_normalization_1/beta": ((2, 4), "bias"),
    "logit_bias": ((), "bias"), "attn/q_scale": ((2, 4), "norm"), "layer/g": ((4,), "norm"),
    "gamma_1": ((2, 4), "norm"), "layer_scale": ((2, 4), "norm"), "lora_magnitude_vector": ((4, 1), "norm"),
    "blocks/attn_norm": ((2, 4), "norm"), "blocks/ln1": ((2, 4), "norm"), "w": ((4,), "kernel"),
    "kernel": ((4,), "kernel"), "depthwise_kernel": ((4,), "kernel"), "q/lora_a": ((4,), "kernel"),
    "text_projection": ((4,), "kernel"), "unembed": ((4,), "kernel"), "wte": ((5, 4), "embedding"),
    "embed/embeddings": ((5, 4), "embedding"), "cls_token": ((1, 1, 4), "embedding"), "probe": ((1, 1, 4), "embedding"),
    "register_tokens": ((1, 2, 4), "embedding"), "position": ((6, 4), "embedding"), "in_proj_weight": ((4,), "kernel"),
    "rnn.weight_ih_l0": ((4,), "kernel"), "ln_f.weight": ((2, 4), "norm"), "bn1.weight": ((2, 4), "norm"),
    "norms.0.weight": ((2, 4), "norm"), "norm/w": ((2, 4), "norm"), "attn/wq": ((4,), "kernel"),
    "lora_A.weight": ((4,), "kernel"), "embed_out.weight": ((4,), "kernel"), "patch_embedding.weight": ((4,), "kernel"),
    "rel_attn.q": ((4, 2, 2), "kernel"), "linear_pos.weight": ((4, 4), "kernel"), "pos_proj": ((4,), "kernel"),
    "time_embed.0.weight": ((4, 4), "kernel"), "norm_proj.weight": ((4, 4), "kernel"),
    "embedding_proj.weight": ((4, 4), "kernel"), "norm_attn.norm_1.weight": ((2, 4), "norm"),
    "attn_norm.weight": ((2, 4), "norm"), "norm_out.weight": ((2, 4), "norm"),
    "token_emb.weight": ((5, 4), "embedding"),
    "embed_tokens.weight": ((5, 4), "embedding"), "shared.weight": ((5, 4), "embedding"),
    "relative_attention_bias.weight": ((9, 2), "embedding"), "fc1.weight": ((4, 4), "kernel"),
    "experts/gate_up": ((3, 4, 8), "kernel"), "downsample.1.weight": ((4,), "norm"), "D": ((8,), "other"),
}  # fmt: skip


def of_name(name):
    return leaf(*NAMES[name][0])


@pytest.mark.parametrize("name", NAMES)
def test_a_name_tells_a_role(name):
    assert kinds({name: of_name(name)}) == {name: NAMES[name][1]}


@pytest.mark.parametrize("number", range(len(RULES)), ids=[f"{rule.kind}, {rule.known_from}" for rule in RULES])
def test_every_rule_is_needed(number, monkeypatch):
    monkeypatch.setattr(roles, "RULES", RULES[:number] + RULES[number + 1 :])
    roles._by_name.cache_clear()
    found = {name: kinds({name: of_name(name)})[name] for name in NAMES}
    roles._by_name.cache_clear()
    assert found != {name: kind for name, (_, kind) in NAMES.items()}


@pytest.mark.parametrize(
    ("tree", "name", "rule"),
    [
        ({"Dense_0": {"bias": leaf(4)}}, "Dense_0/bias", "name: bias"),
        ({"h.0.ln_1.weight": leaf(4)}, "h.0.ln_1.weight", "module: ln_1"),
        ({"fc": {"weight": leaf(4, 3)}}, "fc/weight", "2 axes"),
        ({"odd": leaf(4)}, "odd", "1 axis"),
        ({"bias": leaf(3, 4), "odd": leaf(3, 4, 5)}, "odd", "3 axes, the first stacked"),
        ({"bias": leaf(2, 3, 4), "odd": leaf(2, 3, 4)}, "odd", "3 axes, the first 2 stacked"),
        ({"down.weight": leaf(4), "down.bias": leaf(4)}, "down.weight", "weight: 1 axis"),
    ],
)
def test_the_rule_that_took_a_leaf_is_told(tree, name, rule):
    assert {"/".join(keys): role.rule for keys, role in roles.roles(tree).items()}[name] == rule


@pytest.mark.parametrize(
    ("tree", "decays"),
    [
        ({"w": leaf(3), "b": leaf()}, {"w"}),  # a linear model of one output
        ({"weight": leaf(3), "bias": leaf()}, {"weight"}),
        ({"a": leaf(3, 2), "b": leaf(3, 4)}, {"a", "b"}),  # factors, not a stacked layer
        ({"w1": leaf(5, 3, 4), "b1": leaf(5, 4), "g": leaf(5, 4), "b": leaf(5, 4), "odd": leaf(5, 4)}, {"w1"}),  # one
        ({"weight": leaf(7, 3), "bias": leaf(7)}, {"weight"}),
        ({"time_embed.0.weight": leaf(4, 4), "time_embed.0.bias": leaf(4)}, {"time_embed.0.weight"}),  # no table
        ([(leaf(3, 4), leaf(4)), (leaf(4, 2), leaf(2))], {"0/0", "1/0"}),
        ({"query": {"kernel": leaf(4, 2, 2), "bias": leaf(2, 2), "odd": leaf(4, 4)}}, {"query/kernel", "query/odd"}),
        ({"mixer": {"norm": leaf(5, 4), "odd": leaf(5, 8), "even": leaf(5, 8, 3)}}, {"mixer/even"}),  # stacked
        ({"net": {"norm": leaf(5, 4), "odd": leaf(6, 8)}}, {"net/odd"}),  # not stacked
        ({"norm_proj": {"w": leaf(8, 6)}, "scale_mlp": {"weight": leaf(8, 6)}}, {"norm_proj/w", "scale_mlp/weight"}),
        (leaf(4, 3), {""}),
    ],
)
def test_axes_decide_where_no_name_does(tree, decays):
    assert taken(kernels, tree) == decays


@jax.tree_util.register_dataclass
@dataclass
class Projections:
    """Two leaves, one of which is called as the content of a box is."""

    key: np.ndarray
    value: np.ndarray


def test_a_box_of_flax_has_no_name_and_an_attribute_of_that_name_has():
    assert list(shapes(of_nnx(lambda rngs: nnx.Linear(2, 3, rngs=rngs)))) == ["bias", "kernel"]
    assert list(shapes(Projections(np.ones(2), np.ones(3)))) == ["key", "value"]
