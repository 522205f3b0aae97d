"""The commands beside the experiments."""

import ast
import importlib.util
import io
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.table import Column, Table

from wd_research import advising
from wd_research.advising import Optimizer
from wd_research.cli import stop
from wd_research.decay.rescaling import Quantity, Rescaled, rescale
from wd_research.decay.setting import Schedule, Setting
from wd_research.decay.units import BITS, Row, effect, find, moved, share_of, table
from wd_research.flags import UserError, flag
from wd_research.parsing import in_one_sentence

FAMILIES = {
    "coupled": "In the gradient, before the optimizer",
    "scheduled": "After the optimizer, with the schedule of the learning rate",
    "unscheduled": "After the optimizer, the same at every step",
}


def units(
    *,
    decay: Annotated[tuple[str, float], tyro.conf.arg(name="from", metavar="NAME NUMBER")],
    setting: tyro.conf.OmitArgPrefixes[Setting] = Setting(),  # noqa: B008 - it cannot be changed
    to_batch_size: int | None = None,
    to_steps: int | None = None,
    to_examples: int | None = None,
    to_width: int | None = None,
) -> None:
    """Convert a decay into every convention, say what it does in this run, and rescale it by published rules.

    Args:
        decay: A convention and its number, such as torch-adamw 0.1; a wrong name gets the list of them.
        to_batch_size: Another batch size, with the same passes over the data.
        to_steps: Another length.
        to_examples: Another number of training examples, with the same passes over them.
        to_width: Another width.
    """
    source, number = decay
    rows = table(number, source, setting)
    changes: tuple[tuple[Quantity, int | None], ...] = (
        ("batch_size", to_batch_size),
        ("steps", to_steps),
        ("examples", to_examples),
        ("width", to_width),
    )
    rescaled = [(name, to, rescale(number, source, setting, name, to)) for name, to in changes if to is not None]
    console = Console(highlight=False, markup=False)
    for family, heading in FAMILIES.items():
        of_family = [row for row in rows if row.unit.family == family]
        why = of_family[0].obstacle
        console.print(f"{heading}: no exact conversion, because {why}" if why else heading)
        console.print(conventions_table(of_family), "")
    console.print(
        "L is the loss, eta the peak learning rate, n the training examples, b the batch size, T the steps. "
        "What a step removes is meant at the peak of the schedule and, in the gradient, under plain SGD.\n"
    )
    console.print(effect_sentence(number, source, setting))
    for name, to, rules in rescaled:
        console.print(f"\n{name.replace('_', ' ').capitalize()} {getattr(setting, name)} -> {to}")
        console.print(rules_table(source, rules) if rules else "No rule known here speaks of such a decay.")


def conventions_table(rows: Sequence[Row]) -> Table:
    """A row per convention: its number, or what it needs, and the formula."""
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    grid.add_column("", width=17, no_wrap=True)
    grid.add_column("x", width=19)
    grid.add_column("a step removes", width=14, no_wrap=True)
    grid.add_column("where x is")
    for unit, number, why, missing in rows:
        lacking = "none exact" if why else "needs " + ", ".join(map(flag, missing))
        grid.add_row(unit.name, lacking if number is None else f"{number:.6g}", unit.formula, unit.meaning)
    return grid


def effect_sentence(number: float, source: str, setting: Setting) -> str:
    """What decay does over the run, beside the gradients."""
    if setting.steps is None:
        return "What it does over a run needs --steps."
    done = effect(number, source, setting)
    if done is None:
        return f"Under {setting.optimizer} it removes no share of its own: that depends on the gradients too."
    rounded = moved(share_of(number, find(source), setting), setting.dtype)
    if rounded == "no":
        least = f"2^-{BITS[setting.dtype] + 1}"
        return (
            f"In {setting.dtype} no weight moves by decay alone: at its peak a step takes less than {least} of it, "
            "which rounds back. Keep weights in float32, or decay more at a time and less often."
        )
    half = "" if done.half is None else f", half of it within {done.half:.0f}"
    run = "this one step removes" if setting.steps == 1 else f"these {setting.steps} steps remove"
    return (
        f"Without gradients {run} {100 * done.removed:.4g} % of a weight{half}; the time "
        f"scale, 1 / (mean share a step), is {done.time_scale:.6g} steps ({done.time_scale / setting.steps:.3g} x the "
        "run)."
        + (
            f" In {setting.dtype} rounding takes decay away from many weights, and doubles it for others."
            if rounded == "some"
            else ""
        )
    )


def rules_table(source: str, rules: Sequence[Rescaled]) -> Table:
    """A row per rule: the new decay and run, what stays as it was, where the rule comes from, and for what it holds."""
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in (source, "learning rate", "steps", "what stays", "source", "holds for"):
        grid.add_column(heading)
    for rule, number, after, factor in rules:
        decay = "too much for a step" if number is None else f"{number:.6g}"
        rate = f"times {factor:.4g}" if after.learning_rate is None else f"{after.learning_rate:.6g}"
        steps = "" if after.steps is None else f"{after.steps}"
        grid.add_row(decay, rate, steps, rule.keeps, rule.source, rule.condition)
    return grid


def report(
    folders: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER [FOLDER ...]")],
    out: Path = Path("comparison.html"),
) -> None:
    """Write the report of a run's folder again; of several folders, also one page with all of them side by side.

    Args:
        folders: Folders of runs.
        out: Where the page with several runs goes.
    """
    from wd_research.reporting.files import write_text
    from wd_research.reporting.page import report as page_of  # here, because units need not wait for JAX
    from wd_research.reporting.record import read_run

    runs = [read_run(folder) for folder in folders]
    pages = {folder / "report.html": page_of([run]) for folder, run in zip(folders, runs, strict=True)}
    for path, page in (pages | ({out: page_of(runs)} if len(runs) > 1 else {})).items():
        write_text(path, page)
        print(path)


def load(
    folder: Annotated[Path, tyro.conf.Positional],
    arm: str | None = None,
    seed: int | None = None,
    out: Path | None = None,
) -> None:
    """Say what a run measured of its chosen points, and write the weights of one as arrays, whatever trained it.

    Args:
        folder: Folder of a run.
        arm: The arm whose chosen point is meant; by default the first.
        seed: The seed of the member; by default the first that confirms, or 0 where none does.
        out: A file such as weights.npz for the arrays, called params/Dense_0/kernel and so on.
    """
    import numpy as np

    from wd_research.evidence.choices import choose  # here, because units need not wait for JAX
    from wd_research.evidence.selection import can_be_tuned
    from wd_research.reporting.files import write_whole
    from wd_research.reporting.record import read_evidence
    from wd_research.reporting.tensorboard import file_name
    from wd_research.results import describe_point, hypers
    from wd_research.tiles import TILES
    from wd_research.weights import kept_of

    arms = {name: results for name, results in read_evidence(folder).items() if can_be_tuned(results)}
    name = arm or next(iter(arms), "")
    if name not in arms:
        raise UserError(f"{folder} has no arm {name!r} with a chosen point: choose among {', '.join(arms) or 'none'}")
    results = arms[name].sel(point=choose(arms[name]).point)
    point = {hyper: float(results[hyper]) for hyper in hypers(arms[name])}
    confirming = [part["seed"].to_numpy() for part in read_evidence(folder).confirming.get(name, ())]
    seed = seed if seed is not None else int(confirming[0][0]) if confirming else 0
    try:
        kept, places = kept_of(folder / TILES / file_name(name), seed, point)
    except LookupError as error:
        raise UserError(str(error)) from error
    print(f"{name} at {describe_point(point)}, seed {seed}")
    leaves = {key: leaf[places] for key, leaf in kept.leaves.items()}
    for key, leaf in leaves.items():
        print(f"  {key}  {leaf.dtype}{list(leaf.shape)}")
    if out:
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **leaves)
        write_whole(out, content.getbuffer())
        print(out)


def launch(
    module: Annotated[str, tyro.conf.Positional],
    folder: Annotated[Path, tyro.conf.Positional],
    on: Literal["slurm", "local"] = "slurm",
    jobs: int = 1,
    minutes: int = 240,
    gpus: int = 0,
    cpus: int = 0,
    partition: str = "",
    flags: str = "",
) -> None:
    """Start an experiment in several jobs that share its folder; each is queued again when its time is up.

    Args:
        module: The experiment, such as experiments.decay_values.
        folder: Folder of the run, which all jobs see.
        on: Slurm, or processes of this machine, for which it waits.
        jobs: How many; a run is cut into at least as many tiles.
        minutes: Time limit of a job.
        gpus: GPUs of each; 0 leaves it to the cluster.
        cpus: CPU cores of each; 0 leaves it to the cluster.
        partition: Slurm's partition.
        flags: The experiment's own flags; simpler behind two dashes, as in `launch MODULE FOLDER -- --seeds 16`.
    """
    from wd_research.launching import launch as launched  # here, because units need not wait

    if importlib.util.find_spec(module.partition(".")[0]) is None or importlib.util.find_spec(module) is None:
        raise UserError(f"no experiment is called {module}: give its module, such as experiments.decay_values")
    wanted = {"gpus_per_node": gpus, "cpus_per_task": cpus, "slurm_partition": partition}
    options = {name: value for name, value in wanted.items() if value}
    started = launched(module, folder, jobs, on, flags, minutes, options)
    print(f"{len(started)} job(s), {', '.join(job.job_id for job in started)}; logs are in {folder / 'jobs'}")
    if on == "local":
        for job in started:
            job.result()


def advise(
    *,
    optimizer: Optimizer = "adamw",
    learning_rate: float,
    batch_size: int,
    examples: int,
    epochs: float | None = None,
    steps: int | None = None,
    schedule: Schedule = "cosine",
    warmup: int = 0,
    width: int | None = None,
    parameters: float | None = None,
    tokens: float = 1,
) -> None:
    """Say which decay to begin with, without a run: by the rule that lost least in worlds whose best decay is known.

    Args:
        optimizer: What makes the steps.
        learning_rate: The learning rate at the peak of its schedule.
        batch_size: Examples in a batch.
        examples: Training examples: rows, images, or windows of a text.
        epochs: How often they are seen; or give --steps.
        steps: Steps of the run.
        schedule: What follows the warm-up.
        warmup: Steps in which the learning rate rises.
        width: Width of the net, which one rule asks for.
        parameters: How many the net has, which one rule asks for.
        tokens: Tokens of an example, which the same rule asks for.
    """
    if (epochs is None) == (steps is None):
        raise UserError("the length of the run is to be said once: give --epochs or --steps")
    if epochs is not None and not 0 < epochs < math.inf:
        raise UserError(f"--epochs {epochs:g} cannot be: give a finite number above 0")
    if min(batch_size, examples) < 1:
        raise UserError(f"a batch of {batch_size} of {examples} examples cannot be: give 1 or more")
    length = steps if epochs is None else max(1, round(epochs * examples / batch_size))
    setting = Setting(learning_rate, length, schedule, warmup, batch_size=batch_size, examples=examples, width=width)
    print(advising.advise(setting, optimizer, math.nan if parameters is None else parameters, tokens), end="")


COMMANDS = {"units": units, "advise": advise, "report": report, "load": load, "launch": launch}


def overview() -> None:
    """Print the experiments below this folder, with their questions, and the commands."""
    console = Console(highlight=False, markup=False)
    found = questions(Path("experiments"))
    listed = Table(Column("python -m", no_wrap=True), "question", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for module, question in found.items():
        listed.add_row(module, question)
    console.print(listed if found else "No experiments here: they are the modules of a folder experiments/.", "")
    commands = Table("python -m wd_research", "what it does", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, command in COMMANDS.items():
        commands.add_row(name, str(command.__doc__).partition("\n")[0])
    console.print(commands, "\nEach of them explains its flags with --help.")


def questions(folder: Path) -> dict[str, str]:
    """The modules in a folder that have a function `experiment`, and the first line of what they say; none is run."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        module = ast.parse(path.read_text())
        if any(isinstance(part, ast.FunctionDef) and part.name == "experiment" for part in module.body):
            found[".".join(path.with_suffix("").parts)] = str(ast.get_docstring(module)).partition("\n")[0]
    return found


def main() -> None:
    """Run the command that is named, or say what there is; exit code 2, with one sentence, for bad input."""
    if not sys.argv[1:]:
        overview()
        return
    if sys.argv[1] == "launch" and "--" in sys.argv:
        end = sys.argv.index("--")
        sys.argv[end:] = [f"--flags={shlex.join(sys.argv[end + 1 :])}"]
    try:
        with in_one_sentence():
            tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="python -m wd_research", description=__doc__)
    except UserError as error:
        stop(str(error))


if __name__ == "__main__":
    main()
