"""docs/extending.md is true: every file in it runs as it stands, and shows what its heading says."""

import json
import re
import subprocess
import sys
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs" / "extending.md").read_text()
FILES = dict(re.findall(r"^`(\w+\.py)`:\n\n```python\n(.*?)```", GUIDE, re.MULTILINE | re.DOTALL))
KINDS = ("penalty", "rule", "hyperparameter", "net", "task", "probe", "claim", "experiment")


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_file_runs_as_it_stands_and_answers(name, tmp_path):
    (tmp_path / name).write_text(FILES[name])
    words = [name, "--steps", "6", "--seeds", "2", "--workdir", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-W", "error", *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["question"] == re.match(r'"""(.*?\?)"""\n', FILES[name])[1]  # the docstring begins with it
    assert summary["answer"] in done.stdout.replace("\n", " ")
    assert all(claim["statement"] for claim in summary["claims"])
    assert bool(summary["claims"]) == ("Claim(" in FILES[name])


class Dropping(nn.Module):
    """A net of somebody else's: batch statistics, and dropout in training."""

    @nn.compact
    def __call__(self, inputs, train=False):
        hidden = nn.BatchNorm(use_running_average=not train, momentum=0.5)(nn.Dense(8)(inputs))
        return nn.Dense(10)(nn.Dropout(0.5, deterministic=not train)(hidden))


@pytest.mark.parametrize("name", ["elimination.py", "smoothing.py", "fresh.py"])
def test_an_objective_of_the_guide_keeps_batch_statistics_and_dropout_of_another_net(name):
    text, count = re.subn(r"wd\.Mlp\(\(32,\), 10?\)", "Dropping()", FILES[name])
    assert count == 1
    module = {"__name__": "guide", "Dropping": Dropping}
    exec(text, module)
    for arm in module["experiment"](steps=4, seeds=2).arms.values():
        task, key = arm.task, jax.random.key(1)
        params, extras = task.init(key)
        batch = task.gather(task.data, task.split(0), task.order(key, jnp.int32(0), 1)[0])
        loss = arm.minimised(jax.tree.map(lambda column: jnp.float32(column[-1]), arm.points))
        (value, (after, metrics)), (other, _) = (loss(params, extras, batch, jax.random.key(seed)) for seed in (1, 2))
        assert value != other  # dropout draws by the key
        assert all((old != new).all() for old, new in zip(*map(jax.tree.leaves, (extras, after)), strict=True))
        assert jax.tree.leaves(extras)
        assert np.isfinite(metrics["loss"])


def test_the_smoothed_loss_is_the_cross_entropy_of_smooth_labels():
    module = {"__name__": "guide"}
    exec(FILES["smoothing.py"], module)
    arm = module["experiment"](steps=4, seeds=2).arms["smoothing"]
    task, key = arm.task, jax.random.key(1)
    params, extras = task.init(key)
    batch = task.gather(task.data, task.split(0), task.order(key, jnp.int32(0), 1)[0])
    for number, smoothing in enumerate(np.asarray(arm.points.smoothing)):
        loss = arm.minimised(jax.tree.map(lambda column, number=number: jnp.float32(column[number]), arm.points))
        targets = optax.smooth_labels(jax.nn.one_hot(batch.targets, 10), smoothing)
        wanted = optax.softmax_cross_entropy(task.predict(params, extras, batch.inputs), targets).mean()
        assert loss(params, extras, batch, key)[0] == pytest.approx(float(wanted), rel=1e-5)


def test_all_kinds_are_there_each_with_a_whole_file():
    sections = dict(re.findall(r"^## A new (\w+)\n(.*?)(?=^## |\Z)", GUIDE, re.MULTILINE | re.DOTALL))
    assert tuple(sections) == KINDS
    for kind, section in sections.items():
        assert re.search(r"^`\w+\.py`:\n\n```python\n", section, re.MULTILINE), kind
    assert len(FILES) == GUIDE.count("```python") == len(KINDS) + 1  # a task is made in two ways


def test_the_files_are_short_and_end_alike():
    for name, text in FILES.items():
        lines = text.splitlines()
        assert lines[-2:] == ['if __name__ == "__main__":', "    wd.main(experiment)"], name
        assert len([line for line in lines if line]) < 50, name
        assert max(map(len, lines)) <= 120, name


def test_the_linked_files_exist():
    for target in re.findall(r"\]\(([^)]+)\)", GUIDE):
        assert (ROOT / "docs" / target).exists(), target
    for name in re.findall(r"`((?:wd_research|decay|experiments)/[\w/]*(?:\.py)?)`", GUIDE):
        assert any((ROOT / home / name).exists() for home in ("", "wd_research")), name
    for name in re.findall(r"\.venv/bin/python (\w+\.py)", GUIDE):
        assert name in FILES, name
