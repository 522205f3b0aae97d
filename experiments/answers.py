"""What was asked and what came out, in words: the rows of the README's table, written by hand.

Every figure stands in the head of one of the row's experiments, or on its page. Brackets are 95 % intervals over seeds.
"""

from typing import NamedTuple


class Row(NamedTuple):
    """A question that one experiment answers, or several together."""

    question: str
    answer: str
    experiments: tuple[str, ...]  # modules below `experiments`
    page: str = ""  # where what came out is not in the heads of modules


ANSWERS = (
    Row("How much decay does a language model want that sees its text again and again?",
        "16k characters that are seen 32 times want a decay of .7, which gains .127 nats of test loss [.085, .170]; "
        "128k and more, seen four times or less, want .1. Longer training on the same text wants more decay per step, "
        "not less.",
        ("language.repeated_data",)),
    Row("Which decay generalises best on few, noisy digits?",
        "As L2 in the loss a strength of 0.09, which gains 4.1 points of test accuracy [3.4, 4.8]; in AdamW a decay of "
        "5, which gains 3.2 [2.4, 4.0].",
        ("decay_values",)),
    Row("Which decay, without a sweep?",
        "No rule that needs no run comes near one: in the median of 28 small trainings the usual .1 loses 38 % "
        "[11, 86] of what decay can gain, and one by the width 27 % [2, 62]. Four evenly spaced runs lose 19 % "
        "[11, 41].",
        (), "docs/tournament.md"),
    Row("When in a training should weights decay?",
        "With the learning rate, as in AdamW: nothing was seen to be better. Where the text repeats the late half of "
        "the steps does nearly all, .051 nats [.035, .068] more than the early half; in one pass the late half alone "
        "loses .014 [.008, .019].",
        ("language.when_to_decay",)),
    Row("Which weights of a language model should decay?",
        "All matrices at one rate, the embedding too: without its decay .021 nats [.005, .037] are lost where the text "
        "repeats, .011 [.004, .017] in one pass. Queries and keys bear four times the rate; values and outputs do not.",
        ("language.leaves",)),
    Row("Does it matter which entries of a matrix decay?",
        "Not that six seeds can see. Cautious decay acts on those that the step shrinks anyway: in one pass plain "
        "decay is better by .003 nats [-.005, .010], and decay of a random half of the entries by .001 [-.005, .007].",
        ("language.cautious",)),
    Row("Does the best decay grow with the net and with the batch?",
        "Where the text repeats, with both: the share of a weight that a step removes at best goes as the width to the "
        "power 0.79 [0.50, 1.08], at the learning rates of muP, and as the batch, at equal tokens, to the power 0.88 "
        "[0.69, 1.06]. In one pass the power of the batch is 1.65 [1.31, 1.98]; that of the width is undecided.",
        ("language.width", "language.batch")),
    Row("What is decay worth in one pass over a text?",
        "With AdamW .008 nats [.006, .011] at 10 tokens a parameter and .016 [.010, .021] at 40; with Muon .038 "
        "[.029, .047] and .014 [.007, .021]; with Lion .09 to .12. Each optimizer wants its own share of a weight per "
        "step: with AdamW's best one Lion loses .074 [.064, .083] at 10.",
        ("language.worth",)),
    Row("Does an ensemble want the decay that is best for one net?",
        "Less than half of it, where the text repeats: lower by a factor of 2.25 [1.8, 2.8] for averaged "
        "probabilities. At the best decay of one net the ensemble loses .036 nats [.012, .060].",
        ("language.ensemble",)),
    Row("Does a language model that is to be fine-tuned want more decay before?",
        "After many passes over its first text it wants less: what is best is lower by a factor of 2.6 [1.7, 3.9] if "
        "the second text is another translation, 2.1 [1.7, 2.7] if it is a manual. After one pass that is undecided.",
        ("language.plasticity",)),
    Row("What does decay do where weights have few bits?",
        "With twice the decay, rounding to four bits costs 0.006 nats [0.003, 0.009] less where the text repeats, "
        "0.004 [0.002, 0.007] in one pass. Weights in bfloat16 want the same decay as in float32 at a learning rate of "
        "0.03, and a difference of more than 0.02 nats is excluded.",
        ("language.quantization", "language.bfloat16")),
    Row("Is decay a way to set the angle by which weights turn?",
        "Nearly: steps that keep the norm of the weights and turn by the angle that AdamW's best decay implies reach "
        "its loss within .005 nats [-.005, .015] where the text repeats and .001 [-.009, .010] in one pass.",
        ("language.hyperball",)),
    Row("How does decay make a net that has memorized modular addition understand it?",
        "By small logits more than by small weights: a temperature that keeps the logits takes away 84 % [75, 93] of "
        "the delay that a larger norm adds. Small logits without decay do not do, though. At decay 1 a net understands "
        "900 steps after it has memorized, without decay never.",
        ("literature.grokking",)),
    Row("Can learning rate and decay be tuned one after the other?",
        "With Adam and the decay of optax and PyTorch, yes: its best value goes as the learning rate to the power -.28 "
        "[-.32, -.24] in a linear regression and .28 [.23, .34] on digits. That of AdamW's paper goes with .71 "
        "[.65, .76] and 1.28 [1.23, 1.34].",
        ("literature.valley",)),
    Row("How long does a net with a small decay take to its best accuracy?",
        "Not as long as 1 / (learning rate * decay) says: the time goes as that product to the power -.25 [-.36, -.14] "
        "at learning rate .1, not -1.",
        ("literature.time_to_best",)),
    Row("Does a trained net remember the decay that it had earlier?",
        "At a constant learning rate it does not: late decay gains all. Where the learning rate falls decay gains 11.8 "
        "points [10.7, 12.9]; removed halfway it loses 1.2 [.7, 1.6] of them, added halfway it gains 6.3 [5.7, 6.9].",
        ("literature.forgetting",)),
    Row("What does decay do to weights that a normalization follows?",
        "It sets how fast they turn: a random walk under AdamW turns 1.005 [1.004, 1.005] times as fast as predicted. "
        "Yet AdamW is 1.3 points [0.4, 2.1] less accurate than Adam with L2. Where the learning rate falls, decay "
        "makes gradients grow at the end, 1.500 [1.499, 1.502] times for a random walk; a correction stops that.",
        ("literature.rotational_equilibrium", "literature.gradients_at_the_end")),
    Row("Is the right decay of a linear regression known beforehand?",
        "Yes: what theory says is the best of the grid at every number of examples, and removes double descent (at as "
        "many examples as inputs the risk is 1,164 without it, 0.64 with it). On noisy labels it lowers the test error "
        "by 48 % [44, 51] where examples are fewer than inputs, by 29 % [25, 34] where they are more.",
        ("literature.double_descent", "literature.krogh_hertz")),
    Row("Does decay raise accuracy, and when is it needed?",
        "It gains 3.0 to 3.3 points where labels of digits are noisy, 1.3 and 0.7 where data are few, 0.6 and 0.8 "
        "where they are ample; the largest decays tried cost 39 to 70. A smaller net does not replace it: half the "
        "width without decay is 1.9 [1.4, 2.4] to 7.8 [5.8, 9.9] points less accurate.",
        ("article.data_regimes", "article.when_needed")),
    Row("Are weight decay and L2 regularization two names for one thing?",
        "Under SGD without momentum alone. Under Adam the value that is best for L2 costs 11.4 points [9.8, 12.9] as a "
        "decay; each tuned for itself, they differ by -0.2 [-0.7, 0.3].",
        ("article.one_name",)),
    Row("Is the textbook's update rule gradient descent, and does it shrink weights by one factor per epoch?",
        "It is, to 0.5 of a rounding of float32. By one factor L2 shrinks a weight under SGD, and decoupled decay "
        "under Adam too: every epoch leaves 0.8000 of it, as predicted. L2 inside Adam leaves 0.955 after the first "
        "epoch, because it subtracts.",
        ("article.update_rule", "article.shrinking_weight")),
    Row("Do other techniques replace decay, or add to it?",
        "On few, noisy digits L2 and decoupled decay gain 3.4 points, augmentation 3.2 [2.4, 4.0], L1 2.3 [1.3, 3.2], "
        "dropout and early stopping nothing that is seen. Beside batch normalization decay gains 1.6 [1.0, 2.2], less "
        "than alone. Standardised inputs without useless ones are worth more than any decay.",
        ("article.techniques", "article.combinations", "article.preprocessing")),
    Row("Does decay make training shorter, or more stable?",
        "Not shorter: a step with L2 takes 10 % [8, 12] longer at width 32, and steps are saved in some settings only. "
        "More stable: with decay 0.1 a net of eight layers learns at learning rates that are larger by 0.36 decades "
        "[0.28, 0.45].",
        ("article.training_time", "article.stability")),
    Row("Does decay make a net simpler, and spread importance over its inputs?",
        "Simpler, at no cost: the norm falls by 19 to 60 %, the effective rank by 25 to 65 %; but exact zeros come "
        "from a proximal step of L1 alone. Importance is not spread: the effective number of pixels falls, by 2 % "
        "[2, 3] with weight decay, 10 % [9, 11] with L2, 31 % [29, 33] with L1.",
        ("article.simplicity", "article.reliance")),
    Row("Is a decay found best by a grid, by random or by quasi-random search?",
        "With 32 trials all three fall 0.3 to 0.4 points short of 256 trials on many seeds; with 8 random search finds "
        "0.8 points [0.7, 1.0] less than the grid, and quasi-random search the same as the grid or more.",
        ("article.choosing",)),
    Row("Which layers of a small net should decay?",
        "All: they gain 4.5 points [3.7, 5.4], the hidden one alone 3.5 [2.3, 4.6], the input 3.8 [3.1, 4.5], the "
        "output 3.6 [2.7, 4.5]. Biases make no difference, 0.2 [-0.1, 0.4]; scales and shifts of batch normalization "
        "gain 1.1 [0.8, 1.3] more.",
        ("article.which_layers",)),
)  # fmt: skip
