"""How does the best decay of a language model depend on how often its data repeat?

python -m experiments.language.repeated_data

python -m experiments.language.repeated_data --minutes 20     # fewer sizes, lengths and seeds, as many as fit

Seen with --lengths 1 4 (two and a half hours on 2 CPU cores that other work shared; 1,400 nets, four seeds explore,
four confirm): the best decay of a net of width 32 is .7 at 16k characters, seen 32 times, .2 at 32k and 64k, .1 at 128k
and more, seen four times or less; the logarithms of share and data have a slope of -1.08 [-1.94, -.23], which four
seeds do not decide. It gains .127 nats of test loss over none at 16k [.085, .170] and .01 to .02 from 64k on; the usual
.1 loses .052 at 16k and nothing at 64k. In four times the steps at 16k characters it gains .92 [.80, 1.05], and the
best share of a weight per step does not fall as the root of the length: it rises, with a slope of .46 [.19, .73], of
which four seeds do not decide that it is beyond .25. Whether all sizes and widths have one time scale in epochs is
undecided; a net of width 16 wants a fifth of the share of one of width 64, where decay gains .44 [.27, .61] and the
best learning rate lies on the grid's edge. Test loss falls with the width at the best decay, and up to width 32 at .1.

Seen with --minutes 20 before (21 minutes; three seeds, learning rates up to .03, lengths and widths at 64k characters):
.101 nats at 16k [.074, .129], .014 at 64k [-.008, .036]; no slope decided.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product

import numpy as np

import wd_research as wd
from experiments.language.budget import Case, within
from experiments.language.setting import BATCH, WINDOW, Hypers, adamw, task_of

OFTEN = 5.0  # passes over the data from which on they repeat
USUAL = 0.1  # the decay that most recipes have
SHORT = {
    "characters": (16_384,),
    "widths": (8,),
    "lengths": (1, 2),
    "middle": 16_384,
    "decays": (0, 0.1, 1),
    "learning_rates": (0.01,),
    "seeds": 3,
    "steps": 4,
}  # to see that it runs


def experiment(
    *,
    characters: tuple[int, ...] = (16_384, 32_768, 65_536, 131_072, 262_144, 1_048_576),
    widths: tuple[int, ...] = (32, 16, 64),
    lengths: tuple[int, ...] = (1, 2, 4, 8),
    middle: int = 16_384,
    decays: tuple[float, ...] = (0, 0.03, 0.1, 0.2, 0.4, 0.7, 1.2, 2, 4, 7, 12, 25),
    learning_rates: tuple[float, ...] = (1e-2, 3e-2, 1e-1),
    seeds: int = 4,
    steps: int = 1_000,
    minutes: float | None = None,
) -> wd.Experiment:
    """AdamW on the King James Bible, a character a token: sizes of the text at equal steps, widths, and lengths.

    Args:
        characters: How much of the text is trained on, for the first width, at equal steps.
        widths: Widths of the decoder; the first at every size, the others at `middle` and the smallest size.
        lengths: How many times the steps, at `middle` characters and the first width; 1 among them.
        middle: The size at which widths and lengths are compared.
        decays: Decay rates, multiplied by learning rate and schedule; 0 and 0.1 among them.
        learning_rates: Peak learning rates; they rise in a twentieth of the steps and fall to 0 by a line.
        seeds: Each has its own blocks of the text, initial weights and order of the windows.
        steps: Steps of the shortest training, of 512 tokens each.
        minutes: Take as many sizes, lengths and seeds as fit in about so many minutes on this machine.
    """
    wd.flags.decays(decays=decays)
    wd.flags.positive(learning_rates=learning_rates, characters=characters, widths=widths, lengths=lengths)
    wd.flags.counts(steps=steps, middle=middle)
    wd.flags.seeds(seeds)
    check(characters, lengths, middle, decays, minutes)
    text = wd.texts.kjv()
    arm = partial(arm_of, text, decays, learning_rates, steps)
    cases = cases_of(characters, widths, lengths, middle)
    if minutes is not None:
        cases, seeds = within(60 * minutes, arm, cases, seeds, steps)
    return wd.Experiment(
        arms={case.name: arm(case) for case in cases},
        seeds=seeds,
        steps=steps,
        evaluations=4,
        confirm=4,
        claims=claims_of(cases, steps, widths),
        figures=partial(figures, cases, steps),
        answer=wd.by_verdicts,
    )


def check(
    characters: Sequence[int], lengths: Sequence[int], middle: int, decays: Sequence[float], minutes: float | None
) -> None:
    """Raise UserError for flags that cannot be together."""
    if middle not in characters:
        raise wd.UserError(f"--middle {middle} is none of the --characters {characters}: give one of them")
    if 1 not in lengths:
        raise wd.UserError("--lengths has no 1: include it, longer training is compared with it")
    if USUAL not in decays:
        raise wd.UserError(f"--decays has no {USUAL}: include it, the best decay is compared with it")
    if minutes is not None and not minutes > 0:
        raise wd.UserError(f"--minutes {minutes:g} cannot be: give minutes above 0")


def cases_of(
    characters: Sequence[int], widths: Sequence[int], lengths: Sequence[int], middle: int
) -> list[Case]:  # fmt: skip
    """Every size at the first width, two sizes at the others, and one at every length."""
    sizes = [Case(size, widths[0], 1) for size in sorted(characters)]
    others = [Case(size, width, 1) for width, size in product(widths[1:], sorted({min(characters), middle}))]
    longer = [Case(middle, widths[0], length) for length in sorted(lengths) if length > 1]
    return [*sizes, *others, *longer]


def arm_of(
    text: wd.texts.Text, decays: Sequence[float], learning_rates: Sequence[float], steps: int, case: Case
) -> wd.Arm:
    """AdamW, clipped, with a warm-up and a line to 0, on so much of the text."""
    steps *= case.length
    points = wd.grid(Hypers, learning_rate=learning_rates, decay=decays)
    return wd.Arm(task_of(text, case.characters, case.width), adamw(steps), points, "decay", steps=steps)


# What is measured

Arms = Mapping[str, wd.Results]


def best_shares(results: wd.Results) -> np.ndarray:
    """The share of a weight that the best decay removes at the peak, learning rate * decay, seed by seed; f64[s].

    Of a seed's validation losses the lowest is taken over learning rates and decays; at its learning rate, the
    `wd.vertex` over the logarithm of the decay.
    """
    loss = np.where(results["diverged_at"].to_numpy() < 0, wd.final(results, "validation_loss"), np.inf)
    rates, decays = (results[name].to_numpy().astype(float) for name in ("learning_rate", "decay"))
    return np.array([share_of(row, rates, decays) for row in loss])


def share_of(loss: np.ndarray, rates: np.ndarray, decays: np.ndarray) -> float:
    """Learning rate times decay at the least of the losses f64[h] of one seed; at an end of the grid, that end."""
    best = int(np.argmin(np.where(decays > 0, loss, np.inf)))
    at_rate = np.flatnonzero((rates == rates[best]) & (decays > 0))
    at_rate = at_rate[np.argsort(decays[at_rate])]
    decay = float(np.exp(wd.vertex(np.log(decays[at_rate]), loss[at_rate])))
    return rates[best] * (decay if np.isfinite(decay) else decays[best])


def passes(case: Case, steps: int) -> float:
    """How often a training sees its text."""
    return wd.epochs_of(steps * case.length, WINDOW, BATCH, case.characters)


def epochs_scale(case: Case, steps: int, results: wd.Results) -> np.ndarray:
    """The best time scale, 1 / share, in passes over the text; f64[s]."""
    return passes(case, steps) / (steps * case.length) / best_shares(results)


def slope_over(cases: Sequence[Case], quantity: str, arms: Arms) -> dict[str, np.ndarray]:
    """The slope of log best share over the logarithm of a quantity of the cases, seed by seed."""
    x = np.log([getattr(case, quantity) for case in cases])
    shares = np.log([best_shares(arms[case.name]) for case in cases])
    return {"slope": np.polyfit(x, shares, 1)[0]}


def scales(cases: Sequence[Case], steps: int, arms: Arms) -> dict[str, np.ndarray]:
    """Each case's time scale in epochs against the geometric mean of all, in powers of two."""
    found = {case.name: np.log2(epochs_scale(case, steps, arms[case.name])) for case in cases}
    middle = np.mean(list(found.values()), axis=0)
    return {name: scale - middle for name, scale in found.items()}


def wider(cases: Sequence[Case], decay: float | None, arms: Arms) -> dict[str, wd.Scores]:
    """How much lower the test loss of each wider net is, at the best decay or at a given one; nats."""
    narrowest, *others = sorted(cases, key=lambda case: case.width)

    def loss(case: Case) -> wd.Scores:
        results = arms[case.name]
        among = None if decay is None else wd.has_value(results, float(np.float32(decay)))
        return wd.tuned(results, "test_loss", among, by="loss")

    return {f"width {case.width} against {narrowest.width}": loss(narrowest) - loss(case) for case in others}


def lost(cases: Sequence[Case], arms: Arms) -> dict[str, wd.Scores]:
    """What the usual decay loses against the best one, both at their best learning rate; nats of test loss."""

    def of_case(results: wd.Results) -> wd.Scores:
        usual = wd.has_value(results, float(np.float32(USUAL)))
        return wd.tuned(results, "test_loss", usual, by="loss") - wd.tuned(results, "test_loss", by="loss")

    return {case.name: of_case(arms[case.name]) for case in cases}


MARIN = "Kim et al. (2509.14786)"
EPOCHS = "Wang & Aitchison (2405.13698)"
NORMALIZED = "Loshchilov & Hutter (1711.05101), section 4"


def claims_of(cases: Sequence[Case], steps: int, widths: Sequence[int]) -> tuple[wd.Claim, ...]:
    """The claims that the cases can decide; what is expected was stated before the run."""
    repeated = [case for case in cases if case.length == 1 and passes(case, steps) > OFTEN]
    often = [case for case in repeated if case.width == widths[0]]
    least = min((case.characters for case in cases), default=0)
    wide = [case for case in repeated if case.characters == least]
    data = {case.characters for case in cases if case.length > 1}
    longer = [case for case in cases if case.width == widths[0] and case.characters in data]
    where, slope = f"Where data repeat more than {OFTEN:g} times", partial(slope_over, longer, "length")
    claims = {
        "usual-loses": (often, f"{where}, a decay of {USUAL:g} loses more than .02 nats to the best one.", MARIN,
                        partial(lost, often), (0.02, np.inf), wd.NATS),
        "a-slope": (often[1:], f"{where}, the best share falls as the data grow: the slope of their logarithms is -1 "
                    "within .2.", EPOCHS, partial(slope_over, often, "characters"), (-1.2, -0.8), wd.NUMBER),
        "b-epochs": (longer, "At fixed data the best share does not move with the length of training: a slope of 0 "
                     "within .25.", EPOCHS, slope, (-0.25, 0.25), wd.NUMBER),
        "b-root": (longer, "At fixed data the best share falls as the root of the length: a slope of -.5 within .25.",
                   NORMALIZED, slope, (-0.75, -0.25), wd.NUMBER),
        "c-constant": (repeated[1:], "The best time scale in epochs is constant within a factor of two over sizes and "
                       "widths (powers of two from their mean).", EPOCHS, partial(scales, repeated, steps),
                       (-0.5, 0.5), wd.NUMBER),
        "d-tuned": (wide[1:], "With the best decay the test loss falls with the width.", MARIN,
                    partial(wider, wide, None), (0.0, np.inf), wd.NATS),
        "d-usual": (wide[1:], f"With a decay of {USUAL:g} the test loss does not fall with the width.", MARIN,
                    partial(wider, wide, USUAL), (-np.inf, 0.0), wd.NATS),
    }  # fmt: skip
    return tuple(
        wd.Claim(name, statement, source, measure, expected, wd.everywhere, unit)
        for name, (of, statement, source, measure, expected, unit) in claims.items() if of
    )  # fmt: skip


# What is drawn


def figures(cases: Sequence[Case], steps: int, arms: wd.Evidence) -> dict[str, wd.Figure]:
    """The best share over data, widths and lengths, and test loss over decay."""
    return {"best_decay": best_decay(cases, steps, arms), "loss_over_decay": loss_over_decay(cases, arms)}


def best_decay(cases: Sequence[Case], steps: int, arms: wd.Evidence) -> wd.Figure:
    """The best share of a weight per step over the data and over the length, with the lines that are predicted."""
    figure, ((left, right),) = wd.panel_grid(1, 2, width=3.6, height=3.2, share=False)
    drawn = {"characters": (left, lambda case: case.length == 1), "length": (right, lambda case: True)}
    for quantity, (panel, belongs) in drawn.items():
        chosen = [case for case in cases if belongs(case)]
        if quantity == "length":
            data = {case.characters for case in cases if case.length > 1} or {cases[0].characters}
            chosen = [case for case in chosen if case.characters in data and case.width == cases[0].width]
        for number, width in enumerate(sorted({case.width for case in chosen})):
            row = [case for case in chosen if case.width == width]
            shares = np.stack([best_shares(arms[case.name]) for case in row], axis=1)
            x = np.array([getattr(case, quantity) for case in row], float)
            estimates = np.exp(wd.means(np.log(shares)))
            wd.draw_measured(panel, x * 1.04**number, estimates, wd.STYLES[number % len(wd.STYLES)], f"width {width}")
        first = best_shares(arms[chosen[0].name])
        anchor, at = float(np.exp(np.log(first).mean())), float(getattr(chosen[0], quantity))
        grid = np.geomspace(at, max(getattr(case, quantity) for case in chosen), 50)
        for slope, dashes, label in ((-1.0, "--", "as 1 / data"),) if quantity == "characters" else (
            (0.0, "--", "time scale in epochs"), (-0.5, ":", "lambda_norm")):  # fmt: skip
            panel.plot(grid, anchor * (grid / at) ** slope, color="#555555", linestyle=dashes, linewidth=1, label=label)
        panel.set_xscale("log")
        panel.set_xticks(sorted({getattr(case, quantity) for case in chosen}),
                         list(dict.fromkeys(case.size if quantity == "characters" else str(case.length) for case in
                                            sorted(chosen))))  # fmt: skip
        panel.set_xticks([], minor=True)
        panel.set(yscale="log", xlabel="characters trained on" if quantity == "characters" else
                  "times the steps, at fixed data", ylabel="best learning rate * decay")  # fmt: skip
        panel.legend(fontsize=7)
        panel.grid(alpha=0.3)
    figure.supxlabel(f"exploring seeds; {steps:,} steps of {WINDOW * BATCH} characters", fontsize=8)
    return figure


def loss_over_decay(cases: Sequence[Case], arms: wd.Evidence) -> wd.Figure:
    """Test loss over decay at the best learning rate of each, a line for every size of the text."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    figure, ((panel,),) = wd.panel_grid(1, 1, width=5.2, height=3.4, share=False)
    sizes = [case for case in cases if case.width == cases[0].width and case.length == 1]
    colors = colormaps["viridis"](np.linspace(0, 0.9, len(sizes)))
    for number, case in enumerate(sizes):
        results = arms[case.name]
        loss, decays = wd.surviving(results, "test_loss").mean(axis=0), results["decay"].to_numpy()
        among = np.zeros(len(decays), bool)
        for decay in np.unique(decays):
            at = np.flatnonzero(decays == decay)
            among[at[np.argmin(np.nan_to_num(loss[at], nan=np.inf))]] = True
        color, dashes = to_hex(colors[number]), wd.LINES[number % len(wd.LINES)][1]
        wd.draw_against_axis(panel, results, among, "test_loss", case.size, color, dashes)
    wd.mark_zero(panel, arms[sizes[0].name], np.ones(arms[sizes[0].name].sizes["point"], bool))
    panel.set(xlabel="decay", ylabel="test loss, nats a character")
    panel.legend(fontsize=7, title="characters", title_fontsize=7)
    panel.grid(alpha=0.3)
    figure.supxlabel("exploring seeds, each decay at the learning rate that is best for it on them", fontsize=8)
    return figure


if __name__ == "__main__":
    wd.main(experiment)
