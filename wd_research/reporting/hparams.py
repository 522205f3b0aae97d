"""TensorBoard's HParams table: one session for each member, and curves over steps for as many as are asked for."""

import math
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wd_research.evidence.measured import CONFIRMING, EXPLORING, Arms
from wd_research.reporting.protos import api_pb2, plugin_hparams_pb2, summary_pb2
from wd_research.reporting.tensorboard import EventFile, file_name
from wd_research.results import hypers, metrics, trained
from wd_research.types import Results

api: Any = api_pb2  # whose names are made at import
plugin: Any = plugin_hparams_pb2
protocol: Any = summary_pb2
Summary = Any  # a message


def write_members(
    folder: Path, arms: Arms, curves: int = 0, confirming: Mapping[str, Sequence[Results]] | None = None
) -> None:
    """Write a run `ARM/POINT-SEED` per member: its hyperparameters, its final metrics, and whether it diverged.

    The members of a point are one group, so that the table shows the mean over seeds; those on confirming seeds have
    groups of their own, and runs `ARM, confirming/POINT-SEED`. `curves` exploring members, spread evenly over arms,
    points and then seeds, get their metrics at every evaluation. The experiment is described once, in the run `.`, for
    the plugin takes the first description that it finds. They have a folder of their own, because TensorBoard ticks no
    run of any kind where there are more than 500. Raises OSError where the disk does.
    """
    if folder.is_dir() and not folder.is_symlink():  # what an earlier process wrote of fewer members
        shutil.rmtree(folder, ignore_errors=True)
    described = EventFile(folder)
    described.summary(experiment(arms), 0)
    described.close()
    for number, (name, results) in enumerate(arms.items()):
        share = curves // len(arms) + (number < curves % len(arms))
        write_sessions(folder / file_name(name), sessions(name, EXPLORING, results, share))
        for tile in (confirming or {}).get(name, ()):
            write_sessions(folder / file_name(f"{name}, confirming"), sessions(name, CONFIRMING, tile))


def write_sessions(folder: Path, sessions: Iterable[tuple[str, Iterator[tuple[int, Summary]]]]) -> None:
    """Write the run of each member."""
    for run, summaries in sessions:
        file = EventFile(folder / run)
        for step, summary in summaries:
            file.summary(summary, step)
        file.close(to_disk=False)


def sessions(
    arm: str, stage: str, results: Results, curves: int = 0
) -> Iterator[tuple[str, Iterator[tuple[int, Summary]]]]:
    """The name of each member's run, and its summaries with their steps."""
    steps, diverged = results["step"].to_numpy().tolist(), results["diverged_at"].to_numpy() >= 0
    names, columns = metrics(results), {name: results[name].to_numpy().tolist() for name in hypers(results)}
    values = np.stack([results[name].to_numpy() for name in names], axis=-1)  # [s, h, steps, metrics]
    there = trained(results)
    group = arm if stage == EXPLORING else f"{arm}, {stage}"
    seeds = diverged.shape[0]
    members = np.linspace(0, diverged.size, min(curves, diverged.size), endpoint=False).astype(int)
    drawn = {(member // seeds, member % seeds) for member in members.tolist()}  # (indices of point and seed)

    def summaries(h: int, s: int, point: int) -> Iterator[tuple[int, Summary]]:
        yield 0, start(arm, stage, {name: column[h] for name, column in columns.items()}, f"{group}, point {point}")
        first = 0 if (h, s) in drawn else len(steps) - 1
        for step, row in zip(steps[first:], values[s, h, first:].tolist(), strict=True):
            yield step, scalars(names, row)
        yield steps[-1], end("STATUS_FAILURE" if diverged[s, h] else "STATUS_SUCCESS")

    for h, point in enumerate(results["point"].to_numpy().tolist()):
        for s, seed in enumerate(results["seed"].to_numpy().tolist()):
            if there[s, h]:
                yield f"{point}-{seed}", summaries(h, s, point)


def experiment(arms: Arms) -> Summary:
    """The hyperparameters and metrics that the table has."""
    numbers = dict.fromkeys(name for results in arms.values() for name in hypers(results))
    measured = dict.fromkeys(name for results in arms.values() for name in metrics(results))
    word, number = (api.DataType.Value(kind) for kind in ("DATA_TYPE_STRING", "DATA_TYPE_FLOAT64"))
    kinds = {"arm": word, "seeds": word, **dict.fromkeys(numbers, number)}
    described = api.Experiment(
        hparam_infos=[api.HParamInfo(name=name, type=kind) for name, kind in kinds.items()],
        metric_infos=[api.MetricInfo(name=api.MetricName(tag=name)) for name in measured],
    )
    return _of_plugin("experiment", plugin.HParamsPluginData(experiment=described))


def start(arm: str, stage: str, numbers: Mapping[str, float], group: str) -> Summary:
    """The hyperparameters of a member, whether its seed explores or confirms, and its group, which is its point."""
    info = plugin.SessionStartInfo(group_name=group, start_time_secs=time.time())
    info.hparams["arm"].string_value, info.hparams["seeds"].string_value = arm, stage
    for name, number in numbers.items():
        info.hparams[name].number_value = number
    return _of_plugin("session_start_info", plugin.HParamsPluginData(session_start_info=info))


def end(status: str) -> Summary:
    """How a member ended."""
    info = plugin.SessionEndInfo(status=api.Status.Value(status), end_time_secs=time.time())
    return _of_plugin("session_end_info", plugin.HParamsPluginData(session_end_info=info))


def scalars(names: Sequence[str], values: Sequence[float]) -> Summary:
    """All metrics of a member at one evaluation in one message; a NaN leaves a gap."""
    summary = protocol.Summary()
    for name, value in zip(names, values, strict=True):
        if math.isfinite(value):
            summary.value.add(tag=name, simple_value=value)
    return summary


def _of_plugin(tag: str, content: Any) -> Summary:
    data = protocol.SummaryMetadata.PluginData(plugin_name="hparams", content=content.SerializeToString())
    return protocol.Summary(
        value=[protocol.Summary.Value(tag=f"_hparams_/{tag}", metadata=protocol.SummaryMetadata(plugin_data=data))]
    )
