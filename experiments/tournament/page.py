"""What the tournament found, as a page, two pictures, and a file that the adviser reads."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import wd_research as wd
from experiments.tournament.judge import BUDGETS, Cell, Judged, Score, Verdict, grouped
from experiments.tournament.marginal import EXISTS, scales_of_evidence
from experiments.tournament.worlds import WORLDS, World


def shares_of_worlds(cells: Sequence[Cell], rule: Judged) -> dict[World, float]:
    """What a rule loses in every world, as a share of what decay is worth there."""
    shares = rule.regrets / np.array([cell.scale for cell in cells])
    return {cells[of[0]].world: float(np.mean(shares[list(of)])) for worlds in grouped(cells) for of in worlds}


def heat_map(cells: Sequence[Cell], rules: Sequence[Judged]) -> wd.Figure:
    """Regret by rule and world: rules without runs, by what they lose in the median world."""
    table = {rule.rule: shares_of_worlds(cells, rule) for rule in rules if not rule.budget}
    names = sorted(table, key=lambda name: np.median(list(table[name].values())))
    worlds = list(next(iter(table.values())))
    shares = np.array([[table[name][world] for world in worlds] for name in names])
    figure, ((panel,),) = wd.panel_grid(
        1, 1, width=3.2 + 0.3 * len(worlds), height=2.6 + 0.26 * len(names), share=False
    )
    panel.imshow(np.clip(shares, 0, 1), cmap="Greys", vmin=0, vmax=1.25, aspect="auto")
    for row, column in np.ndindex(*shares.shape):
        dark = shares[row, column] > 0.6
        panel.text(column, row, f"{round(100 * float(shares[row, column]))}", ha="center", va="center", fontsize=6,
                   color="white" if dark else "black")  # fmt: skip
    panel.set_xticks(range(len(worlds)), [world.name for world in worlds], rotation=90, fontsize=7)
    panel.set_yticks(range(len(names)), names, fontsize=8)
    figure.supxlabel("what a rule without runs loses, percent of what the best decay gains over none there", fontsize=8)
    return figure


def against_budget(scores: Mapping[tuple[str, int], Score]) -> wd.Figure:
    """Regret in the median and in the worst world, over the runs that a rule pays for; rules without runs are lines."""
    figure, ((left, right),) = wd.panel_grid(1, 2, width=4.2, height=3.6, share=False)
    searches = dict.fromkeys(name for name, budget in scores if budget)
    free = {name: score for (name, budget), score in scores.items() if not budget}
    least = min(free, key=lambda name: free[name].median.mean)
    for panel, of, title in ((left, "median", "median world"), (right, "worst", "worst world")):
        for number, name in enumerate(searches):
            estimates = np.array([getattr(scores[name, budget], of) for budget in BUDGETS])
            style = wd.STYLES[number % len(wd.STYLES)]
            dashes = "-" if number < len(wd.STYLES) else ":"
            x = np.array(BUDGETS) * 1.03 ** (number - len(searches) / 2)
            lost, low, high = 100 * estimates.T
            panel.errorbar(x, lost, (lost - low, high - lost), linestyle=dashes, color=style.color, elinewidth=0.5,
                           marker="os^Dv<>P"[number % 8], markersize=4, linewidth=1.2, label=name)  # fmt: skip
        for name, dashes in ((least, "--"), ("0.1", "-.")):
            panel.axhline(100 * getattr(free[name], of).mean, color="#555555", linestyle=dashes, linewidth=1,
                          label=f"{name}, without a run")  # fmt: skip
        panel.set(xscale="log", yscale="log", title=title, xlabel="runs", ylabel="lost, percent of what decay gains")
        panel.set_xticks(BUDGETS, [str(budget) for budget in BUDGETS])
        panel.minorticks_off()
        panel.set_ylim(bottom=5)
        panel.yaxis.set_major_formatter("{x:g}")
        panel.grid(alpha=0.3)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=7)
    return figure


def found(cells: Sequence[Cell], rules: Sequence[Judged], scores: Mapping[tuple[str, int], Score]) -> dict[str, Any]:
    """What the adviser reads: every rule without runs with its constants, and every world with what is best there."""
    return {
        "rules": {
            rule.rule: {
                "features": rule.features,
                "constants": rule.constants,
                **scores[rule.rule, 0]._asdict(),
                "lost": {world.name: round(share, 4) for world, share in shares_of_worlds(cells, rule).items()},
                "best_over_said": {world.name: ratio for world, ratio in ratios_of_worlds(cells, rule).items()},
            }
            for rule in rules if rule.features
        },
        "worlds": {cells[of[0]].world.name: of_world([cells[c] for c in of]) for w in grouped(cells) for of in w},
    }  # fmt: skip


def ratios_of_worlds(cells: Sequence[Cell], rule: Judged) -> dict[World, float]:
    """What is best in a world over what a rule said, the geometric mean; worlds without a best decay are left out."""
    means = {
        cells[of[0]].world: float(np.exp(-np.mean(np.log(rule.said[list(of)])))) for w in grouped(cells) for of in w
    }
    return {world: float(f"{ratio:.3g}") for world, ratio in means.items() if np.isfinite(ratio)}


def of_world(cells: Sequence[Cell]) -> dict[str, Any]:
    """How a world is set up, and its best decay at every learning rate, as time scales in a run."""
    run, best = cells[0].run, {}
    for cell in cells:
        best.setdefault(f"{cell.run.learning_rate:.3g}", []).append(cell.decay)
    return {
        "optimizer": cells[0].world.optimizer, "steps": run.steps, "epochs": round(run.epochs, 4), "width": run.width,
        "per_parameter": round(run.per_parameter, 4), "unit": cells[0].seen.unit,
        "gain": round(float(np.mean([cell.gain for cell in cells])), 4), "best": best,
    }  # fmt: skip


def write(
    folder: Path, adviser: Path, cells: Sequence[Cell], rules: Sequence[Judged],
    scores: Mapping[tuple[str, int], Score], decided: Sequence[Verdict],
) -> None:  # fmt: skip
    """Write pictures into a folder, the page beside it, and what the adviser reads into its file."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in {"regret": heat_map(cells, rules), "budget": against_budget(scores)}.items():
        figure.savefig(folder / f"{name}.png")
    text = json.dumps(found(cells, rules, scores), indent=1)
    adviser.write_text(text + "\n")
    (folder.parent / "tournament.md").write_text("\n".join(page(folder.name, cells, rules, scores, decided)) + "\n")


def page(
    folder: str, cells: Sequence[Cell], rules: Sequence[Judged], scores: Mapping[tuple[str, int], Score],
    decided: Sequence[Verdict],
) -> list[str]:  # fmt: skip
    """The lines of docs/tournament.md."""
    worlds = [of for data in grouped(cells) for of in data]
    seeds = len(cells[0].seen.test) * 2
    return [
        "# The tournament: which decay, without a sweep?",
        "",
        f"Written by `make tournament`: {len(worlds)} of {len(WORLDS)} worlds have been run, "
        f"{len(cells[0].seen.scales)} decays x {len(cells[0].seen.rates)} learning rates x {seeds} seeds in each. "
        "A rule sees one half of the seeds and is scored on the other, both ways, at the best learning rate of a world "
        "and its neighbours. What it loses is "
        "told as a share of what the best decay gains over none there, or of two tolerances (.005 nats, half a point) "
        "where that is less: 0 is a whole sweep, 1 is no decay at all. Constants are fitted on worlds of other data. "
        "Intervals of 95 % are of a bootstrap over data, worlds of these, and learning rates; in simulations of all "
        "34 worlds, of 28 and of sixteen, 93 to 98 of a hundred hold the truth of means and medians "
        "(`scripts/simulate_tournament.py`).",
        "",
        f"![What rules lose in every world]({folder}/regret.png)",
        "",
        f"![What rules lose over the runs that they pay for]({folder}/budget.png)",
        "",
        "## What was stated before any world was run",
        "",
        "| statement | measured | verdict |",
        "|---|---|---|",
        *(f"| {of.statement} | {interval(of.measured)} | {of.verdict} |" for of in decided),
        "",
        "## Rules",
        "",
        "A decay is told as time scales in a run, steps * learning rate * decay; a rule is a constant times a feature.",
        "",
        "| rule | runs | constants | median, % | mean, % | worst, % | within tolerance |",
        "|---|---|---|---|---|---|---|",
        *(row_of(rule, scores[rule.rule, rule.budget]) for rule in rules),
        "",
        *evidence(cells),
        "## Worlds",
        "",
        "| world | epochs | seen over parameters | best decay, time scales | decay is worth |",
        "|---|---|---|---|---|",
        *(row_of_world([cells[c] for c in of]) for of in worlds),
        "",
        *own_rule(),
    ]


def evidence(cells: Sequence[Cell]) -> list[str]:
    """What the marginal likelihood says where it has a closed form; nothing where no such world has been run."""
    there = [cell for cell in cells if cell.world.data in EXISTS]
    if not there:
        return []
    said = [scales_of_evidence(cell.world, cell.run.learning_rate, len(cell.seen.test)) for cell in there]
    lost = [float(cell.regret(of)) / cell.scale for cell, of in zip(there, said, strict=True)]
    return [
        "The evidence, the likelihood of the training data under all weights that a decay makes likely (MacKay 1992), "
        f"has a closed form where the net is linear ({', '.join(EXISTS)}). Without a run it says "
        f"{min(said):.3g} to {max(said):.3g} time scales there, and loses {100 * np.mean(lost):.1f} % of what decay "
        f"gains, at most {100 * max(lost):.1f} %.",
        "",
    ]


def interval(measured: wd.Estimate, factor: float = 1.0, digits: int = 2) -> str:
    """`0.05 [0.01, 0.09]`."""
    mean, low, high = (f"{factor * number:.{digits}f}" for number in measured)
    return f"{mean} [{low}, {high}]"


def row_of(rule: Judged, score: Score) -> str:
    """A rule in the table."""
    constants = ", ".join(f"{constant:.3g}" for constant in rule.constants)
    parts = (interval(part, 100, 0) for part in (score.median, score.mean, score.worst))
    return f"| {rule.rule} | {rule.budget} | {constants} | {' | '.join(parts)} | {100 * score.within:.0f} % |"


def row_of_world(cells: Sequence[Cell]) -> str:
    """A world in the table."""
    best, gain = [cell.decay for cell in cells], np.mean([cell.gain for cell in cells])
    spread = f"{min(best):.2g} to {max(best):.2g}" if min(best) < max(best) else f"{min(best):.2g}"
    run, unit = cells[0].run, cells[0].seen.unit
    return f"| {cells[0].world.name} | {run.epochs:.3g} | {run.per_parameter:.3g} | {spread} | {gain:.3g} {unit} |"


def own_rule() -> list[str]:
    """How somebody else's rule takes part."""
    return [
        "## A rule of your own",
        "",
        "A world is a file in `docs/tournament/worlds` that `numpy.load` reads: `scales` f64[k], the decays as time "
        "scales in a run, ascending, of which the first is 0; `rates` f64[l], the learning rates; `validation` "
        "f32[s, l, k, t], what is lost on validation data (nats, or points of accuracy: `unit`) on every seed, behind "
        "each of the parts of the training; `test` f32[s, l, k], what is lost on test data at its end; `bounded` "
        "f32[s, l], the same under CPR; `falling` f32[s, l], and under AutoL2; `world`, data, optimizer and steps. The "
        "data and the nets are in `experiments/tournament/worlds.py`. "
        "A rule is a file with one function:",
        "",
        "```python",
        "import numpy as np",
        "",
        "",
        "def rule(runs, rng):",
        '    """Two runs, a decade apart, and the better of them."""',
        "    places = runs.places[[len(runs.places) // 3, 2 * len(runs.places) // 3]]",
        "    lost = [runs.run(place) for place in places] if runs.budget > 1 else [0, 1]",
        "    return runs.scales[places[np.argmin(lost)]]",
        "```",
        "",
        "`runs.places` are the decays among which to look, numbers into `runs.scales`, which are time scales in a run; "
        "`runs.run(place, seed=0, share=1.0)` pays for a run, or a share of its training, and says what is lost on "
        "validation data; `runs.shorter(place)` is a run four times shorter, or None; `runs.budget` is how many whole "
        "runs it may pay for. `runs.setting` has steps, learning_rate, epochs and width, for a rule that pays for "
        "none: it returns `decay * runs.setting.learning_rate * runs.setting.steps`. "
        "`python -m experiments.tournament.judging --rule FILE` judges it alone, prints what it loses, and writes "
        "nothing; what the others lose stands above. A rule that is to stay on this page has its line in `SEARCHES` of "
        "`experiments/tournament/rules.py`, or, where it asks for no run, in `FEATURES` of "
        "`wd_research/decay/rules.py`, from which the adviser takes it.",
    ]
