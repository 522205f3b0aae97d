"""Nets whose recipes are known: their leaves by the names that their own code gives them, and what that code decays.

The shapes are small. A recipe is written down from its source as a function of a leaf's name and shape, without our
masks; `line` is how ours say the same.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from wd_research.decay.roles import named


class NetOfOthers(NamedTuple):
    """A net, what decays in it by its own recipe, and the same in our words."""

    leaves: str  # name, shape, role; one a line
    source: str
    recipe: Callable[[str, tuple[int, ...]], bool]
    line: str
    build: Callable[[], Any] | None = None  # the net of flax that has these leaves

    @property
    def tree(self) -> dict:
        """Its weights, without their values: dicts where names have slashes, one flat dict where they have dots."""
        tree: dict = {}
        for name, shape, _ in self.rows:
            *above, last = name.split("/")
            inside = tree
            for part in above:
                inside = inside.setdefault(part, {})
            inside[last] = jax.ShapeDtypeStruct(shape, jnp.float32)
        return tree

    @property
    def rows(self) -> list[tuple[str, tuple[int, ...], str]]:
        """(name, shape, role) of every leaf, by name."""
        cells = [line.split() for line in self.leaves.strip().splitlines()]
        return [(name, tuple(map(int, shape.split("x"))), role) for name, shape, role in cells]


class Block(nn.Module):
    """The encoder block of ViT, with the names that big_vision gives it."""

    @nn.compact
    def __call__(self, x, _=None):
        y = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=2)(y, y)
        return x + MlpBlock()(nn.LayerNorm()(x)), None


class MlpBlock(nn.Module):
    """Two layers."""

    @nn.compact
    def __call__(self, x):
        hidden = nn.gelu(nn.Dense(2 * x.shape[-1])(x))
        return nn.Dense(x.shape[-1])(hidden)


class MAPHead(nn.Module):
    """Pooling by the attention of one learned query."""

    @nn.compact
    def __call__(self, x):
        probe = self.param("probe", nn.initializers.ones, (1, 1, x.shape[-1]))
        x = nn.MultiHeadDotProductAttention(num_heads=2)(jnp.tile(probe, (len(x), 1, 1)), x)
        return (x + MlpBlock()(nn.LayerNorm()(x)))[:, 0]


class Encoder(nn.Module):
    """Blocks one after the other, or scanned."""

    scanned: bool

    @nn.compact
    def __call__(self, x):
        if self.scanned:
            blocks = nn.scan(Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
            x, _ = blocks(name="encoderblock")(x, None)
        else:
            for layer in range(3):
                x, _ = Block(name=f"encoderblock_{layer}")(x)
        return nn.LayerNorm(name="encoder_norm")(x)


class VisionTransformer(nn.Module):
    """Patches, positions, blocks, a pooling head."""

    scanned: bool = False

    @nn.compact
    def __call__(self, images):
        x = nn.Conv(4, (2, 2), strides=(2, 2), name="embedding")(images)
        x = x.reshape(len(x), -1, 4)
        x = x + self.param("pos_embedding", nn.initializers.ones, (1, *x.shape[1:]))
        return nn.Dense(5, name="head")(MAPHead()(Encoder(self.scanned, name="Transformer")(x)))


class ResNetBlock(nn.Module):
    """Two convolutions under norms, and a third where the shape changes."""

    @nn.compact
    def __call__(self, x):
        y = nn.BatchNorm(True)(nn.Conv(8, (3, 3), use_bias=False)(x))
        y = nn.BatchNorm(True)(nn.Conv(8, (3, 3), use_bias=False)(nn.relu(y)))
        x = nn.BatchNorm(True, name="norm_proj")(nn.Conv(8, (1, 1), use_bias=False, name="conv_proj")(x))
        return nn.relu(x + y)


class ResNet(nn.Module):
    """One block."""

    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(True, name="bn_init")(nn.Conv(4, (7, 7), use_bias=False, name="conv_init")(x))
        return nn.Dense(5)(jnp.mean(ResNetBlock()(nn.relu(x)), axis=(1, 2)))


class Einsum(nnx.Module):
    """A lone kernel."""

    def __init__(self, shape):
        self.w = nnx.Param(jnp.ones(shape))


class Gain(nnx.Module):
    """The gain of a norm."""

    def __init__(self):
        self.scale = nnx.Param(jnp.ones(4))


class Embedder(nnx.Module):
    """A table."""

    def __init__(self):
        self.input_embedding = nnx.Param(jnp.ones((11, 4)))


class Attention(nnx.Module):
    """Kernels of grouped queries, and norms of queries and keys."""

    def __init__(self):
        self.attn_vec_einsum = Einsum((2, 4, 4))
        self.q_einsum = Einsum((2, 4, 4))
        self.kv_einsum = Einsum((2, 1, 4, 4))
        self._query_norm = Gain()
        self._key_norm = Gain()


class FeedForward(nnx.Module):
    """Three kernels."""

    def __init__(self, rngs):
        self.gate_proj = nnx.Linear(4, 8, use_bias=False, rngs=rngs)
        self.up_proj = nnx.Linear(4, 8, use_bias=False, rngs=rngs)
        self.down_proj = nnx.Linear(8, 4, use_bias=False, rngs=rngs)


class GemmaBlock(nnx.Module):
    """One layer."""

    def __init__(self, rngs):
        self.pre_attention_norm = Gain()
        self.attn = Attention()
        self.pre_ffw_norm = Gain()
        self.mlp = FeedForward(rngs)


class Gemma(nnx.Module):
    """Gemma 3 of one layer."""

    def __init__(self, rngs):
        self.embedder = Embedder()
        self.layers = nnx.List([GemmaBlock(rngs)])
        self.final_norm = Gain()


def of_linen(net, *shape):
    """The weights of a linen net, without their values."""
    return jax.eval_shape(net.init, jax.random.key(0), jnp.zeros(shape))["params"]


def of_nnx(build):
    """The weights of an nnx net, without their values, as its State."""
    return nnx.state(nnx.eval_shape(lambda: build(nnx.Rngs(0))), (nnx.Param, nnx.LoRAParam))


def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of the leaves, by their names."""
    return {"/".join(keys): np.shape(leaf) for keys, leaf in named(tree).items()}


def _block(above: str, stack: str = "") -> str:
    """The leaves of the encoder block of ViT."""
    projections = "".join(
        f"{above}/MultiHeadDotProductAttention_0/{name}/kernel {stack}4x2x2 kernel\n"
        f"{above}/MultiHeadDotProductAttention_0/{name}/bias   {stack}2x2   bias\n"
        for name in ("query", "key", "value")
    )
    return f"""
{above}/LayerNorm_0/scale {stack}4 norm
{above}/LayerNorm_0/bias  {stack}4 bias
{above}/LayerNorm_1/scale {stack}4 norm
{above}/LayerNorm_1/bias  {stack}4 bias
{above}/MlpBlock_0/Dense_0/kernel {stack}4x8 kernel
{above}/MlpBlock_0/Dense_0/bias   {stack}8   bias
{above}/MlpBlock_0/Dense_1/kernel {stack}8x4 kernel
{above}/MlpBlock_0/Dense_1/bias   {stack}4   bias
{projections}{above}/MultiHeadDotProductAttention_0/out/kernel {stack}2x2x4 kernel
{above}/MultiHeadDotProductAttention_0/out/bias   {stack}4     bias
"""


def _vit(blocks: str) -> str:
    head = "\n".join(line for line in _block("MAPHead_0").splitlines() if "LayerNorm_1" not in line)
    return f"""
embedding/kernel 2x2x3x4 kernel
embedding/bias   4       bias
pos_embedding    1x4x4   embedding
{blocks}
Transformer/encoder_norm/scale 4 norm
Transformer/encoder_norm/bias  4 bias
MAPHead_0/probe 1x1x4 embedding
{head}
head/kernel 4x5 kernel
head/bias   5   bias
""".replace("\n\n", "\n").replace("\n\n", "\n")


GPT2 = """
transformer.wte.weight 11x4 embedding
transformer.wpe.weight 6x4  embedding
transformer.h.0.ln_1.weight 4 norm
transformer.h.0.ln_1.bias   4 bias
transformer.h.0.attn.c_attn.weight 12x4 kernel
transformer.h.0.attn.c_attn.bias   12   bias
transformer.h.0.attn.c_proj.weight 4x4  kernel
transformer.h.0.attn.c_proj.bias   4    bias
transformer.h.0.ln_2.weight 4 norm
transformer.h.0.ln_2.bias   4 bias
transformer.h.0.mlp.c_fc.weight   16x4 kernel
transformer.h.0.mlp.c_fc.bias     16   bias
transformer.h.0.mlp.c_proj.weight 4x16 kernel
transformer.h.0.mlp.c_proj.bias   4    bias
transformer.ln_f.weight 4 norm
transformer.ln_f.bias   4 bias
"""
BIG_VISION = "google-research/big_vision, big_vision/optax.py: wd_mults"

NETS = {
    "ResNet (flax)": NetOfOthers(
        """
conv_init/kernel 7x7x3x4 kernel
bn_init/scale 4 norm
bn_init/bias  4 bias
ResNetBlock_0/Conv_0/kernel 3x3x4x8 kernel
ResNetBlock_0/BatchNorm_0/scale 8 norm
ResNetBlock_0/BatchNorm_0/bias  8 bias
ResNetBlock_0/Conv_1/kernel 3x3x8x8 kernel
ResNetBlock_0/BatchNorm_1/scale 8 norm
ResNetBlock_0/BatchNorm_1/bias  8 bias
ResNetBlock_0/conv_proj/kernel 1x1x4x8 kernel
ResNetBlock_0/norm_proj/scale 8 norm
ResNetBlock_0/norm_proj/bias  8 bias
Dense_0/kernel 8x5 kernel
Dense_0/bias   5   bias
""",
        "google/flax, examples/imagenet/train.py: x.ndim > 1",
        lambda name, shape: len(shape) > 1,
        "matrices",
        lambda: of_linen(ResNet(), 1, 8, 8, 3),
    ),
    "ViT (big_vision)": NetOfOthers(
        _vit("".join(_block(f"Transformer/encoderblock_{layer}") for layer in range(3))),
        BIG_VISION,
        lambda name, shape: re.fullmatch(".*/kernel", name) is not None,
        'matching("/kernel$")',
        lambda: of_linen(VisionTransformer(), 1, 4, 4, 3),
    ),
    "ViT, scanned (big_vision)": NetOfOthers(
        _vit(_block("Transformer/encoderblock", "3x")),
        BIG_VISION,
        lambda name, shape: re.fullmatch(".*/kernel", name) is not None,
        'matching("/kernel$")',
        lambda: of_linen(VisionTransformer(scanned=True), 1, 4, 4, 3),
    ),
    "ViT (timm)": NetOfOthers(
        """
cls_token 1x1x4 embedding
pos_embed 1x5x4 embedding
patch_embed.proj.weight 4x3x2x2 kernel
patch_embed.proj.bias   4 bias
blocks.0.norm1.weight 4 norm
blocks.0.norm1.bias   4 bias
blocks.0.attn.qkv.weight  12x4 kernel
blocks.0.attn.qkv.bias    12   bias
blocks.0.attn.proj.weight 4x4  kernel
blocks.0.attn.proj.bias   4    bias
blocks.0.ls1.gamma 4 norm
blocks.0.norm2.weight 4 norm
blocks.0.norm2.bias   4 bias
blocks.0.mlp.fc1.weight 16x4 kernel
blocks.0.mlp.fc1.bias   16   bias
blocks.0.mlp.fc2.weight 4x16 kernel
blocks.0.mlp.fc2.bias   4    bias
blocks.0.ls2.gamma 4 norm
norm.weight 4 norm
norm.bias   4 bias
head.weight 5x4 kernel
head.bias   5   bias
""",
        "huggingface/pytorch-image-models, timm/optim/_param_groups.py; no_weight_decay of VisionTransformer",
        lambda name, shape: (
            not (len(shape) <= 1 or name.endswith(".bias") or name in {"pos_embed", "cls_token", "dist_token"})
        ),
        "all_but(biases, norms, embeddings)",
    ),
    "GPT-2 (nanoGPT)": NetOfOthers(
        GPT2, "karpathy/nanoGPT, model.py: p.dim() >= 2", lambda name, shape: len(shape) >= 2, "matrices"
    ),
    "GPT-2 (transformers)": NetOfOthers(
        GPT2,
        "huggingface/peft, src/peft/optimizers/loraplus.py: the Trainer's get_parameter_names",
        lambda name, shape: (
            not (re.search(r"\.ln_\w\.", name) or "bias" in name)
        ),  # ln_*: the modules of type LayerNorm
        "all_but(biases, norms)",
    ),
    "GPT-2 (Levanter)": NetOfOthers(
        """
embeddings/token_embeddings    11x4 embedding
embeddings/position_embeddings 6x4  embedding
transformer/blocks/ln_1/weight 3x4 norm
transformer/blocks/ln_1/bias   3x4 bias
transformer/blocks/attn/c_attn/weight 3x4x3x2x2 kernel
transformer/blocks/attn/c_attn/bias   3x3x2x2   bias
transformer/blocks/attn/c_proj/weight 3x2x2x4   kernel
transformer/blocks/attn/c_proj/bias   3x4       bias
transformer/blocks/ln_2/weight 3x4 norm
transformer/blocks/ln_2/bias   3x4 bias
transformer/blocks/mlp/c_fc/weight   3x4x16 kernel
transformer/blocks/mlp/c_fc/bias     3x16   bias
transformer/blocks/mlp/c_proj/weight 3x16x4 kernel
transformer/blocks/mlp/c_proj/bias   3x4    bias
transformer/ln_f/weight 4 norm
transformer/ln_f/bias   4 bias
""",
        "stanford-crfm/levanter, src/levanter/optim/config.py: build_weight_decay_mask",
        # ln_* are of the class LayerNorm, the tables of the class Gpt2Embeddings
        lambda name, shape: (
            not (name.endswith("bias") or re.search(r"/ln_\w/", name) or name.startswith("embeddings/"))
        ),
        "all_but(biases, norms, embeddings)",
    ),
    "OLMo 2": NetOfOthers(
        """
transformer.wte.weight 11x4 embedding
transformer.blocks.0.att_proj.weight 12x4 kernel
transformer.blocks.0.q_norm.weight 4 norm
transformer.blocks.0.k_norm.weight 4 norm
transformer.blocks.0.attn_out.weight 4x4 kernel
transformer.blocks.0.attn_norm.weight 4 norm
transformer.blocks.0.ff_proj.weight 16x4 kernel
transformer.blocks.0.ff_out.weight 4x8 kernel
transformer.blocks.0.ff_norm.weight 4 norm
transformer.ln_f.weight 4 norm
transformer.ff_out.weight 11x4 kernel
""",
        "allenai/OLMo, configs/official-1124/OLMo2-7B-stage1.yaml: decay_norm_and_bias, not decay_embeddings",
        lambda name, shape: "wte" not in name,
        "all_but(embeddings)",
    ),
    "LM1B (flax)": NetOfOthers(
        """
decoder/Embed_0/embedding 11x4 embedding
decoder/encoderdecoderblock_0/LayerNorm_0/scale 4 norm
decoder/encoderdecoderblock_0/LayerNorm_0/bias  4 bias
decoder/encoderdecoderblock_0/SelfAttention_0/query/kernel 4x2x2 kernel
decoder/encoderdecoderblock_0/SelfAttention_0/key/kernel   4x2x2 kernel
decoder/encoderdecoderblock_0/SelfAttention_0/value/kernel 4x2x2 kernel
decoder/encoderdecoderblock_0/SelfAttention_0/out/kernel   2x2x4 kernel
decoder/encoderdecoderblock_0/LayerNorm_1/scale 4 norm
decoder/encoderdecoderblock_0/LayerNorm_1/bias  4 bias
decoder/encoderdecoderblock_0/MlpBlock_0/Dense_0/kernel 4x8 kernel
decoder/encoderdecoderblock_0/MlpBlock_0/Dense_0/bias   8   bias
decoder/encoderdecoderblock_0/MlpBlock_0/Dense_1/kernel 8x4 kernel
decoder/encoderdecoderblock_0/MlpBlock_0/Dense_1/bias   4   bias
decoder/encoderdecoder_norm/scale 4 norm
decoder/encoderdecoder_norm/bias  4 bias
decoder/logitdense/kernel 4x11 kernel
decoder/logitdense/bias   11   bias
""",
        "google/flax, examples/lm1b/train.py: optax.adamw without a mask",
        lambda name, shape: True,
        "everything",
    ),
    "NanoDO": NetOfOthers(
        """
embed/embedding     11x4 embedding
pos_embed/embedding 6x4  embedding
blocks_0/LayerNorm_0/scale 4 norm
blocks_0/CausalAttn_0/query/kernel 4x2x2 kernel
blocks_0/CausalAttn_0/key/kernel   4x2x2 kernel
blocks_0/CausalAttn_0/value/kernel 4x2x2 kernel
blocks_0/CausalAttn_0/attn_out_proj/kernel 2x2x4 kernel
blocks_0/LayerNorm_1/scale 4 norm
blocks_0/Mlp_0/Dense_0/kernel 4x8 kernel
blocks_0/Mlp_0/Dense_1/kernel 8x4 kernel
out_ln/scale 4 norm
""",
        "google-deepmind/nanodo, nanodo/optimizer.py: weight_decay_exclusion_names, empty in configs/default.py",
        lambda name, shape: True,
        "everything",
    ),
    "Gemma (flax nnx)": NetOfOthers(
        """
embedder/input_embedding 11x4 embedding
layers/0/pre_attention_norm/scale 4 norm
layers/0/attn/attn_vec_einsum/w 2x4x4 kernel
layers/0/attn/q_einsum/w 2x4x4 kernel
layers/0/attn/kv_einsum/w 2x1x4x4 kernel
layers/0/attn/_query_norm/scale 4 norm
layers/0/attn/_key_norm/scale   4 norm
layers/0/pre_ffw_norm/scale 4 norm
layers/0/mlp/gate_proj/kernel 4x8 kernel
layers/0/mlp/up_proj/kernel   4x8 kernel
layers/0/mlp/down_proj/kernel 8x4 kernel
final_norm/scale 4 norm
""",
        "google/flax, examples/gemma/train.py: optax.adamw without a mask",
        lambda name, shape: True,
        "everything",
        lambda: of_nnx(Gemma),
    ),
    "T5 (t5x)": NetOfOthers(
        """
token_embedder/embedding 11x4 embedding
encoder/relpos_bias/rel_embedding 2x6 embedding
encoder/layers_0/pre_attention_layer_norm/scale 4 norm
encoder/layers_0/attention/query/kernel 4x4 kernel
encoder/layers_0/attention/key/kernel   4x4 kernel
encoder/layers_0/attention/value/kernel 4x4 kernel
encoder/layers_0/attention/out/kernel   4x4 kernel
encoder/layers_0/pre_mlp_layer_norm/scale 4 norm
encoder/layers_0/mlp/wi_0/kernel 4x8 kernel
encoder/layers_0/mlp/wi_1/kernel 4x8 kernel
encoder/layers_0/mlp/wo/kernel   8x4 kernel
encoder/encoder_norm/scale 4 norm
decoder/relpos_bias/rel_embedding 2x6 embedding
decoder/layers_0/pre_cross_attention_layer_norm/scale 4 norm
decoder/layers_0/encoder_decoder_attention/query/kernel 4x4 kernel
decoder/logits_dense/kernel 4x11 kernel
""",
        "google-research/t5x, t5x/adafactor.py: weight_decay_rate, of every leaf",
        lambda name, shape: True,
        "everything",
    ),
    "Mamba": NetOfOthers(
        """
backbone.embedding.weight 11x4 embedding
backbone.layers.0.mixer.A_log 8x3 other
backbone.layers.0.mixer.D 8 other
backbone.layers.0.mixer.in_proj.weight 16x4 kernel
backbone.layers.0.mixer.conv1d.weight 8x1x4 kernel
backbone.layers.0.mixer.conv1d.bias   8 bias
backbone.layers.0.mixer.x_proj.weight 7x8 kernel
backbone.layers.0.mixer.dt_proj.weight 8x1 kernel
backbone.layers.0.mixer.dt_proj.bias   8   bias
backbone.layers.0.mixer.out_proj.weight 4x8 kernel
backbone.layers.0.norm.weight 4 norm
backbone.norm_f.weight 4 norm
""",
        "state-spaces/mamba, mamba_ssm/modules/mamba_simple.py: _no_weight_decay",
        lambda name, shape: name.rsplit(".", 1)[-1] not in ("A_log", "D"),
        'all_but(matching("A_log$"), matching("mixer.D$"))',
    ),
    "LoRA (PEFT)": NetOfOthers(
        """
base_model.model.layers.0.self_attn.q_proj.lora_A.default.weight 2x4 kernel
base_model.model.layers.0.self_attn.q_proj.lora_B.default.weight 4x2 kernel
base_model.model.layers.0.self_attn.v_proj.lora_A.default.weight 2x4 kernel
base_model.model.layers.0.self_attn.v_proj.lora_B.default.weight 4x2 kernel
""",
        "huggingface/peft, src/peft/optimizers/loraplus.py: both factors",
        lambda name, shape: "bias" not in name,
        "all_but(biases, norms)",
    ),
}
