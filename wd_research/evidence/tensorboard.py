"""TensorBoard event files: what each arm's best point does over the steps, beside the best without decay.

They go through tensorboardX's record writer and protocol buffers. Its SummaryWriter stands on the same two, but adds a
thread that dies in silence when the disk is full, a queue that flush() does not drain, and a file name that two writers
share within a second; so it is left out here.
"""

import io
import os
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]: generated at import
from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.record_writer import RecordWriter
from tensorboardX.summary import scalar, text

from wd_research.evidence.answer import axis_values, best_among, can_be_tuned, has_value, tuned, words
from wd_research.evidence.statistics import Estimate, paired_t
from wd_research.types import Figure, Results


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

    def figure(self, name: str, figure: Figure, step: int) -> None:
        """Write a figure as an image."""
        png = io.BytesIO()
        figure.savefig(png, format="png")
        width, height = figure.canvas.get_width_height()
        image = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=png.getvalue())
        self.summary(Summary(value=[Summary.Value(tag=name, image=image)]), step)

    def close(self) -> None:
        """Write out what is buffered, to the disk itself."""
        self.writer.flush()
        self.writer.close()


class PointRuns:
    """The run `NAME` of an arm that cannot be tuned: every quantity of every point."""

    def __init__(self, folder: Path, name: str):
        self.file = EventFile(folder / name)

    def look(self, results: Results) -> None:
        """Write every quantity at the last step, its mean and 95 % t interval, as `quantity/point`."""
        now = results.isel(step=-1)
        hypers = [str(name) for name, coordinate in results.coords.items() if coordinate.dims == ("point",)]
        for point in range(results.sizes["point"]):
            # letters, digits, and "-/_." are all that a tag may hold
            label = "__".join(f"{name}_{float(results[name][point]):.3g}".replace("+", "") for name in hypers)
            for name, quantity in now.isel(point=point).data_vars.items():
                if quantity.dtype.kind == "f":
                    self.file.band(f"{name}/{label}", paired_t(quantity.to_numpy()), int(results["step"][-1]))
        self.file.writer.flush()

    def close(self, results: Results) -> None:
        """Close the file; the end was seen at the last look."""
        del results
        self.file.close()


def runs_of_arm(folder: Path, name: str, results: Results) -> "ArmRuns | PointRuns":
    """The event files that fit what an arm measures."""
    return (ArmRuns if can_be_tuned(results) else PointRuns)(folder, name)


class ArmRuns:
    """The runs of an arm that can be tuned: `NAME`, `NAME without decay`, and at the end `NAME over AXIS`."""

    def __init__(self, folder: Path, name: str):
        self.folder, self.name = folder, name
        self.best, self.without = EventFile(folder / name), EventFile(folder / f"{name} without decay")

    def look(self, results: Results) -> None:
        """Write every quantity at the last step, its mean and 95 % t interval, of the point that validation prefers."""
        step = int(results["step"][-1])
        candidates = ((self.best, None), (self.without, has_value(results, 0)))
        for file, among in candidates:
            now = results.isel(step=-1, point=best_among(results, among))
            for name, quantity in now.data_vars.items():
                if quantity.dims == ("seed",) and quantity.dtype.kind == "f":
                    file.band(str(name), paired_t(quantity.to_numpy()), step)
            file.writer.flush()

    def close(self, results: Results) -> None:
        """Write the curves over the axis (its k-th value as step k), and close the files."""
        axis = results.attrs["axis"]
        over = EventFile(self.folder / f"{self.name} over {axis}")
        for index, value in enumerate(axis_values(results)):
            among = has_value(results, value)
            for part in ("train", "validation", "test"):
                for metric in ("accuracy", "loss"):
                    estimate = paired_t(tuned(results, f"{part}_{metric}", among))
                    description = f"Step k is the k-th value of {words(axis)}, from 0 on; the other numbers are tuned."
                    over.band(f"over_{axis}/{part}_{metric}", estimate, index, description)
        for file in (self.best, self.without, over):
            file.close()


def write_summary(folder: Path, question: str, answer: str, figures: Mapping[str, Figure], step: int) -> None:
    """Write the question with its answer, and the figures, into the run `.`."""
    file = EventFile(folder)
    file.summary(text("answer", f"**{question}**\n\n{answer}"), step)
    for name, figure in figures.items():
        file.figure(f"figures/{name}", figure, step)
    file.close()
