"""Which leaves of a language model should decay, and is one rate for all matrices enough?

python -m experiments.language.leaves

Seen (20 minutes on 2 CPU cores that other work shared; 348 nets, 2 programs, 6 seeds): one rate for all matrices, the
embedding among them, is near the best; no group gains .01 nats at another rate, though six seeds do not rule it out for
queries and keys. These want more decay, not less: four times the rate costs them .033 [.001, .066] nats less than it
costs the MLP where data repeat, and .018 [.006, .031] where they do not. Values and outputs want less: four times the
rate costs .035 and .029. An embedding without decay loses .021 [.005, .037] and .011 [.004, .017]; 16 times the rate
loses .046 [.040, .053] for it and .024 for the head where data do not repeat. Decay of the gains of norms at the same
rate changes nothing that is seen (-.003 and .006), at four times .1 where data repeat.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

import wd_research as wd
from experiments.language.setting import (
    AGREED,
    BATCH,
    OFTEN,
    ONCE,
    WIDTH,
    WINDOW,
    clipped,
    schedule_of,
    sizes_of,
    task_of,
)

OFF, LITTLE, BASE, MORE, MOST = 0.0, 0.25, 1.0, 4.0, 16.0  # times the base rate


class Hypers(NamedTuple):
    """The rate of decay, and what it is multiplied by for each group of leaves."""

    decay: wd.Array  # f32[]
    embedding: wd.Array  # f32[]
    head: wd.Array
    query_key: wd.Array
    value_out: wd.Array
    up: wd.Array
    down: wd.Array
    gains: wd.Array


GROUPS = Hypers._fields[1:]
MATRICES = GROUPS[:-1]
PARTS = {"embedding": "embedding", "head": "head", "query": "query_key", "key": "query_key", "value": "value_out",
         "out": "value_out", "up": "up", "down": "down", "norm": "gains"}  # fmt: skip


SHORT = {"often": 2_048, "once": 16_384, "seeds": 3, "steps": 20}  # to see that it runs


def experiment(
    *,
    often: int = 16_384,
    once: int = 1_048_576,
    often_decay: float = 0.7,
    once_decay: float = 0.1,
    learning_rate: float = 3e-2,
    seeds: int = 6,
    steps: int = 1_000,
    width: int = WIDTH,
) -> wd.Experiment:
    """AdamW on the King James Bible, a character a token; each group of leaves at other rates than all others.

    At the base all matrices decay at one rate, the embedding among them, and gains of norms do not. No choice is made:
    a group at another rate is compared with the base, seed by seed.

    Args:
        often: How much of the text is trained on where data repeat.
        once: How much of it where they do not.
        often_decay: The base rate where data repeat, multiplied by learning rate and schedule.
        once_decay: The base rate where they do not.
        learning_rate: Its peak; it rises in a twentieth of the steps and falls to 0 by a line.
        seeds: Each has its own blocks of the text, initial weights and order of the windows.
        steps: Steps of training, of 512 tokens each.
        width: Width of the decoder, a multiple of 8.
    """
    wd.flags.positive(often_decay=(often_decay,), once_decay=(once_decay,), learning_rate=(learning_rate,))
    wd.flags.counts(steps=steps)
    wd.flags.seeds(seeds)
    sizes, text = sizes_of(often, once), wd.texts.kjv()
    bases = {OFTEN: often_decay, ONCE: once_decay}
    optimizer = optimizer_of(learning_rate, steps)
    return wd.Experiment(
        arms={
            seen: wd.Arm(task_of(text, characters, width), optimizer, points_at(bases[seen]), "decay")
            for seen, characters in sizes.items()
        },
        seeds=seeds,
        steps=steps,
        evaluations=1,
        confirm=0,
        claims=claims_of(),
        figures=partial(figures, sizes, bases, steps),
        answer=wd.by_verdicts,
    )


def rates_of(group: str) -> tuple[float, ...]:
    """The rates of a group in units of the base, beside that which it has there."""
    return (OFF, LITTLE, MORE, MOST) if group in MATRICES else (LITTLE, BASE, MORE, MOST)


def points_at(decay: float) -> Hypers:
    """The base, and every group at each of its other rates, one group at a time; leaves f32[29]."""
    base = Hypers(decay, **dict.fromkeys(MATRICES, BASE), gains=OFF)  # pyright: ignore[reportArgumentType]
    others = [base._replace(**{group: rate}) for group in GROUPS for rate in rates_of(group)]
    return Hypers(*np.array([base, *others], np.float32).T)


def optimizer_of(learning_rate: float, steps: int) -> Callable[[Hypers], optax.GradientTransformation]:
    """Adam, clipped, with a warm-up and a line to 0, and decoupled decay of each group at its own rate."""

    def optimizer(h: Hypers) -> optax.GradientTransformation:
        return clipped(wd.decoupled(wd.cores.adam(), by_group(h), learning_rate, schedule_of(steps)))

    return optimizer


def by_group(h: Hypers) -> optax.GradientTransformation:
    """Decay of every leaf at the rate of its group, h.decay times the group's number."""

    def of_leaf(path: tuple[Any, ...], leaf: wd.Array) -> wd.Array:
        del leaf
        return getattr(h, group_of(jax.tree_util.keystr(path, simple=True, separator="/")))

    return wd.decay_weights(h.decay, mask=partial(jax.tree_util.tree_map_with_path, of_leaf))


def group_of(name: str) -> str:
    """The group of a leaf of the decoder: `block_0_query/kernel` -> `query_key`, all gains of norms -> `gains`."""
    return PARTS[name.partition("/")[0].rpartition("_")[2]]


# What is measured

Arms = Mapping[str, wd.Results]
Cells = dict[str, np.ndarray]  # name -> f64[seeds], nats


def index_of(results: wd.Results, group: str | None = None, rate: float = BASE) -> int:
    """Where a group has this rate and all others have that of the base; without a group, the base itself."""
    wanted = dict.fromkeys(MATRICES, BASE) | {"gains": OFF} | ({group: rate} if group else {})
    alike = [results[name].to_numpy() == np.float32(value) for name, value in wanted.items()]
    return int(np.flatnonzero(np.all(alike, axis=0))[0])


def above_base(results: wd.Results, group: str, rate: float) -> np.ndarray:
    """How much higher the test loss in nats is with a group at this rate than at the base, seed by seed; f64[s]."""
    loss = wd.surviving(results, "test_loss")
    return loss[:, index_of(results, group, rate)] - loss[:, index_of(results)]


def changed(groups: Iterable[str], rates: Sequence[float], where: Sequence[str], arms: Arms) -> Cells:
    """How much higher the test loss is than at the base, a cell for each group, rate and amount of data."""
    return {
        f"{seen}, {said_of(group)} times {rate:g}": above_base(arms[seen], group, rate)
        for seen in where
        for group in groups
        for rate in rates
    }


def preference(less: str, more: Sequence[str], arms: Arms) -> Cells:
    """What four times the rate costs against a quarter, for one group, beyond the mean of what it costs for others."""

    def cost(seen: str, group: str) -> np.ndarray:
        return above_base(arms[seen], group, MORE) - above_base(arms[seen], group, LITTLE)

    return {seen: cost(seen, less) - np.mean([cost(seen, group) for group in more], axis=0) for seen in (OFTEN, ONCE)}


def said_of(group: str) -> str:
    """`query_key` -> `query and key`."""
    return group.replace("_", " and ")


def claims_of() -> tuple[wd.Claim, ...]:
    """What recipes do with the decay of some leaves; stated before the run."""
    both, lower, harmless, useless = [OFTEN, ONCE], (-np.inf, 0.0), (-np.inf, AGREED), (-AGREED, np.inf)
    measure: Callable[..., Callable[[Arms], Cells]] = partial(partial, changed)
    said = {
        "embedding-off": (f"Without decay of the embedding no more than {AGREED:g} nats are lost.",
                          "OLMo 2 (2501.00656)", measure(["embedding"], [OFF], both), harmless),
        "embedding-head-less": ("Where data do not repeat, a quarter of the rate for the embedding or the head loses "
                                f"no more than {AGREED:g} nats.", "nanochat: .001 and .01, far below the matrices'",
                                measure(["embedding", "head"], [LITTLE], [ONCE]), harmless),
        "embedding-head-more": ("Where data do not repeat, 16 times the rate gains, for the embedding and for the "
                                "head.", "modded-nanogpt: 150 times",
                                measure(["embedding", "head"], [MOST], [ONCE]), lower),
        "gains-on": (f"Decay of the gains of norms, at the matrices' rate, gains no more than {AGREED:g} nats.",
                     "timm, Levanter: none of leaves with one axis", measure(["gains"], [BASE], both), useless),
        "one-rate": ("One rate is enough for all matrices: a quarter of it or four times as much for one group gains "
                     f"no more than {AGREED:g} nats.", "GPT-3 (2005.14165); AlphaDecay (2506.14562) says it is not",
                     measure(MATRICES, [LITTLE, MORE], both), useless),
        "query-key-less": ("More decay costs more for queries and keys than for the two matrices of the MLP.",
                           "AlphaDecay (2506.14562)", partial(preference, "query_key", ["up", "down"]), (0.0, np.inf)),
    }  # fmt: skip
    return tuple(
        wd.Claim(name, statement, source, measured, expected, wd.everywhere, wd.NATS)
        for name, (statement, source, measured, expected) in said.items()
    )


# What is drawn


def figures(
    sizes: Mapping[str, int], bases: Mapping[str, float], steps: int, arms: wd.Evidence
) -> dict[str, wd.Figure]:
    """Test loss above the base: a panel for each amount of data, a row for each group, a mark for each rate."""
    figure, grid = wd.panel_grid(1, len(sizes), width=3.8, height=4.4, share=False)
    for panel, (seen, characters) in zip(grid.flat, sizes.items(), strict=True):
        for group in GROUPS:
            draw_group(panel, arms[seen], group)
        passes = wd.epochs_of(steps, WINDOW, BATCH, characters)
        panel.set_title(f"{characters:,} characters, {passes:.2g} passes, base rate {bases[seen]:g}", fontsize=9)
        panel.axvline(0, color="#555555", linewidth=0.8)
        panel.set_xscale("symlog", linthresh=AGREED)
        panel.axvspan(-AGREED, AGREED, color="#555555", alpha=0.08, linewidth=0)
        panel.set_yticks(range(len(GROUPS)), [said_of(group) for group in GROUPS])
        panel.set_ylim(len(GROUPS) - 0.5, -0.5)
        panel.tick_params(axis="x", labelsize=7)
        panel.grid(alpha=0.3, axis="x")
    grid.flat[-1].set_yticklabels([])
    handles, labels = grid.flat[-1].get_legend_handles_labels()
    by_label = dict(zip(labels, handles, strict=True))
    shown = {f"times {rate:g}": by_label[f"times {rate:g}"] for rate in STYLE_OF}
    figure.legend(shown.values(), shown, loc="outside upper center", ncols=len(shown), fontsize=8)
    figure.supxlabel(f"test loss above the base, nats (linear within the gray band, of {AGREED:g}); exploring seeds, "
                     "95 % intervals", fontsize=8)  # fmt: skip
    return {"loss_by_group": figure}


STYLE_OF = dict(zip((OFF, LITTLE, BASE, MORE, MOST), (wd.STYLES[place] for place in (1, 3, 0, 4, 2)), strict=True))


def draw_group(panel: wd.Axes, results: wd.Results, group: str) -> None:
    """Marks for the rates of a group, smaller ones above, with intervals; f64[s] each."""
    for place, rate in enumerate(rates_of(group)):
        ((mean, low, high),) = wd.means(above_base(results, group, rate)[:, None])
        style, y = STYLE_OF[rate], GROUPS.index(group) + 0.18 * (place - 1.5)
        panel.errorbar(mean, y, xerr=[[mean - low], [high - mean]], fmt=style.marker, color=style.color, markersize=4,
                       capsize=2, label=f"times {rate:g}")  # fmt: skip


if __name__ == "__main__":
    wd.main(experiment)
