"""Does an ensemble of language models want less decay than one of its members?

python -m experiments.language.ensemble

Seen (30 minutes on 2 CPU cores that other work shared; 66 ensembles of 4 nets, one program, 6 seeds explore, 4
confirm): yes, less than half. Where 16k characters repeat 32 times the best decay of the averaged probabilities is
lower than that of one net by a factor of 2.25 [1.8, 2.8], that of the averaged logits by 2.1 [1.6, 2.7]. Decay gains
the ensemble .106 nats [.042, .170] less than it gains one net. The ensemble at one net's best decay loses .036 [.012,
.060] to its own, by logits .033 [.003, .064], which is undecided at .01.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

import wd_research as wd
from experiments.language.setting import AGREED, BATCH, CLIP, WIDTH, Hypers, rows_figure, schedule_of, task_of

FACTOR = 1.25  # between two decays: what a grid can tell and a recipe would name
LOSSES = {"one net": "member_loss", "averaged probabilities": "loss", "averaged logits": "logits_loss"}
ENSEMBLES = list(LOSSES)[1:]


SHORT = {"characters": 2_048, "nets": 2, "decays": (0, 0.1, 1, 10), "seeds": 3, "steps": 20}  # to see that it runs


def experiment(
    *,
    characters: int = 16_384,
    nets: int = 4,
    decays: tuple[float, ...] = (0, 0.1, 0.2, 0.3, 0.45, 0.7, 1.1, 1.8, 3),
    learning_rate: float = 3e-2,
    seeds: int = 6,
    steps: int = 1_000,
    width: int = WIDTH,
) -> wd.Experiment:
    """AdamW on the King James Bible, a character a token; ensembles of nets that differ in weights and order.

    Args:
        characters: How much of the text is trained on; all nets of an ensemble see the same.
        nets: Nets of an ensemble, with initial weights and an order of the windows of their own.
        decays: Decay rates, multiplied by learning rate and schedule; 0 among them.
        learning_rate: The peak learning rate; it rises in a twentieth of the steps and falls to 0 by a line.
        seeds: Each has its own blocks of the text.
        steps: Steps of training, of 512 tokens each for every net.
        width: Width of the decoder, a multiple of 8.
    """
    wd.flags.decays(decays=decays)
    wd.flags.positive(learning_rate=(learning_rate,))
    wd.flags.counts(characters=characters, nets=nets, steps=steps)
    wd.flags.seeds(seeds)
    if nets < 2:
        raise wd.UserError("--nets 1 is no ensemble: give 2 or more")
    task = ensemble_of(task_of(wd.texts.kjv(), characters, width), nets)
    points = wd.grid(Hypers, learning_rate=(learning_rate,), decay=decays)
    name = f"ensemble of {nets}"
    return wd.Experiment(
        arms={name: wd.Arm(task, optimizer_of(steps), points, "decay")},
        seeds=seeds,
        steps=steps,
        evaluations=1,
        confirm=4,
        claims=claims_of(name),
        figures=partial(figures, name),
        answer=wd.by_verdicts,
    )


# How an ensemble is trained


def ensemble_of(task: wd.Task, nets: int) -> wd.Task:
    """So many nets of a task as one, by the sum of their losses: their leaves have the axis [nets] in front.

    No gradient mixes them, so each trains as it would alone, on the windows of an order of its own. The metrics of a
    part are "member_loss", the mean of the nets' losses, and the losses of what they say together, "loss" by the mean
    of their probabilities and "logits_loss" by that of their logits; nats.
    """

    def init(key: wd.Key) -> tuple[wd.Params, wd.Extras]:
        return jax.vmap(task.init)(jax.random.split(key, nets))

    def order(key: wd.Key, start: wd.Array, steps: int) -> wd.Array:
        own = jax.vmap(lambda key: task.order(key, start, steps))(jax.random.split(key, nets))  # [nets, steps, b]
        return jnp.moveaxis(own, 0, 1).reshape(steps, -1)

    def loss(hypers: Hypers) -> wd.Loss:
        of_net = jax.vmap(task.loss(hypers))

        def of_batch(params: wd.Params, extras: wd.Extras, batch: wd.Batch, key: wd.Key):
            own = jax.tree.map(lambda leaf: leaf.reshape(nets, -1, *leaf.shape[1:]), batch)
            losses, (extras, _) = of_net(params, extras, own, jax.random.split(key, nets))
            return losses.sum(), (extras, {"loss": losses.mean()})

        return of_batch

    def logits(params: wd.Params, extras: wd.Extras, inputs: wd.Numbers) -> wd.Array:
        return jax.vmap(task.predict, (0, 0, None))(params, extras, inputs)  # f32[nets, b, t, vocabulary]

    def evaluate(params: wd.Params, extras: wd.Extras, batch: wd.Batch, name: str) -> wd.Metrics:
        def of_piece(piece: wd.Batch) -> wd.Metrics:
            return losses_of(logits(params, extras, piece.inputs), piece.targets)

        at_once = math.gcd(BATCH, len(batch.targets))  # all windows at once would leave a CPU's cache
        pieces = jax.tree.map(lambda leaf: leaf.reshape(-1, at_once, *leaf.shape[1:]), batch)
        return jax.tree.map(jnp.mean, jax.lax.map(of_piece, pieces))

    def predict(params: wd.Params, extras: wd.Extras, inputs: wd.Numbers) -> wd.Array:
        return averaged(logits(params, extras, inputs))

    return task._replace(init=init, order=order, loss=loss, evaluate=evaluate, predict=predict)


def losses_of(logits: wd.Array, targets: wd.Numbers) -> wd.Metrics:
    """The cross entropies of nets and of their averages, from f32[nets, b, t, v] and i32[b, t]; nats."""
    return {
        "loss": wd.cross_entropy(averaged(logits), targets),
        "logits_loss": wd.cross_entropy(logits.mean(axis=0), targets),
        "member_loss": jnp.mean(jax.vmap(wd.cross_entropy, (0, None))(logits, targets)),
    }


def averaged(logits: wd.Array) -> wd.Array:
    """The logarithm of the mean probabilities, f32[nets, ..., v] -> f32[..., v]: log mean_k softmax(logits_k)."""
    return jax.nn.logsumexp(jax.nn.log_softmax(logits), axis=0) - jnp.log(logits.shape[0])


def optimizer_of(steps: int) -> Callable[[Hypers], optax.GradientTransformation]:
    """AdamW behind gradients whose norm is at most `CLIP` in every net of its own, which comes first in all leaves."""
    clip = optax.clip_by_global_norm(CLIP)
    each = optax.stateless(lambda updates, _: jax.vmap(lambda own: clip.update(own, optax.EmptyState())[0])(updates))

    def optimizer(h: Hypers) -> optax.GradientTransformation:
        adamw = wd.decoupled(wd.cores.adam(), wd.decay_weights(h.decay), h.learning_rate, schedule_of(steps))
        return optax.chain(each, adamw)

    return optimizer


# What is measured

Arms = Mapping[str, wd.Results]


def best_decays(results: wd.Results, loss: np.ndarray) -> np.ndarray:
    """The decay above 0 at which each seed's loss is least, from f64[s, h] with one learning rate; f64[s].

    It is the `wd.vertex` over the logarithm of the decay.
    """
    decays = results["decay"].to_numpy().astype(float)
    order = np.argsort(decays)[(decays == 0).sum() :]
    return np.exp(wd.vertex(np.log(decays[order]), loss[:, order]))


def lower(name: str, arms: Arms) -> dict[str, np.ndarray]:
    """How far below that of one net the best decay of the ensemble lies, seed by seed, in powers of two."""
    results = arms[name]
    best = {who: best_decays(results, wd.surviving(results, f"validation_{loss}")) for who, loss in LOSSES.items()}
    return {who: np.log2(best["one net"] / best[who]) for who in ENSEMBLES}


def chosen(results: wd.Results, who: str, among: np.ndarray | None = None) -> wd.Choice:
    """The point at which the validation loss of one net, or of their average, is least."""
    return wd.choose(results, among, scores=-wd.surviving(results, f"validation_{LOSSES[who]}"))


def higher(results: wd.Results, who: str, first: wd.Choice, other: wd.Choice) -> wd.Scores:
    """How much higher the test loss of one net, or of their average, is at the first point than at the other."""
    return wd.score(results, first, f"test_{LOSSES[who]}") - wd.score(results, other, f"test_{LOSSES[who]}")


def gains(name: str, arms: Arms) -> dict[str, wd.Scores]:
    """What decay gains one net over none, and what it gains their averages; nats of test loss."""
    results, none = arms[name], wd.has_value(arms[name], 0)
    return {who: higher(results, who, chosen(results, who, none), chosen(results, who)) for who in LOSSES}


def gains_less(name: str, arms: Arms) -> dict[str, wd.Scores]:
    """How much less decay gains the ensemble than one net."""
    found = gains(name, arms)
    return {who: found["one net"] - found[who] for who in ENSEMBLES}


def at_the_decay_of_one(name: str, arms: Arms) -> dict[str, wd.Scores]:
    """How much higher the test loss of the ensemble is at the best decay of one net than at its own."""
    results = arms[name]
    return {who: higher(results, who, chosen(results, "one net"), chosen(results, who)) for who in ENSEMBLES}


def claims_of(name: str) -> tuple[wd.Claim, ...]:
    """What follows if an ensemble removes variance itself; stated before the run."""
    kim = "Kim et al. (2509.14786)"
    return (
        wd.Claim("lower", f"The best decay of an ensemble is lower than that of one net, by a factor of {FACTOR:g} at "
                 "least (powers of two).", kim, partial(lower, name), (math.log2(FACTOR), np.inf), wd.everywhere),
        wd.Claim("gains-less", f"Decay gains an ensemble less than one net, by more than {AGREED:g} nats.",
                 "an ensemble removes variance itself", partial(gains_less, name), (AGREED, np.inf), wd.everywhere,
                 wd.NATS),
        wd.Claim("matters", f"At the best decay of one net an ensemble loses more than {AGREED:g} nats to its own best "
                 "decay.", "Fredsgaard & Schmidt (2511.04160)", partial(at_the_decay_of_one, name), (AGREED, np.inf),
                 wd.everywhere, wd.NATS),
    )  # fmt: skip


# What is drawn


def figures(name: str, arms: wd.Evidence) -> dict[str, wd.Figure]:
    """Test loss over decay of one net and of the averages, and what decay gains each."""
    figure, ((panel,),) = wd.panel_grid(1, 1, width=5.2, height=3.4, share=False)
    every = np.ones(arms[name].sizes["point"], bool)
    for (who, loss), style in zip(LOSSES.items(), wd.STYLES, strict=False):
        wd.draw_against_axis(panel, arms[name], every, f"test_{loss}", who, style.color, style.dashes)
    wd.mark_zero(panel, arms[name], every)
    panel.set(xlabel="decay", ylabel="test loss, nats", title=name)
    panel.legend(fontsize=7)
    panel.grid(alpha=0.3)
    figure.supxlabel("exploring seeds, 95 % intervals", fontsize=8)
    return {
        "loss_over_decay": figure,
        "gains": rows_figure({name: partial(gains, name)}, "gain over no decay, nats", arms),
    }


if __name__ == "__main__":
    wd.main(experiment)
