"""What a run takes, before it starts: its plan, its memory, its tiles, and programs that are compiled once for ever."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.test_decay_values import ROOT, command
from tests.training import cases
from wd_research.cli import main
from wd_research.experiment import Experiment
from wd_research.reporting.folder import read_results

COUNTING = """
import sys
from dataclasses import replace
from pathlib import Path
import jax
from tests.training import cases
from wd_research.experiment import Experiment
from wd_research.measuring import measure

missed = []
jax.monitoring.register_event_listener(lambda name, **_: missed.append(name) if "cache_misses" in name else None)
arm = replace(cases.arm("coupled"), points=cases.points((0.0, float(sys.argv[1]))))
measure(Experiment({"arm": arm}, seeds=2, steps=4, evaluations=2), Path(sys.argv[2]))
print("misses", len(missed))
"""


def test_a_second_process_with_other_numbers_compiles_nothing(tmp_path):
    """Counted by JAX itself: it asks the cache for every program, and none is missing."""
    home = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    home |= {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    misses = []
    for decay in ("0.1", "3"):
        command = [sys.executable, "-W", "error", "-c", COUNTING, decay, str(tmp_path / decay)]
        done = subprocess.run(command, capture_output=True, text=True, env=home)
        assert (done.returncode, done.stderr) == (0, "")
        misses.append(int(done.stdout.split()[-1]))
    assert misses[0] > 3
    assert misses[1] == 0
    assert any((tmp_path / "cache" / "wd_research").iterdir())


def experiment(*, steps: int = 4) -> Experiment:
    """Two arms that are built apart and compute the same."""
    return Experiment({name: cases.parabola((0.0, 0.1)) for name in ("one", "other")}, seeds=2, steps=steps)


def by_command_line(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["experiment", *map(str, words)])
    main(experiment)


def test_a_plan_says_what_it_takes_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    by_command_line(monkeypatch, "--steps", 50, "--block", "sequential", "--plan")
    said, error = capsys.readouterr()
    assert error == ""
    for name in ("one", "other"):
        pattern = rf"^{name}: [\de.-]+ GB, 1 tile\(s\) of 2 points at 2 seeds, sequential, [\d.]+ s"
        assert re.search(pattern, said, re.MULTILINE)
    assert "1 program(s), compiled in" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("memory", "sentence"),
    [("0", "error: --memory 0 is no room: give gigabytes above 0\n"), ("1e-9", "error: --memory 1e-09 is not enough")],
)
def test_no_room_gets_one_sentence(memory, sentence, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        by_command_line(monkeypatch, "--workdir", tmp_path / "run", "--memory", memory)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(sentence)
    assert error.count("\n") == 1


@pytest.mark.slow
def test_tiles_answer_as_the_whole_does(tmp_path):
    words = ["--steps", "20", "--seeds", "8", "--width", "128", "--evaluations", "2", "--learning-rates", "0.01",
             "--strengths", "0", "0.1", "--decays", *(str(0.1 * i) for i in range(12))]  # fmt: skip
    ends, memory = [], []
    for folder in (tmp_path / "whole", tmp_path / "cut"):
        done = subprocess.run(command(*words, "--workdir", folder, *memory), cwd=ROOT, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        plan = json.loads((folder / "experiment.json").read_text())["plans"]["decoupled"]
        memory = ["--memory", str(0.7e-9 * plan["memory"])]
        ends.append((plan["tiles"], read_results(folder / "results.nc")["decoupled"]))
    (one, whole), (several, cut) = ends
    assert one == 1 < several
    assert whole.sizes == cut.sizes
    for name in ("test_loss", "running_objective"):
        np.testing.assert_allclose(whole[name], cut[name], rtol=1e-4)


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="Linux counts there what a process holds at its fullest"
)
@pytest.mark.slow
@pytest.mark.parametrize(("block", "decays"), [(1, 600), (None, 400)])
def test_the_memory_foretold_is_what_a_population_takes(block, decays):
    """Of what the process holds at its fullest, the growth since all is compiled and a small population has run."""
    measuring = f"""
import re
from pathlib import Path
from wd_research.training.devices import prepare_jax
prepare_jax()
import jax
import numpy as np
from experiments.decay_values import experiment
from wd_research.training.population import all_devices, compile_population
def compiled(decays):
    arm = experiment(decays=tuple(range(decays)), learning_rates=(0.01,), width=512).arms["decoupled"]
    population = compile_population(arm, 2, 4, all_devices(), {block})
    return population, population.put(arm)
def run(population, inputs):
    members = population.init(inputs)
    for start in (0, 4):
        clock = np.int32(start), np.int32(2), np.bool_(True)
        members = jax.block_until_ready(population.advance(members, inputs, *clock))
    jax.block_until_ready(population.evaluate(members, inputs))
def fullest():
    status = Path("/proc/self/status").read_text()  # getrusage would count the process that started this one
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1])
run(*compiled(2))
population, inputs = compiled({decays})
Path("/proc/self/clear_refs").write_text("5")  # at its fullest from now on
held = fullest()
run(population, inputs)
print(population.memory, fullest() - held)
"""
    done = subprocess.run([sys.executable, "-c", measuring], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    foretold, grown = map(int, done.stdout.split())
    assert grown > 500e6
    assert foretold == pytest.approx(grown, rel=0.2)
