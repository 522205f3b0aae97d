"""Three data regimes: what is declared, what is measured of results that are known, the experiment in small."""

import io
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import xarray as xr
from rich.console import Console

from experiments.article.data_regimes import (
    CLAIMS,
    STATED,
    changes_at_its_rate,
    experiment,
    from_first_to_last,
    gap_closes,
    over_the_axis,
    scored_course,
    stated_steps,
    steps_saved,
    within,
)
from experiments.decay_values import gain_of_the_largest
from wd_research.evidence.measured import Evidence
from wd_research.running import run

pytestmark = pytest.mark.slow  # the experiment itself, in little

SMALL = {
    "strengths": (0.0, 1e-4, 1e-3, 1e-2, 1.0), "decays": (0.0, 1e-4, 1e-3, 1e-2, 100.0), "learning_rates": (3e-3, 1e-2),
    "seeds": 3, "steps": 60,
}  # fmt: skip
ROWS = {"A0", "A1", "A6", "A8", "A10", "B2", "B4", "C1", "C3", "C4"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The experiment in small form."""
    folder = tmp_path_factory.mktemp("data_regimes") / "small"
    small = replace(experiment(**SMALL), confirm=3)
    return run(small, folder, tensorboard=False, console=Console(file=io.StringIO()))


def known(values, axis="decay", **curves):
    """Results of four seeds that differ by rounding only, from metrics f64[h, t] over values of the axis."""
    shape = (4, *np.shape(next(iter(curves.values()))))
    wiggle = 1e-9 * np.arange(4)[:, None, None]
    return xr.Dataset(
        {name: (("seed", "point", "step"), np.broadcast_to(curve, shape) + wiggle) for name, curve in curves.items()}
        | {"diverged_at": (("seed", "point"), np.full(shape[:2], -1))},
        {axis: ("point", np.float32(values)), "step": 10 * np.arange(1, shape[2] + 1)},
        {"axis": axis},
    )


def means(measure, arms):
    """The mean of every cell; each half of the seeds is scored at what the other chooses."""
    return {name: float(cell.values.mean()) for name, cell in Evidence(arms).score(measure).items()}


def test_regimes_with_as_many_examples_are_one_program(finished):
    assert list(finished.arms) == [
        f"{regime}, {kind}" for regime in ("noisy", "clean", "ample") for kind in ("coupled", "decoupled")
    ]
    assert '"programs": 2' in (finished.folder / "experiment.json").read_text()


def test_at_its_rate_decay_is_compared_to_none_at_the_same_learning_rate():
    accuracy = [[0.5], [0.6], [0.7], [0.9]]
    results = known([0, 1, 0, 1], train_accuracy=[[1.0], [0.9], [0.8], [0.5]], validation_accuracy=accuracy)
    results = results.assign_coords(learning_rate=("point", np.float32([1, 1, 2, 2])))
    change = partial(changes_at_its_rate, "train_accuracy", -1)
    assert means(change, {"one": results}) == pytest.approx({"one": 0.3})


@pytest.mark.parametrize(("regime", "train_size", "wrong"), [("noisy", 200, 40), ("clean", 200, 0), ("ample", 1000, 0)])
def test_a_regime_is_what_it_is_called(regime, train_size, wrong):
    task = experiment().arms[f"{regime}, coupled"].task
    split = task.split(0)
    assert len(split.train) == train_size
    assert (split.train_targets != np.asarray(task.data.targets)[split.train]).sum() == wrong


def test_the_gap_closes_by_what_training_falls_and_test_rises():
    arms = {"one": known([0, 1], train_accuracy=[[0.99], [0.9]], test_accuracy=[[0.7], [0.75]],
                         validation_accuracy=[[0.7], [0.75]])}  # fmt: skip
    assert means(gap_closes, arms) == pytest.approx({"one": 0.14})
    assert Evidence(arms).score(gap_closes)["one"].on_edge


def test_the_articles_steps_are_taken_between_its_decays():
    accuracy = [[0.5], [0.6], [0.62], [0.65], [0.1]]
    results = known([0, 1e-4, 1e-3, 1e-2, 1], test_accuracy=accuracy, validation_accuracy=accuracy)
    assert means(stated_steps, {"one": results}) == pytest.approx(
        {"one: 0.0001 to 0.001": 0.02, "one: 0.001 to 0.01": 0.03}
    )


def test_underfitting_is_measured_at_the_largest_decay():
    results = known([0, 1, 10], train_accuracy=[[0.9], [0.8], [0.2]], validation_accuracy=[[0.5], [0.6], [0.1]])
    change = partial(gain_of_the_largest, metric="train_accuracy")
    assert means(change, {"one": results}) == pytest.approx({"one": -0.7})


@pytest.mark.parametrize(
    ("decayed", "saved"),
    [
        ([0.4, 0.795, 0.9, 0.9], 1 / 3),  # at step 20 instead of 30
        ([0.9, 0.9, 0.9, 0.9], 2 / 3),
        ([0.1, 0.2, 0.3, 0.9], -1 / 3),
    ],
)
def test_the_steps_saved_are_those_to_a_point_below_the_end_of_no_decay(decayed, saved):
    curves = [[0.1, 0.5, 0.8, 0.8], decayed, [0.0, 0.0, 0.0, 0.0]]
    arms = {"one": known([0, 1, 2], validation_accuracy=curves)}
    assert means(steps_saved, arms) == pytest.approx({"one": saved})


def test_the_steps_saved_are_not_those_of_a_larger_learning_rate():
    """Decay does nothing here, and one learning rate is fast but ends worse."""
    slow, fast = [0.1, 0.5, 0.8, 0.8], [0.7, 0.7, 0.7, 0.7]
    results = known([0, 1, 2] * 2, validation_accuracy=[slow, slow, [0.0] * 4, fast, fast, [0.0] * 4])
    results = results.assign_coords(learning_rate=("point", np.float32([1, 1, 1, 3, 3, 3])))
    saved = {"one, learning rate 1": 0.0, "one, learning rate 3": 0.0}
    assert means(steps_saved, {"one": results}) == pytest.approx(saved)


def test_what_never_gets_there_counts_as_the_whole_training():
    """Chosen on the other seeds, a point may fail on this one."""
    results = known([0, 1, 2], validation_accuracy=[[0.1, 0.5, 0.8, 0.8], [0.7, 0.7, 0.9, 0.9], [0.0] * 4])
    results["validation_accuracy"][0, 1] = 0.2
    assert Evidence({"one": results}).score(steps_saved)["one"].values[0] == pytest.approx(1 - 40 / 30)


def test_a_course_is_that_of_the_point_which_ends_best():
    results = known([0, 1], validation_accuracy=[[0.9, 0.5], [0.1, 0.6]], running_loss=[[1.0, 2.0], [3.0, 0.5]])
    arms = {"one": results}
    for decay, course in ((True, [3.0, 0.5]), (False, [1.0, 2.0])):
        scored = scored_course(Evidence(arms), "one", "running_loss", decay)
        np.testing.assert_allclose(scored, [course] * 4, atol=1e-6)
    assert means(partial(from_first_to_last, "running_loss", -1), arms) == pytest.approx({"one": 2.5})


def test_every_row_has_claims_with_verdicts(finished):
    claims = {claim["id"]: claim for claim in finished.summary["claims"]}
    assert set(claims) == {claim.id for claim in CLAIMS}
    assert len(claims) == len(CLAIMS)
    assert {name.split("-")[0] for name in claims} == ROWS
    for claim in claims.values():
        assert claim["verdict"] in ("holds", "fails", "undecided", "equal here")
        assert claim["low"] <= claim["measured"] <= claim["high"]


def test_a_claim_of_a_regime_or_a_kind_of_decay_is_measured_there(finished):
    cells = {claim["id"]: set(claim["cells"]) for claim in finished.summary["claims"]}
    assert cells["A1-noisy"] == {"noisy, coupled", "noisy, decoupled"}
    assert len(cells["A6-rises-coupled"]) == 6
    assert all("decoupled" not in name for name in cells["A6-rises-coupled"])
    assert cells["B4"] == set(finished.arms)
    assert set(within("decoupled", finished.arms)) == {f"{regime}, decoupled" for regime in ("noisy", "clean", "ample")}


def test_too_much_is_too_much_even_in_small(finished):
    """Decoupled decay of 100 at these learning rates leaves no weight: both claims of the top can be seen there."""
    claims = {claim["id"]: claim for claim in finished.summary["claims"]}
    assert claims["B2-can-harm"]["verdict"] == "holds"
    for regime in ("noisy", "clean", "ample"):
        assert claims["C4"]["cells"][f"{regime}, decoupled"]["high"] < -0.3


def test_the_penalty_term_is_there_where_the_penalty_is_and_only_there(finished):
    for name, results in finished.arms.items():
        penalty = (results.running_objective - results.running_loss).max(("seed", "step")).to_numpy()
        decays_in_the_loss = results.strength.to_numpy() > 0
        assert (penalty[decays_in_the_loss] > 1e-4).all()
        assert (penalty[~decays_in_the_loss] < 1e-5).all()  # means of a segment are rounded
        assert decays_in_the_loss.any() == name.endswith(", coupled")


def test_the_figures_show_every_value_and_are_written(finished):
    curve = over_the_axis("noisy, decoupled", finished.arms)
    np.testing.assert_allclose(curve.decay, np.float32(SMALL["decays"]))
    assert set(np.float32(list(STATED))) <= set(curve.decay.to_numpy())
    for name in ("data_regimes", "courses"):
        assert (finished.folder / "figures" / f"{name}.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"decays": (0.0, 1e-4, 1e-2)}, "--decays has no 0.001: include 1e-4, 1e-3 and 1e-2"),
        ({"strengths": (0.0, 1.0)}, "--strengths has no 0.0001: include"),
        ({"strengths": (1e-4, 1e-3, 1e-2)}, "--strengths has no 0: include it"),
        ({"learning_rates": ()}, "--learning-rates is empty"),
        ({"seeds": 0}, "--seeds 0 is too few"),
        ({"steps": 0}, "--steps 0 is too few"),
    ],
)
def test_bad_flags_get_one_sentence(flags, says):
    with pytest.raises(ValueError, match=says) as refused:
        experiment(**flags)
    assert "\n" not in str(refused.value)
