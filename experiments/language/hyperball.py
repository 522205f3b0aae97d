"""Is decay only an angular learning rate: do steps on the sphere at the angle that decay implies reach the same loss?

python -m experiments.language.hyperball

Seen (28 minutes on 2 CPU cores that other work shared; 480 nets, 4 programs, 3 seeds explore, 8 confirm): nearly. At
the angle that AdamW's best decay implies, falling with the root of the learning rate, steps on the sphere reach its
loss within .005 nats [-.005, .015] where data repeat and .001 [-.009, .010] where they do not; falling with the
learning rate itself, as Hyperball does, they lose .016 [-.005, .036] and .018 [.008, .028]. Tuned, the sphere gains
.003 [-.005, .011] where data do not repeat. An angle that is off by four loses .041 [.027, .056] to .118 [.106, .129]
more than a learning rate of AdamW that is. All six claims are undecided: eight seeds resolve .01 nats and three place
the best angle within a factor of 2.7 of the implied one; where data repeat the best angle that falls with the learning
rate lies on the edge of the grid.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax

import wd_research as wd
from experiments.language.setting import (
    AGREED,
    OFTEN,
    ONCE,
    WIDTH,
    clipped,
    rows_figure,
    schedule_of,
    sizes_of,
    task_of,
    tuned_loss,
)

B1 = 0.9  # of Adam
FACTORS = {"a quarter": 0.25, "four times": 4.0}  # of the learning rate, or of the angle, that is right
ROOT, LINE = 0.5, 1.0  # powers of the schedule of the learning rate that an angle follows
ADAMW, SPHERE = "AdamW", "on the sphere"


class Hypers(NamedTuple):
    """What kernels do; on the sphere a decay stands for the angle that it implies."""

    decay: wd.Array  # f32[]
    times: wd.Array  # f32[], the learning rate, or that angle
    power: wd.Array  # f32[], of the schedule; AdamW's is 1


SHORT = {"often": 2_048, "once": 16_384, "decays": (0, 0.1, 0.4, 1.6), "seeds": 3, "steps": 20}  # to see that it runs


def experiment(
    *,
    often: int = 16_384,
    once: int = 1_048_576,
    decays: tuple[float, ...] = (0, 0.0125, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2),
    learning_rate: float = 3e-2,
    seeds: int = 3,
    steps: int = 1_000,
    width: int = WIDTH,
) -> wd.Experiment:
    """Adam on the King James Bible, a character a token: with decay, or with kernels whose norms stay as they begin.

    Embedding and gains of norms train by Adam at one learning rate in all arms, without decay; all else is kernels.

    Args:
        often: How much of the text is trained on where data repeat.
        once: How much of it where they do not.
        decays: Decay rates, multiplied by learning rate and schedule; 0 among them. Angles are those that they imply.
            Between the ends, kernels are trained at four times and a quarter of learning rate and angle as well.
        learning_rate: Its peak; it rises in a twentieth of the steps and falls to 0 by a line.
        seeds: Each has its own blocks of the text, initial weights and order of the windows.
        steps: Steps of training, of 512 tokens each.
        width: Width of the decoder, a multiple of 8.
    """
    wd.flags.decays(decays=decays)
    wd.flags.positive(learning_rate=(learning_rate,))
    wd.flags.counts(steps=steps)
    wd.flags.seeds(seeds)
    if len(decays) < 4:
        raise wd.UserError(f"--decays has {len(decays)} values: give 0 and three more, the best one lies between two")
    sizes, text = sizes_of(often, once), wd.texts.kjv()
    decaying, turning = points_of(decays, [LINE]), points_of([decay for decay in decays if decay], [LINE, ROOT])
    arms = {}
    for seen, characters in sizes.items():
        task = task_of(text, characters, width)
        arms[f"{seen}, {ADAMW}"] = wd.Arm(task, adamw(learning_rate, steps), decaying, "decay")
        arms[f"{seen}, {SPHERE}"] = wd.Arm(task, on_sphere(learning_rate, steps), turning, "decay")
    return wd.Experiment(
        arms=arms,
        seeds=seeds,
        steps=steps,
        evaluations=1,
        confirm=8,
        claims=claims_of(),
        figures=partial(figures, learning_rate),
        answer=wd.by_verdicts,
    )


def points_of(decays: Sequence[float], powers: Sequence[float]) -> Hypers:
    """Every decay by every schedule, and those between the ends at a quarter and four times of what is right."""
    right = wd.grid(Hypers, decay=decays, times=[1], power=powers)
    wrong = wd.grid(Hypers, decay=sorted(set(decays) - {0})[1:-1], times=[*FACTORS.values()], power=[LINE])
    return Hypers(*np.concatenate([right, wrong], axis=1))


def angle_of(learning_rate: Any, decay: Any) -> Any:
    """The angle per step in equilibrium under AdamW, sqrt(2 eta lambda (1 - b1) / (1 + b1)), rad (2305.17212)."""
    return (2 * learning_rate * decay * (1 - B1) / (1 + B1)) ** 0.5


def adamw(learning_rate: float, steps: int) -> Callable[[Hypers], optax.GradientTransformation]:
    """AdamW, clipped; the learning rate of kernels is h.times that of other leaves."""

    def optimizer(h: Hypers) -> optax.GradientTransformation:
        core = optax.chain(wd.cores.adam(B1), optax.masked(optax.scale(1 / h.times), wd.all_but(wd.kernels)))
        return clipped(wd.decoupled(core, wd.decay_weights(h.decay), learning_rate * h.times, schedule_of(steps)))

    return optimizer


def on_sphere(learning_rate: float, steps: int) -> Callable[[Hypers], optax.GradientTransformation]:
    """Adam, clipped; at s of the peak kernels turn by the angle times s^power, other leaves have learning rate * s."""

    def optimizer(h: Hypers) -> optax.GradientTransformation:
        angle = angle_of(learning_rate, h.decay) * h.times

        def follows(power: wd.Array) -> optax.Schedule:
            return lambda step: jnp.asarray(schedule_of(steps)(step)) ** power

        own = optax.chain(optax.scale(learning_rate / angle), optax.scale_by_schedule(follows(1 - h.power)))
        core = optax.chain(wd.cores.adam(B1), optax.masked(own, wd.all_but(wd.kernels)))
        return clipped(wd.on_sphere(core, angle, follows(h.power)))

    return optimizer


# What is measured


def pair(seen: str, arms: Mapping[str, wd.Results]) -> tuple[wd.Results, wd.Results]:
    """AdamW, and the sphere."""
    return arms[f"{seen}, {ADAMW}"], arms[f"{seen}, {SPHERE}"]


def among(results: wd.Results, power: float = LINE, times: float = 1) -> np.ndarray:
    """The points that decay, or turn, by this schedule and at so many times what is right; bool[h]."""
    return ((results["power"] == power) & (results["times"] == times) & (results["decay"] > 0)).to_numpy()


def best_loss(results: wd.Results) -> wd.Scores:
    """The test loss in nats at the decay, or at the angle, that validation loss chooses."""
    return tuned_loss(results, among(results))


def best_decay(results: wd.Results) -> float:
    """That decay, or the one that implies that angle."""
    return float(results["decay"].sel(point=wd.choose(results, among(results), by="loss").point))


def loss_at(results: wd.Results, decay: float, power: float = LINE, times: float = 1) -> wd.Scores:
    """The test loss in nats at a point; NaN where it was not trained, beside the ends of the grid."""
    alike = among(results, power, times)
    found = np.flatnonzero(alike & (results["decay"].to_numpy() == decay))
    if not len(found):
        return best_loss(results) + np.nan
    return wd.score(results, wd.choice_of(results, int(found[0]), alike), "test_loss")


def implied(power: float, adamw: wd.Results, sphere: wd.Results) -> wd.Scores:
    """How much higher the test loss is at the angle that the best decay implies than with that decay."""
    return loss_at(sphere, best_decay(adamw), power) - best_loss(adamw)


def regrets(results: wd.Results) -> dict[str, wd.Scores]:
    """What a quarter and four times the right learning rate, or angle, lose; nats of test loss."""
    best, decay = best_loss(results), best_decay(results)
    return {said: loss_at(results, decay, times=times) - best for said, times in FACTORS.items()}


def best_ratio(adamw: wd.Results, sphere: wd.Results) -> np.ndarray:
    """The best angle on the sphere against that which the best decay implies, in powers of two; f64[s].

    Of each seed by its validation losses, between grid points by a parabola; NaN where one is an end of the grid.
    """

    def log_best(results: wd.Results, at: np.ndarray) -> np.ndarray:
        decays, losses = results["decay"].to_numpy()[at].astype(float), wd.surviving(results, "validation_loss")[:, at]
        order = np.argsort(decays)
        return wd.vertex(np.log2(decays[order]), losses[:, order])

    return (log_best(sphere, among(sphere, ROOT)) - log_best(adamw, among(adamw))) / 2  # angles go as roots of decays


def claims_of() -> tuple[wd.Claim, ...]:
    """What follows if decay is an angular learning rate, and what is said of the sphere; stated before the run."""

    def each(of: Callable[[wd.Results, wd.Results], Any], *where: str) -> Callable[[Mapping[str, wd.Results]], Any]:
        return lambda arms: {seen: of(*pair(seen, arms)) for seen in where}

    above, alike, both = (0.0, np.inf), (-AGREED, AGREED), (OFTEN, ONCE)
    law, paper = "the angle of Kosson et al. (2305.17212)", "Hyperball (2606.16899)"
    line = "On the sphere, with an angle that falls with the learning rate,"
    root = line.replace("with the l", "with the root of the l")
    claim = partial(wd.Claim, quantifier=wd.everywhere, unit=wd.NATS)
    return (
        claim("angle", f"{root} the best one is what AdamW's best decay implies, within a factor of two (powers of "
              "two).", law, each(best_ratio, *both), (-1.0, 1.0), unit=wd.NUMBER),
        claim("loss", f"{root} the implied one reaches AdamW's loss within {AGREED:g} nats.",
              f"{law}, at every learning rate", each(partial(implied, ROOT), *both), alike),
        claim("loss-line", f"{line} the implied one reaches AdamW's loss within {AGREED:g} nats.",
              f"{law}, at the peak", each(partial(implied, LINE), *both), alike),
        claim("better", f"{line} the best one gains on AdamW where data do not repeat.", f"{paper}, above all with "
              "Muon", each(lambda adamw, sphere: best_loss(adamw) - best_loss(sphere), ONCE), above),
        *(claim(f"off-{times:g}", f"An angle that is {times:g} times the right one loses more than a learning rate of "
                "AdamW's kernels that is.", f"{law}, which goes as the root; against {paper}",
                each(lambda a, b, said=said: regrets(b)[said] - regrets(a)[said], *both), above)
          for said, times in FACTORS.items()),
    )  # fmt: skip


# What is drawn


def figures(rate: float, arms: wd.Evidence) -> dict[str, wd.Figure]:
    """Test loss over the angle, and what is lost where the learning rate or the angle is off by a factor of four."""
    figure, grid = wd.panel_grid(1, 2, width=3.8, height=3.4, share=False)
    for panel, seen in zip(grid.flat, (OFTEN, ONCE), strict=True):
        adamw, sphere = pair(seen, arms)
        lines = (ADAMW, adamw, LINE), ("sphere, root of the schedule", sphere, ROOT), ("sphere, schedule", sphere, LINE)
        for (label, results, power), (color, dashes) in zip(lines, wd.LINES, strict=False):
            at = among(results, power)
            angles, losses = angle_of(rate, results["decay"].to_numpy()[at]), wd.surviving(results, "test_loss")[:, at]
            wd.draw_band(panel, angles, losses, label, color, dashes)
        panel.set(title=seen, xscale="log", xlabel="angle of a step at the peak, rad", ylabel="test loss, nats")
        panel.set_xticks(ticks := angle_of(rate, wd.axis_values(sphere))[::2], [f"{tick:.2g}" for tick in ticks])
        panel.minorticks_off()
        panel.legend(fontsize=7)
    figure.supxlabel("exploring seeds, 95 % bands; AdamW at the angles that its decays imply", fontsize=8)
    rows = {seen: lambda arms, seen=seen: {
        f"{name}, {said}": loss for name in (ADAMW, SPHERE) for said, loss in regrets(arms[f"{seen}, {name}"]).items()
    } for seen in (OFTEN, ONCE)}  # fmt: skip
    return {"loss_over_angle": figure, "off_by_four": rows_figure(rows, "loss above the right one's, nats", arms)}


if __name__ == "__main__":
    wd.main(experiment)
