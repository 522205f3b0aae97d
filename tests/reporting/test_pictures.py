"""Figures of every kind of run: what is on them can be read, is all that was measured, and stays within bounds."""

import functools
import itertools
import pickle
import re

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PolyCollection

from tests.reporting.designs import DESIGNS, measured
from wd_research.reporting.axes import shows_shares
from wd_research.reporting.courses import training
from wd_research.reporting.figures import all_figures
from wd_research.results import judged_by, surviving

EMPTY = {"all diverged"}  # nothing to show but what training was


@functools.cache
def drawn(name):
    """The figures of a design, drawn: those of its answer, and the training of its first arm."""
    found = measured(name)
    figures = {**all_figures(found), "training": training(next(iter(found)), found)}
    for figure in figures.values():
        FigureCanvasAgg(figure)
        figure.set_dpi(100)
        figure.canvas.draw()
    return figures


def every_panel(name):
    return [(kind, figure, panel) for kind, figure in drawn(name).items() for panel in figure.axes]


def visible_ticks(panel):
    """The labels of the ticks that lie on the axes, each with its box."""
    for axis, (low, high) in ((panel.xaxis, sorted(panel.get_xlim())), (panel.yaxis, sorted(panel.get_ylim()))):
        for place, label in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=False):
            room = 1e-9 * (high - low)
            if label.get_visible() and label.get_text() and low - room <= place <= high + room and axis.get_visible():
                yield label


def shown_labels(panel):
    return [label for label in visible_ticks(panel) if left_labels(panel) or label not in panel.get_yticklabels()]


def left_labels(panel):
    sides = panel.yaxis.get_tick_params()
    return sides.get("labelleft", True) or sides.get("labelright", False)


def overlap(one, other):
    return min(one.x1, other.x1) - max(one.x0, other.x0) > 0.5 and min(one.y1, other.y1) - max(one.y0, other.y0) > 0.5


@pytest.mark.parametrize("name", DESIGNS)
def test_every_text_is_inside_the_figure_and_no_tick_touches_another(name):
    for kind, figure in drawn(name).items():
        ticks = [label for panel in figure.axes for label in shown_labels(panel)]
        titles = [text for panel in figure.axes for text in (panel.title, panel.xaxis.label, panel.yaxis.label)]
        titles = [text for text in titles if text.get_text()]
        for text in [*ticks, *titles, *figure.legends, *figure.texts]:
            box = text.get_window_extent()
            assert box.x0 >= -1, (kind, text)
            assert box.y0 >= -1, (kind, text)
            assert box.x1 <= figure.bbox.width + 1, (kind, text)
            assert box.y1 <= figure.bbox.height + 1, (kind, text)
        straight = [label for label in ticks if not label.get_rotation()]
        for one, other in itertools.combinations(straight, 2):
            assert not overlap(one.get_window_extent(), other.get_window_extent()), (kind, one, other)
        for panel in figure.axes:  # boxes of turned labels overlap, and the labels do not where their ends are apart
            turned = [label for label in shown_labels(panel) if label.get_rotation()]
            for label, after in itertools.pairwise(turned):
                apart = after.get_window_extent().x1 - label.get_window_extent().x1
                assert apart >= label.get_fontsize() * figure.dpi / 72, (kind, label, after)
        for one, other in itertools.combinations(titles, 2):
            assert not overlap(one.get_window_extent(), other.get_window_extent()), (kind, one, other)


@pytest.mark.parametrize("name", DESIGNS)
def test_ticks_are_round_and_say_what_they_stand_at(name):
    for kind, _, panel in every_panel(name):
        if panel.images or not left_labels(panel):  # the rows of a map are named; the first of a row has its labels
            continue
        labels = [label.get_text() for label in panel.get_yticklabels() if label.get_text()]
        assert len(labels) == len(set(labels)), kind
        steps = np.diff(panel.get_yticks())
        if panel.get_yscale() == "linear" and len(steps):
            assert steps == pytest.approx(steps[0]), kind
            assert f"{steps[0]:.0e}"[0] in "125", (kind, steps[0])
            assert steps[0] == pytest.approx(float(f"{steps[0]:.0e}")), (kind, steps[0])
        for place, label in zip(panel.get_yticks(), panel.get_yticklabels(), strict=True):
            if shows_shares(panel) and not -1e-9 < place < 1 + 1e-9:
                assert label.get_text() == "", kind
                continue
            assert value_of(label.get_text()) == pytest.approx(place, rel=1e-3, abs=1e-12), kind


def value_of(label):
    """The number that a label says."""
    label = label.replace("\N{MINUS SIGN}", "-").replace("$", "").replace(r"\cdot", "*")
    if label.endswith("%"):
        return float(label[:-1]) / 100
    if power := re.fullmatch(r"(?:(-?[\d.]*)\*)?(-?)10\^\{(-?\d+)\}", label):
        return float(power[1] or 1) * (-1 if power[2] else 1) * 10.0 ** int(power[3])
    return float(label)


@pytest.mark.parametrize("name", DESIGNS)
def test_shares_and_their_intervals_lie_between_0_and_1(name):
    for kind, _, panel in every_panel(name):
        if not shows_shares(panel):
            continue
        low, high = panel.get_ylim()
        assert -0.0501 <= low < high <= 1.0501, kind
        for artist in panel.collections:
            if isinstance(artist, LineCollection | PolyCollection):
                ends = [path.vertices[:, 1] for path in artist.get_paths()]
                assert all(((end >= -1e-9) & (end <= 1 + 1e-9)).all() for end in ends), kind


@pytest.mark.parametrize("name", DESIGNS)
def test_every_panel_has_data_and_figures_are_bounded(name):
    figures = drawn(name)
    assert (set(figures) == {"training"}) == (name in EMPTY)
    for kind, figure in figures.items():
        width, height = figure.get_size_inches()
        assert 6 <= width <= 17.5, kind
        assert height <= 42, kind
        for panel in figure.axes:
            assert len(marks(panel)) or panel.images or panel.patches or panel.get_label() == "<colorbar>", kind


@pytest.mark.parametrize("name", DESIGNS)
def test_every_finite_mean_has_a_mark(name):
    found, figures = measured(name), drawn(name)
    for arm, results in found.items():
        by = judged_by(results)
        panels = [panel for panel in figures[by].axes if panel.get_title().replace("\n", " ").startswith(arm)] if (
            by in figures
        ) else []  # fmt: skip
        seen = np.concatenate([np.empty((0, 2)), *(marks(panel) for panel in panels)])
        for part in ("train", "validation", "test"):
            means = surviving(results, f"{part}_{by}").mean(axis=0)
            for place, mean in zip(results[results.attrs["axis"]].to_numpy().astype(float), means, strict=True):
                if np.isfinite(mean) and (panels or name != "fifty arms"):
                    assert np.isclose(seen, (place, mean), rtol=1e-6, atol=0).all(axis=1).any(), (arm, part, place)


def marks(panel):
    """The places of what can be seen in a panel: marks, and the ends of pieces of lines."""
    found = []
    (left, right), (bottom, top) = panel.get_xlim(), panel.get_ylim()
    for line in panel.lines:
        if line.get_transform() != panel.transData:  # a diamond beside its place
            continue
        x, y = (np.asarray(values, float) for values in line.get_data())
        there = np.pad(np.isfinite(y), 1)
        joined = there[:-2] | there[2:]
        marked = np.zeros(len(x), bool)
        if line.get_marker() not in ("None", None, ""):
            marked[line.get_markevery() if line.get_markevery() is not None else slice(None)] = True
        drawn_line = line.get_linestyle() not in ("None", "")
        seen = (marked | (joined & drawn_line)) & (left <= x) & (x <= right) & (bottom <= y) & (y <= top)
        found.append(np.column_stack([x, y])[seen])
    return np.concatenate([np.empty((0, 2)), *found])


def test_an_axis_that_goes_through_zero_says_so():
    for name in DESIGNS:
        for figure in [figure for kind, figure in drawn(name).items() if kind in ("accuracy", "loss")]:
            for panel in figure.axes:
                assert "0" in [label.get_text() for label in panel.get_xticklabels()], name


def test_a_notebook_shows_a_figure():
    """IPython asks an object for `_repr_png_` (its documentation, "Integrating your objects with IPython")."""
    for figure in all_figures(measured("decays 0 and 1")).values():
        png = figure._repr_png_()
        assert png.startswith(b"\x89PNG")
        copied = pickle.loads(pickle.dumps(figure))
        assert copied._repr_png_().startswith(png[:8])
