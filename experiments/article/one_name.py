"""Are weight decay and L2 regularization two names for one thing, and under which optimizers?

python -m experiments.article.one_name

python -m experiments.article.one_name --seeds 4 --steps 300     # seconds, wider intervals

The two trajectories start at the same weights and see the same batches; a step of the one adds strength * w to the
gradient before the optimizer, a step of the other removes learning rate * decay of w after it. Their distance after 200
steps is a share of the way that L2 makes, the distance between training with it and without.

Expected (130 s on 2 CPU cores; 4,896 members, three programs): they are one thing under SGD without
momentum, whose trajectories differ by rounding (3e-7 of the way), and under nothing else. At the rate that fits best,
ten times the strength, momentum still ends 0.078 [0.074, 0.083] of the way apart; under RMSprop and Adam no rate comes
nearer than 0.68. The number that is best for L2 costs 7.8 points [6.7, 8.9] as a decay rate under momentum and 10.4
[8.9, 12.0] under Adam. Each tuned for itself they are within half a point under SGD; under momentum and Adam (-0.53
points [-0.87, -0.20]) that is undecided. The picture: a line that falls to a point at 1, one that falls to 10, and two
that hardly fall; then curves of the same height, moved to the side, by ten under momentum, by fifty under Adam.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.article.rows import said
from experiments.article.setting import WIDTH, digits_task
from wd_research import checks
from wd_research.cli import main
from wd_research.decay.masks import entries
from wd_research.decay.places import independent
from wd_research.decay.transforms import decay_weights
from wd_research.evidence.answer import ahead, axis_values, by_verdicts, final, has_value, surviving, tuned
from wd_research.evidence.claims import POINTS, Cell, Claim, does
from wd_research.evidence.drawing import STYLES, axis_from_zero, draw_band, draw_measured, means, panel_grid
from wd_research.evidence.statistics import at_choice, choose_leaving_one_out
from wd_research.experiment import Experiment
from wd_research.looks import labelled
from wd_research.search import decades, grid
from wd_research.training.models import Mlp
from wd_research.training.step import init_state, train_step
from wd_research.types import Arm, Array, Axes, Exact, Figure, Results, State, Task

CORES: dict[str, Callable[[], optax.GradientTransformation]] = {
    "SGD": optax.identity,
    "momentum": lambda: optax.trace(0.9),
    "RMSprop": optax.scale_by_rms,
    "Adam": optax.scale_by_adam,
}
LEARNING_RATES = {"SGD": (0.1, 0.3, 1.0), "momentum": (0.01, 0.03, 0.1), "Adam": (1e-3, 3e-3, 1e-2)}  # trained ones
FOLLOWED_RATE = {"SGD": 0.1, "momentum": 0.01, "RMSprop": 1e-3, "Adam": 1e-3}
FOLLOWED_STRENGTH = 0.03
FOLLOWED = 200  # steps in which two trajectories are compared
FACTORS = (1.0, *np.geomspace(0.1, 1_000, 41))  # decay rates, over the strength of L2
SAME = 0.01  # of the way that decay makes in all
HALF_A_POINT = 0.005
PLACES = {"L2": "strength", "weight decay": "decay"}


class Hypers(NamedTuple):
    """The numbers of a net; one of the two decays is 0."""

    learning_rate: Array  # f32[]
    strength: Array  # f32[], of L2: strength * w is added to the gradient, before the optimizer
    decay: Array  # f32[], a step removes learning rate * decay of a weight


class Factor(NamedTuple):
    """The decay rate of a trajectory, over the strength of the L2 that it is compared to."""

    factor: np.ndarray


def experiment(
    *, numbers: tuple[float, ...] = decades(1e-3, 100, 17), seeds: int = 16, steps: int = 1_000
) -> Experiment:
    """Trajectories of L2 and of decoupled decay side by side, and both tuned on digits, under several optimizers.

    Args:
        numbers: Strengths of L2 and, the same, rates of decoupled decay; 0 among them.
        seeds: Each has its own split, flipped labels, initial weights and order of the data.
        steps: Steps of training.
    """
    checks.decays(numbers=numbers)
    checks.counts(steps=steps)
    checks.seeds(seeds)
    task = digits_task(Mlp((WIDTH,), classes=10))
    followed = {f"{name}, followed": side_by_side(task, name, min(steps, FOLLOWED)) for name in CORES}
    trained = {f"{core}, {place}": arm for core in LEARNING_RATES for place, arm in places(task, core, numbers, steps)}
    return Experiment(
        question=str(__doc__).partition("\n")[0],
        arms={**trained, **followed},
        seeds=seeds,
        steps=steps,
        looks=1,
        claims=CLAIMS,
        figures=figures,
        answer=by_verdicts,
    )


# What is trained


def both_places(core: str, steps: int, hypers: Hypers) -> optax.GradientTransformation:
    """L2 before the optimizer, and decay after it at the rate learning rate * decay, under a cosine."""
    cosine = optax.cosine_decay_schedule(1.0, steps)
    shrink = decay_weights(hypers.learning_rate * hypers.decay)
    return optax.chain(decay_weights(hypers.strength), independent(CORES[core](), shrink, hypers.learning_rate, cosine))


def places(task: Task, core: str, numbers: tuple[float, ...], steps: int) -> list[tuple[str, Arm]]:
    """Both places under one optimizer, on the same grid; they share a program."""
    optimizer, off = partial(both_places, core, steps), dict.fromkeys(PLACES.values(), (0.0,))
    points = {
        place: grid(Hypers, learning_rate=LEARNING_RATES[core], **{**off, axis: numbers})
        for place, axis in PLACES.items()
    }
    return [(place, Arm(task, task.loss, optimizer, points[place], axis)) for place, axis in PLACES.items()]


def side_by_side(task: Task, core: str, steps: int) -> Exact:
    """Trajectories from one start over the same batches: L2, no decay, and decoupled decay at many rates.

    "apart" is |w_decay - w_L2| / |w_L2 - w_none| of the matrices after the last step, at every factor.
    """
    rates = FOLLOWED_STRENGTH * np.array(FACTORS)
    numbers: dict[str, Any] = {
        "learning_rate": np.full(2 + len(rates), FOLLOWED_RATE[core], np.float32),
        "strength": np.array([FOLLOWED_STRENGTH, 0, *np.zeros_like(rates)], np.float32),
        "decay": np.array([0, 0, *rates], np.float32),
    }
    points = Hypers(**numbers)
    arm = Arm(task, task.loss, partial(both_places, core, steps), points, "decay")

    @jax.jit
    def of_seed(points: Hypers, data, split, key) -> Array:
        order = task.order(key, jnp.int32(0), steps)
        start = jax.vmap(lambda hypers: init_state(arm, hypers, key))(points)

        def step(states: State, indices: Array):
            batch = task.gather(data, split, indices)
            return jax.vmap(lambda hypers, state: train_step(arm, hypers, state, batch, key)[0])(points, states), None

        states, _ = jax.lax.scan(step, start, order)
        weights = jax.vmap(entries)(states.params)
        return jnp.linalg.norm(weights[2:] - weights[0], axis=1) / jnp.linalg.norm(weights[0] - weights[1])

    def computed(seeds: int) -> Results:
        apart = [np.asarray(of_seed(points, task.data, task.split(s), jax.random.key(s))) for s in range(seeds)]
        return labelled(Factor(np.array(FACTORS)), "factor", steps, {"apart": np.stack(apart)})

    return computed


# What is measured

Arms = Mapping[str, Results]


def apart(core: str, any_factor: bool, arms: Arms) -> dict[str, Cell]:
    """How far decoupled decay ends from L2, at the same number or at the factor that fits the other seeds best."""
    distances = final(arms[f"{core}, followed"], "apart")
    fitting = choose_leaving_one_out(-distances) if any_factor else np.zeros(len(distances), int)
    return {"any factor" if any_factor else "the same number": Cell(at_choice(distances, fitting))}


def at_the_same_number(arms: Arms) -> dict[str, Cell]:
    """Test accuracy of decay at the number and the learning rate that are best for L2, above that of L2."""
    cells = {}
    for core in LEARNING_RATES:
        l2, decay = (arms[f"{core}, {place}"] for place in PLACES)
        choice = choose_leaving_one_out(surviving(l2, "validation_accuracy"))  # both grids stand in one order
        cells[core] = Cell(at_choice(final(decay, "test_accuracy") - final(l2, "test_accuracy"), choice))
    return cells


def each_tuned(arms: Arms) -> dict[str, Cell]:
    """Test accuracy of tuned decay above that of tuned L2."""
    return {core: ahead(arms[f"{core}, weight decay"], arms[f"{core}, L2"]) for core in LEARNING_RATES}


def trajectory(name: str, core: str, any_factor: bool) -> Claim:
    """A claim that two trajectories are one, within a hundredth of the way that decay makes."""
    how = "at a rate that fits best" if any_factor else "at the same number"
    statement = f"Under {core} decay {how} ends where L2 does (distance / the way that L2 makes)."
    return Claim(f"C0-{name}", statement, said("C0"), partial(apart, core, any_factor), (-np.inf, SAME), does)


CLAIMS = (
    trajectory("sgd", "SGD", any_factor=False),
    trajectory("momentum", "momentum", any_factor=True),
    trajectory("rmsprop", "RMSprop", any_factor=True),
    trajectory("adam", "Adam", any_factor=True),
    Claim("C0-same-number", "The number that is best for L2 is as accurate for decay, within half a point.", said("C0"),
          at_the_same_number, (-HALF_A_POINT, HALF_A_POINT), does, POINTS),
    Claim("C0-as-accurate", "Each tuned for itself, decay and L2 are equally accurate, within half a point.",
          said("C0"), each_tuned, (-HALF_A_POINT, HALF_A_POINT), does, POINTS),
)  # fmt: skip


# What is drawn


def figures(arms: Arms) -> dict[str, Figure]:
    """How far decay ends from L2 over its rate; and the accuracies of both over their number, by optimizer."""
    figure, panels = panel_grid(2, 2, width=3.9, height=3.1, share=False)
    draw_distances(panels[0, 0], arms)
    for core, panel in zip(LEARNING_RATES, panels.flat[1:], strict=True):
        for (place, _), style in zip(PLACES.items(), STYLES, strict=False):
            results = arms[f"{core}, {place}"]
            values = axis_values(results)
            curve = np.array([tuned(results, "test_accuracy", has_value(results, value)) for value in values]).T
            draw_measured(panel, values, means(100 * curve), style, place)
            axis_from_zero(panel, values[1], values[-1])
        title = f"{core}, where the two coincide" if core == "SGD" else core
        panel.set(title=title, xlabel="strength of L2, or decay rate", ylabel="test accuracy, %")
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    return {"one_name": figure}


def draw_distances(panel: Axes, arms: Arms) -> None:
    """How far decoupled decay ends from L2, over its rate."""
    for core, style in zip(CORES, STYLES, strict=False):
        distances = final(arms[f"{core}, followed"], "apart")[:, 1:]
        draw_band(panel, np.array(FACTORS[1:]), distances, core, style.color, style.dashes)
    panel.axhline(SAME, color="0.6", linewidth=1)
    panel.annotate("one thing, below", (1e3, SAME), xytext=(0, 3), textcoords="offset points", fontsize=8, ha="right")
    panel.set(xscale="log", yscale="log", title="trajectories", xlabel="decay rate / strength of L2",
              ylabel="distance / way of L2")  # fmt: skip
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)


if __name__ == "__main__":
    main(experiment)
