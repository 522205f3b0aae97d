"""Are weight decay and L2 regularization two names for one thing, and under which optimizers?

python -m experiments.article.one_name

python -m experiments.article.one_name --seeds 4 --steps 300     # seconds, wider intervals

Two trajectories start at the same weights and see the same batches; a step of the one adds strength * w to the gradient
before the optimizer, a step of the other removes learning rate * decay of w after it. Their distance after 200 steps is
given relative to the effect of L2, the distance between training with it and without.

Expected (80 s on 2 CPU cores; 4,400 nets, three programs): they are the same under SGD without momentum, whose
trajectories differ by rounding (5e-7 of the effect of L2), and under nothing else. At the rate that fits best, ten
times the strength, momentum still ends 0.078 [0.073, 0.083] of the effect apart; under RMSprop and Adam no rate comes
nearer than 0.67. The strength that is best for L2 costs 6.2 points [5.1, 7.3] of test accuracy as a decay rate under
momentum and 11.4 [9.8, 12.9] under Adam. Each tuned for itself, they are within half a point under SGD and under
momentum (-0.1 points [-0.4, 0.1]); under Adam (-0.2 [-0.7, 0.3]) that is undecided. One claim of six holds, four fail.
The figure: a distance that falls to almost 0 at a factor of 1, one that falls at 10, and two that hardly fall; then
accuracies of the same height at other values, ten times larger under momentum, fifty times under Adam.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import wd_research as wd
from experiments.article.rows import source_of
from experiments.article.setting import WIDTH, digits_task

CORES: dict[str, Callable[[], optax.GradientTransformation]] = {
    "SGD": optax.identity,
    "momentum": lambda: optax.trace(0.9),
    "RMSprop": optax.scale_by_rms,
    "Adam": optax.scale_by_adam,
}
LEARNING_RATES = {  # of training; both ends are worse, with decay and without
    "SGD": (0.005, 0.02, 0.1, 0.5, 5.0),
    "momentum": (5e-4, 2e-3, 1e-2, 5e-2, 3.0),
    "Adam": (1e-4, 5e-4, 3e-3, 2e-2, 2e-1),
}
FOLLOWED_RATE = {"SGD": 0.1, "momentum": 0.01, "RMSprop": 1e-3, "Adam": 1e-3}
FOLLOWED_STRENGTH = 0.03
FOLLOWED = 200  # steps in which two trajectories are compared
FACTORS = (1.0, *np.geomspace(0.1, 1_000, 41))  # decay rates, over the strength of L2
SAME = 0.01  # of the effect of L2
HALF_A_POINT = 0.005
PLACES = {"L2": "strength", "weight decay": "decay"}


class Hypers(NamedTuple):
    """The hyperparameters of a net; one of the two decays is 0."""

    learning_rate: wd.Array  # f32[]
    strength: wd.Array  # f32[], of L2: strength * w is added to the gradient, before the optimizer
    decay: wd.Array  # f32[], a step removes learning rate * decay of a weight


class Factor(NamedTuple):
    """The decay rate of a trajectory, over the strength of the L2 that it is compared with."""

    factor: np.ndarray


def experiment(
    *, numbers: tuple[float, ...] = wd.decades(1e-3, 100, 17), seeds: int = 8, steps: int = 1_000
) -> wd.Experiment:
    """Trajectories of L2 and of decoupled decay side by side, and both tuned on digits, under several optimizers.

    Args:
        numbers: The strengths of L2, and also the rates of decoupled decay; 0 among them.
        seeds: Each has its own split, label noise, initial weights and order of the data.
        steps: Training steps.
    """
    wd.flags.decays(numbers=numbers)
    wd.flags.counts(steps=steps)
    wd.flags.seeds(seeds)
    task = digits_task(wd.Mlp((WIDTH,), classes=10))

    def arm(core: str, axis: str) -> wd.Arm:
        points = wd.grid(Hypers, learning_rate=LEARNING_RATES[core], **{axis: numbers})
        return wd.Arm(task, partial(both_places, core, steps), points, axis)

    trained = {f"{core}, {place}": arm(core, axis) for core in LEARNING_RATES for place, axis in PLACES.items()}
    followed = {f"{core}, followed": side_by_side(task, core, min(steps, FOLLOWED)) for core in CORES}
    return wd.Experiment(
        arms={**trained, **followed},
        seeds=seeds,
        steps=steps,
        evaluations=1,
        claims=CLAIMS,
        figures=figures,
        answer=wd.by_verdicts,
    )


# What is trained


def both_places(core: str, steps: int, hypers: Hypers) -> optax.GradientTransformation:
    """L2 before the optimizer, and decay after it at the rate learning rate * decay, under a cosine."""
    cosine = optax.cosine_decay_schedule(1.0, steps)
    shrink = wd.decay_weights(hypers.learning_rate * hypers.decay)
    return optax.chain(
        wd.decay_weights(hypers.strength), wd.independent(CORES[core](), shrink, hypers.learning_rate, cosine)
    )


def side_by_side(task: wd.Task, core: str, steps: int) -> wd.ComputedArm:
    """Trajectories from the same weights over the same batches: L2, no decay, and decoupled decay at many rates.

    "apart" is |w_decay - w_L2| / |w_L2 - w_none| of the matrices after the last step, at every factor.
    """
    rates = FOLLOWED_STRENGTH * np.array(FACTORS)
    rows = [FOLLOWED_RATE[core]] * (2 + len(rates)), [FOLLOWED_STRENGTH, 0, *0 * rates], [0, 0, *rates]
    points = Hypers(*np.array(rows, np.float32))
    arm = wd.Arm(task, partial(both_places, core, steps), points, "decay")

    @jax.jit
    def of_seed(points: Hypers, data: wd.Examples, split: wd.Split, key: wd.Key) -> wd.Array:
        def step(states: wd.State, indices: wd.Array):
            batch = task.gather(data, split, indices)
            return jax.vmap(lambda h, state: wd.train_step(arm, h, state, batch, key)[0])(points, states), None

        start = jax.vmap(lambda hypers: wd.init_state(arm, hypers, key))(points)
        states, _ = jax.lax.scan(step, start, task.order(key, jnp.int32(0), steps))
        weights = jax.vmap(wd.entries)(states.params)
        return jnp.linalg.norm(weights[2:] - weights[0], axis=1) / jnp.linalg.norm(weights[0] - weights[1])

    def computed(seeds: int) -> wd.Results:
        apart = [np.asarray(of_seed(points, task.data, task.split(s), jax.random.key(s))) for s in range(seeds)]
        return wd.labelled(Factor(np.array(FACTORS)), "factor", steps, {"apart": np.stack(apart)})

    return computed


# What is measured

Arms = Mapping[str, wd.Results]


def at_the_same_factor(core: str, arms: Arms) -> dict[str, np.ndarray]:
    """How far decoupled decay ends from L2 at the same value."""
    return {"the same number": wd.final(arms[f"{core}, followed"], "apart")[:, 0]}


def at_any_factor(core: str, arms: Arms) -> dict[str, wd.Scores]:
    """How far decoupled decay ends from L2 at the factor that fits best."""
    results = arms[f"{core}, followed"]
    return {"any factor": wd.score(results, wd.choose(results, scores=-wd.final(results, "apart")), "apart")}


def at_the_same_number(arms: Arms) -> dict[str, wd.Scores]:
    """Test accuracy of decay at the value and the learning rate that are best for L2, above that of L2."""

    def above(core: str) -> wd.Scores:
        l2, decay = (arms[f"{core}, {place}"] for place in PLACES)
        best = wd.choose(l2)
        at = l2.sel(point=best.point)
        same = (decay["decay"] == at["strength"]) & (decay["learning_rate"] == at["learning_rate"])
        there = wd.choice_of(decay, int(np.flatnonzero(same)[0]))
        return wd.score(decay, there, "test_accuracy") - wd.score(l2, best, "test_accuracy")

    return {core: above(core) for core in LEARNING_RATES}


def each_tuned(arms: Arms) -> dict[str, wd.Scores]:
    """Test accuracy of tuned decay above that of tuned L2."""
    return {core: wd.difference(arms[f"{core}, weight decay"], arms[f"{core}, L2"]) for core in LEARNING_RATES}


def trajectory(name: str, core: str, any_factor: bool) -> wd.Claim:
    """A claim that two trajectories are the same, within a hundredth of the effect of L2."""
    how = "at the rate that fits best" if any_factor else "at the same value"
    statement = f"Under {core} decay {how} ends where L2 does (distance / effect of L2)."
    measure = partial(at_any_factor if any_factor else at_the_same_factor, core)
    return wd.Claim(f"C0-{name}", statement, source_of("C0"), measure, (-np.inf, SAME), wd.everywhere)


CLAIMS = (
    trajectory("sgd", "SGD", any_factor=False),
    trajectory("momentum", "momentum", any_factor=True),
    trajectory("rmsprop", "RMSprop", any_factor=True),
    trajectory("adam", "Adam", any_factor=True),
    wd.Claim("C0-same-number", "The value that is best for L2 is as accurate for decay, within half a point.",
          source_of("C0"), at_the_same_number, (-HALF_A_POINT, HALF_A_POINT), wd.everywhere, wd.POINTS),
    wd.Claim("C0-as-accurate", "Each tuned for itself, decay and L2 are equally accurate, within half a point.",
          source_of("C0"), each_tuned, (-HALF_A_POINT, HALF_A_POINT), wd.everywhere, wd.POINTS),
)  # fmt: skip


# What is drawn


def over_values(core: str, place: str, arms: Arms) -> dict[str, wd.Scores]:
    """Test accuracy at every strength of L2, or rate of decay, the learning rate tuned."""
    results = arms[f"{core}, {place}"]
    values = wd.axis_values(results)
    return {f"{value:g}": wd.tuned(results, "test_accuracy", wd.has_value(results, value)) for value in values}


def figures(arms: Arms) -> dict[str, wd.Figure]:
    """How far decay ends from L2, over its rate; and the accuracies of both over their values, by optimizer."""
    figure, panels = wd.panel_grid(2, 2, width=3.9, height=3.1, share=False)
    draw_distances(panels[0, 0], arms)
    for core, panel in zip(LEARNING_RATES, panels.flat[1:], strict=True):
        for place, style in zip(PLACES, wd.STYLES, strict=False):
            values = wd.axis_values(arms[f"{core}, {place}"])
            curve = np.array(list(wd.score_by_halves(arms, partial(over_values, core, place)).values())).T
            wd.draw_measured(panel, values, wd.means(100 * curve), style, place)
            wd.axis_from_zero(panel, values[1], values[-1])
        title = f"{core}, where the two coincide" if core == "SGD" else core
        panel.set(title=title, xlabel="strength of L2, or decay rate", ylabel="test accuracy, %")
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    figure.supxlabel("exploring seeds", fontsize=8)
    return {"one_name": figure}


def draw_distances(panel: wd.Axes, arms: Arms) -> None:
    """How far decoupled decay ends from L2, over its rate."""
    for core, style in zip(CORES, wd.STYLES, strict=False):
        distances = wd.final(arms[f"{core}, followed"], "apart")[:, 1:]
        wd.draw_band(panel, np.array(FACTORS[1:]), distances, core, style.color, style.dashes)
    panel.axhline(SAME, color="0.6", linewidth=1)
    panel.annotate("the same, below", (1e3, SAME), xytext=(0, 3), textcoords="offset points", fontsize=8, ha="right")
    panel.set(xscale="log", yscale="log", title="trajectories", xlabel="decay rate / strength of L2",
              ylabel="distance / effect of L2")  # fmt: skip
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)


if __name__ == "__main__":
    wd.main(experiment)
