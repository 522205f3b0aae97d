"""The tournament's judge: worlds that are made up, of which it is known what every rule loses."""

import inspect
import json

import numpy as np
import pytest
from sklearn.linear_model import Ridge

import wd_research as wd
from experiments.tournament import falling, judge, page, truth
from experiments.tournament.judging import alone, judging, searched
from experiments.tournament.marginal import best_ratio, scales_of_evidence
from experiments.tournament.rules import SEARCHES, Runs
from experiments.tournament.table import DIGITS, MEASURED, Table, at, table_of, tables_in, write_table
from experiments.tournament.worlds import LONG, WORLDS, World, lesson
from wd_research.decay.rules import FEATURES, Run

RUN = Run(400, 1e-3, 20.0, 32.0)
SCALES = np.r_[0, 0.04 * 2 ** (2 * np.arange(20) / 3)]
RATES = np.array([1e-3, 2e-3, 4e-3])
SOME = [world for world in WORLDS if world.data in ("digits_200", "cancer", "diamonds", "ridge")]
LOOKS = 8


def table(world: World, best, seeds: int = 8, noise: float = 0.0, early: float = 0.0) -> Table:
    """A world that loses 10 units at a decay three e-folds from best(run); unfinished, its best lies `early` lower."""
    x, rng = np.r_[-9, np.log(SCALES[1:])], np.random.default_rng(len(world.name))

    def lost(share: float) -> np.ndarray:
        middles = [np.log(best(judge.run_of(world, rate))) - early * (1 - share) for rate in RATES]
        curves = np.array([10 * np.minimum(((x - middle) / 3) ** 2, 1) for middle in middles])
        curves += np.array([1.0, 0.0, 1.0])[:, None]  # the middle learning rate is the best
        return curves + rng.normal(size=(seeds, 1, 1)) + noise * rng.normal(size=(seeds, *curves.shape))

    curve = np.stack([lost((look + 1) / LOOKS) for look in range(LOOKS)], axis=-1)
    return Table(world, "points", SCALES, RATES, curve, curve[..., -1], curve[..., 0, -1], curve[..., 0, -1])


def cells(best, **changes) -> list[judge.Cell]:
    return judge.cells_of({world: table(world, best, **changes) for world in SOME})


@pytest.mark.parametrize("feature", FEATURES)
def test_the_rule_that_is_true_loses_nothing_and_its_constant_is_found(feature):
    middle = np.median([FEATURES[feature](judge.run_of(world, 2e-3)) for world in SOME])
    constant = judge.CONSTANTS[np.argmin(np.abs(judge.CONSTANTS * middle - 4))]
    of = cells(lambda run: np.clip(constant * FEATURES[feature](run), *SCALES[[2, -2]]))
    found = judge.fitted(feature, (feature,), of)
    assert found.constants == pytest.approx([constant], rel=0.3)  # within the steps of the grid of decays
    assert judge.scored(of, found.regrets).worst.mean < 0.02
    assert found.said == pytest.approx(np.ones(len(of)), rel=0.5)


def test_the_longer_of_two_is_fitted_by_both_constants():
    of = cells(lambda run: max(run.epochs / 8, 20.0))
    both, one = judge.fitted("both", ("epochs", "run"), of), judge.fitted("one", ("run",), of)
    assert both.constants == pytest.approx([1 / 8, 20], rel=0.3)
    assert judge.scored(of, both.regrets).worst.mean < 0.02 < judge.scored(of, one.regrets).worst.mean


def test_constants_are_fitted_on_other_data():
    def best(run: Run) -> float:
        return 20.0 if run.width == lesson("ridge").width else 1.0

    of = cells(best)
    regrets = judge.fitted("run", ("run",), of).regrets
    elsewhere = [cell.world.data == "ridge" for cell in of]
    assert regrets[elsewhere].min() > 5
    assert judge.best_elsewhere("ridge", of).max() < np.searchsorted(SCALES, 20)


def test_no_decay_loses_what_decay_is_worth_and_the_best_loses_nothing():
    of = cells(lambda run: 2.0)
    none = judge.scored(of, np.array([float(cell.regret(0.0)) for cell in of]))
    assert none.mean == pytest.approx((1, 1, 1))
    assert none.within == 0
    best = judge.scored(of, np.array([float(cell.regret(cell.decay)) for cell in of]))
    assert best.worst == pytest.approx((0, 0, 0))
    assert best.within == 1


@pytest.mark.parametrize("budget", judge.BUDGETS)
@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_says_a_decay_that_it_may_look_at_and_pays_no_more_than_it_has(name, budget):
    for seed, world in enumerate(SOME):
        twin = world._replace(steps=world.steps // 4)
        of, shorter = (table(each, lambda run: 3.0, noise=1) for each in (world, twin))
        rng, places = np.random.default_rng(seed), np.arange(3, 17)
        runs = Runs(of, 1, places, budget, rng.permutation(8), shorter if world in LONG else None, RUN)
        said = SEARCHES[name](runs, rng)  # raises where it asks for more
        assert SCALES[3] * (1 - 1e-9) <= said <= SCALES[16] * (1 + 1e-9)
        assert runs.spent <= budget


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_comes_nearer_with_more_runs_where_nothing_is_noise(name):
    of = cells(lambda run: 3.0)
    few, many = (judge.judged(name, SEARCHES[name], budget, of) for budget in (1, 16))
    assert judge.scored(of, many.regrets).mean.mean < max(0.03, 0.3 * judge.scored(of, few.regrets).mean.mean)


def test_a_rule_that_asks_for_more_than_it_has_is_told():
    runs = Runs(table(SOME[0], lambda run: 3.0), 0, np.arange(1, 5), 1, np.arange(8), None, RUN)
    assert runs.run(2, share=0.25)
    assert runs.run(2)  # to go on costs the rest
    assert runs.spent == 1
    with pytest.raises(ValueError, match=r"spent 1\.125 of 1 runs"):
        runs.run(3, share=0.125)


def test_what_unfinished_schedules_like_is_told_from_what_is_best():
    def share_of(early: float) -> judge.Verdict:
        of, searches = cells(lambda run: 8.0, early=early), ("parabola", judge.UNFINISHED)
        rules = judge.without_runs(of) + [judge.judged(name, SEARCHES[name], 4, of) for name in searches]
        return judge.verdicts(of, rules)[2]

    assert (share_of(2.0).verdict, share_of(2.0).measured.mean) == ("holds", 1)
    assert share_of(0.0).measured.mean < 1


@pytest.mark.parametrize(("wanted", "lost"), [(0, 5), (0.02, 4), (0.04, 3), (0.04 * 2 ** (1 / 3), 2), (1e9, 0)])
def test_between_decays_of_the_grid_losses_lie_on_lines(wanted, lost):
    curve = np.r_[5, 3, 1, np.zeros(18)]
    assert at(SCALES, curve, wanted) == pytest.approx(lost)


def test_page_and_pictures_say_every_rule_and_world(tmp_path):
    of, names = cells(lambda run: 3.0, noise=0.5), ("evenly spaced", "parabola", judge.UNFINISHED)
    rules = judge.without_runs(of) + [judge.judged(n, SEARCHES[n], b, of) for n in names for b in judge.BUDGETS]
    scores = {(rule.rule, rule.budget): judge.scored(of, rule.regrets) for rule in rules}
    page.write(tmp_path / "pictures", tmp_path / "it.json", of, rules, scores, judge.verdicts(of, rules))
    text = (tmp_path / "tournament.md").read_text()
    assert all(f"| {name} |" in text for name in [*names, *judge.AS_PUBLISHED, *(world.name for world in SOME)])
    assert all((tmp_path / "pictures" / f"{name}.png").stat().st_size > 10_000 for name in ("regret", "budget"))
    found = json.loads((tmp_path / "it.json").read_text())
    assert set(found["worlds"]) == {world.name for world in SOME}


def test_the_rule_of_the_page_is_one(tmp_path):
    file = tmp_path / "mine.py"
    lines = page.own_rule()
    file.write_text("\n".join(lines[lines.index("```python") + 1 : lines.index("```")]))
    of = cells(lambda run: 3.0)
    assert judge.judged("mine", searched(file), 2, of).regrets.shape == (len(of),)


def test_a_rule_of_ones_own_is_judged_alone_and_once_where_it_pays_for_no_run():
    def usual(runs, rng):
        return 0.1 * runs.setting.learning_rate * runs.setting.steps

    of = cells(lambda run: 3.0)
    (mine,) = alone("usual", usual, of)
    (theirs,) = [rule for rule in judge.without_runs(of) if rule.rule == "0.1"]
    assert mine.budget == 0
    np.testing.assert_allclose(mine.regrets, theirs.regrets, rtol=1e-5)
    paying = alone("paying", SEARCHES["parabola"], of)
    assert [rule.budget for rule in paying] == list(judge.BUDGETS)


@pytest.mark.parametrize("said", [float("nan"), -1.0, None, np.ones(2), "1", float("inf")])
def test_a_rule_that_says_no_decay_is_told(said):
    with pytest.raises(wd.UserError, match=r"mine says .*, which is no decay: return one number"):
        alone("mine", lambda runs, rng: said, cells(lambda run: 3.0))


def test_judging_a_rule_of_ones_own_writes_nothing(tmp_path, capsys):
    worlds, rule = tmp_path / "worlds", tmp_path / "parabola.py"
    worlds.mkdir()
    for world in {world.data: world for world in SOME}.values():
        write_table(table(world, lambda run: 3.0, noise=1), worlds / f"{world.folder}.npz")
    rule.write_text("def rule(runs, rng):\n    return runs.scales[5]\n")
    before = sorted(tmp_path.rglob("*"))
    judging(worlds, rule, tmp_path / "out", tmp_path / "adviser.json")
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [["parabola", "0"]]
    assert sorted(tmp_path.rglob("*")) == before


def test_the_evidence_finds_the_ratio_of_noise_to_weights():
    """alpha / beta = d sigma^2 for weights of norm 1 in d dimensions."""
    rng, found = np.random.default_rng(0), []
    for _ in range(20):
        inputs, weights = rng.normal(size=(80, 40)), rng.normal(size=40) / 40**0.5
        found.append(best_ratio(inputs, inputs @ weights + 0.5 * rng.normal(size=80)))
    assert np.median(found) == pytest.approx(40 * 0.5**2, rel=0.3)


def test_the_evidence_of_a_world_is_the_best_ridge_penalty_of_its_data():
    """Its decay, as that of scikit-learn's ridge regression, is nearly the best of all on other data."""
    world, rate = World("ridge", "momentum", 1_600), 0.02
    said = scales_of_evidence(world, rate, 8) / (world.steps * rate) / 2 * 60
    task, lost = lesson("ridge").task, []
    penalties = np.r_[said, np.geomspace(1e-2, 1e4, 61)]
    for seed in range(8):
        train, _, test = task.splits(task.data, task.split(seed)).values()
        fits = [Ridge(penalty).fit(train.inputs, train.targets) for penalty in penalties]
        lost.append([np.mean((fit.predict(test.inputs) - test.targets) ** 2) for fit in fits])
    ours, *others = np.mean(lost, axis=0)
    assert ours < 1.02 * min(others)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [("mine.txt", "", "is no file of Python"), ("none.py", None, "is no file of Python"),
     ("mine.py", "law = 1", "has no function rule")],
)  # fmt: skip
def test_a_file_without_a_rule_is_one_sentence(tmp_path, name, content, says):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(wd.UserError, match=says):
        searched(tmp_path / name)


def test_a_world_that_was_run_is_a_table(tmp_path):
    folders = [tmp_path / "truth", tmp_path / "falling"]
    for module, folder in zip((truth, falling), folders, strict=True):
        wd.run(module.experiment(**module.SHORT), folder, wd.How(audit=False), tensorboard=False)
    of = table_of(World("cancer", "adamw", 40), *folders)
    assert of.validation.shape == (4, 1, 3, 8)
    assert (of.test.shape, of.bounded.shape, of.falling.shape) == ((4, 1, 3), (4, 1), (4, 1))
    assert of.unit == "points"
    assert of.scales.tolist() == [0, 1, 16]
    assert (of.validation >= 0).all()
    assert (of.validation <= 100).all()


def test_a_table_is_kept_as_it_is(tmp_path):
    world = SOME[0]
    of = table(world, lambda run: 3.0, noise=1)
    write_table(of, tmp_path / f"{world.folder}.npz")
    (again,) = tables_in(tmp_path).values()
    assert (again.world, again.unit) == (world, of.unit)
    for name in ("scales", "rates", *MEASURED):
        np.testing.assert_allclose(getattr(again, name), getattr(of, name), rtol=1e-6, atol=0.6 * 10**-DIGITS)


@pytest.mark.parametrize("content", [b"", b"nothing", "half", "other"])
def test_a_table_that_is_none_is_one_sentence(tmp_path, content):
    file = tmp_path / f"{SOME[0].folder}.npz"
    if content == "other":
        np.savez(file, world=np.array(["nothing", "adamw", "3"]))
    elif content == "half":
        write_table(table(SOME[0], lambda run: 3.0), file)
        file.write_bytes(file.read_bytes()[:5_000])
    else:
        file.write_bytes(content)
    with pytest.raises(wd.UserError, match="is no table of a world: remove it"):
        tables_in(tmp_path)


def test_a_folder_without_tables_is_one_sentence(tmp_path):
    with pytest.raises(wd.UserError, match="holds no table of a world: run scripts/tournament"):
        tables_in(tmp_path)


def test_every_world_has_room_for_the_largest_decay():
    scales = inspect.signature(truth.experiment).parameters["scales"].default
    assert len(scales) == 21
    assert all(max(scales) < world.steps for world in WORLDS)
    assert len({world.folder for world in WORLDS}) == len(WORLDS) >= 12


@pytest.mark.parametrize(
    ("given", "says"),
    [({"scales": (0, 1_600)}, "1600 time scales in 1600 steps leave nothing of a weight"),
     ({"scales": (1,)}, "--scales has no 0"), ({"seeds": 0}, "--seeds 0 is too few")],
)  # fmt: skip
def test_flags_that_cannot_be_are_one_sentence(given, says):
    with pytest.raises(wd.UserError, match=says):
        truth.experiment(**given)
