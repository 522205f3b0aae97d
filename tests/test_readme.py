"""The README and docs/decay.md are true: examples run as they stand, commands too, and what they show is there.

So is what the README leaves to other pages: the files and flags of a run, and the map of the repository.
"""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from wd_research.decay.units import UNITS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DECAY = (ROOT / "docs" / "decay.md").read_text()
YOUR_OWN = (ROOT / "docs" / "your_own.md").read_text()
STRUCTURE = (ROOT / "docs" / "architecture.md").read_text().split("```")[1]
COMMANDS = re.findall(r"^\.venv/bin/python (-m [^#\n]*)", README, re.MULTILINE)
STOPS = ("--help", "--audit", "--plan")  # flags that leave no folder


def run(words, folder=None):
    extra = ["--workdir", str(folder)] if folder else []
    done = subprocess.run([sys.executable, "-W", "error", *words, *extra], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_experiment_is_short_and_runs_as_it_stands(tmp_path):
    example = re.search(r'```python\n(""".*?)```', README, re.DOTALL)
    assert example
    assert len(example[1].splitlines()) < 20
    assert re.findall(r"^.*wd_research.*$", example[1], re.MULTILINE) == ["import wd_research as wd"]
    (tmp_path / "mine.py").write_text(example[1])
    said = run([str(tmp_path / "mine.py"), "--steps", "6", "--seeds", "2"], tmp_path / "run")
    assert "generalises best" in said
    left = re.findall(r"^\| `([\w./]+)` \|", section(YOUR_OWN, "What a run leaves"), re.MULTILINE)
    assert {name.rstrip("/") for name in left} == {path.name for path in (tmp_path / "run").iterdir()}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_run(command, tmp_path):
    leaves_a_folder = "experiments." in command and not any(word in command for word in STOPS)
    run(shlex.split(command), tmp_path / "run" if leaves_a_folder else None)


def test_the_audit_of_ones_own_finds_what_the_text_says(tmp_path):
    example = re.search(r"```python\n(import jax\n.*?)```", README, re.DOTALL)
    assert example
    (tmp_path / "own.py").write_text(example[1])
    said = run([str(tmp_path / "own.py")])
    assert "warning: biases or norm scales decay: bias\n" in said
    assert re.search(r"^kernel  8x4 .* 10$", said, re.MULTILINE)


def test_the_optimizer_of_the_algebra_page_takes_a_step():
    import jax.numpy as jnp

    example, names = re.search(r"```python\n(.*?)```", DECAY, re.DOTALL), {}
    assert example
    exec(example[1], names)
    params = {"kernel": jnp.ones((2, 2))}
    updates, _ = names["optimizer"].update(params, names["optimizer"].init(params), params)
    assert float(updates["kernel"][0, 0]) == pytest.approx(-1e-3 * (1 + 0.1), rel=1e-4)


def test_the_training_loop_of_the_algebra_page_trains_and_is_audited(tmp_path):
    example = re.search(r"## In your own training loop.*?```python\n(.*?)```", DECAY, re.DOTALL)
    assert example
    (tmp_path / "loop.py").write_text(example[1])
    printed = run([str(tmp_path / "loop.py")])
    assert "in the loss and corrected" in printed
    assert float(printed.split("loss ")[-1]) < 1


def test_the_rules_are_links_as_they_are_written():
    import jax
    import optax

    from wd_research.decay import bounds, chance, falling, masks, pulls, sphere, stable, transforms

    modules = masks, pulls, transforms, bounds, chance, falling, sphere, stable
    names = {name: value for module in modules for name, value in vars(module).items()}
    names |= {"r": 0.1, "b": 5, "n": 50, "epochs": 4, "schedule": lambda t: 1.0, "factor": lambda t: 0.5**t,
              "under_norms": masks.everything, "core": optax.identity(), "eta": 0.1, "s": lambda t: 1.0,
              "key": jax.random.key(0), "warmup": 3, "every": 5, "mask": masks.everything}  # fmt: skip
    lines = re.findall(r"^\| [^|`]+ \| `([^`]+)`", DECAY.split("## How fast")[1].split("\n## ")[0], re.MULTILINE)
    assert len(lines) == 12
    params = {"first": {"kernel": names["jnp"].ones((2, 2))}, "last": {"kernel": names["jnp"].ones((2, 2))}}
    for line in lines:
        link = eval(line, names)
        updates, _ = optax.with_extra_args_support(link).update(params, link.init(params), params, value=1.0)
        least = -0.2 if line.startswith(("on_sphere", "keep_norm")) else 1  # steps, and not ascent directions
        assert float(updates["first"]["kernel"][0, 0]) >= least, line


def test_the_units_table_is_the_programs():
    rows = re.findall(r"^\| `([\w-]+)` \| (\w+) \| .* \| (.+) \|$", DECAY.split("## Units")[1], re.MULTILINE)
    assert rows == [(unit.name, unit.family, unit.formula) for unit in UNITS]


def test_there_were_commands_to_run_and_the_linked_files_exist():
    assert len(COMMANDS) == 7
    for folder, text in ((ROOT, README), (ROOT / "docs", DECAY)):
        for target in re.findall(r"\]\(([^)]+)\)|(?:src|href)=\"([^\"]+)\"", text):
            file, _, heading = "".join(target).partition("#")
            page = folder / file if file else ROOT / "README.md"
            assert page.exists(), target
            assert not heading or heading in anchors(page.read_text()), target
    for name in re.findall(r"`((?:experiments|literature|article|decay|tests)/[\w/]+(?:\.py)?)`", DECAY):
        assert any((ROOT / home / name).exists() for home in ("", "experiments", "wd_research")), name


def test_the_map_of_the_repository_names_what_is_there():
    home, found = "", []
    for line in STRUCTURE.strip().splitlines():
        first, *others = re.findall(r"\b\w+(?:\.py\b|/)", line) or [""]
        if not line.startswith(" "):
            home, first = first, ""
        found += [ROOT / home / name for name in (first, *others) if name]
    assert len(found) > 40
    assert not [path for path in found if not path.exists()]


def test_the_structure_names_every_module():
    files = [path for path in (ROOT / "wd_research").rglob("*.py") if path.name != "__init__.py"]
    assert not [path.stem for path in files if not re.search(rf"\b{path.stem}\b", STRUCTURE)]


def test_the_flags_of_a_run_are_there():
    told = re.findall(r"`--([\w-]+)", section(YOUR_OWN, "The flags of a run"))
    known = run(["-m", "experiments.decay_values", "--help"])
    assert len(told) > 12
    assert not [flag for flag in told if f"--{flag}" not in known]


def test_the_readme_is_short_and_says_how_many_conventions_there_are():
    assert len(README.splitlines()) < 150
    assert f"- **What a decay is elsewhere.** {len(UNITS)} conventions" in README


def test_the_readme_has_the_figures_of_the_main_experiment():
    kept = json.loads((ROOT / "docs" / "evidence" / "decay_values.json").read_text())
    assert f"{kept['members']:,} nets" in README
    (helps,) = (claim for claim in kept["claims"] if claim["id"] == "decay-helps")
    gain, low, high = (f"{100 * helps[key]:+.1f}" for key in ("measured", "low", "high"))
    assert f"| {gain} points [{low}, {high}] |" in README


def section(page, title):
    """What stands under a heading of a page, as far as the next one."""
    return page.split(f"\n## {title}\n")[1].split("\n## ")[0]


def anchors(page):
    """What links to the headings of a page end in."""
    headings = re.findall(r"^#+ (.*)", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
