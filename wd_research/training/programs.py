"""Programs: functions of trees, lowered as functions of their leaves, known by their text, and compiled.

Equal texts are one executable, however the functions were built that they come from.
"""

import hashlib
import re
import types
import uuid
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, NamedTuple

import jax

# On a CPU, LLVM's -O1 compiles in half the time of its -O3, and no program ran slower for it (docs/benchmarks.md). Of
# YNNPACK's kernels we take the products: with the others, a vmapped transformer ends in a segmentation fault (jaxlib
# 0.10.2), and nothing is faster for them.
CPU_OPTIONS = {
    "xla_backend_optimization_level": 1,
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT",
}
ONCE = {"xla_backend_optimization_level": 0}  # for a program that runs once a tile
Compiled = MutableMapping[str, Any]  # the hash of a program's text -> the program, for all populations of a run


class Lowered(NamedTuple):
    """A function of trees, lowered as a function of their leaves."""

    lowered: Any
    out_tree: Any
    text: str  # the hash of what it computes

    @property
    def out_info(self) -> Any:
        """Shapes and types of what it returns."""
        return jax.tree.unflatten(self.out_tree, self.lowered.out_info)


class Program(NamedTuple):
    """A compiled function of trees; programs of equal texts are one executable, whatever the trees are made of."""

    executable: Any  # of leaves
    out_tree: Any

    def __call__(self, *arguments: Any) -> Any:
        return jax.tree.unflatten(self.out_tree, self.executable(*jax.tree.leaves(arguments)))


def lower(
    function: Callable[..., Any], arguments: tuple[Any, ...], platform: str,
    options: Mapping[str, Any] = types.MappingProxyType({}), donated: Any = (),
) -> Lowered:  # fmt: skip
    """Lower a function of these arguments, with options of our own on a CPU and these; the leaves of `donated`, the
    first ones, are given away.
    """
    leaves, in_tree = jax.tree.flatten(arguments)
    out_trees = []

    def of_leaves(*leaves: Any) -> list[Any]:
        returned, out_tree = jax.tree.flatten(function(*jax.tree.unflatten(in_tree, leaves)))
        out_trees.append(out_tree)
        return returned

    # Were unused arguments dropped, functions of different ones could have equal texts.
    flat = jax.jit(of_leaves, donate_argnums=tuple(range(len(jax.tree.leaves(donated)))), keep_unused=True,
                   compiler_options={**CPU_OPTIONS, **options} if platform == "cpu" else None)  # fmt: skip
    lowered = flat.lower(*leaves)
    return Lowered(lowered, out_trees[0], text_hash(lowered))


def text_hash(lowered: Any, alone: bool = True) -> str:
    """The hash of a lowered program's text, whatever its own functions are called: equal texts compute the same.

    Constants are part of the text, so functions that hold other numbers differ; donation and shardings are too. A
    callback into Python is not: its text has a number alone, so a program with one has a hash that no other has, unless
    it need not be `alone`.
    """
    text = lowered.as_text()
    own = dict.fromkeys(re.findall(r"(?:module|func\.func(?: \w+)*) (@[\w.$-]+)", text))  # not those of custom calls
    renamed = {name: f"@{number}" for number, name in enumerate(own)}
    text = re.sub(r"@[\w.$-]+", lambda name: renamed.get(name[0], name[0]), text)
    unique = uuid.uuid4().hex if alone and "callback" in text else ""
    return hashlib.sha256((text + unique).encode()).hexdigest()
