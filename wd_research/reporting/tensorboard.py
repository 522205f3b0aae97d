"""TensorBoard event files: the metrics of each arm's best point over steps, beside the best point without decay.

They go through tensorboardX's record writer and protocol buffers. Its SummaryWriter stands on the same two, but adds a
thread that dies in silence when the disk is full, a queue that flush() does not drain, and a file name that two writers
share within a second; so it is left out here.
"""

import os
import re
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from wd_research.evidence.selection import best_among, can_be_tuned, tuned
from wd_research.evidence.statistics import Estimate, paired_t
from wd_research.reporting.protos import (
    Event,  # pyright: ignore[reportAttributeAccessIssue]: generated at import
    RecordWriter,
    Summary,  # pyright: ignore[reportAttributeAccessIssue]
    custom_scalars,
    histogram_raw,
    scalar,
    text,
)
from wd_research.results import axis_values, has_value, humanize, hypers, joined, judged_by, metrics
from wd_research.types import Observer, Position, Results


class EventFile:
    """One run as TensorBoard sees it: a folder with one event file, written at once and without a thread.

    Raises OSError where the disk does.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.writer = RecordWriter(str(folder / f"events.out.tfevents.{time.time_ns()}.{os.getpid()}"))
        self._write(Event(file_version="brain.Event:2"))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self.writer.write(event.SerializeToString())

    def summary(self, summary: Summary, step: int) -> None:
        """Write a summary message at a step."""
        self._write(Event(summary=summary, step=step))

    def band(self, name: str, estimate: Estimate, step: int, description: str = "") -> None:
        """Write mean, low and high as `name/mean`, `name/low` and `name/high`; a NaN leaves a gap."""
        for key, value in estimate._asdict().items():
            if np.isfinite(value):
                self.summary(scalar(f"{name}/{key}", value, summary_description=description), step)

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
def event_files(folder: Path, points: Mapping[str, int], steps: int) -> Iterator[Observer]:
    """Yield the observer that writes event files for arms with so many points each, in a run of `steps` steps.

    Where an arm trains wave after wave, an evaluation is written once all of its points have come to it.
    """
    runs: dict[str, ArmRuns | PointRuns] = {}
    waiting: dict[tuple[str, int], list[Results]] = {}

    def observe(name: str, position: Position) -> None:
        waves = waiting.setdefault((name, position.step), [])
        waves.append(position.results.isel(step=[-1]))
        if sum(wave.sizes["point"] for wave in waves) < points[name]:
            return
        evaluation = joined(waiting.pop((name, position.step)), "point")
        if name not in runs:
            runs[name] = (ArmRuns if can_be_tuned(evaluation) else PointRuns)(folder, name)
        runs[name].write(evaluation)
        if position.step == steps:
            runs[name].end(evaluation)

    try:
        yield observe
    finally:
        for run in runs.values():
            with suppress(OSError):  # every evaluation was flushed: a full disk need not keep a run from its conclusion
                run.close()


class PointRuns:
    """The run `NAME` of an arm that cannot be tuned: every metric of every point."""

    def __init__(self, folder: Path, name: str):
        self.file = EventFile(folder / file_name(name))

    def write(self, evaluation: Results) -> None:
        """Write every metric of one evaluation, its mean and 95 % t interval, as `metric/point`."""
        now, step = evaluation.isel(step=-1), int(evaluation["step"][-1])
        for point in range(evaluation.sizes["point"]):
            # letters, digits, and "-/_." are all that a tag may hold
            numbers = {name: float(evaluation[name][point]) for name in hypers(evaluation)}
            label = "__".join(f"{name}_{number:.3g}".replace("+", "") for name, number in numbers.items())
            for name in metrics(evaluation):
                self.file.band(f"{name}/{label}", paired_t(now[name][:, point].to_numpy()), step)
        self.file.writer.flush()

    def end(self, evaluation: Results) -> None:
        """The last evaluation is written: nothing is left to say."""

    def close(self) -> None:
        """Close the file."""
        self.file.close()


class ArmRuns:
    """The runs of an arm that can be tuned: `NAME`, `NAME without decay`, and at the end `NAME over AXIS`."""

    def __init__(self, folder: Path, name: str):
        self.folder, self.name = folder, file_name(name)
        self.best, self.without = (EventFile(folder / run) for run in (self.name, f"{self.name} without decay"))

    def write(self, evaluation: Results) -> None:
        """Write every metric of one evaluation, its mean and 95 % t interval, of the point that validation prefers."""
        step = int(evaluation["step"][-1])
        self.best.summary(margin_charts(metrics(evaluation)), step)
        for file, among in ((self.best, None), (self.without, has_value(evaluation, 0))):
            now = evaluation.isel(step=-1, point=best_among(evaluation, among))
            for name in metrics(evaluation):
                file.band(name, paired_t(now[name].to_numpy()), step)
            if "weights_below" in now:
                file.weights("weights", now, step)
            file.writer.flush()

    def end(self, evaluation: Results) -> None:
        """Write the curves over the axis at the end of training: its k-th value as step k."""
        axis = evaluation.attrs["axis"]
        over = EventFile(self.folder / f"{self.name} over {axis}")
        for index, value in enumerate(axis_values(evaluation)):
            among = has_value(evaluation, value)
            for split in ("train", "validation", "test"):
                for metric in dict.fromkeys((judged_by(evaluation), "loss")):
                    estimate = paired_t(tuned(evaluation, f"{split}_{metric}", among))
                    description = f"Step k is the k-th value of {humanize(axis)}, from 0 on; the others are tuned."
                    over.band(f"over_{axis}/{split}_{metric}", estimate, index, description)
        over.close()

    def close(self) -> None:
        """Close the files."""
        self.best.close()
        self.without.close()


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
