"""TensorBoard event files: the metrics of each arm's best point over steps, beside the best point without decay, on the
exploring seeds; and those of every chosen point on the confirming seeds.

They go through tensorboardX's record writer and protocol buffers. Its SummaryWriter stands on the same two, but adds a
thread that dies in silence when the disk is full, a queue that flush() does not drain, and a file name that two writers
share within a second; so it is left out here.
"""

import os
import re
import shutil
import struct
import time
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from wd_research.evidence.choices import Scores, choose, tuned
from wd_research.evidence.measured import CONFIRMING, EXPLORING, Arms, Evidence
from wd_research.evidence.selection import can_be_tuned
from wd_research.evidence.statistics import Estimate, paired_t
from wd_research.reporting.protos import (
    Event,  # pyright: ignore[reportAttributeAccessIssue]: generated at import
    RecordWriter,
    SessionLog,  # pyright: ignore[reportAttributeAccessIssue]
    Summary,  # pyright: ignore[reportAttributeAccessIssue]
    custom_scalars,
    histogram_raw,
    scalar,
    text,
)
from wd_research.reporting.seeds import of_stage
from wd_research.results import axis_values, has_value, humanize, hypers, judged_by, metrics
from wd_research.types import Observer, Position, Results

SPLITS = ("train", "validation", "test")


class EventFile:
    """One run as TensorBoard sees it: a folder with one event file, written at once and without a thread.

    Raises OSError where the disk does.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.writer = RecordWriter(str(folder / f"events.out.tfevents.{time.time_ns()}.{os.getpid()}"))
        self._write(Event(file_version="brain.Event:2"))
        # whatever a server has read of this run before, which was interrupted, it forgets
        self._write(Event(session_log=SessionLog(status=SessionLog.START), step=0))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self.writer.write(event.SerializeToString())

    def summary(self, summary: Summary, step: int) -> None:
        """Write a summary message at a step."""
        self._write(Event(summary=summary, step=step))

    def band(self, name: str, estimate: Estimate, step: int) -> None:
        """Write mean, low and high as `name/mean`, `name/low` and `name/high`; a NaN leaves a gap."""
        for key, value in estimate._asdict().items():
            if np.isfinite(value):
                self.summary(scalar(f"{name}/{key}", value), step)

    def says(self, words: str) -> None:
        """Write the text `seeds`: what the run is of. TensorBoard's data server drops the descriptions of scalars."""
        self.summary(text("seeds", words), 0)

    def image(self, name: str, png: bytes, step: int) -> None:
        """Write an image from the content of a PNG file with colours and transparency."""
        width, height = struct.unpack(">II", png[16:24])
        image = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=png)
        self.summary(Summary(value=[Summary.Value(tag=name, image=image)]), step)

    def weights(self, name: str, results: Results, step: int) -> None:
        """Write how the weights are distributed, from their shares below each edge; the mean over seeds."""
        below = np.nanmean(results["weights_below"].to_numpy(), axis=0)
        edges, shares = results["edge"].to_numpy(), np.diff(below, prepend=0.0)
        seen = slice(max(0, int((shares > 0).argmax()) - 1), len(shares) - int((shares[::-1] > 0).argmax()))
        edges, shares = edges[seen].tolist(), shares[seen].tolist()
        if sum(shares) > 0:
            raw = histogram_raw(name, edges[0], edges[-1], sum(shares), 0.0, 0.0, edges, shares)
            self.summary(raw, step)

    def close(self, to_disk: bool = True) -> None:
        """Write out what is buffered; `to_disk` waits until the disk itself has it."""
        if to_disk:
            self.writer.flush()
        self.writer.close()


def file_name(name: str) -> str:
    """The name of an arm as that of one folder: what could lead out of it, or not be a name, becomes `_`."""
    return re.sub(r"[^\w +=().,-]|^\.+|^$", "_", name)


@contextmanager
def event_files(folder: Path) -> Generator[Observer]:
    """Yield the observer that writes event files of the arms of a run.

    Each round of confirming seeds has runs of its own. A run that goes on is told of all that was there, and writes it
    again: readers forget what they have read of it before. Runs that are none any more are removed in the end.
    """
    runs: dict[tuple[str, int], ArmRuns | PointRuns] = {}
    earlier = set(folder.rglob("events.out.tfevents.*"))

    def observe(name: str, position: Position) -> None:
        evaluation = position.results.isel(step=[-1])
        key = name, int(evaluation["seed"][0])
        if key not in runs:
            runs[key] = runs_of(folder, name, evaluation)
        runs[key].write(evaluation)
        if position.step == evaluation.attrs.get("steps", position.step):
            runs[key].end(evaluation)

    try:
        yield observe
        if runs:
            remove_runs(folder, earlier)
    finally:
        for run in runs.values():
            with suppress(OSError):  # every evaluation was flushed: a full disk need not keep a run from its conclusion
                run.close()


def remove_runs(folder: Path, earlier: Collection[Path]) -> None:
    """Remove the runs below a folder that have earlier event files alone."""
    for run in folder.iterdir():
        files = [*run.glob("events.out.tfevents.*")]
        if files and not run.is_symlink() and all(file in earlier for file in files):
            shutil.rmtree(run, ignore_errors=True)


def runs_of(folder: Path, name: str, evaluation: Results) -> "ArmRuns | PointRuns":
    """The runs of an arm: of exploring seeds, which begin with 0, or of fresh ones, which confirm."""
    first, last = evaluation["seed"].to_numpy()[[0, -1]]
    if first > 0:
        return PointRuns(folder, f"{name}, seeds {first}-{last}", evaluation, CONFIRMING)
    grown = int(evaluation["point"][0]) > 0  # its first points were trained before
    return (ArmRuns if grown or can_be_tuned(evaluation) else PointRuns)(folder, name, evaluation)


class PointRuns:
    """The run of an arm that cannot be tuned, or of what confirming seeds train: every metric of every point."""

    def __init__(self, folder: Path, run: str, evaluation: Results, stage: str = EXPLORING) -> None:
        self.file, self.kind = EventFile(folder / file_name(run)), "_confirming" if stage == CONFIRMING else ""
        self.file.says(f"Every point: means over {of_stage(stage, evaluation.sizes['seed'])}, and 95 % intervals.")

    def write(self, evaluation: Results) -> None:
        """Write every metric of one evaluation, mean and interval, as `metric/point` or `metric_confirming/point`."""
        now, step = evaluation.isel(step=-1), int(evaluation["step"][-1])
        for point in range(evaluation.sizes["point"]):
            # letters, digits, and "-/_." are all that a tag may hold
            numbers = {name: float(evaluation[name][point]) for name in hypers(evaluation)}
            label = "__".join(f"{name}_{number:.3g}".replace("+", "") for name, number in numbers.items())
            for name in metrics(evaluation):
                self.file.band(f"{name}{self.kind}/{label}", paired_t(now[name][:, point].to_numpy()), step)
        self.file.writer.flush()

    def end(self, evaluation: Results) -> None:
        """The last evaluation is written: nothing is left to say."""

    def close(self) -> None:
        """Close the file."""
        self.file.close()


class ArmRuns:
    """The runs of an arm on exploring seeds: `NAME`, `NAME without decay`, and at the end `NAME over AXIS`.

    Where a grid has grown by points that all have decay, there is `NAME` alone.
    """

    def __init__(self, folder: Path, name: str, evaluation: Results) -> None:
        self.folder, self.name = folder, file_name(name)
        self.best, self.without = EventFile(folder / self.name), None
        seeds = of_stage(EXPLORING, evaluation.sizes["seed"])
        said = f"means over {seeds}, and 95 % intervals, at each step of the point that validation data prefer then"
        self.best.says(f"The best point: {said}.")
        if has_value(evaluation, 0).any():
            self.without = EventFile(folder / f"{self.name} without decay")
            self.without.says(f"The best point without decay: {said}.")

    def write(self, evaluation: Results) -> None:
        """Write every metric of one evaluation, its mean and 95 % t interval, of the point that validation prefers."""
        step = int(evaluation["step"][-1])
        self.best.summary(margin_charts(metrics(evaluation)), step)
        for file, among in ((self.best, None), (self.without, has_value(evaluation, 0))):
            if not file:
                continue
            now = evaluation.sel(point=choose(evaluation, among).point).isel(step=-1)
            for name in metrics(evaluation):
                file.band(name, paired_t(now[name].to_numpy()), step)
            if "weights_below" in now:
                file.weights("weights", now, step)
            file.writer.flush()

    def end(self, evaluation: Results) -> None:
        """Write the curves over the axis at the end of training: its k-th value as step k."""
        if not self.without:
            return
        axis = evaluation.attrs["axis"]
        over = EventFile(self.folder / f"{self.name} over {axis}")
        names = [f"{split}_{by}" for split in SPLITS for by in dict.fromkeys((judged_by(evaluation), "loss"))]
        seeds = evaluation.sizes["seed"]
        scored = f"each half of the {of_stage(EXPLORING, seeds)} at what the other half chooses"
        over.says(
            f"The end of training: step k is the k-th value of {humanize(axis)}, from 0 on; the others are tuned, "
            f"{scored if seeds > 1 else 'the one seed at what it chooses itself'}."
        )
        measured = Evidence({"": evaluation})

        def at_value(value: float, arms: Arms) -> dict[str, Scores]:
            return {name: tuned(arms[""], name, has_value(arms[""], value)) for name in names}

        for index, value in enumerate(axis_values(evaluation)):
            for name, cell in measured.score(partial(at_value, value)).items():
                over.band(f"over_{axis}/{name}", cell.estimate(), index)
        over.close()

    def close(self) -> None:
        """Close the files."""
        for file in filter(None, (self.best, self.without)):
            file.close()


def margin_charts(names: Sequence[str]) -> Summary:
    """The layout of custom scalars: a curve with its band per metric, grouped by the last word of its name."""
    layout: dict[str, dict[str, Any]] = {}
    for name in names:
        tags = [f"{name}/{key}" for key in ("mean", "low", "high")]
        layout.setdefault(name.rpartition("_")[2], {})[humanize(name)] = ["Margin", tags]
    return custom_scalars(layout)


def write_summary(folder: Path, question: str, answer: str, figures: Mapping[str, bytes], step: int) -> None:
    """Write the question with its answer, and the figures, as PNG, into the run `.`, in place of earlier ones."""
    for earlier in folder.glob("events.out.tfevents.*"):
        earlier.unlink()
    file = EventFile(folder)
    file.summary(text("answer", f"**{question}**\n\n{answer}"), step)
    for name, png in figures.items():
        file.image(f"figures/{name}", png, step)
    file.close()
