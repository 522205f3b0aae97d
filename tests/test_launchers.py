"""The launchers for accelerators, run as they are, with stand-ins for what is not at hand: Python, sbatch, gcloud."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAUNCHERS = ("one_gpu.sh", "slurm.sh", "tpu_pod.sh")
TASK = {"SLURM_JOB_ID": "71", "SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "0"}
POD = ("a-pod", "a-zone", "rows.txt")

# What every stand-in begins with: it notes down its name, its words, where it runs, and the environment that matters.
NOTE = """
import json, os, sys, time
from os import path
words = sys.argv[1:]
mine = lambda key: key.startswith(("TPU_", "CLOUD_TPU_", "CUDA_")) or key == "WORKER"
kept = {key: os.environ[key] for key in os.environ if mine(key)}
note = {"name": path.basename(sys.argv[0]), "words": words, "pid": os.getpid(), "folder": os.getcwd(), "env": kept}
with open(os.environ["NOTES"], "a") as notes:
    notes.write(json.dumps(note) + "\\n")
"""
STAND_INS = {
    # Makes environments of itself; as an experiment it leaves an answer in its folder, unless a flag says --fail.
    "python3": """
if words[:2] == ["-m", "venv"]:
    os.makedirs(path.join(words[2], "bin"))
    os.symlink(path.abspath(__file__), path.join(words[2], "bin", "python"))
elif words[:2] == ["-m", "pip"]:
    time.sleep(float(os.environ.get("PIP_SECONDS", 0)))
elif words[0] == "-c":
    sys.exit(os.environ.get("NO_DEVICE"))
elif "--fail" in words:
    sys.exit("it failed")
elif "--workdir" in words:
    folder = words[words.index("--workdir") + 1]
    os.makedirs(folder, exist_ok=True)  # a run that goes on
    open(path.join(folder, "summary.json"), "w").close()
    print("it answered")
""",
    "sbatch": "",
    # A pod slice whose workers are the folders $CLOUD/0, $CLOUD/1 ..., their homes.
    "gcloud": """
import pathlib, shutil, subprocess
workers = [pathlib.Path(os.environ["CLOUD"], str(worker)) for worker in range(int(os.environ["WORKERS"]))]
verb, plain = words[3], [word for word in words[4:] if not word.startswith("--")]
flags = dict(word[2:].partition("=")[::2] for word in words[4:] if word.startswith("--"))
chosen = workers if flags.get("worker") == "all" else workers[int(flags.get("worker", 0)):][:1]
if verb == "describe":
    print("".join(f"10.0.0.{worker}\\n" for worker in range(len(workers))), end="")
elif verb == "scp" and ":" in plain[1]:
    for home in chosen:
        home.mkdir(parents=True, exist_ok=True)
        shutil.copy(plain[0], home / plain[1].partition(":")[2])
elif verb == "scp":
    (home,), name = chosen, plain[0].partition(":")[2]
    shutil.copytree(home / name, pathlib.Path(plain[1]) / pathlib.Path(name).name, dirs_exist_ok=True)
elif verb == "ssh":
    ends = [
        subprocess.run(["bash", "-c", flags["command"]], cwd=home, env={**os.environ, "WORKER": home.name}).returncode
        for home in chosen
    ]
    sys.exit(max(ends))
""",
    # The metadata server of a worker.
    "curl": """
answers = {
    "agent-worker-number": os.environ["WORKER"],
    "tpu-env": "ACCELERATOR_TYPE: 'v5litepod-16'\\nCHIPS_PER_HOST_BOUNDS: '2,2,1'\\nTPU_PROCESS_BOUNDS: '2,2,1'",
}
key = words[-1].rpartition("/")[2]
sys.exit(22) if key in os.environ.get("NO_METADATA", "").split() else print(answers[key])
""",
}


class House:
    """A repository with the launchers, two experiments, and stand-ins that come first on PATH."""

    def __init__(self, folder):
        self.folder, self.notes, self.cloud = folder / "a house", folder / "notes", folder / "cloud"
        for place in ("scripts", "experiments/article"):
            (self.folder / place).mkdir(parents=True)
        for experiment in ("decay_values.py", "article/data_regimes.py"):
            (self.folder / "experiments" / experiment).touch()
        for file in ("pyproject.toml", "constraints.txt"):
            (self.folder / file).touch()
        for launcher in LAUNCHERS:
            shutil.copy(ROOT / "scripts" / launcher, self.folder / "scripts")
        (folder / "bin").mkdir()
        for name, body in STAND_INS.items():
            path = folder / "bin" / name
            path.write_text(f"#!{sys.executable} -IS\n{NOTE}{body}")
            path.chmod(0o755)
        theirs = ("SLURM_", "TPU_", "CLOUD_TPU", "CUDA_", "PYTHON", "VENV", "WORKER")
        self.env = {key: value for key, value in os.environ.items() if not key.startswith(theirs)}
        self.env |= {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "NOTES": str(self.notes)}
        self.env |= {"CLOUD": str(self.cloud), "WORKERS": "1"}

    def start(self, launcher, *words, **env):
        """The launcher as a process, started as a person does: in the root, by name."""
        return subprocess.Popen(
            [f"scripts/{launcher}", *words],
            cwd=self.folder,
            env=self.env | env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, launcher, *words, **env):
        """Exit code, standard output and standard error."""
        process = self.start(launcher, *words, **env)
        out, error = process.communicate()
        return process.returncode, out, error

    def rows(self, *rows):
        (self.folder / "rows.txt").write_text("\n".join(rows))

    def seen(self, *begin):
        """The notes of the stand-ins whose name and words begin so, in order."""
        notes = [json.loads(line) for line in self.notes.read_text().splitlines()] if self.notes.exists() else []
        return [note for note in notes if [note["name"], *note["words"]][: len(begin)] == list(begin)]

    def experiments(self):
        """The notes of the experiments that ran."""
        return [note for note in self.seen("python", "-m") if note["words"][1].startswith("experiments.")]


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


# All three


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_it_is_a_script_that_bash_can_read_and_may_be_run(launcher):
    path = ROOT / "scripts" / launcher
    assert subprocess.run(["bash", "-n", path], capture_output=True, text=True).stderr == ""
    assert path.stat().st_mode & stat.S_IXUSR
    assert path.read_text().startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in path.read_text()


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_its_head_says_what_was_not_tried_and_names_experiments_that_there_are(launcher):
    text = (ROOT / "scripts" / launcher).read_text()
    assert "# Tried: " in text
    assert "Not tried: " in text
    modules = set(re.findall(r"\bexperiments\.[a-z_.]+[a-z_]", text))
    assert modules
    assert all((ROOT / f"{module.replace('.', '/')}.py").exists() for module in modules)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_without_arguments_it_says_how_it_is_called(house, launcher):
    code, out, error = house.run(launcher)
    assert (code, out) == (2, "")
    assert error.startswith(f"usage: scripts/{launcher} ")
    assert house.seen() == []


WRONG = [
    ("one_gpu.sh", "experiments.none", {}, "experiments.none: there is no file experiments/none.py"),
    ("one_gpu.sh", "-g one experiments.decay_values", {}, "-g one is no number of a GPU"),
    ("one_gpu.sh", "-g -1 experiments.decay_values", {}, "-g -1 is no number of a GPU"),
    ("slurm.sh", "none.txt", {}, "there is no file none.txt"),
    ("slurm.sh", "empty.txt", {}, "empty.txt holds no row to run"),
    ("slurm.sh", "unknown.txt", {}, "row 1 of unknown.txt: no experiment is called experiments.none"),
    ("slurm.sh", "open.txt", {}, "row 0 of open.txt has an open quote: experiments.decay_values --seeds '16"),
    ("slurm.sh", "placed.txt", {}, "row 0 of placed.txt names a --workdir"),
    ("slurm.sh", "placed.txt", TASK, "row 0 of placed.txt names a --workdir"),
    ("slurm.sh", "good.txt", {"SLURM_JOB_ID": "71"}, "submit it with --array=0-1"),
    ("slurm.sh", "good.txt", TASK | {"SLURM_ARRAY_TASK_ID": "2"}, "task 2 has no row: those of good.txt end with"),
    ("tpu_pod.sh", "a-pod a-zone none.txt", {}, "there is no file none.txt"),
    ("tpu_pod.sh", "a-pod a-zone empty.txt", {}, "empty.txt holds no row to run"),
    ("tpu_pod.sh", "a-pod a-zone unknown.txt", {}, "row 1 of unknown.txt: no experiment is called experiments.none"),
    ("tpu_pod.sh", "a-pod a-zone open.txt", {}, "row 0 of open.txt has an open quote"),
    ("tpu_pod.sh", "a-pod a-zone placed.txt", {}, "row 0 of placed.txt names a --workdir"),
    ("tpu_pod.sh", "a-pod a-zone good.txt", {"WORKERS": "0"}, "gcloud finds no TPU called a-pod in zone a-zone"),
]  # fmt: skip


@pytest.mark.parametrize(("launcher", "words", "env", "says"), WRONG)
def test_bad_input_gets_one_sentence_and_exit_code_2_before_anything_is_done(house, launcher, words, env, says):
    files = {
        "good.txt": "experiments.decay_values --seeds 16\nexperiments.article.data_regimes\n",
        "empty.txt": "\n  # experiments.decay_values\n\n",
        "unknown.txt": "experiments.decay_values\nexperiments.none\n",
        "open.txt": "experiments.decay_values --seeds '16\n",
        "placed.txt": "experiments.decay_values --workdir runs/mine\n",
    }
    for name, text in files.items():
        (house.folder / name).write_text(text)
    code, out, error = house.run(launcher, *words.split(), **env)
    assert (code, out) == (2, "")
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert says in error
    assert [note["name"] for note in house.seen()] == (["gcloud"] if "WORKERS" in env else [])


# One GPU


def test_one_gpu_installs_looks_for_the_gpu_and_becomes_the_run(house):
    process = house.start("one_gpu.sh", "-g", "1", "experiments.decay_values", "--decays", "0", "two words", "*")
    assert process.communicate() == ("", "")
    assert process.returncode == 0
    venv, pip, look, run = house.seen()
    assert (venv["name"], venv["words"]) == ("python3", ["-m", "venv", ".venv"])
    assert pip["words"] == ["-m", "pip", "install", "--quiet", "-c", "constraints.txt", "-e", ".[cuda]"]
    assert look["words"] == ["-c", 'import jax; jax.devices("gpu")']
    assert run["words"] == ["-m", "experiments.decay_values", "--decays", "0", "two words", "*"]
    assert run["env"] == {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert run["pid"] == process.pid  # so that a signal reaches it, and its exit code is the launcher's
    assert run["folder"] == str(house.folder)


@pytest.mark.parametrize(
    ("words", "given", "taken"),
    [
        ("", None, "0"),
        ("", "3", "3"),
        ("", "2,3", "2"),
        ("", "GPU-8932f937,1", "GPU-8932f937"),
        ("", "", ""),
        ("-g 0", "2,3", "0"),
        ("-g10", None, "10"),
    ],
)
def test_one_gpu_takes_one_gpu(house, words, given, taken):
    env = {} if given is None else {"CUDA_VISIBLE_DEVICES": given}
    assert house.run("one_gpu.sh", *words.split(), "experiments.decay_values", **env)[0] == 0
    assert house.experiments()[0]["env"]["CUDA_VISIBLE_DEVICES"] == taken


def test_one_gpu_says_why_there_is_none_and_runs_nothing(house):
    reason = "RuntimeError: Unknown backend: 'gpu'"
    traceback = f"Traceback (most recent call last):\n  ...\n{reason}"
    code, out, error = house.run("one_gpu.sh", "experiments.decay_values", NO_DEVICE=traceback)
    assert (code, out) == (2, "")
    assert error == f"error: JAX sees no GPU '0' ({reason}): see nvidia-smi for those there are\n"
    assert house.experiments() == []


def test_one_gpu_installs_once_even_for_processes_that_start_together_and_anew_for_new_constraints(house):
    processes = [house.start("one_gpu.sh", "experiments.decay_values", PIP_SECONDS="0.3") for _ in range(3)]
    assert [process.communicate() for process in processes] == [("", "")] * 3
    assert (len(house.seen("python3", "-m", "venv")), len(house.seen("python", "-m", "pip"))) == (1, 1)
    os.utime(house.folder / "constraints.txt", (2e9, 2e9))
    house.run("one_gpu.sh", "experiments.decay_values")
    assert (len(house.seen("python3", "-m", "venv")), len(house.seen("python", "-m", "pip"))) == (1, 2)
    assert len(house.experiments()) == 4


def test_one_gpu_takes_the_python_and_the_environment_that_it_is_given(house):
    other = house.notes.with_name("other python")
    shutil.copy(house.notes.with_name("bin") / "python3", other)
    code, _, _ = house.run("one_gpu.sh", "experiments.decay_values", PYTHON=str(other), VENV="an environment")
    assert code == 0
    assert house.seen("other python", "-m", "venv", "an environment")
    assert (house.folder / "an environment" / "bin" / "python").exists()


def test_one_gpu_can_be_called_from_anywhere_and_gives_the_runs_exit_code(house):
    done = subprocess.run(
        ["../a house/scripts/one_gpu.sh", "experiments.decay_values", "--fail"],
        cwd=house.cloud.parent / "bin",
        env=house.env,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (1, "it failed\n")
    assert house.experiments()[0]["folder"] == str(house.folder)


# Slurm


def test_slurm_asks_for_one_gpu_a_log_per_task_and_the_signal_of_control_c():
    text = (ROOT / "scripts" / "slurm.sh").read_text()
    before_the_first_command = text[: text.index("\nset -euo pipefail")]
    flags = re.findall(r"^#SBATCH (--\S+)$", before_the_first_command, re.MULTILINE)
    assert len(flags) == text.count("\n#SBATCH ")
    assert {"--gres=gpu:1", "--output=runs/slurm-%A_%a.log", "--signal=B:INT@300"} <= set(flags)


def test_slurm_submits_a_task_per_row_and_makes_the_folder_of_the_logs(house):
    house.rows("# two of them", "experiments.decay_values --seeds 16", "", "experiments.article.data_regimes")
    code, _, error = house.run("slurm.sh", "rows.txt", "--time=01:00:00")
    assert (code, error) == (0, "")
    (note,) = house.seen()
    assert (note["name"], note["words"]) == (
        "sbatch",
        ["--array=0-1", "--time=01:00:00", "scripts/slurm.sh", "rows.txt"],
    )
    assert (house.folder / "runs").is_dir()


def spooled(house, **env):
    """The script as Slurm starts it: a copy under another name, in the folder of the one who submitted it."""
    copy = house.notes.with_name("slurm_script")
    shutil.copy(house.folder / "scripts" / "slurm.sh", copy)
    return subprocess.Popen(
        [copy, "rows.txt"], cwd=house.folder, env=house.env | TASK | env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


ROWS = [
    ("experiments.decay_values --seeds 16", ["experiments.decay_values", "--seeds", "16"]),
    ("  experiments.article.data_regimes  ", ["experiments.article.data_regimes"]),
    ("experiments.decay_values 'two words' \"it's\"", ["experiments.decay_values", "two words", "it's"]),
    (r"experiments.decay_values --a two\ words", ["experiments.decay_values", "--a", "two words"]),
    ("experiments.decay_values --a '' b", ["experiments.decay_values", "--a", "", "b"]),
    ("experiments.decay_values * ~ $HOME $(touch it) `touch it` ;",
     ["experiments.decay_values", "*", "~", "$HOME", "$(touch", "it)", "`touch", "it`", ";"]),
]  # fmt: skip


@pytest.mark.parametrize(("row", "words"), ROWS)
def test_a_slurm_task_runs_its_row_in_a_folder_of_its_own_and_becomes_the_run(house, row, words):
    house.rows("# not counted", "experiments.article.data_regimes --seeds 3", "", row)
    process = spooled(house, SLURM_ARRAY_TASK_ID="1", CUDA_VISIBLE_DEVICES="5")
    assert process.communicate() == (b"it answered\n", b"")
    (run,) = house.experiments()
    assert run["words"] == ["-m", *words, "--workdir", "runs/slurm-70_1"]
    assert run["env"]["CUDA_VISIBLE_DEVICES"] == "5"
    assert run["pid"] == process.pid  # Slurm's signal goes to the script: it is the run by then
    assert not (house.folder / "it").exists()


def test_a_slurm_task_that_is_started_anew_goes_on_in_its_folder(house):
    house.rows("experiments.decay_values")
    assert spooled(house).communicate()[1] == b""
    assert spooled(house, SLURM_RESTART_COUNT="1").communicate()[1] == b""
    assert [run["words"][-1] for run in house.experiments()] == ["runs/slurm-70_0", "runs/slurm-70_0"]


def test_slurm_says_so_when_it_was_not_called_from_the_root(house):
    house.rows("experiments.decay_values")
    done = subprocess.run(
        ["../scripts/slurm.sh", "../rows.txt"],
        cwd=house.folder / "experiments",
        env=house.env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: call it from the repository's root: ")


# TPU pod slice


@pytest.mark.parametrize(("rows", "workers"), [(1, 1), (3, 1), (1, 4), (4, 4), (5, 4), (7, 2), (8, 3)])
def test_every_row_runs_exactly_once_on_its_worker_alone_and_comes_back(house, rows, workers):
    house.rows("# a comment", *(f"experiments.decay_values --seeds {row} --a 'two  words'\n" for row in range(rows)))
    code, out, error = house.run("tpu_pod.sh", *POD, WORKERS=str(workers))
    assert (code, error) == (0, "")
    runs = house.experiments()
    assert sorted(int(run["words"][3]) for run in runs) == list(range(rows))
    for worker in range(workers):
        mine = [run for run in runs if run["env"]["WORKER"] == str(worker)]
        assert [int(run["words"][3]) for run in mine] == list(range(rows))[worker::workers]
        assert {run["folder"] for run in mine} <= {str(house.cloud / str(worker) / "wd_research")}
    (back,) = (house.folder / "runs").iterdir()
    assert re.fullmatch(r"tpu-a-pod-\d{8}-\d{6}", back.name)
    for run in runs:
        row = run["words"][3]
        assert run["words"] == ["-m", "experiments.decay_values", "--seeds", row, "--a", "two  words",
                                "--workdir", f"runs/{back.name}/row-{row}"]  # fmt: skip
        assert (back / f"row-{row}" / "summary.json").exists()
        assert (back / f"row-{row}.log").read_text() == "it answered\n"
    assert f"all {rows} rows have answered in runs/{back.name}" in out


def test_a_worker_is_told_that_it_is_alone_with_the_chips_that_its_metadata_give_it(house):
    house.rows(*["experiments.decay_values"] * 2)
    assert house.run("tpu_pod.sh", *POD, WORKERS="2")[0] == 0
    for worker, run in enumerate(house.experiments()):
        assert run["env"] == {
            "TPU_PROCESS_BOUNDS": "1,1,1",
            "TPU_CHIPS_PER_PROCESS_BOUNDS": "2,2,1",
            "TPU_HOST_BOUNDS": "1,1,1",
            "TPU_CHIPS_PER_HOST_BOUNDS": "2,2,1",
            "TPU_WORKER_ID": "0",
            "CLOUD_TPU_TASK_ID": "0",
            "TPU_WORKER_HOSTNAMES": "localhost",
            "WORKER": str(worker),
        }


def test_the_repository_goes_to_all_workers_without_environment_and_runs_and_is_installed_there(house):
    house.rows("experiments.decay_values")
    for file in (".venv/bin/pip", "runs/old/summary.json"):
        (house.folder / file).parent.mkdir(parents=True)
        (house.folder / file).touch()
    shutil.copy(house.notes.with_name("bin") / "python3", house.notes.with_name("bin") / "python3.12")
    code, _, error = house.run("tpu_pod.sh", *POD, WORKERS="2", PYTHON="python3.12")
    assert (code, error) == (0, "")
    for worker in ("0", "1"):
        copy = house.cloud / worker / "wd_research"
        assert (copy / "experiments" / "decay_values.py").exists()
        assert not (copy / ".venv" / "bin" / "pip").exists()
        assert not (copy / "runs" / "old").exists()
    assert len(house.seen("python3.12", "-m", "venv", ".venv")) == 2
    assert len(house.seen("python", "-m", "pip", "install", "--quiet", "-c", "constraints.txt", "-e", ".[tpu]")) == 2
    calls = [note["words"] for note in house.seen("gcloud")]
    assert all(words[:3] == ["compute", "tpus", "tpu-vm"] and "--zone=a-zone" in words for words in calls)
    assert [words[3] for words in calls] == ["describe", "scp", "ssh", "scp", "scp"]
    assert [word for words in calls for word in words if word.startswith("--worker=")] == [
        "--worker=all", "--worker=all", "--worker=0", "--worker=1"]  # fmt: skip


def test_a_row_that_fails_is_named_and_the_others_run_and_come_back(house):
    house.rows("experiments.decay_values --fail", *["experiments.article.data_regimes"] * 3)
    code, _, error = house.run("tpu_pod.sh", *POD, WORKERS="2")
    assert code == 1
    (back,) = (house.folder / "runs").iterdir()
    assert f"error: no answer in runs/{back.name} from rows 0: see their logs there\n" in error
    assert "worker 0: row 0 ended with exit code 1\n" in error
    assert (back / "row-0.log").read_text() == "it failed\n"
    assert sorted(path.parent.name for path in back.glob("*/summary.json")) == ["row-1", "row-2", "row-3"]


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"NO_METADATA": "agent-worker-number"}, "does not say which worker it is"),
        ({"NO_METADATA": "tpu-env"}, "the metadata server of worker 0 does not say which chips it has"),
        ({"NO_DEVICE": "...\nRuntimeError: none"}, "JAX found no TPU of its own (RuntimeError: none)"),
    ],
)
def test_a_worker_that_cannot_run_says_why_and_no_row_is_taken_for_answered(house, env, says):
    house.rows("experiments.decay_values", "experiments.article.data_regimes")
    code, _, error = house.run("tpu_pod.sh", *POD, **env)
    assert code == 1
    assert re.search(f"^error: .*{re.escape(says)}", error, re.MULTILINE)
    assert re.search("^error: no answer in .* from rows 0 1: ", error, re.MULTILINE)
    assert house.experiments() == []
