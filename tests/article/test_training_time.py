"""Training time: ways that do what they are called, shares of results that are known, the experiment in small."""

import io
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from experiments.article import training_time
from experiments.article.setting import digits_task
from experiments.article.training_time import CLAIMS, WAYS, WIDTHS, Way, experiment, longer, time_saved, ways
from tests.article.test_data_regimes import known, means
from wd_research.results import labelled
from wd_research.running import run
from wd_research.training.models import Mlp
from wd_research.training.step import init_state, train_step
from wd_research.types import Batch

pytestmark = pytest.mark.slow  # the experiment itself, in little


def timing(*seconds):
    """Four measurements of the ways."""
    return labelled(Way(np.arange(3)), "way", 1, {"seconds": np.outer([1.0, 2.0, 4.0, 8.0], seconds)})


def test_each_way_takes_its_own_step():
    """Adam's first step takes the gradient's sign: the penalty shows in the objective, decay in the weights."""
    task = digits_task(Mlp((4,), classes=10))
    key, split = jax.random.key(0), task.split(0)
    batch: Batch = task.gather(task.data, split, jnp.arange(5))
    points = [jax.tree.map(lambda leaf: leaf[-1], arm.points) for arm in ways(task)]
    none, in_loss, decayed = (
        train_step(arm, point, init_state(arm, point, key), batch, key)
        for arm, point in zip(ways(task), points, strict=True)
    )
    assert len(ways(task)) == len(WAYS)
    assert float(none[1]["objective"]) == float(decayed[1]["objective"]) < float(in_loss[1]["objective"])
    start = task.init(key)[0]["Dense_0"]["kernel"]
    lost = none[0].params["Dense_0"]["kernel"] - decayed[0].params["Dense_0"]["kernel"]
    np.testing.assert_allclose(lost, 1e-3 * 0.1 * start, atol=1e-7)


def test_a_step_is_longer_by_the_share_of_what_none_takes():
    arms = {f"steps of width {width}": timing(2.0, 3.0, 1.0) for width in WIDTHS}
    assert means(longer, arms) == pytest.approx(
        {f"{way}, width {width}": share for width in WIDTHS for way, share in (("L2", 0.5), ("weight decay", -0.5))}
    )


def test_time_saved_is_that_of_the_steps_each_as_much_longer_as_it_is():
    curves = [[0.1, 0.5, 0.8, 0.8], [0.4, 0.795, 0.9, 0.9], [0.0] * 4]  # two of three steps to a point below 0.8
    arms = {"noisy, decoupled": known([0, 1, 2], validation_accuracy=curves)}
    arms |= {f"steps of width {width}": timing(1.0, 1.0, 1.2) for width in WIDTHS}
    assert means(time_saved, arms) == pytest.approx({"noisy, decoupled": 1 - 2 / 3 * 1.2})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training_time")
    small = {"strengths": (0.0, 1e-4, 1e-3, 1e-2), "decays": (0.0, 1e-4, 1e-3, 1e-2), "learning_rates": (3e-3,)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_time, "WIDTHS", (32,))
        patch.setattr(training_time, "ROUND_SECONDS", 0.001)
        declared = replace(experiment(**small, seeds=2, steps=20), confirm=2)
        return run(declared, folder, tensorboard=False, console=Console(file=io.StringIO()))


def test_every_claim_is_judged_and_times_are_times(finished):
    claims = {claim["id"]: claim for claim in finished.summary["claims"]}
    assert set(claims) == {claim.id for claim in CLAIMS}
    seconds = finished.arms["steps of width 32"].seconds
    assert dict(seconds.sizes) == {"seed": 2, "point": len(WAYS), "step": 1}
    assert (seconds > 0).all()
    assert set(claims["A2-step"]["cells"]) == {"L2, width 32", "weight decay, width 32"}
    assert (finished.folder / "figures" / "training_time.png").exists()


def test_bad_flags_get_one_sentence():
    with pytest.raises(ValueError, match="--decays has no 0"):
        experiment(decays=(0.1,))
