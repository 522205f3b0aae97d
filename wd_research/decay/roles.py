"""The role of a leaf in its net, from the names on its path; its axes are counted only where no name says anything."""

import re
from collections import Counter
from functools import cache
from itertools import takewhile
from typing import Any, NamedTuple

import jax
import numpy as np

from wd_research.types import Params

Keys = tuple[str, ...]  # the names on the path of a leaf


class Role(NamedTuple):
    """What a leaf does in its net, and which rule says so."""

    kind: str  # "kernel" multiplies its input; "bias" and "norm", a gain, act per unit; "embedding"; "other"
    rule: str


class Rule(NamedTuple):
    """A name that tells a role."""

    kind: str
    of: str  # the name of the leaf, or its letter (`_letter`); of the module that it is in, or of one that has no bias
    pattern: str  # without the number at the end of the name
    known_from: str


VECTORS = ("bias", "norm")  # the kinds of leaves that have one axis, where nothing is stacked
WORK = r"^(?!.*(proj(ection)?|linear|dense|conv\d?d?|mlp|ffn?|fc|net|attn|attention|head)$).*?"  # multiplies
TABLE = r"^(wte|wpe|shared|relative_attention_bias)$"
NORM = rf"(?i){WORK}(norm(ali[sz]ation)?s?(\d*_|$)|^(ln|bn|gn)(\d*_|$)|_(ln|bn|gn)$)"
POSITION = r"(^|_)(rel(ative)?_?)?pos(ition)?(al)?(_|$)|(^|_)rel(ative)?_?(pos|emb|attention_bias)"

RULES = (  # the first that matches
    Rule("other", "leaf", r"(^|_)(log|Lambda)(_|$)|^A_(re|im)|^a_param$", "Mamba, S4, S5, LRU, RG-LRU: poles, steps"),
    Rule("other", "leaf", r"^dt_bias$|^time_(decay|first|mix|maa|faaaa|state)", "Mamba 2; RWKV"),
    Rule("other", "leaf", r"^logit_scale$|^(logit_)?temp(erature)?$|^tau$", "CLIP, Swin 2: temperatures"),
    Rule("other", "leaf", r"^negative_slope$|^(inv_)?freqs?(_|$)", "PReLU; rotary frequencies"),
    Rule("kernel", "leaf", r"kernel$|^lora_(?!mag)", "flax, Keras; nnx.LoRA, PEFT"),
    Rule("kernel", "leaf", r"(?i)proj(ection)?$", "CLIP: text_projection"),
    Rule("embedding", "leaf", rf"{POSITION}|^attention_biases$", "T5, Swin, SAM, LeViT, ViT: tables of positions"),
    Rule("bias", "leaf", r"bias|^(beta|offset)$", "flax, PyTorch; Haiku: offset; Keras: beta"),
    Rule("bias", "letter", r"^b[qkvo]?$", "Haiku: b; nets written as one dict: b1, bq"),
    Rule("norm", "leaf", r"(^|_)(scale|gain|gamma)$|^weight_g$", "flax, Haiku: scale; Keras: gamma; weight norm"),
    Rule("norm", "letter", r"^g$", "GPT-2: g"),
    Rule("norm", "leaf", r"layer_?scale|^gamma_|^ls$|^lora_mag", "layer scales of CaiT, DINOv2; PEFT: DoRA"),
    Rule("norm", "leaf", NORM, "nets written as one dict: ln_1, attn_norm"),
    Rule("kernel", "leaf", r"(?i)un_?embed|patch_?emb", "lone kernels"),
    Rule("embedding", "leaf", r"(?i)(^|_)(pos_?)?emb|^wte$|^wpe$", "flax: embedding; Haiku, Keras: embeddings"),
    Rule("embedding", "leaf", r"tokens?$|^cls$|^probe$|^latents?$", "timm: cls_token; big_vision: cls, probe"),
    Rule("kernel", "leaf", r"_weight$|^weight_(v|ih|hh|hr)", "PyTorch: in_proj_weight, weight_ih_l0, weight norm"),
    Rule("norm", "module", NORM, "PyTorch, Equinox: ln_1.weight, norm1.weight, bn1.weight"),
    Rule("kernel", "leaf", r"^[wW]$|^w[qkvoi]$", "Haiku, Gemma: w; nets written as one dict: w1, wq"),
    Rule("kernel", "module", r"(?i)^lora_|un_?embed|embed_out|lm_head|patch_?emb", "PEFT; GPT-NeoX, GPT-2; CLIP"),
    Rule("kernel", "module", r"(?i)^(t|time(_?step)?|sigma|noise)_?emb", "diffusion: layers that embed a time"),
    Rule("embedding", "module without bias", rf"(?i){WORK}emb(ed|$)|{TABLE}", "PyTorch"),
)  # fmt: skip


def named(tree: Any) -> dict[Keys, Any]:
    """The leaves of a tree, and its nodes without children (None, `optax.MaskedNode`), by the names on their paths.

    The box that flax puts around a leaf (`nnx.Param`, `nn.Partitioned`) has no name of its own.
    """
    found = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda node: jax.tree.structure(node).num_nodes == 1)
    inside = Counter(path[:-1] for path, _ in found)

    def boxed(path: tuple[Any, ...]) -> bool:
        return bool(path) and path[-1] == jax.tree_util.GetAttrKey("value") and inside[path[:-1]] == 1

    paths = [path[:-1] if boxed(path) else path for path, _ in found]
    return {tuple(map(_name, path)): leaf for path, (_, leaf) in zip(paths, found, strict=True)}


def _name(key: Any) -> str:
    return jax.tree_util.keystr((key,), simple=True)


def roles(params: Params) -> dict[Keys, Role]:
    """The role of every leaf, by the names on its path, in the order of the leaves.

    Names decide (`RULES`). A leaf that none of them knows is a kernel if it has two axes or more, and something other
    if it has fewer; axes along which layers are stacked (`nn.scan`, `nnx.vmap`) do not count. PyTorch calls kernels and
    gains alike: a `weight` with one axis is a gain, unless its bias has none.
    """
    shapes, by_name = _by_names(params)
    stacked = _stacks(shapes, by_name)
    axes = {_split(keys): len(shape) for keys, shape in shapes.items()}

    def of_leaf(keys: Keys) -> Role:
        path = _split(keys)
        return by_name[keys] or _by_axes(path[-1], axes[path], stacked[keys], axes.get(_bias(path)))

    return {keys: of_leaf(keys) for keys in shapes}


def _by_names(params: Params) -> tuple[dict[Keys, tuple[int, ...]], dict[Keys, Role | None]]:
    """The shapes of the leaves, and the roles that their names tell."""
    shapes = {keys: np.shape(leaf) for keys, leaf in named(params).items() if jax.tree.leaves(leaf)}
    axes = {_split(keys): len(shape) for keys, shape in shapes.items()}
    by_name = {}
    for keys in shapes:
        path = _split(keys)
        by_name[keys] = _by_name(path, _letter(path, axes), _bias(path) in axes)
    return shapes, by_name


def _stacks(shapes: dict[Keys, tuple[int, ...]], by_name: dict[Keys, Role | None]) -> dict[Keys, int]:
    vectors = [keys for keys, role in by_name.items() if role and role.kind in VECTORS]
    return _stacked(shapes, {keys: _split(keys) for keys in shapes}, vectors)


def stacks(params: Params) -> Params:
    """How many leading axes of every leaf stack layers, as in a kernel [layers, in, out]; a tree of whole numbers.

    Layers are found where a bias or a gain with a known name stands in the same subtree.
    """
    found = _stacks(*_by_names(params))
    return jax.tree.unflatten(jax.tree.structure(params), list(found.values()))


def _split(keys: Keys) -> Keys:
    """A path as frameworks mean it: Haiku's `mlp/~/linear_0` and PyTorch's `h.0.ln_1.weight` are several names."""
    return tuple(re.split(r"[/.]", "/".join(keys)))


def _bias(path: Keys) -> Keys:
    """Where the bias of a leaf's module is, if it has one."""
    return (*path[:-1], "bias")


def _letter(path: Keys, axes: dict[Keys, int]) -> bool:
    """Whether a letter names a part of a layer: it has one axis, or it stands beside another one, `b1` beside `w1`.

    The two factors of a product A B may be called a and b as well.
    """
    return axes[path] < 2 or any((*path[:-1], other + path[-1][1:]) in axes for other in set("wWbg") - {path[-1][:1]})


@cache
def _by_name(path: Keys, is_letter: bool, has_bias: bool) -> Role | None:
    """The role that the first matching rule gives."""
    words = [name for name in path if name.strip("~0123456789")]
    leaf, module = [*words[::-1], "", ""][:2]
    of = {"leaf": leaf, "letter": leaf if is_letter else "", "module": module}
    of["module without bias"] = "" if has_bias else module
    for rule in RULES:
        if re.search(rule.pattern, re.sub(r"_?\d+$", "", of[rule.of])):
            return Role(rule.kind, f"{'module' if 'module' in rule.of else 'name'}: {of[rule.of]}")
    return None


def _by_axes(name: str, axes: int, stacked: int, bias_axes: int | None) -> Role:
    says = "1 axis" if axes == 1 else f"{axes} axes"
    if stacked:
        says += ", the first stacked" if stacked == 1 else f", the first {stacked} stacked"
    if axes - stacked >= 2:
        return Role("kernel", says)
    if name == "weight":
        return Role("kernel" if bias_axes == stacked < axes else "norm", f"weight: {says}")
    return Role("other", says)


def _stacked(shapes: dict[Keys, tuple[int, ...]], paths: dict[Keys, Keys], vectors: list[Keys]) -> dict[Keys, int]:
    """How many leading axes of a leaf stack layers: as many as make the vectors of a subtree longer than vectors.

    All leaves of such a subtree begin with the same lengths, so that the kernel beside it tells the bias [heads, dim]
    of an attention from a stack of biases.
    """
    subtrees: dict[Keys, list[Keys]] = {}
    for keys, path in paths.items():
        for length in range(len(path)):
            subtrees.setdefault(path[:length], []).append(keys)

    def of_subtree(inside: list[Keys]) -> int:
        axes = min((len(shapes[keys]) for keys in inside if keys in known), default=1)
        lengths = zip(*(shapes[keys] for keys in inside), strict=False)
        alike = sum(1 for _ in takewhile(lambda axis: len(set(axis)) == 1, lengths))
        return max(0, min(alike, axes - 1))

    known = set(vectors)
    stacks = {subtree: of_subtree(inside) for subtree, inside in subtrees.items()}
    return {keys: max(stacks[path[:length]] for length in range(len(path))) for keys, path in paths.items()}
