"""A weight whose gradient is 0: its course by hand; half-lives; the parts of a step; the experiment to its end."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from experiments.article.shrinking_weight import (
    ADAM_RATE,
    FACTOR,
    L2_IN_ADAM,
    SGD_RATE,
    STATED,
    alone,
    chains,
    draw_weights,
    experiment,
    halved,
)
from wd_research.running import run

ROOT = Path(__file__).parents[2]
SMALL = {"steps_per_epoch": 20, "half_lives": (10.0, 20.0), "seeds": 4, "steps": 60, "evaluations": 15}
STEPS = 30


def share(steps_per_epoch):
    return 1 - FACTOR ** (1 / steps_per_epoch)


def test_the_stated_figures_are_a_factor_of_8_tenths_rounded():
    np.testing.assert_array_equal(np.round(STATED[0] * FACTOR ** np.arange(4), 2), STATED)


@pytest.mark.parametrize("name", ["L2 in SGD", "decoupled", "independent", "constant"])
@pytest.mark.parametrize("steps_per_epoch", [1, STEPS])
def test_without_gradients_a_weight_shrinks_by_the_product_of_what_each_step_leaves(name, steps_per_epoch):
    results = alone(chains(share(steps_per_epoch))[name], steps_per_epoch)(3)
    expected = np.tile(FACTOR ** np.arange(1, 5), (3, 1))
    np.testing.assert_allclose(results["left"].to_numpy()[..., 0], expected, rtol=1e-5)


def test_l2_inside_adam_follows_its_own_recursion():
    """Adam written out, its gradient being strength * w."""
    results = alone(chains(share(STEPS))[L2_IN_ADAM], STEPS)(2)
    strength = share(STEPS) / SGD_RATE
    for seed in range(2):
        start = draw_weights(seed)
        weights, first, second = start.copy(), 0.0, 0.0
        for t in range(1, 4 * STEPS + 1):
            gradient = strength * weights
            first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
            weights -= ADAM_RATE * (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
        assert results["left"].to_numpy()[seed, -1, 0] == pytest.approx(np.mean(weights / start), rel=1e-5)


def test_l2_inside_adam_does_not_depend_on_its_strength():
    weak, strong = (alone(chains(size)[L2_IN_ADAM], STEPS)(2)["left"].to_numpy() for size in (1e-3, 1e-2))
    np.testing.assert_allclose(weak, strong, rtol=1e-4)


@pytest.mark.parametrize("half_life", [3.0, 10.0, 33.3])
def test_the_half_life_of_a_geometric_course_is_found_between_evaluations(half_life):
    steps = np.arange(0, 80, 8)
    assert halved(steps, 0.5 ** (steps[1:] / half_life)) == pytest.approx(half_life)


def test_what_never_halves_has_no_half_life():
    assert halved(np.arange(4), np.array([0.9, 0.8, 0.7])) == np.inf


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The experiment in small form."""
    folder = tmp_path_factory.mktemp("run") / "small"
    return run(experiment(**SMALL), folder, tensorboard=False, console=Console(file=io.StringIO()))


@pytest.mark.slow
def test_every_claim_has_a_verdict_and_those_that_a_small_run_can_decide(finished):
    verdicts = {claim["id"]: claim["verdict"] for claim in finished.summary["claims"]}
    assert verdicts["A4-half-life"] in {"holds", "fails", "undecided"}
    del verdicts["A4-half-life"]
    assert verdicts == {
        "A4-geometric": "holds",
        "A4-geometric-in-adam": "fails",
        "A4-adam-subtracts": "holds",
        "A3-five-parts": "holds",
    }


@pytest.mark.slow
def test_the_parts_of_the_first_step_have_the_sizes_of_a_net_that_knows_nothing(finished):
    """Ten classes: a loss of about ln 10 or more; a small step leaves the weights about as large as they were."""
    norms = finished.arms["first step"]["norm"].to_numpy()[..., 0]
    initialise, forward, loss, backward, update = norms.T
    assert (loss > 0.8 * np.log(10)).all()
    assert (forward > 0).all()
    assert (backward > 0).all()
    np.testing.assert_allclose(update, initialise, rtol=0.1)
    assert (update != initialise).all()


@pytest.mark.slow
def test_more_decay_leaves_less_of_the_start(finished):
    kept = finished.arms["digits"]["kept"].to_numpy()[..., -1]
    assert (np.diff(kept, axis=1) < 0).all()


@pytest.mark.slow
def test_it_leaves_its_figure(finished):
    assert (finished.folder / "figures" / "shrinking_weight.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"steps": 300}, "--steps 300 is too few: give twice the longest of --half-lives, 320"),
        ({"evaluations": 5}, "--evaluations 5 is too few: half of the shortest of --half-lives needs one, so give 20"),
        ({"half_lives": (0.0,)}, "--half-lives 0.0 cannot be"),
        ({"half_lives": ()}, "--half-lives is empty"),
        ({"steps_per_epoch": 0}, "--steps-per-epoch 0 is too few"),
        ({"seeds": 0}, "--seeds 0 is too few"),
    ],
)
def test_bad_flags_get_one_sentence(flags, says):
    with pytest.raises(ValueError, match=says) as refused:
        experiment(**flags)
    assert "\n" not in str(refused.value)


def test_a_bad_flag_ends_the_process_with_2_and_leaves_no_folder(tmp_path):
    words = ["--evaluations", "5", "--workdir", str(tmp_path / "never")]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "experiments.article.shrinking_weight", *words],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: --evaluations 5 is too few")
    assert not (tmp_path / "never").exists()
