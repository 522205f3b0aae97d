"""When decay is needed: equal trials, data regimes as they are called, known results, the experiment in small."""

import io
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from rich.console import Console

from experiments.article.rows import ROWS, row_of
from experiments.article.when_needed import (
    CLAIMS,
    LABEL_NOISES,
    SIZES,
    SMALLER,
    SMALLER_SIZE,
    TRIALS,
    by_noise,
    by_size,
    early,
    experiment,
    gains,
    name_of,
    share,
    smaller,
)
from tests.article.test_data_regimes import known, means
from wd_research.evidence.measured import Evidence
from wd_research.running import run

pytestmark = pytest.mark.slow  # the experiment itself, in little

LARGER = [(size, label_noise) for size in SIZES for label_noise in LABEL_NOISES]


def results(none, decayed, decays=(1.0, 2.0, 3.0)):
    """Known results from accuracies f64[h, t] without decay and with each of the decays."""
    curves = [*none, *decayed]
    return known([0.0] * len(none) + list(decays), validation_accuracy=curves, test_accuracy=curves)


def made_up():
    """In every regime decay gains 0.01 per mislabelled tenth, and 0.001 more per place of the size before the last."""
    arms = {}
    for size, label_noise in LARGER:
        gain = 0.1 * label_noise + 0.001 * (len(SIZES) - 1 - SIZES.index(size))
        best, none = [0.5, 0.8 + gain], [[0.7, 0.8], [0.85, 0.1]]
        arms[name_of(size, label_noise)] = results(none, [[0.2, 0.3], best, [0.2, 0.4]])
    for label_noise in LABEL_NOISES:
        for width in SMALLER:
            arms[name_of(SMALLER_SIZE, label_noise, width)] = results([[0.1, 0.7 + 0.001 * width]], [], ())
    return arms


@pytest.fixture(scope="module")
def declared():
    return experiment(seeds=2, steps=20)


@pytest.fixture(scope="module")
def finished(declared, tmp_path_factory):
    """The experiment to its end, but every net learns the fewest digits: six programs would take most of the time."""
    folder = tmp_path_factory.mktemp("when_needed") / "small"
    fewest = {share(label_noise): declared.arms[name_of(SIZES[0], label_noise)].task for label_noise in LABEL_NOISES}
    arms = {name: replace(arm, task=fewest[name.split(", ")[1]]) for name, arm in declared.trained.items()}
    small = replace(declared, arms=arms, evaluations=2, confirm=2)
    return run(small, folder, tensorboard=False, console=Console(file=io.StringIO()))


def test_as_many_trials_without_decay_as_with_it_in_every_regime(declared):
    for name, arm in declared.trained.items():
        points = np.stack([np.asarray(leaf) for leaf in arm.points], axis=1)
        assert len(np.unique(points, axis=0)) == len(points)
        assert (arm.points.decay == 0).sum() == TRIALS
        assert (arm.points.decay > 0).sum() == (0 if "width" in name else TRIALS)


def test_a_regime_has_the_digits_and_the_label_noise_of_its_name(declared):
    for size, label_noise in LARGER:
        task = declared.arms[name_of(size, label_noise)].task
        split = task.split(0)
        assert len(split.train) == size
        assert (split.train_targets != np.asarray(task.data.targets)[split.train]).sum() == round(label_noise * size)


def test_regimes_that_differ_in_label_noise_alone_share_a_program(finished):
    """One for the nets with trials with decay and without, one for those without."""
    assert '"programs": 2' in (finished.folder / "experiment.json").read_text()


def test_the_gain_is_that_of_the_best_decay_over_the_best_without():
    assert means(gains, made_up()) == pytest.approx(
        {
            name_of(size, label_noise): 0.1 * label_noise + 0.001 * (3 - SIZES.index(size))
            for size, label_noise in LARGER
        }
    )


def test_a_gain_is_negative_where_every_decay_is_worse():
    arms = made_up()
    name = name_of(SIZES[0], LABEL_NOISES[0])
    arms[name] = results([[0.7, 0.8]], [[0.2, 0.75], [0.2, 0.7], [0.1, 0.6]])
    assert means(gains, arms)[name] == pytest.approx(-0.05)


def test_the_last_decay_of_the_grid_decides_nothing():
    arms = made_up()
    name = name_of(SMALLER_SIZE, LABEL_NOISES[0])
    arms[name] = results([[0.7, 0.8]], [[0.2, 0.7], [0.2, 0.8], [0.1, 0.9]])
    score = Evidence(arms).score
    assert score(gains)[name].on_edge
    assert not score(gains)[name_of(SMALLER_SIZE, LABEL_NOISES[1])].on_edge
    assert score(smaller)[name_of(SMALLER_SIZE, LABEL_NOISES[0], SMALLER[0])].on_edge
    assert score(by_noise)[f"{SMALLER_SIZE} digits"].on_edge


def test_sizes_are_compared_with_the_largest_and_shares_with_none():
    fewest = means(partial(by_size, SIZES[:1]), made_up())
    assert fewest == pytest.approx({name_of(SIZES[0], label_noise): 0.003 for label_noise in LABEL_NOISES})
    assert len(by_size(SIZES[:-1], made_up())) == (len(SIZES) - 1) * len(LABEL_NOISES)
    assert means(by_noise, made_up()) == pytest.approx({f"{size:,} digits": 0.04 for size in SIZES})


def test_smaller_nets_are_compared_with_tuned_decay():
    decayed = 0.8 + 0.001 * (3 - SIZES.index(SMALLER_SIZE))
    assert means(smaller, made_up()) == pytest.approx({
        name_of(SMALLER_SIZE, label_noise, width): 0.7 + 0.001 * width - decayed - 0.1 * label_noise
        for width in SMALLER for label_noise in LABEL_NOISES
    })  # fmt: skip


def test_early_stopping_takes_the_best_evaluation_without_decay():
    """That is the first evaluation of the second point, with 0.85, which ends at 0.1."""
    cells = means(early, made_up())
    assert cells[name_of(1_000, 0.0)] == pytest.approx(0.05)
    assert cells[name_of(50, 0.4)] == pytest.approx(0.05 - 0.043)


def test_every_claim_has_a_row_and_a_verdict(finished):
    claims = {claim["id"]: claim for claim in finished.summary["claims"]}
    assert list(claims) == [claim.id for claim in CLAIMS]
    assert {row_of(name) for name in claims} == {"C7"} <= set(ROWS)
    assert {claim["verdict"] for claim in claims.values()} <= {"holds", "fails", "undecided", "equal here"}
    assert set(claims["C7-not-always"]["cells"]) == {name_of(size, label_noise) for size, label_noise in LARGER}
    assert (finished.folder / "figures" / "when_needed.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(("flags", "says"), [({"seeds": 0}, "--seeds 0 is too few"), ({"steps": 0}, "--steps 0 is")])
def test_bad_flags_get_one_sentence(flags, says):
    with pytest.raises(ValueError, match=says) as refused:
        experiment(**flags)
    assert "\n" not in str(refused.value)
