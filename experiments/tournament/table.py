"""A world as a table: what every decay comes to at every learning rate on every seed, and how it got there.

A score is what is lost: nats a token of text, points of accuracy of classes, and half the logarithm of the mean squared
error of numbers, which are nats of a normal density too. Decays are time scales in a run, steps * learning rate *
decay.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np

import wd_research as wd
from experiments.tournament.falling import FALLING
from experiments.tournament.truth import BOUNDED, DECAY
from experiments.tournament.worlds import LONG, SHORTER, WORLDS, World
from wd_research.reporting.files import write_whole
from wd_research.reporting.record import read_evidence

MEASURED = ("validation", "test", "bounded", "falling")
DIGITS = 4  # behind the point, of nats or points of accuracy that are kept
TOLERANCES = {"nats": 0.005, "points": 0.5}  # what nobody would change a recipe for


class Table(NamedTuple):
    """What is known of one world."""

    world: World
    unit: str  # of what is lost: "nats" or "points"
    scales: np.ndarray  # f64[k], decays as time scales in a run, ascending; the first is 0
    rates: np.ndarray  # f64[l], learning rates, ascending
    validation: np.ndarray  # f64[s, l, k, t], what is lost on validation data along the training
    test: np.ndarray  # f64[s, l, k], what is lost on test data at its end
    bounded: np.ndarray  # f64[s, l], the same under CPR, which has no decay to choose
    falling: np.ndarray  # f64[s, l], and under AutoL2, which has none either

    def of_seeds(self, seeds: Sequence[int] | np.ndarray) -> "Table":
        """Some seeds of it."""
        return self._replace(**{name: getattr(self, name)[seeds] for name in MEASURED})

    @property
    def halves(self) -> tuple["Table", "Table"]:
        """Its even seeds, and its odd ones."""
        return self.of_seeds(np.arange(0, len(self.test), 2)), self.of_seeds(np.arange(1, len(self.test), 2))


def table_of(world: World, folder: Path, falling: Path) -> Table:
    """The table of two finished runs, of `experiments.tournament.truth` and `.falling`. Raises UserError for none."""
    evidence = read_evidence(folder)
    results, bounded = evidence[DECAY], evidence[BOUNDED]
    scales = np.unique(results["time_scales"].to_numpy().astype(float))
    rates = np.unique(results["learning_rate"].to_numpy().astype(float))
    lost = {part: lost_of(results, part) for part in ("validation", "test")}
    order = np.lexsort((results["time_scales"].to_numpy(), results["learning_rate"].to_numpy()))
    shape = len(lost["test"]), len(rates), len(scales), -1
    validation, test = (lost[part][:, order].reshape(shape) for part in ("validation", "test"))
    unit = "points" if "test_accuracy" in results else "nats"
    unchosen = (switched_on(of) for of in (bounded, read_evidence(falling)[FALLING]))
    return Table(world, unit, scales, rates, validation, test[..., -1], *unchosen)


def switched_on(results: wd.Results) -> np.ndarray:
    """What is lost on test data at every learning rate where the arm's axis, of two values, is not 0; f64[s, l]."""
    on = np.flatnonzero(~wd.has_value(results, 0))
    return lost_of(results, "test")[:, on[np.argsort(results["learning_rate"].to_numpy()[on])], -1]


def write_table(table: Table, file: Path) -> None:
    """Keep a table: a file of arrays, losses as f32 of so few `DIGITS` that they pack well."""
    numbers = {name: np.round(getattr(table, name), DIGITS).astype(np.float32) for name in MEASURED}
    content = io.BytesIO()
    np.savez_compressed(content, world=np.array(table.world, str), unit=np.array(table.unit), scales=table.scales,
                        rates=table.rates, allow_pickle=False, **numbers)  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, content.getbuffer())


def read_table(file: Path) -> Table:
    """A table that was kept. Raises UserError where the file is none."""
    try:
        with file.open("rb") as opened, np.load(opened) as kept:
            data, optimizer, steps = kept["world"].tolist()
            world = next(each for each in WORLDS if each[:2] == (data, optimizer) and each.steps == int(steps))
            numbers = {name: kept[name].astype(float) for name in ("scales", "rates", *MEASURED)}
            return Table(world=world, unit=str(kept["unit"]), **numbers)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, StopIteration) as error:
        raise wd.UserError(f"{file} is no table of a world: remove it, and run scripts/tournament.py again") from error


def lost_of(results: wd.Results, part: str) -> np.ndarray:
    """What is lost on a part of the data, f64[s, h, t]; of a diverged member the most that any other has lost."""
    if f"{part}_accuracy" in results:
        lost = 100 * (1 - results[f"{part}_accuracy"].to_numpy().astype(float))
    elif results.attrs.get("loss_unit"):
        lost = results[f"{part}_loss"].to_numpy().astype(float)
    else:
        lost = 0.5 * np.log(results[f"{part}_loss"].to_numpy().astype(float))
    lost = np.where(results["diverged_at"].to_numpy()[..., None] < 0, lost, np.nan)
    return np.where(np.isfinite(lost), lost, np.nanmax(lost[np.isfinite(lost)]))


def at(scales: np.ndarray, lost: np.ndarray, wanted: np.ndarray | float) -> np.ndarray:
    """What is lost at any decays, f64[k] and f64[...] -> f64[...]: from 0 to the least decay above 0 a line, then lines
    over the logarithm. A decay above the last counts as the last.
    """

    def place(scale: np.ndarray | float) -> np.ndarray:
        ratio = np.asarray(scale, float) / scales[1]
        return np.where(ratio < 1, ratio - 1, np.log(np.maximum(ratio, 1)))

    return np.interp(place(wanted), place(scales), lost)


def tables_in(folder: Path) -> dict[World, Table]:
    """All tables that are kept in a folder. Raises UserError where there is none, or a file is none."""
    files = {world: folder / f"{world.folder}.npz" for world in WORLDS}
    found = {world: read_table(file) for world, file in files.items() if file.exists()}
    if not found:
        raise wd.UserError(f"{folder} holds no table of a world: run scripts/tournament.py, or name its folder")
    return found


def twin_of(world: World, tables: Mapping[World, Table]) -> Table | None:
    """The table of the same world, several times shorter; None where there is none, as of the shorter one itself."""
    return tables.get(world._replace(steps=world.steps // SHORTER)) if world in LONG else None
