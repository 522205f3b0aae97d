"""Nets as pure functions: what flax's two kinds of modules, and functions of one's own, have in common."""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from wd_research.training.convolutions import as_flax_calls
from wd_research.training.models import dropped
from wd_research.types import Array, Extras, Key, Numbers, Params

if TYPE_CHECKING:
    from flax import nnx

IN_TRAINING = {"train": True, "training": True, "is_training": True, "deterministic": False}  # what modules ask for
OTHER_STREAMS = 0x0DD  # folded into the key of "params", which flax draws from for every stream that has none


class Net(NamedTuple):
    """A net: its weights, and what it makes of inputs.

    `apply(params, extras, inputs, train, key, **settings)` returns outputs and extras. In evaluation (train False) it
    is given no settings, and the extras that it returns are not used.
    """

    init: Callable[[Key, Numbers], tuple[Params, Extras]]  # (key, inputs [1, ...])
    apply: Callable[..., tuple[Array, Extras]]


def as_net(model: "Net | nn.Module") -> Net:
    """The net of a flax linen module, or the net itself. Raises TypeError, with one sentence, for anything else."""
    if isinstance(model, Net):
        return model
    if isinstance(model, nn.Module):
        return of_linen(model)
    raise TypeError(
        f"a {type(model).__name__} is no net: give a flax linen module, of_nnx(lambda rngs: ...) or "
        "of_functions(init, apply)"
    )


def of_linen(module: nn.Module) -> Net:
    """The net of a flax linen module, called as module(inputs, **settings).

    It is told whether it trains where it has an argument `train`, `training`, `is_training` or `deterministic`. Its
    collections beside "params" are the extras; in training it may draw from "dropout", and from streams of any other
    name. The rate of a flax Dropout in it may be traced, and so a hyperparameter; its flax Convs are `as_flax_calls`.
    """
    module_: Any = module  # flax's types know none of the arguments of its __call__

    def init(key: Key, inputs: Numbers) -> tuple[Params, Extras]:
        variables = dict(module_.init(key, inputs, **mode(module.__call__, False)))
        return variables.pop("params", {}), variables

    def apply(params: Params, extras: Extras, inputs: Array, train: bool, key: Key | None = None, **settings: Any):
        variables, arguments = {"params": params, **extras}, mode(module.__call__, train)
        if not train:
            with nn.intercept_methods(with_quick_convolutions):
                return module_.apply(variables, inputs, **arguments), extras
        rngs = {} if key is None else {"dropout": key, "params": jax.random.fold_in(key, OTHER_STREAMS)}
        with nn.intercept_methods(with_quick_convolutions), nn.intercept_methods(with_traced_rates):
            return module_.apply(variables, inputs, **arguments, **settings, rngs=rngs, mutable=list(extras))

    return Net(init, apply)


def with_traced_rates(call: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any], context: Any) -> Any:
    """A method of a flax module, called; a Dropout with a traced rate, on which flax would branch, is `dropped`."""
    layer = context.module
    if not (isinstance(layer, nn.Dropout) and context.method_name == "__call__" and isinstance(layer.rate, jax.Array)):
        return call(*arguments, **named)
    given = inspect.signature(nn.Dropout.__call__).bind(layer, *arguments, **named).arguments
    inputs = given["inputs"]
    if nn.merge_param("deterministic", layer.deterministic, given.get("deterministic")):
        return inputs
    key = given.get("rng")
    once = [axis % inputs.ndim for axis in layer.broadcast_dims]
    shape = tuple(1 if axis in once else size for axis, size in enumerate(inputs.shape))
    return dropped(inputs, layer.rate, layer.make_rng(layer.rng_collection) if key is None else key, shape)


def with_quick_convolutions(call: Callable[..., Any], arguments: Any, named: dict[str, Any], context: Any) -> Any:
    """A method of a flax module, called; a Conv that has no function of its own convolves by `as_flax_calls`."""
    layer = context.module  # bound, and so of this call alone
    if type(layer) is nn.Conv and layer.conv_general_dilated is None and layer.conv_general_dilated_cls is None:
        object.__setattr__(layer, "conv_general_dilated", as_flax_calls)
    return call(*arguments, **named)


def of_nnx(build: Callable[["nnx.Rngs"], "nnx.Module"]) -> Net:
    """The net of what build(rngs) makes, a flax nnx module called as module(inputs, **settings).

    Its Params are the weights, by their names; its other variables, but for streams of random numbers, the extras. It
    is switched by its own `train()` and `eval()`, and in training every stream of random numbers gets a key of its own.
    """
    from flax import nnx

    kinds = nnx.Param, nnx.RngState, ...
    graph, *abstract = cast(Any, nnx.split(nnx.eval_shape(lambda: build(nnx.Rngs(0))), *kinds))

    def init(key: Key, inputs: Numbers) -> tuple[Params, Extras]:
        del inputs
        _, params, _, extras = nnx.split(build(nnx.Rngs(key)), *kinds)
        return nnx.to_pure_dict(params), nnx.to_pure_dict(extras)

    def apply(params: Params, extras: Extras, inputs: Array, train: bool, key: Key | None = None, **settings: Any):
        states = [jax.tree.map(lambda leaf: leaf, state) for state in abstract]
        for state, values in zip(states, (params, streams(states[1], key), extras), strict=True):
            nnx.replace_by_pure_dict(state, values)
        module: Any = nnx.merge(graph, *states)
        for _, layer in nnx.iter_graph(module):
            if type(layer) is nnx.Conv and layer.conv_general_dilated is jax.lax.conv_general_dilated:
                layer.conv_general_dilated = as_flax_calls
        (module.train if train else module.eval)()
        outputs = module(inputs, **mode(module.__call__, train), **(settings if train else {}))
        return outputs, nnx.to_pure_dict(cast(Any, nnx.split(module, *kinds)[3]))

    def streams(state: Any, key: Key | None) -> Any:
        key = jax.random.key(0) if key is None else key  # nothing is drawn in evaluation
        leaves, structure = jax.tree.flatten(nnx.to_pure_dict(state))
        drawn = [
            jax.random.fold_in(key, number) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else jnp.zeros_like(leaf)
            for number, leaf in enumerate(leaves)
        ]
        return jax.tree.unflatten(structure, drawn)

    return Net(init, apply)


def of_functions(init: Callable[[Key], Params], apply: Callable[..., Array]) -> Net:
    """The net of two functions: init(key) -> params, any tree of arrays, and apply(params, inputs, **settings)."""

    def with_extras(
        params: Params, extras: Extras, inputs: Array, train: bool, key: Key | None = None, **settings: Any
    ):
        del key
        return apply(params, inputs, **(settings if train else {})), extras

    return Net(lambda key, inputs: (init(key), {}), with_extras)


def mode(call: Callable[..., Any], train: bool) -> dict[str, bool]:
    """The arguments that tell a module whether it trains: those of IN_TRAINING that it has."""
    asked = inspect.signature(call).parameters
    return {name: value == train for name, value in IN_TRAINING.items() if name in asked}
