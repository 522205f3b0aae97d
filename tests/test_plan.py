"""What a run takes, before it starts: its plan, its memory, its waves, and programs that are compiled once for ever."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests.test_decay_values import ROOT, command


def test_a_second_process_with_other_numbers_compiles_nothing(tmp_path):
    """Counted by JAX itself: it asks the cache for every program, and none is missing."""
    counting = (
        "import jax, runpy, sys\n"
        "from wd_research.training.devices import prepare_jax\n"
        "missed = []\n"
        "heard = lambda name, **_: missed.append(name) if 'cache_misses' in name else None\n"
        "jax.monitoring.register_event_listener(heard)\n"
        "sys.argv[0] = 'experiments.decay_values'\n"
        "try:\n"
        "    runpy.run_module('experiments.decay_values', run_name='__main__')\n"
        "finally:\n"
        "    print('misses', len(missed))\n"
    )
    home = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    home["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    misses = []
    for number, decays in enumerate((("0", "0.1"), ("0", "3"))):
        words = ["--steps", "4", "--seeds", "2", "--looks", "2", "--learning-rates", "0.01", "--strengths", "0", "0.1",
                 "--decays", *decays, "--workdir", str(tmp_path / str(number))]  # fmt: skip
        done = subprocess.run([sys.executable, "-W", "error", "-c", counting, *words], cwd=ROOT, capture_output=True,
                              text=True, timeout=300, env=home)  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        misses.append(int(done.stdout.split()[-1]))
    assert misses[0] > 3
    assert misses[1] == 0
    assert any((tmp_path / "cache" / "wd_research").iterdir())


def test_a_plan_says_what_it_takes_and_leaves_nothing(tmp_path):
    words = ["--steps", "50", "--seeds", "2", "--learning-rates", "0.01", "--strengths", "0", "0.1",
             "--decays", "0", "1"]  # fmt: skip
    done = subprocess.run(command(*words, "--plan"), cwd=tmp_path, capture_output=True, text=True, timeout=300,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^coupled: [\d.]+ GB, 1 wave\(s\) of 2 points at 2 seeds, one by one, [\d.]+ s", done.stdout)
    assert "1 program(s), compiled in" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("memory", "sentence"),
    [("0", "error: --memory 0 is no room: give gigabytes above 0\n"), ("1e-6", "error: --memory 1e-06 is not enough")],
)
def test_no_room_gets_one_sentence(memory, sentence, tmp_path):
    words = ["--steps", "4", "--seeds", "2", "--workdir", tmp_path / "run", "--memory", memory]
    done = subprocess.run(command(*words), cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_waves_answer_as_the_whole_does(tmp_path):
    words = ["--steps", "20", "--seeds", "8", "--width", "128", "--looks", "2", "--learning-rates", "0.01",
             "--strengths", "0", "0.1", "--decays", *(str(0.1 * i) for i in range(12))]  # fmt: skip
    ends, memory = [], []
    for folder in (tmp_path / "whole", tmp_path / "cut"):
        done = subprocess.run(command(*words, "--workdir", folder, *memory), cwd=ROOT, capture_output=True, text=True,
                              timeout=300)  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        plan = json.loads((folder / "experiment.json").read_text())["plans"]["decoupled"]
        memory = ["--memory", str(0.7e-9 * plan["memory"])]
        with xr.open_datatree(folder / "results.nc") as tree:
            ends.append((plan["waves"], tree["decoupled"].to_dataset().load()))
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
from wd_research.training.population import all_devices, compile_programs, place
mesh = all_devices()
def compiled(decays):
    arms = experiment(decays=tuple(range(decays)), learning_rates=(0.01,), width=512).arms
    inputs = place(arms["decoupled"], 2, mesh, {block})
    return compile_programs(arms["decoupled"], inputs, 4, mesh, {block}), inputs
def run(programs, inputs):
    members = programs.init(inputs)
    for start in (0, 4):
        members, _ = jax.block_until_ready(programs.advance(members, inputs, np.int32(start), np.int32(2)))
    jax.block_until_ready(programs.evaluate(members, inputs))
def fullest():
    status = Path("/proc/self/status").read_text()  # getrusage would count the process that started this one
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1])
run(*compiled(2))
programs, inputs = compiled({decays})
Path("/proc/self/clear_refs").write_text("5")  # at its fullest from now on
held = fullest()
run(programs, inputs)
print(programs.memory(mesh), fullest() - held)
"""
    done = subprocess.run([sys.executable, "-c", measuring], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    foretold, grown = map(int, done.stdout.split())
    assert grown > 500e6
    assert foretold == pytest.approx(grown, rel=0.2)
