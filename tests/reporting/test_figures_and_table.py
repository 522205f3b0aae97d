"""Figures and tables of known results; what they look like was seen by eye, what they must hold is tested."""

import io
import re

import matplotlib.image
import numpy as np
import pytest
from rich.console import Console

from tests.evidence.cases import DECAYS, diverged, results
from wd_research.evidence.selection import best_among, summarise
from wd_research.reporting.drawing import drawn_at, slices
from wd_research.reporting.figures import all_figures
from wd_research.reporting.table import arms_table

CASES = {
    "two arms": lambda: {"coupled": results(axis="strength"), "decoupled": results(seed=1)},
    "one arm, one learning rate": lambda: {"arm": results().isel(point=slice(0, 5))},
    "a diverged point": lambda: {"arm": diverged(results(), 4)},
    "nothing but zero": lambda: {"arm": results().isel(point=[0, 5, 10])},
}


@pytest.mark.parametrize("arms", CASES.values(), ids=CASES)
def test_every_figure_can_be_drawn_and_is_not_blank(arms):
    for name, figure in all_figures(arms()).items():
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=40)
        png.seek(0)
        assert np.asarray(matplotlib.image.imread(png)).std() > 0.05, name


def test_the_accuracy_figure_shows_every_part_at_every_learning_rate():
    arms = CASES["two arms"]()
    figure = all_figures(arms)["accuracy"]
    assert len(figure.axes) == 6
    for panel in figure.axes:
        drawn = {line.get_label(): line for line in panel.lines}
        assert {"train", "validation", "test"} <= set(drawn)
        assert len(drawn["test"].get_xdata()) == len(DECAYS) - 1
        assert panel.get_xscale() == "log"
        assert panel.get_xlabel() in ("strength", "decay")
    assert sum("chosen on validation" in [line.get_label() for line in panel.lines] for panel in figure.axes) == 2


def test_the_heat_map_has_every_value_and_marks_the_choice():
    arm = results()
    panel = all_figures({"arm": arm})["heat_map"].axes[0]
    table = panel.images[0].get_array()
    assert table.shape == (3, 5)
    column, row = panel.lines[-1].get_xydata()[0].astype(int)
    assert table[row, column] == pytest.approx(arm.test_accuracy[:, best_among(arm), -1].mean())


def test_zero_stands_left_of_the_smallest_value():
    places = drawn_at(results())
    assert (places > 0).all()
    assert places[0] < places[1] == pytest.approx(DECAYS[1])


def test_slices_are_the_settings_beside_the_axis():
    found = slices(results())
    assert list(found) == ["learning rate 0.001", "learning rate 0.01", "learning rate 0.1"]
    assert np.sum(list(found.values()), axis=0).tolist() == [1] * 15


def test_the_table_says_what_was_chosen_in_eighty_columns():
    summary = summarise(CASES["two arms"]())
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(arms_table(summary["best"]))
    text = console.export_text()
    for word in ("coupled", "strength 0.1", "decay 0.1", "test accuracy", "without decay", "gain", "points", "nats"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 80


def test_more_arms_than_fit_side_by_side_get_a_row_each():
    summary = summarise({name: results(seed=seed) for seed, name in enumerate("abcd")})
    console = Console(file=io.StringIO(), width=80)
    console.print(arms_table(summary["best"]))
    said = console.file.getvalue()
    assert len(re.findall(r"^│ [abcd] ", said, re.MULTILINE)) == 4
    assert "…" not in said
