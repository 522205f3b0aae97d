"""When decay is needed: worlds that are what they are called, differences of known gains, the experiment in small."""

import io

import numpy as np
import pytest
from rich.console import Console

from experiments.article import when_needed
from experiments.article.when_needed import (
    CLAIMS,
    FLIPS,
    SIZES,
    SMALLER,
    SMALLER_SIZE,
    TRIALS,
    by_noise,
    by_size,
    early,
    experiment,
    name_of,
    smaller,
    worlds,
)
from tests.article.test_worlds import known, means
from wd_research.experiment import run


def test_a_world_has_the_digits_and_the_flips_of_its_name():
    for flipped, task in worlds(50, 4).items():
        split = task.split(1)
        assert len(split.train) == 50
        wrong = (split.train_targets != np.asarray(task.data.targets)[split.train]).sum()
        assert wrong == round(50 * flipped)


def test_worlds_of_one_size_and_width_are_one_program_and_every_arm_has_as_many_trials():
    arms = experiment(seeds=2, steps=20).trained
    assert len(arms) == len(FLIPS) * (len(SIZES) + len(SMALLER))
    assert len({arm.task.loss for arm in arms.values()}) == len(SIZES) + len(SMALLER)
    assert {len(arm.points.decay) for arm in arms.values()} == {TRIALS}


def made_up():
    """Decay gains (1000 - size) / 1e4 + flips / 10, and stopping at the first look is a tenth better than not."""
    arms = {}
    for size in SIZES:
        for flipped in FLIPS:
            none, best = 0.5, 0.5 + (1000 - size) / 1e4 + flipped / 10
            curves = [[none + 0.1, none], [best, best], [0.0, 0.0]]
            arms[name_of(size, flipped)] = known([0, 1, 2], validation_accuracy=curves, test_accuracy=curves)
    for width in SMALLER:
        for flipped in FLIPS:
            arms[name_of(SMALLER_SIZE, flipped, width)] = known(
                [0], validation_accuracy=[[0.55]], test_accuracy=[[0.55]]
            )
    return arms


def test_gains_are_compared_between_sizes_and_between_shares_of_flips():
    assert means(by_size(made_up())) == pytest.approx({f"{100 * f:.0f} % flipped": 0.095 for f in FLIPS}, abs=1e-6)
    assert means(by_noise(made_up())) == pytest.approx({f"{size} digits": 0.04 for size in SIZES}, abs=1e-6)


def test_smaller_nets_and_early_stops_are_compared_to_the_tuned_decay():
    tuned = {flipped: 0.5 + (1000 - SMALLER_SIZE) / 1e4 + flipped / 10 for flipped in FLIPS}
    assert means(smaller(made_up())) == pytest.approx(
        {f"width {w}, {100 * f:.0f} % flipped": 0.55 - tuned[f] for w in SMALLER for f in FLIPS}, abs=1e-6
    )
    stopped = means(early(made_up()))
    assert stopped[name_of(SMALLER_SIZE, 0.0)] == pytest.approx(0.6 - tuned[0.0], abs=1e-6)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("when_needed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(when_needed, "SIZES", (50, SMALLER_SIZE))
        patch.setattr(when_needed, "SMALLER", (4,))
        patch.setattr(when_needed, "LOOKS", 2)
        declared = experiment(seeds=2, steps=20)
        return run(declared, folder, audit="", tensorboard=False, console=Console(file=io.StringIO()))


def test_every_claim_is_judged(finished):
    claims = {claim["id"]: claim for claim in finished.summary["claims"]}
    assert set(claims) == {claim.id for claim in CLAIMS}
    assert len(claims["C7-not-always"]["cells"]) == 2 * len(FLIPS)
    assert set(claims["C7-smaller-model"]["cells"]) == {f"width 4, {100 * f:.0f} % flipped" for f in FLIPS}
    assert (finished.folder / "figures" / "when_needed.png").exists()


def test_bad_flags_get_one_sentence():
    with pytest.raises(ValueError, match="--seeds 1 is too few"):
        experiment(seeds=1)
