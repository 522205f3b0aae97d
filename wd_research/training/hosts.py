"""Hosts: the devices of several processes train one population.

Process 0 runs an experiment as if all devices were its own. Whatever it does with them it says first, over JAX's
coordination service, and the other processes, started by the same command, do the same. So nothing else has to be
agreed between them: clocks, files, signals and choices are those of process 0 alone.
"""

import itertools
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import partial
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from wd_research.flags import UserError
from wd_research.signals import held
from wd_research.training.mapped import Block
from wd_research.training.population import Population, all_devices, by_words, compile_population
from wd_research.training.programs import Compiled
from wd_research.types import Arm

AUTO = "auto"
PARTING = 30_000  # milliseconds in which every process has to have heard the last order
HEARING = 1_000  # milliseconds after which a process that waits for an order looks whether a signal has come
END = "end"
SIGNALLED = "wd_research/signalled"  # by which process, if any but 0

Columns = list[list[float]]  # of points
Ends = list[int]  # of a range of seeds: the first, and that behind the last

_numbers = itertools.count()  # of the orders of this process, the same in every process
_leading: list["Host"] = []  # the host of this process while it leads


def join_processes(where: str) -> None:
    """Join the processes that train together, before JAX starts.

    `where` is "auto" where JAX finds them (Slurm, Open MPI, Kubernetes, Cloud TPU), else `i/n@HOST:PORT`: this is the
    i-th of n, and process 0 listens there. Raises UserError where they cannot be found.
    """
    given: dict[str, Any] = {} if where == AUTO else address_of(where)
    try:
        jax.distributed.initialize(**given)
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"--distributed {where}: the processes did not come together ({str(error).splitlines()[0]}); start all of "
            "them by the same command, or say which this is, as in --distributed 0/4@HOST:PORT"
        ) from error


def address_of(where: str) -> dict[str, Any]:
    """What `0/4@10.0.0.1:1234` says. Raises UserError, with one sentence, where it says nothing."""
    share, _, address = where.partition("@")
    number, _, of = share.partition("/")
    host, _, port = address.rpartition(":")
    if not (number.isdecimal() and of.isdecimal() and int(number) < int(of) and host and port.isdecimal()):
        raise UserError(f"--distributed {where} names no process: give {AUTO}, or i/n@HOST:PORT, such as "
                        "0/4@10.0.0.1:1234")  # fmt: skip
    alone = {"coordinator_bind_address": address} if host in ("127.0.0.1", "localhost") else {}
    return {
        "coordinator_address": address, "process_id": int(number), "num_processes": int(of),
        "cluster_detection_method": "deactivate", **alone,
    }  # fmt: skip


@contextmanager
def together(arms: Mapping[str, Arm]) -> Generator[None]:
    """Run a block in process 0 on the devices of all processes.

    In the others SystemExit takes its place, once they have done what it says. In one process nothing is special.
    """
    if not jax.distributed.is_initialized() or _leading:  # to count processes would start JAX
        yield
        return
    host = Host(arms)
    if jax.process_index():
        host.follow()
    _leading.append(host)
    try:
        yield
    finally:
        _leading.remove(host)
        say(END)
        part()


def part() -> None:
    """Let all processes go their ways.

    Where one of them is gone JAX would let this one neither go on nor end in peace: it ends here, with what has
    happened so far. Everything that is to stay has been written.
    """
    try:
        service().wait_at_barrier(END, PARTING)
        jax.distributed.shutdown()
    except jax.errors.JaxRuntimeError:
        traceback.print_exc()
        print("error: a process that trained along is gone; give the command again to all of them, and the run goes on "
              "from its last position", file=sys.stderr, flush=True)  # fmt: skip
        os._exit(1)


def mesh_here() -> Mesh:
    """The devices of all processes in one that leads them, else those of this process."""
    return all_devices(jax.devices() if _leading else jax.local_devices())


def compile_here(
    arm: Arm, seeds: int, length: int, mesh: Mesh, block: Block, compiled: Compiled
) -> Population:  # fmt: skip
    """Compile an arm as `compile_population` does, on all processes whose devices the mesh has."""
    if not mesh.is_multi_process:
        return compile_population(arm, seeds, length, mesh, block, compiled)
    host = _leading[0]
    host.compiled = compiled
    act = partial(say_and_do, host)
    number, own = act("compile", host.name_of(arm), columns_of(arm), seeds, length, block)

    def put_back(members: Any) -> Any:
        host.given = members
        return act("put_back", number)

    # There are one population's inputs, members and evaluation at a time, so that an order need not say which.
    return own._replace(
        init=lambda inputs: act("init", number),
        advance=lambda members, inputs, *clock: act("advance", number, *(value.item() for value in clock)),
        evaluate=lambda members, inputs: act("evaluate", number),
        put=lambda arm, seeds=None, used=None: act("put", number, columns_of(arm), seeds and ends_of(seeds), used),
        feed=lambda inputs, seeds, start, steps: act("feed", number, ends_of(seeds), start, steps),
        put_back=put_back,
        fetch=lambda evaluated, *of, **places: own.fetch(act("fetch"), *of, **places),
        on_host=lambda members: act("read"),
    )


def say_and_do(host: "Host", order: str, *given: Any) -> Any:
    """Say an order, and do it."""
    say(order, *given)
    return getattr(host, order)(*given)


class Host:
    """What a process does with its devices, the same in all of them: one population's inputs and members at a time."""

    def __init__(self, arms: Mapping[str, Arm]) -> None:
        """For the arms of an experiment."""
        self.arms: Mapping[str, Arm] = arms
        self.compiled: Compiled = {}
        self.populations: list[tuple[Arm, Population]] = []
        self.inputs: Any = None
        self.members: Any = None
        self.evaluated: Any = None
        self.given: Any = None  # members that process 0 has read, for all

    def follow(self) -> NoReturn:
        """Do what process 0 says until it ends; a signal is passed on to it."""
        with held() as signalled:
            for order, given in orders(signalled):
                getattr(self, order)(*given)
            part()
        raise SystemExit(0)

    def name_of(self, arm: Arm) -> str:
        """Which of the experiment's arms has the points of this one, or others."""
        own = [field.name for field in fields(arm) if field.name != "points"]
        alike = (name for name, known in self.arms.items() if all(getattr(known, f) is getattr(arm, f) for f in own))
        return next(alike)

    def compile(self, name: str, columns: Columns, seeds: int, length: int, block: Block) -> tuple[int, Population]:
        """Compile an arm at some points, as the population of the number that is returned."""
        arm = with_columns(self.arms[name], columns)
        population = compile_population(arm, seeds, length, all_devices(jax.devices()), block, self.compiled)
        self.populations.append((arm, population))
        return len(self.populations) - 1, population

    def put(self, number: int, columns: Columns, seeds: Ends | None, used: int | None) -> Any:
        """Put inputs on the devices."""
        arm, population = self.populations[number]
        self.inputs = population.put(with_columns(arm, columns), seeds and range(*seeds), used)
        return self.inputs

    def feed(self, number: int, seeds: Ends, start: int, steps: int) -> Any:
        """Put what the host has for some steps on the devices."""
        self.inputs = self.populations[number][1].feed(self.inputs, range(*seeds), start, steps)
        return self.inputs

    def init(self, number: int) -> Any:
        """Make the members that have taken no step."""
        self.members = self.populations[number][1].init(self.inputs)
        return self.members

    def put_back(self, number: int) -> Any:
        """Put members that process 0 has, and it alone, on the devices of all."""
        population, members = self.populations[number][1], self.given
        self.given = None
        shapes = population.members if members is None else members
        self.members = population.put_back(jax.tree.map(from_first, shapes))
        return self.members

    def advance(self, number: int, start: int, steps: int, fresh: bool) -> Any:
        """Take steps."""
        clock, advance = (np.int32(start), np.int32(steps), np.bool_(fresh)), self.populations[number][1].advance
        self.members = jax.block_until_ready(advance(self.members, self.inputs, *clock))
        return self.members

    def evaluate(self, number: int) -> Any:
        """Evaluate the members."""
        self.evaluated = self.populations[number][1].evaluate(self.members, self.inputs)
        return self.evaluated

    def fetch(self) -> Any:
        """The last evaluation on every host, with what the steps before it measured."""
        return gathered((self.evaluated, self.members.totals, self.members.diverged_at))

    def read(self) -> Any:
        """The members on every host."""
        return gathered(self.members)


def gathered(tree: Any) -> Any:
    """A tree that is spread over all processes, as NumPy arrays on each."""
    return jax.tree.map(partial(by_words, partial(multihost_utils.process_allgather, tiled=True)), tree)


def from_first(leaf: Any) -> Any:
    """An array that process 0 has, on the host of every process; the others give its shape and type."""

    def from_there(leaf: Any) -> Any:
        mine = np.zeros(leaf.shape, leaf.dtype) if jax.process_index() else np.asarray(leaf)
        return multihost_utils.broadcast_one_to_all(mine)

    return by_words(from_there, leaf)


def ends_of(seeds: range) -> Ends:
    """A range of seeds as numbers."""
    return [seeds.start, seeds.stop]


def columns_of(arm: Arm) -> Columns:
    """An arm's points as lists of numbers."""
    return [np.asarray(column, np.float32).tolist() for column in arm.points]


def with_columns(arm: Arm, columns: Columns) -> Arm:
    """The arm with such points."""
    return replace(arm, points=type(arm.points)(*(np.asarray(column, np.float32) for column in columns)))


# What is said


def say(order: str, *given: Any) -> None:
    """Say an order to all other processes."""
    service().key_value_set(key_of(next(_numbers)), json.dumps([order, *given]))
    if order == "advance" and heard(SIGNALLED, 1):
        signal.raise_signal(signal.SIGTERM)


def orders(signalled: Callable[[], bool]) -> Iterator[tuple[str, list[Any]]]:
    """The orders of process 0 until the last; it is told where a signal has come here."""
    for number in _numbers:
        said = None
        while said is None:
            said = heard(key_of(number))
            if signalled():
                service().key_value_set(SIGNALLED, str(jax.process_index()), allow_overwrite=True)
        order, *given = json.loads(said)
        if order == END:
            return
        yield order, given


def heard(key: str, wait: int = HEARING) -> str | None:
    """What is said under a key within so many milliseconds, or None."""
    try:
        return service().blocking_key_value_get(key, wait)
    except jax.errors.JaxRuntimeError as error:
        if "DEADLINE_EXCEEDED" not in str(error):
            raise
    return None


def key_of(number: int) -> str:
    """Under which an order is said."""
    return f"wd_research/{number}"


def service() -> Any:
    """JAX's coordination service, which has no public name (jax 0.10 to 0.12)."""
    from jax._src import distributed

    return distributed.global_state.client
