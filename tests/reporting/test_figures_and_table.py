"""Figures and tables of known results; what they look like was seen by eye, what they must hold is tested."""

import io
import re

import matplotlib.image
import numpy as np
import pytest
from rich.console import Console

from tests.evidence.cases import DECAYS, diverged
from tests.reporting.cases import CURVE, HELPS, SHAPES, arm, evidence, looked, regression, summary
from wd_research.evidence.choices import choose
from wd_research.reporting.axes import number, percent
from wd_research.reporting.courses import training
from wd_research.reporting.drawing import slices, told_apart
from wd_research.reporting.figures import all_figures, scores_of_best
from wd_research.reporting.seeds import how_scored, seeds_of
from wd_research.reporting.table import arms_table, claims_table

CASES = {
    "two arms": lambda: evidence({"coupled": arm(axis="strength"), "decoupled": arm(seed=1)}),
    "one arm, one learning rate": lambda: evidence({"arm": arm().isel(point=slice(0, 5))}),
    "a diverged point": lambda: evidence({"arm": diverged(arm(), 4)}),
    "nothing but zero": lambda: evidence({"arm": arm().isel(point=[0, 5, 10])}),
    "judged by loss": lambda: evidence({"arm": regression()}),
    "by halves": lambda: evidence({"arm": arm(seeds=8)}, looks=()),
}


@pytest.mark.parametrize("arms", CASES.values(), ids=CASES)
def test_every_figure_can_be_drawn_and_is_not_blank(arms):
    for name, figure in all_figures(arms()).items():
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=40)
        png.seek(0)
        assert np.asarray(matplotlib.image.imread(png)).std() > 0.05, name


def test_the_accuracy_figure_shows_every_part_at_every_learning_rate():
    figure = all_figures(CASES["two arms"]())["accuracy"]
    assert len(figure.axes) == 6
    for panel in figure.axes:
        drawn = {line.get_label(): line for line in panel.lines}
        assert {"train", "validation", "test"} <= set(drawn)
        assert len(drawn["test"].get_xdata()) == len(DECAYS) - 1
        assert panel.get_xscale() == "symlog"
        assert panel.get_xlabel() in ("strength", "decay")
    assert sum("chosen on validation" in [line.get_label() for line in panel.lines] for panel in figure.axes) == 2


@pytest.mark.parametrize(
    ("case", "says"), [("two arms", "16 confirming seeds"), ("by halves", "halves of 8 exploring")]
)
def test_beside_the_star_stands_the_test_score_on_other_seeds(case, says):
    measured = CASES[case]()
    scored = measured.score(scores_of_best)
    marks = {
        panel.get_title().partition(",")[0]: bar
        for panel in all_figures(measured)["accuracy"].axes
        for bar in panel.containers
        if str(bar.get_label()).startswith("its test score on ")
    }
    assert set(marks) == set(measured)
    for name, bar in marks.items():
        assert says in bar.get_label()
        (_, low), (_, high) = bar.lines[2][0].get_segments()[0]
        assert (low, high) == pytest.approx(scored[name].estimate()[1:])


def test_training_shows_confirming_seeds_where_there_are_any():
    for looks, says in (((16,), "16 confirming seeds"), ((), "8 exploring seeds")):
        figure = training("arm", evidence({"arm": with_weights(arm())}, looks=looks))
        assert figure.legends[0].get_title().get_text().startswith(says)
        curves, losses, weights = figure.axes
        assert curves.get_title() == "arm: accuracy"
        assert losses.get_title() == "arm: loss"
        assert {line.get_label() for line in curves.lines} >= {"train, chosen", "test, without decay"}
        assert len(weights.patches) == 2


def with_weights(arm):
    """The arm with two edges: all weights lie between them."""
    below = np.zeros((*arm.test_accuracy.shape, 2))
    below[..., 1] = 1
    return arm.assign(weights_below=(("seed", "point", "step", "edge"), below)).assign_coords(edge=[-1.0, 1.0])


def test_the_heat_map_has_every_value_and_marks_the_choice():
    measured = evidence({"arm": arm()})
    panel = all_figures(measured)["heat_map"].axes[0]
    table = panel.images[0].get_array()
    assert table.shape == (3, 5)
    column, row = panel.lines[-1].get_xydata()[0].astype(int)
    chosen = choose(measured["arm"]).point
    assert table[row, column] == pytest.approx(measured["arm"].test_accuracy[:, chosen, -1].mean())


def test_ticks_are_not_rounded_to_something_else():
    shares = 1.0, 0.825, 0.8, 0.9995, 0.3
    assert [percent(share) for share in shares] == ["100%", "82.5%", "80%", "99.95%", "30%"]


@pytest.mark.parametrize(
    ("value", "label"),
    {0: "0", 0.05: "0.05", 1: "1", 1000: "1000", -0.1: "-0.1", 1e-4: "$10^{-4}$", -1e6: "$-10^{6}$",
     2e-13: r"$2\cdot10^{-13}$"}.items(),
)  # fmt: skip
def test_a_number_is_short(value, label):
    assert number(value) == label


def test_numbers_that_differ_are_told_apart():
    assert told_apart(np.array([0.0819, 0.00123456, 1.0])) == ["0.0819", "0.00123", "1"]
    assert told_apart(np.array([1.0001, 1.0002])) == ["1.0001", "1.0002"]


def test_zero_and_powers_of_ten_are_ticks():
    for panel in all_figures(evidence({"arm": arm()}))["accuracy"].axes:
        assert panel.get_xticks() == pytest.approx([0, 0.01, 0.1, 1, 10])
        assert [label.get_text() for label in panel.get_xticklabels()] == ["0", "0.01", "0.1", "1", "10"]


def test_slices_are_the_settings_beside_the_axis():
    found = slices(arm())
    assert list(found) == ["learning rate 0.001", "learning rate 0.01", "learning rate 0.1"]
    assert np.sum(list(found.values()), axis=0).tolist() == [1] * 15


def printed(table):
    console = Console(width=80, file=io.StringIO())
    console.print(table)
    said = console.file.getvalue()
    assert max(map(len, said.splitlines())) <= 80
    assert "…" not in said
    return " ".join(re.sub("[│┃━─┏┳┓┡╇┩├┼┤└┴┘]", " ", said).split())


@pytest.mark.parametrize("case", CASES)
def test_the_table_says_what_was_chosen_in_eighty_columns(case):
    found = summary(CASES[case]())
    said = printed(arms_table(found["best"], seeds_of(found)))
    assert "exploring seeds 8" in said
    assert ("scored by halves of" if case == "by halves" else "confirming seeds 16") in said
    for word in ("95 % confidence set", "worse neighbours", "test, without decay", "gain", "gain at any step"):
        assert word in said
    assert ("nats" in said) == (case not in ("judged by loss", "nothing but zero"))


@pytest.mark.parametrize("confirming", [2, 3])
def test_two_seeds_have_no_bootstrap_and_detect_nothing(confirming):
    said = printed(arms_table(*best_and_seeds(evidence({"arm": arm()}, looks=(confirming,)))))
    assert ("bootstrap" in said) == ("minimum detectable" in said) == (confirming > 2)
    assert "nan" not in said


def test_a_point_without_neighbours_and_a_grid_that_grew_are_said():
    made = arm()
    alone = made.isel(point=[5, 8])  # no decay and 1, at one learning rate; what lies between was not tried
    assert "worse neighbours 1 of 1" in printed(arms_table(*best_and_seeds(evidence({"arm": alone}))))
    corners = made.isel(point=[5, 13])  # both hyperparameters differ
    assert "worse neighbours" not in printed(arms_table(*best_and_seeds(evidence({"arm": corners}))))
    grown = made.assign_attrs(declared=10)
    assert "beyond its edges learning rate 0.1" in printed(arms_table(*best_and_seeds(evidence({"arm": grown}))))
    assert "beyond its edges" not in printed(arms_table(*best_and_seeds(evidence({"arm": made}))))


def test_the_title_says_the_seeds_and_the_interval():
    found = looked()
    said = how_scored(found["best"], seeds_of(found))
    assert said == (
        "chosen on the validation data of 8 exploring seeds, scored on 48 fresh confirming ones; "
        "mean [97.8 % interval, 3 looks]"
    )
    one = {**found["best"]["arm"], "seeds": 16}
    assert "scored on 16 to 48 fresh confirming ones" in how_scored({**found["best"], "one": one}, seeds_of(found))


def test_a_gain_that_is_exactly_0_is_no_interval():
    assert "gain exactly 0" in printed(arms_table(*best_and_seeds(evidence({"arm": arm(effects=SHAPES["falls"])}))))


def test_the_table_names_the_edges_with_decay_and_without():
    found = summary(evidence({"arm": arm().isel(point=slice(5, 15))}))
    said = printed(arms_table(found["best"], seeds_of(found)))
    assert "on the grid's edge learning rate edge, without decay learning rate" in said
    assert "edge" not in printed(arms_table(*best_and_seeds(CASES["two arms"]())))


def best_and_seeds(measured):
    found = summary(measured)
    return found["best"], seeds_of(found)


def test_more_arms_than_fit_side_by_side_get_a_row_each():
    best, seeds = best_and_seeds(evidence({name: arm(seed=seed) for seed, name in enumerate("abcd")}))
    console = Console(file=io.StringIO(), width=80)
    console.print(arms_table({**best, "d": {**best["d"], "edges": ["decay"]}}, seeds))
    said = console.file.getvalue()
    assert len(re.findall(r"^│ [abcd] ", said, re.MULTILINE)) == 4
    assert "…" not in said
    assert "(edge: decay)" in printed(arms_table({**best, "d": {**best["d"], "edges": ["decay"]}}, seeds))


def test_a_claim_says_on_which_seeds_and_at_which_level_it_is_judged():
    once, edge = ({"arm": arm(effects=SHAPES[shape])} for shape in ("falls", "rises"))
    for found, says in (
        (summary(evidence(once), [HELPS]), "; 16 confirming seeds"),
        (summary(evidence(once), [CURVE]), "; 8 exploring seeds"),
        (summary(evidence(edge), [HELPS]), "; 16 confirming seeds; on the grid's edge: decay, which decides nothing"),
        (looked(), "; 16 confirming seeds, 97.8 % interval, 3 looks"),
    ):
        assert says in printed(claims_table(found["claims"], seeds_of(found)))
