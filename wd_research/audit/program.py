"""The program of one step of an optimizer: run on a few entries of every leaf as on whole leaves, and its counters.

A leaf is taken for a tile, its few entries, laid out again and again along every axis. What a step computes entry by
entry it computes in each tile; a sum along an axis is that of a tile times how many there are, and so is a product of
matrices. So a step on tiles alone tells what a step on such leaves does, exactly, whatever norms it takes.
"""

import itertools
import math
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.extend import core

from wd_research.audit.clock import is_clock
from wd_research.types import Params

LOOPS = {"cond", "scan", "while"}
SUMS = {"reduce_sum", "dot_general"}
ACROSS = re.compile(  # what tiles do not tell, unless they are whole leaves
    r"reduce_(max|min|prod|xor)|cum.*|sort|top_k|approx.*|arg.*|fft|conv_general.*|cholesky|qr|svd|eigh?|lu|house.*"
)
Step = Callable[..., tuple[Any, Any]]  # (numbers, state, gradients, weights) -> updates, state


class Program(NamedTuple):
    """A step of an optimizer as a function of the flat list of all its inputs."""

    step: core.ClosedJaxpr
    outputs: Any  # the treedef of its results
    numbers: int  # how many inputs stand before the state
    state: Any  # the shapes of the state


def traced(optimizer_of: Callable[[Any], optax.GradientTransformation], numbers: Any, params: Params) -> Program:
    """The program of the optimizer that `optimizer_of` builds from traced numbers; nothing is run."""

    def step(numbers: Any, state: Any, gradients: Params, weights: Params) -> tuple[Any, Any]:
        return optimizer_of(numbers).update(gradients, state, weights)

    state = jax.eval_shape(lambda numbers, weights: optimizer_of(numbers).init(weights), numbers, params)
    closed, outputs = jax.make_jaxpr(step, return_shape=True)(numbers, state, params, params)
    return Program(closed, jax.tree.structure(outputs), len(jax.tree.leaves(numbers)), state)


def step_of(program: Program, whole: Program) -> Step:
    """A step of a program of tiles as one of whole leaves, or of whole leaves themselves."""

    def step(*trees: Any) -> tuple[Any, Any]:
        return jax.tree.unflatten(program.outputs, _evaluated(program.step, whole.step, jax.tree.leaves(trees)))

    return step


def are_tiles(few: Any, all_: Any) -> bool:
    """Whether a program does with tiles what another one does with whole leaves: the same operations of the same.

    A mask may depend on sizes, so that they differ.
    """
    small, big = few.jaxpr, all_.jaxpr
    if len(small.eqns) != len(big.eqns) or list(map(np.shape, few.consts)) != list(map(np.shape, all_.consts)):
        return False
    same = dict(zip(_inputs(big), _inputs(small), strict=True))
    for one, other in zip(small.eqns, big.eqns, strict=True):
        if not _alike(one, other, same):
            return False
        same |= dict(zip(other.outvars, one.outvars, strict=True))
    return all(_same(a, b, same) for a, b in zip(small.outvars, big.outvars, strict=True))


def _inputs(program: Any) -> list[Any]:
    return [*program.constvars, *program.invars]


def _same(few: Any, all_: Any, same: dict[Any, Any]) -> bool:
    """Whether two operands are the same; of numbers that depend on sizes, as in a mean, those of whole leaves count."""
    if isinstance(few, core.Literal) and isinstance(all_, core.Literal):
        return bool(np.array_equal(few.val, all_.val)) or jnp.issubdtype(jnp.result_type(few.val), jnp.inexact)
    return not isinstance(all_, core.Literal) and same.get(all_) is few


def _alike(few: Any, all_: Any, same: dict[Any, Any]) -> bool:
    """Whether two operations are the same."""
    name, inside = few.primitive.name, list(zip(_inside(few), _inside(all_), strict=False))
    if name != all_.primitive.name or len(few.invars) != len(all_.invars):
        return False
    if not all(_same(a, b, same) for a, b in zip(few.invars, all_.invars, strict=True)):
        return False
    if inside:
        called = name in LOOPS or (len(inside) == 1 and len(inside[0][0].in_avals) == len(few.invars))
        return called and few.params.get("length") == all_.params.get("length") and all(are_tiles(*p) for p in inside)
    return not ACROSS.fullmatch(name) or _shapes(few) == _shapes(all_)


def _shapes(equation: Any) -> list[tuple[int, ...]]:
    return [operand.aval.shape for operand in equation.invars]


def _evaluated(few: Any, all_: Any, inputs: list[Any]) -> list[Any]:
    """The results of a program of tiles, with its sums and numbers those of whole leaves."""
    small, big = few.jaxpr, all_.jaxpr
    known = dict(zip(_inputs(small), [*all_.consts, *inputs], strict=True))
    return _run(zip(small.eqns, big.eqns, strict=True), known, zip(small.outvars, big.outvars, strict=True))


def _run(equations: Iterable[tuple[Any, Any]], known: dict[Any, Any], results: Iterable[tuple[Any, Any]]) -> list[Any]:
    """The results of operations, each with that of whole leaves, from known values."""

    def value(few: Any, all_: Any) -> Any:
        return all_.val if isinstance(few, core.Literal) else known[few]

    for few, all_ in equations:
        values = _applied(few, all_, list(map(value, few.invars, all_.invars)))
        known |= dict(zip(few.outvars, values, strict=True))
    return list(itertools.starmap(value, results))


def _applied(few: Any, all_: Any, values: list[Any]) -> list[Any]:
    """The results of one operation."""
    inside, params = _inside(few), few.params
    if inside and few.primitive.name not in LOOPS:
        return _evaluated(inside[0], _inside(all_)[0], values)
    if inside:
        params = {name: _exchanged(value, all_.params[name]) for name, value in params.items()}
    results = few.primitive.bind(*values, **params)
    results = results if few.primitive.multiple_results else [results]
    tiles = _summed(all_) / _summed(few) if few.primitive.name in SUMS else 1
    return results if tiles == 1 else [(tiles * results[0]).astype(results[0].dtype)]


def _exchanged(few: Any, all_: Any) -> Any:
    """A program that a loop holds, or several, with sums and numbers those of whole leaves."""
    if not jax.tree.leaves(few) or not all(map(_is_program, jax.tree.leaves(few))):
        return few
    if isinstance(few, tuple):
        return tuple(map(_exchanged, few, all_))
    inputs = [jax.ShapeDtypeStruct(of.shape, of.dtype, weak_type=of.weak_type) for of in few.in_avals]
    return jax.make_jaxpr(lambda *values: _evaluated(few, all_, list(values)))(*inputs)


def _summed(equation: Any) -> int:
    """How many numbers a sum is of."""
    params, shape = equation.params, equation.invars[0].aval.shape
    axes = params["dimension_numbers"][0][0] if "dimension_numbers" in params else params["axes"]
    return max(math.prod(shape[axis] for axis in axes), 1)


def _is_program(value: Any) -> bool:
    return isinstance(value, core.ClosedJaxpr)


def _inside(equation: Any) -> list[Any]:
    """The programs that an operation calls."""
    return list(filter(_is_program, jax.tree.leaves(list(equation.params.values()))))


def counters_alone(program: Program) -> Callable[[list[Any]], Callable[[], np.ndarray]]:
    """The function (inputs of a step) -> a function that takes a step of the counters and returns them, f64[counters].

    Everything else in the state stays as it is, so that of a step only what counters need is compiled.
    """
    jaxpr, state = program.step.jaxpr, jax.tree.leaves(program.state)
    counters = [index for index, leaf in enumerate(state) if is_clock(leaf)]
    results = [jaxpr.outvars[len(jaxpr.outvars) - len(state) + index] for index in counters]
    needed, equations = set(filter(_is_variable, results)), []
    for equation in reversed(jaxpr.eqns):
        if needed.intersection(equation.outvars):
            equations.append(equation)
            needed |= set(filter(_is_variable, equation.invars))
    used = [index for index, variable in enumerate(jaxpr.invars) if variable in needed]

    @jax.jit
    def step(*values: Any) -> list[Any]:
        known = dict(zip(jaxpr.constvars, program.step.consts, strict=True))
        known |= {jaxpr.invars[index]: value for index, value in zip(used, values, strict=True)}
        return _run(
            [(equation, equation) for equation in reversed(equations)], known, zip(results, results, strict=True)
        )

    def started(inputs: list[Any]) -> Callable[[], np.ndarray]:
        at, where = list(inputs), [program.numbers + index for index in counters]

        def stepped() -> np.ndarray:
            for index, value in zip(where, step(*(at[index] for index in used)), strict=True):
                at[index] = value
            return np.array([np.asarray(at[index]) for index in where], np.float64)

        return stepped

    return started


def _is_variable(operand: Any) -> bool:
    return not isinstance(operand, core.Literal)
