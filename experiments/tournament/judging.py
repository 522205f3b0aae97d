"""Judge all rules by the worlds that have been run, and write the page.

python -m experiments.tournament.judging

python -m experiments.tournament.judging --rule mine.py     # beside all others
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import tyro

import wd_research as wd
from experiments.tournament import page
from experiments.tournament.judge import BUDGETS, Judged, Score, cells_of, judged, scored, verdicts, without_runs
from experiments.tournament.rules import SEARCHES, Search
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

    Args:
        folder: Where the tables of the worlds are.
        rule: A file with a rule of your own, a function rule(runs, rng).
        out: Folder of the pictures; the page lies beside it.
        adviser: File that `python -m wd_research advise` reads.
    """
    mine = {rule.stem: searched(rule)} if rule else {}
    cells = cells_of(tables_in(folder))
    rules = without_runs(cells)
    for name, search in (dict(SEARCHES) | mine).items():
        print(f"judging {name}", flush=True)
        rules += [judged(name, search, budget, cells) for budget in BUDGETS]
    scores = {(of.rule, of.budget): scored(cells, of.regrets) for of in rules}
    decided = verdicts(cells, rules)
    page.write(out, adviser, cells, rules, scores, decided)
    print_losses(rules, scores)
    for of in decided:
        print(f"{of.verdict}: {of.statement} {page.interval(of.measured)}")


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
