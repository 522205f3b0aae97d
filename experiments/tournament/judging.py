"""Judge all rules by the worlds that have been run, and write the page.

python -m experiments.tournament.judging

python -m experiments.tournament.judging --rule mine.py     # that one alone; nothing is written
"""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

import wd_research as wd
from experiments.tournament import page
from experiments.tournament.judge import BUDGETS, Cell, Judged, Score, cells_of, judged, scored, verdicts, without_runs
from experiments.tournament.rules import SEARCHES, Runs, Search
from experiments.tournament.table import tables_in
from wd_research.cli import stop
from wd_research.parsing import in_one_sentence


def judging(
    folder: Annotated[Path, tyro.conf.Positional] = Path("docs/tournament/worlds"),
    rule: Path | None = None,
    out: Path = Path("docs/tournament"),
    adviser: Path = Path("wd_research/tournament.json"),
) -> None:
    """Judge all rules by the worlds in a folder, print what they lose, and write a page and its pictures.

    A rule of your own is judged alone, and nothing is written.

    Args:
        folder: Where the tables of the worlds are.
        rule: A file with a rule of your own, a function rule(runs, rng).
        out: Folder of the pictures; the page lies beside it.
        adviser: File that `python -m wd_research advise` reads.
    """
    search = searched(rule) if rule else None
    cells = cells_of(tables_in(folder))
    if rule and search:
        mine = alone(rule.stem, search, cells)
        print_losses(mine, {(of.rule, of.budget): scored(cells, of.regrets) for of in mine})
        return
    rules = without_runs(cells)
    for name, search in SEARCHES.items():
        print(f"judging {name}", flush=True)
        rules += [judged(name, search, budget, cells) for budget in BUDGETS]
    scores = {(of.rule, of.budget): scored(cells, of.regrets) for of in rules}
    decided = verdicts(cells, rules)
    page.write(out, adviser, cells, rules, scores, decided)
    print_losses(rules, scores)
    for of in decided:
        print(f"{of.verdict}: {of.statement} {page.interval(of.measured)}")


def alone(name: str, search: Search, cells: Sequence[Cell]) -> list[Judged]:
    """What somebody's rule loses at every budget; once, at none, where it pays for no run.

    Raises UserError where what it says is no decay.
    """
    spent = []

    def checked(runs: Runs, rng: np.random.Generator) -> float:
        said = search(runs, rng)
        if not (isinstance(said, int | float | np.integer | np.floating) and 0 <= said < np.inf):
            raise wd.UserError(f"{name} says {said!r}, which is no decay: return one number from 0, in time scales in "
                               "a run, such as runs.scales[place], or decay * learning rate * steps")  # fmt: skip
        spent.append(runs.spent)
        return float(said)

    every = [judged(name, checked, budget, cells) for budget in BUDGETS]
    return every if any(spent) else [every[0]._replace(budget=0)]


def print_losses(rules: list[Judged], scores: Mapping[tuple[str, int], Score]) -> None:
    """A line for every rule."""
    for rule in rules:
        score = scores[rule.rule, rule.budget]
        print(
            f"{rule.rule:32} {rule.budget:3} runs  mean {page.interval(score.mean, 100, 0):14} % worst "
            f"{page.interval(score.worst, 100, 0)} %"
        )


def searched(file: Path) -> Search:
    """The rule in a file. Raises UserError where there is none."""
    spec = importlib.util.spec_from_file_location(file.stem, file) if file.suffix == ".py" else None
    if not file.is_file() or spec is None or spec.loader is None:
        raise wd.UserError(f"{file} is no file of Python: give one that defines rule(runs, rng)")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not callable(getattr(module, "rule", None)):
        raise wd.UserError(f"{file} has no function rule: define rule(runs, rng), which says a decay")
    return module.rule


def main() -> None:
    """Read the flags and judge; exit code 2, with one sentence, for bad input."""
    try:
        with in_one_sentence():
            tyro.cli(judging, description=__doc__)
    except wd.UserError as error:
        stop(str(error))


if __name__ == "__main__":
    main()
