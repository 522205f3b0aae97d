"""The language model that questions are put to: every question can be put to a wider one."""

import importlib

import jax
import pytest

import wd_research as wd
from experiments.language.setting import WIDTH

QUESTIONS = ("batch", "bfloat16", "cautious", "ensemble", "hyperball", "leaves", "plasticity", "quantization",
             "when_to_decay", "worth")  # fmt: skip


def declared(question: str, **flags) -> wd.Experiment:
    module = importlib.import_module(f"experiments.language.{question}")
    return module.experiment(**(module.SHORT | flags))


def largest(arm: wd.Arm) -> int:
    """How many numbers the largest leaf of a net has."""
    params, _ = jax.eval_shape(arm.task.init, jax.eval_shape(lambda: jax.random.key(0)))
    return max(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_net_is_as_wide_as_asked(question):
    arms, wider = (declared(question, width=width).trained for width in (WIDTH // 2, WIDTH))
    assert arms.keys() == wider.keys()
    for name in arms:
        assert 2 * largest(arms[name]) <= largest(wider[name]) <= 4 * largest(arms[name])


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize(("width", "says"), [(12, "give a width that is a multiple of 8"), (0, "width")])
def test_a_width_that_cannot_be_is_one_sentence(question, width, says):
    with pytest.raises(wd.UserError) as raised:
        declared(question, width=width)
    assert says in str(raised.value)
