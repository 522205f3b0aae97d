"""What a popular article on weight decay says, and a question about the L2 update rule, row by row and in our words."""

from typing import NamedTuple

ARTICLE = "a popular article on weight decay"
QUESTION = "a question why the L2 term is always added"


class Row(NamedTuple):
    """One thing that is said, as something that can be measured."""

    statement: str
    stated: str = ""  # its own figures, where it gives any
    remark: str = ""  # where it contradicts itself


ROWS = {
    "A0": Row("Decay lowers training accuracy and raises validation accuracy.",
              "training 98.5 -> 97.9 %, validation 85.2 -> 88.6 %"),
    "A0b": Row("L1 and L2 both reduce complexity; L1 makes weights zero, L2 does not."),
    "A1": Row("Decay raises accuracy.", "95.3 -> 97.8 %"),
    "A2": Row("Decay shortens training.", "10 h -> 8.5 h"),
    "A3": Row("Training is five steps: initialise, forward, loss, backward, update."),
    "A4": Row("A weight shrinks by the same factor in every epoch.", "0.7, 0.56, 0.45, 0.36",
              "0.45 and 0.36 are 0.448 and 0.3584, rounded"),
    "A5": Row("Weight decay gains most, then L2, then L1.", "none 0, weight decay 2.5, L1 1.8, L2 2.1 points",
              "C0 says that weight decay and L2 are one thing"),
    "A6": Row("Accuracy rises with decay from 1e-4 to 1e-2.", "96.7, 97.2, 97.8 %"),
    "A7": Row("With weight decay the share of non-zero weights falls epoch by epoch.", "49.2, 34.8, 25.1 %",
              "A0b says that L2 makes no weight zero"),
    "A8": Row("With decay the loss falls epoch by epoch.", "0.98, 0.89, 0.76, 0.63"),
    "A9": Row("L2 is ahead of L1, and L1 of batch normalization.", "97.8, 97.4, 97.2 %",
              "A1 and A5 would give L2 97.4 and L1 97.1 %; batch normalization is no kind of decay"),
    "A10": Row("With decay validation accuracy rises epoch by epoch.", "90.2, 92.1, 94.5, 96.3 %"),
    "B1": Row("Decay keeps weights small and models simple, and lowers the risk of numerical instability."),
    "B2": Row("Decay does not always improve, and can harm learning."),
    "B3": Row("Decay does not replace preprocessing or feature work, and helps in part against irrelevant features."),
    "B4": Row("More decay is not always better: too much suppresses useful features."),
    "B5": Row("Decay is no cure-all for overfitting, noise and instability, and belongs beside other techniques."),
    "B6": Row("Decay makes a model rely less on single features; both L1 and L2 spread importance over all weights.",
              "", "A0b says that L1 makes weights zero"),
    "C0": Row("Weight decay and L2 regularization are two names for one thing.", "", "A5 gives them unlike gains"),
    "C1": Row("Decay reduces overfitting and improves generalization."),
    "C2": Row("Decay controls the complexity of a model."),
    "C3": Row("Decay can improve convergence."),
    "C4": Row("Too much decay underfits, and it adds a hyperparameter."),
    "C5": Row("The hyperparameter is chosen by grid or random search on separate validation data."),
    "C6": Row("Decay combines with dropout and batch normalization, which complement it."),
    "C7": Row("Decay is not always necessary: that depends on task and size of the data; a simpler model may do."),
    "C8": Row("Decay can act on all layers, input and output included, but more often acts on hidden ones."),
    "C9": Row("L1, dropout, early stopping and data augmentation are alternatives."),
    "D1": Row("The rule is the gradient step of C0 + lambda/(2n) sum w^2: one part always pulls toward zero."),
    "D2": Row("A line of negative slope needs a negative weight, which decay shrinks without changing its sign."),
    "D3": Row("The asker's formula adds the same non-negative number to every weight, so it is not the rule."),
    "D4": Row("Lambda is divided by 2n, a convention of its own."),
    "D5": Row("With small weights the output changes little under outlying inputs."),
    "D6": Row("L2 punishes large weights more than small ones; the pull of L1 is constant."),
}  # fmt: skip


def row_of(claim: str) -> str:
    """The row that a claim's id begins with: `A0-training-falls` -> `A0`."""
    return claim.partition("-")[0]


def source_of(row: str) -> str:
    """Who says a row, and with which figures: the source of a claim."""
    statement, stated, _ = ROWS[row]
    return f"{QUESTION if row.startswith('D') else ARTICLE}, {row}: {stated or statement}"
