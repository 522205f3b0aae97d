"""The adviser: it says what its rules say, how they did, and nothing where there is no evidence."""

import json
import subprocess
import sys

import jax.numpy as jnp
import optax
import pytest

import wd_research as wd
from wd_research.advising import BEYOND, shipped, sweep
from wd_research.decay.rules import FEATURES, Run, scales_of

KNOWN = {"learning_rate": 1e-3, "steps": 1_000, "batch_size": 50, "examples": 1_000, "schedule": "linear", "warmup": 50}


def rule(features, constants, median, ratios=(0.5, 1.0, 2.0)):
    lost = dict.fromkeys(("a", "b", "c"), median)
    return {
        "features": features,
        "constants": constants,
        "median": [median] * 3,
        "mean": [1 - median] * 3,  # in the other order: it is the median that counts
        "worst": [2 * median] * 3,
        "within": 0.5,
        "lost": lost,
        "best_over_said": dict(zip("abc", ratios, strict=True)),
    }


def world(optimizer="adamw", steps=800, epochs=40.0):
    return {"optimizer": optimizer, "steps": steps, "epochs": epochs, "gain": 2.0, "unit": "points"}


EVIDENCE = {
    "rules": {
        "both": rule(["epochs", "run"], [0.1, 1.0], 0.05),
        "decay": rule(["decay"], [0.1], 0.3),
        "sizes": rule(["tokens a parameter"], [1.0], 0.01),
        "none": rule(["decay"], [0.0], 0.9, (1.0, 1.0, 1.0)),
    },
    "worlds": {"a": world(), "b": world(steps=3_200), "c": world("lion", epochs=2.0)},
}


NONE = {"none": EVIDENCE["rules"]["none"]}


def advice(**changes):
    more = {name: changes.pop(name) for name in ("optimizer", "parameters", "tokens") if name in changes}
    return wd.advise(wd.Setting(**(KNOWN | changes)), evidence=EVIDENCE, **more)


def test_the_rule_that_lost_least_and_knows_enough_is_followed():
    assert advice().said.rule == "both"
    assert advice(parameters=100.0).said.rule == "sizes"
    assert [of.rule for of in advice(parameters=100.0).others] == ["both", "decay"]


@pytest.mark.parametrize("feature", FEATURES)
def test_a_run_like_the_worlds_gets_what_its_rule_says(feature):
    evidence = EVIDENCE | {"rules": NONE | {"it": rule([feature], [0.7], 0.1)}}
    setting = wd.Setting(**KNOWN, width=64)
    said = wd.advise(setting, parameters=1e4, evidence=evidence)
    run = Run(1_000, 1e-3, 50.0, 64.0, 1_000 * 50 / 1e4)
    scales = float(scales_of([feature], [0.7], run).squeeze())
    assert said.said.decay * KNOWN["learning_rate"] * KNOWN["steps"] == pytest.approx(scales, rel=1e-6)


def test_a_law_of_the_learning_rate_and_one_of_the_schedule():
    assert advice(learning_rate=2e-3).said.decay == pytest.approx(advice().said.decay / 2)
    constant = advice(schedule="constant", warmup=0)
    assert constant.said.decay == pytest.approx(advice().said.decay * 0.5, rel=0.01)
    assert constant.time_scales == pytest.approx(advice().time_scales, rel=1e-6)


def test_the_likely_range_is_where_four_of_five_worlds_lay():
    said = advice().said
    assert said.low < said.decay < said.high
    assert (said.low / said.decay, said.high / said.decay) == pytest.approx((0.6, 1.8))
    assert sweep(said)[[0, -1]] == pytest.approx([said.decay / 4, said.decay * 4])


def test_worlds_of_the_optimizer_are_named_the_nearest_first():
    assert [near.world for near in advice().near] == ["a", "b"]
    assert [near.world for near in advice(steps=4_000).near] == ["b", "a"]
    assert [near.world for near in advice(optimizer="lion", steps=100).near] == ["c"]


def test_it_says_where_rules_disagree():
    assert "They disagree, by a factor of 50" in str(advice())
    agreeing = EVIDENCE | {"rules": NONE | {"both": EVIDENCE["rules"]["both"]}}
    assert "disagree" not in str(wd.advise(wd.Setting(**KNOWN), evidence=agreeing))


@pytest.mark.parametrize(
    ("given", "says"),
    [({"learning_rate": None}, "without the learning rate: give"),
     ({"steps": None, "warmup": 0}, "without the steps: give"),
     ({"batch_size": None, "examples": None}, "without the batch size, examples: give"),
     ({"learning_rate": -1.0}, "the learning rate -1 cannot be"),
     ({"parameters": 0.0}, "the parameters cannot be 0"),
     ({"tokens": float("inf")}, "the tokens cannot be inf"),
     ({"optimizer": "muon"}, "no evidence on muon: the tournament had adamw, lion"),
     ({"steps": int(3_300 * BEYOND)}, "no evidence on a run of 2.64e+04 steps of adamw: the tournament had 800 to"),
     ({"examples": 50_000}, "no evidence on a run of 1 epochs of adamw: the tournament had 40 to 40")],
)  # fmt: skip
def test_what_it_cannot_answer_is_one_sentence(given, says):
    with pytest.raises(wd.UserError) as raised:
        advice(**given)
    assert says in str(raised.value)


def test_rules_that_lost_more_than_no_decay_does_are_not_heard():
    worse = {"worse": rule(["decay"], [0.1], 0.91)}
    for rules in (NONE, NONE | worse):
        with pytest.raises(wd.UserError, match="no rule lost less in the tournament than no decay does"):
            wd.advise(wd.Setting(**KNOWN), evidence=EVIDENCE | {"rules": rules})


@pytest.mark.parametrize(
    ("times", "says"),
    [(1.0, "as advised"), (4.0, "4 times more than advised"), (0.25, "4 times less than advised"),
     (0.0, "Kernels do not decay")],
)  # fmt: skip
def test_a_chain_of_anybodys_is_set_beside_the_advice(times, says):
    said = advice()
    rate = wd.schedules.linear(1_000, 50)
    chain = optax.adamw(lambda step: 1e-3 * rate(step), weight_decay=times * said.said.decay)
    params = {"first": {"kernel": jnp.ones((3, 4)), "bias": jnp.zeros(4)}, "last": {"kernel": jnp.ones((4, 1))}}

    def loss(params, batch):
        hidden = jnp.tanh(batch @ params["first"]["kernel"] + params["first"]["bias"])
        return jnp.mean((hidden @ params["last"]["kernel"]) ** 2)

    audit = wd.audit_decay(loss, chain, params, jnp.ones((5, 3)), 1_000)
    assert says in said.compared(audit)
    with pytest.raises(wd.UserError, match="the audit is of 500 steps and the advice of 1,000"):
        said.compared(audit._replace(steps=500))


def test_the_tournament_that_is_shipped_has_twelve_worlds_and_rules_with_constants():
    evidence = shipped()
    assert len(evidence["worlds"]) >= 12
    assert all(set(of["features"]) <= set(FEATURES) for of in evidence["rules"].values())
    json.dumps(evidence, allow_nan=False)


@pytest.mark.parametrize(
    ("flags", "says"),
    [(("--epochs", "20", "--steps", "3"), "give --epochs or --steps"), ((), "give --epochs or --steps"),
     (("--epochs", "-1"), "--epochs -1 cannot be"), (("--steps", "0"), "the number of steps cannot be 0")],
)  # fmt: skip
def test_the_command_ends_with_two_for_bad_input(flags, says):
    done = command(*flags)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_says_what_the_function_says():
    done = command("--epochs", "20")
    assert done.returncode == 0, done.stderr
    setting = wd.Setting(3e-4, round(20 * 50_000 / 256), "cosine", 0, batch_size=256, examples=50_000)
    assert done.stdout == str(wd.advise(setting))


def command(*flags):
    words = "--learning-rate", "3e-4", "--batch-size", "256", "--examples", "50000"
    return subprocess.run(
        [sys.executable, "-m", "wd_research", "advise", *words, *flags], capture_output=True, text=True
    )
