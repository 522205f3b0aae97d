"""When is decay needed: for how many examples, how much noise, and would a smaller net or an early stop do?

python -m experiments.article.when_needed

python -m experiments.article.when_needed --seeds 4 --steps 300     # less time, most claims undecided

Expected (249 s on 2 CPU cores; 7,200 members, six programs): over no decay with as
many trials, decay gains from 0.3 points of test accuracy [0.1, 0.6] for 1,000 clean digits to 5.7 [4.5, 7.0] for 200
with two fifths mislabelled. So it depends on size ("C7-size" holds) and on noise, but not simply: of digits mislabelled
like that, 200 gain most and 50 least, 1.7 [0.7, 2.6]; for 50, "C7-fewest" and "C7-noise" are undecided. Whether decay
gains less than half a point anywhere is undecided too, by a hair. No simpler model does: half the width without decay
is 2.0 [1.4, 2.6] to 9.2 [7.5, 10.9] points behind, a quarter of it 5 to 18 ("C7-smaller-model" fails). Early stopping
is 0.6 [0.2, 1.0] to 5.3 [4.2, 6.4] points behind ("C7-early-stopping" is undecided, by 1,000 clean digits): on average
it is at most 0.6 points better than no decay at the end, whose small learning rates do as much. They matter: with those
from 1e-3 to 1e-2 alone, no decay would be 14.4 [12.7, 16.1] instead of 5.7 points behind.
The picture shows the gains, and by how much smaller nets and early stopping fall short of decay at 200 digits.
"""

from collections.abc import Mapping
from functools import partial
from itertools import product
from typing import NamedTuple

import jax
import numpy as np

from experiments.article.rows import said
from experiments.article.setting import WIDTH, adam, digits_task
from wd_research import checks
from wd_research.cli import main
from wd_research.evidence.answer import by_verdicts, edges, has_value, stopped_early, tuned
from wd_research.evidence.claims import POINTS, Cell, Claim, can, does
from wd_research.evidence.drawing import STYLES, draw_measured, means, panel_grid
from wd_research.experiment import Experiment
from wd_research.search import grid
from wd_research.training.models import Mlp
from wd_research.types import Arm, Array, Axes, Figure, Results, Task

SIZES = (50, 200, 500, 1_000)
FLIPS = (0.0, 0.2, 0.4)
SMALLER = (8, 16)  # widths without decay
SMALLER_SIZE = 200  # training examples of theirs
DECAYS = (0.1, 0.4, 1.5, 5.0, 15.0)
LEARNING_RATES = (1e-3, 3e-3, 1e-2)
TRIALS = len(DECAYS) * len(LEARNING_RATES)  # with decay, and as many without
MANY_LEARNING_RATES = tuple(float(f"{rate:.3g}") for rate in np.geomspace(1e-4, 3e-2, TRIALS))
HALF_A_POINT = 0.005
LOOKS = 20  # at which training can stop early


class Hypers(NamedTuple):
    """The numbers of a net."""

    learning_rate: Array  # f32[]
    decay: Array  # f32[], the rate of decoupled decay


def experiment(*, seeds: int = 16, steps: int = 1_000) -> Experiment:
    """Fifteen trials with decoupled decay and fifteen without in twelve worlds; smaller nets without decay in three.

    The worlds have 50 to 1,000 training digits, none to two fifths of them mislabelled.

    Args:
        seeds: Each has its own split, flipped labels, initial weights and order of the data.
        steps: Steps of training, as many for every size.
    """
    checks.counts(steps=steps)
    checks.seeds(seeds)
    optimizer = adam(steps)
    without = grid(Hypers, learning_rate=MANY_LEARNING_RATES, decay=(0.0,))
    decayed = grid(Hypers, learning_rate=LEARNING_RATES, decay=DECAYS)
    both = jax.tree.map(lambda *parts: np.concatenate(parts), without, decayed)
    nets = (*((size, WIDTH, both) for size in SIZES), *((SMALLER_SIZE, width, without) for width in SMALLER))
    arms = {
        name_of(size, flipped, width): Arm(task, task.loss, optimizer, points, axis="decay")
        for size, width, points in nets
        for flipped, task in worlds(size, width).items()
    }
    return Experiment(
        question=str(__doc__).partition("\n")[0],
        arms=arms,
        seeds=seeds,
        steps=steps,
        looks=min(LOOKS, steps),
        claims=CLAIMS,
        figures=figures,
        answer=by_verdicts,
    )


def worlds(size: int, width: int) -> dict[float, Task]:
    """So many digits with each share of flipped labels, by that share; tasks that share their functions."""
    tasks = {flipped: digits_task(Mlp((width,), classes=10), size, flipped) for flipped in FLIPS}
    return {flipped: tasks[FLIPS[0]]._replace(split=task.split) for flipped, task in tasks.items()}


def name_of(size: int, flipped: float, width: int = WIDTH) -> str:
    """`200 digits, 20 % flipped`, and `, width 8` where it is smaller."""
    return f"{size:,} digits, {share(flipped)}" + ("" if width == WIDTH else f", width {width}")


def share(flipped: float) -> str:
    """`20 % flipped`."""
    return f"{100 * flipped:.0f} % flipped"


# What is measured

Arms = Mapping[str, Results]


def with_decay(results: Results) -> np.ndarray:
    """Test accuracy of the best trial with decay, chosen on validation data, leaving one seed out; f64[s]."""
    return tuned(results, "test_accuracy", ~has_value(results, 0))


def without_decay(results: Results) -> np.ndarray:
    """The same of the trials without decay, which are as many; f64[s]."""
    return tuned(results, "test_accuracy", has_value(results, 0))


def above(values: np.ndarray, decayed: Results, sign: float = 1) -> Cell:
    """sign * how much more of the test examples are right than with tuned decay."""
    return Cell(sign * (values - with_decay(decayed)), "decay" in edges(decayed))


def gains(arms: Arms) -> dict[str, Cell]:
    """Test accuracy with tuned decay above that without, in every world."""
    names = [name_of(size, flipped) for size, flipped in product(SIZES, FLIPS)]
    return {name: above(without_decay(arms[name]), arms[name], sign=-1) for name in names}


def difference(first: str, second: str, arms: Arms) -> Cell:
    """What is gained in one world above what is gained in another."""
    one, other = gains(arms)[first], gains(arms)[second]
    return Cell(one.values - other.values, one.on_edge or other.on_edge)


def by_size(sizes: tuple[int, ...], arms: Arms) -> dict[str, Cell]:
    """What so few digits gain above what the most gain, labels alike."""
    return {
        name_of(size, flipped): difference(name_of(size, flipped), name_of(SIZES[-1], flipped), arms)
        for size, flipped in product(sizes, FLIPS)
    }


def by_noise(arms: Arms) -> dict[str, Cell]:
    """What is gained where most labels are flipped above what is gained where none is, as many digits."""
    return {f"{size:,} digits": difference(name_of(size, FLIPS[-1]), name_of(size, FLIPS[0]), arms) for size in SIZES}


def smaller(arms: Arms) -> dict[str, Cell]:
    """Test accuracy of a smaller net without decay above that of the larger with tuned decay."""
    return {
        name_of(SMALLER_SIZE, flipped, width): above(
            without_decay(arms[name_of(SMALLER_SIZE, flipped, width)]), arms[name_of(SMALLER_SIZE, flipped)]
        )
        for width, flipped in product(SMALLER, FLIPS)
    }


def early(arms: Arms) -> dict[str, Cell]:
    """Test accuracy without decay, stopped where each net's validation accuracy is best, above that of tuned decay."""
    return {name: above(without_decay(stopped_early(arms[name])), arms[name]) for name in gains(arms)}


CLAIMS = (
    Claim("C7-not-always", "Somewhere the tuned decay gains less than half a point.", said("C7"), gains,
          (-np.inf, HALF_A_POINT), can, POINTS),
    Claim("C7-size", "Somewhere fewer digits gain more by decay than 1,000, labels alike.", said("C7"),
          partial(by_size, SIZES[:-1]), (0.0, np.inf), can, POINTS),
    Claim("C7-fewest", "Decay gains more with 50 digits than with 1,000.", said("C7"), partial(by_size, SIZES[:1]),
          (0.0, np.inf), does, POINTS),
    Claim("C7-noise", "Decay gains more where two fifths of the labels are flipped than where none is.", said("C7"),
          by_noise, (0.0, np.inf), does, POINTS),
    Claim("C7-smaller-model", "Somewhere a smaller net without decay is as good, within half a point.", said("C7"),
          smaller, (-HALF_A_POINT, np.inf), can, POINTS),
    Claim("C7-early-stopping", "Somewhere stopping early without decay is as good, within half a point.", said("C7"),
          early, (-HALF_A_POINT, np.inf), can, POINTS),
)  # fmt: skip


# What is drawn


def figures(arms: Arms) -> dict[str, Figure]:
    """What decay gains over the number of digits; and smaller nets and early stopping beside it, at 200."""
    figure, panels = panel_grid(1, 2, width=4.4, height=3.6, share=False)
    draw_gains(panels[0, 0], arms)
    draw_instead(panels[0, 1], arms)
    for panel in panels[0]:
        panel.axhline(0, color="0.6", linewidth=1)
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    return {"when_needed": figure}


def draw_gains(panel: Axes, arms: Arms) -> None:
    """The gain over the number of digits, a line per share of flipped labels."""
    cells = gains(arms)
    for place, (flipped, style) in enumerate(zip(FLIPS, STYLES, strict=False)):
        estimates = means(100 * np.array([cells[name_of(size, flipped)].values for size in SIZES]).T)
        x = np.array(SIZES) * 1.04 ** (place - 1)
        draw_measured(panel, x, estimates, style, share(flipped))
        panel.plot(x, estimates[:, 0], color=style.color, linestyle=style.dashes, linewidth=1)
    panel.set(xscale="log", xlabel="training digits", ylabel="gain of decay in test accuracy, points")
    panel.set_xticks(SIZES, [f"{size:,}" for size in SIZES])
    panel.xaxis.minorticks_off()
    panel.set_title(f"width {WIDTH}, {TRIALS} trials with and without decay", fontsize=10)


def draw_instead(panel: Axes, arms: Arms) -> None:
    """Smaller nets, and early stopping, against tuned decay at 200 digits, by the share of flipped labels."""
    by_width, stopped, gained = smaller(arms), early(arms), gains(arms)
    labels = [*(f"width {width}" for width in SMALLER), f"width {WIDTH}", f"width {WIDTH},\nstopped early"]
    for place, (flipped, style) in enumerate(zip(FLIPS, STYLES, strict=False)):
        name = name_of(SMALLER_SIZE, flipped)
        values = [by_width[name_of(SMALLER_SIZE, flipped, width)].values for width in SMALLER]
        values += [-gained[name].values, stopped[name].values]
        x = np.arange(len(labels)) + 0.12 * (place - 1)
        draw_measured(panel, x, means(100 * np.array(values).T), style, share(flipped))
    panel.set_xticks(range(len(labels)), labels, fontsize=8)
    panel.set(ylabel=f"test accuracy less that of width {WIDTH}\nwith decay, points")
    panel.set_title(f"without decay, {SMALLER_SIZE} digits", fontsize=10)


if __name__ == "__main__":
    main(experiment)
