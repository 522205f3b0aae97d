"""The language model that questions are put to: small enough for a thousand of them on two cores, of today's parts."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import optax

import wd_research as wd

WINDOW, BATCH = 64, 8  # tokens, windows: 512 tokens a step
WIDTH, DEPTH, HEADS = 32, 2, 4
EVALUATED = 128  # windows of each part of a text
CLIP = 1.0  # of the norm of all gradients
AGREED = 0.01  # nats: what nobody would change a recipe for
OFTEN, ONCE = "seen often", "seen once"  # of the text


class Hypers(NamedTuple):
    """The hyperparameters of a language model."""

    learning_rate: wd.Array  # f32[]
    decay: wd.Array  # f32[]


def sizes_of(often: int, once: int) -> dict[str, int]:
    """How many characters are trained on where data repeat, and where they do not. Raises UserError."""
    wd.flags.counts(often=often, once=once)
    if not often < once:
        raise wd.UserError(f"--often {often} is not below --once {once}: give fewer characters where data repeat")
    return {OFTEN: often, ONCE: once}


def task_of(text: wd.texts.Text, characters: int, width: int = WIDTH, batch: int = BATCH) -> wd.Task:
    """So much of a text, for a decoder of two blocks."""
    net = wd.Decoder(text.vocabulary, width, DEPTH, HEADS)
    return wd.language(net, text, WINDOW, batch, characters, evaluated=EVALUATED)


def schedule_of(steps: int) -> optax.Schedule:
    """The learning rate in units of its peak: up in a twentieth of the steps, then a line to 0."""
    return wd.schedules.linear(steps, steps // 20)


def clipped(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """An optimizer behind gradients whose common norm is at most `CLIP`."""
    return optax.chain(optax.clip_by_global_norm(CLIP), optimizer)


def adamw(steps: int, link: Callable[[Hypers], optax.GradientTransformation] | None = None) -> Callable[..., Any]:
    """Adam with decoupled decay, by another link than `decay_weights` where one is given, as a function of hypers."""

    def optimizer(h: Hypers) -> optax.GradientTransformation:
        decay = link(h) if link else wd.decay_weights(h.decay)
        return clipped(wd.decoupled(wd.cores.adam(), decay, h.learning_rate, schedule_of(steps)))

    return optimizer


def tuned_loss(results: wd.Results, among: np.ndarray | None = None) -> wd.Scores:
    """The test loss in nats at the point that validation loss chooses."""
    return wd.tuned(results, "test_loss", among, by="loss")


def gain_of(results: wd.Results) -> wd.Scores:
    """What decay gains over none, in nats of test loss; each at its best point."""
    return tuned_loss(results, wd.has_value(results, 0)) - tuned_loss(results)


# What is drawn


def draw_rows(panel: wd.Axes, rows: Mapping[str, wd.Cell], alpha: float, color: str = "#0072b2") -> None:
    """Measurements one below the other, a row each, with intervals and a line at zero."""
    for place, cell in enumerate(rows.values()):
        mean, low, high = cell.estimate(alpha)
        error = [[mean - low], [high - mean]]
        panel.errorbar(mean, place, xerr=error, fmt="o", capsize=2, markersize=4, color=color)
    panel.axvline(0, color="#555555", linewidth=0.8)
    panel.set_yticks(range(len(rows)), list(rows))
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.grid(alpha=0.3, axis="x")


def rows_figure(panels: Mapping[str, Callable[..., Any]], label: str, arms: wd.Evidence) -> wd.Figure:
    """A panel for each measure, arms -> {row: scores}, with its title; all rows have one scale and one `label`."""
    measured = {title: arms.score(measure) for title, measure in panels.items()}
    tallest = max(map(len, measured.values()))
    figure, grid = wd.panel_grid(1, len(panels), width=3.6, height=1.2 + 0.25 * tallest, share=False)
    names = [list(rows) for rows in measured.values()]
    for number, (panel, (title, rows)) in enumerate(zip(grid.flat, measured.items(), strict=True)):
        draw_rows(panel, rows, arms.alpha)
        if number and names[number] == names[0]:
            panel.set_yticks(range(len(rows)), [""] * len(rows))
        panel.set_title(title, fontsize=10)
        panel.locator_params(axis="x", nbins=5)
    figure.supxlabel(f"{label}; {arms.scored_on}, 95 % intervals", fontsize=8)
    return figure


def loss_over_decay(panels: Mapping[str, Sequence[str]], arms: wd.Evidence) -> wd.Figure:
    """Test loss over decay: a panel for each title, a line for each of its arms, at its best learning rate for each."""
    figure, grid = wd.panel_grid(1, len(panels), width=3.6, height=3.2, share=False)
    for panel, (title, names) in zip(grid.flat, panels.items(), strict=True):
        for number, name in enumerate(names):
            results, (_, dashes) = arms[name], wd.LINES[number % len(wd.LINES)]
            color = wd.STYLES[number % len(wd.STYLES)].color
            among = best_of_each(results)
            wd.draw_against_axis(panel, results, among, "test_loss", name.removeprefix(f"{title}, "), color, dashes)
        values = np.concatenate([wd.axis_values(arms[name]) for name in names])
        wd.axis_from_zero(panel, values[values > 0].min(), values.max())
        panel.set(title=title, xlabel=arms[names[0]].attrs["axis"].replace("_", " "), ylabel="test loss, nats")
        panel.legend(fontsize=7)
        panel.grid(alpha=0.3)
    one_legend(grid.flat)
    figure.supxlabel("exploring seeds, each value at the learning rate that is best for it on them", fontsize=8)
    return figure


def one_legend(panels: Iterable[wd.Axes]) -> None:
    """Where all panels have the same lines, the legend of the last one says so for all."""
    *others, last = panels
    labels = last.get_legend_handles_labels()[1]
    if all(panel.get_legend_handles_labels()[1] == labels for panel in others):
        for legend in filter(None, (panel.get_legend() for panel in others)):
            legend.remove()


def best_of_each(results: wd.Results) -> np.ndarray:
    """Of the points that share a value of the axis the one with the least mean test loss; bool[h]."""
    loss = np.nan_to_num(wd.surviving(results, "test_loss").mean(axis=0), nan=np.inf)
    values = results[results.attrs["axis"]].to_numpy()
    among = np.zeros(len(values), bool)
    for value in np.unique(values):
        at = np.flatnonzero(values == value)
        among[at[np.argmin(loss[at])]] = True
    return among
