"""What SkyPilot and Kubernetes are given: the commands in their files, as processes here that share a run."""

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
import yaml

from wd_research.reporting.record import read_record

ROOT = Path(__file__).parent.parent
LITTLE = "--steps 4 --decays 0 1 --strengths 0 0.1 --learning-rates 0.003 --seeds 2 --confirm 2 --no-tensorboard"
SKYPILOT, KUBERNETES = (yaml.safe_load((ROOT / "scripts" / f"{name}.yaml").read_text()) for name in
                        ("skypilot", "kubernetes"))  # fmt: skip


def as_processes(folder, script, environments):
    """The record of the run that processes share whose script is this, with what they said."""
    here = {**os.environ, "RUNS": str(folder), "FLAGS": LITTLE, "MODULE": "experiments.decay_values",
            "JAX_NUM_CPU_DEVICES": "1", "TMPDIR": str(folder)}  # fmt: skip
    runs = [subprocess.Popen(["bash", "-c", script], cwd=ROOT, env=here | own, stdout=subprocess.PIPE, text=True,
                             stderr=subprocess.STDOUT) for own in environments]  # fmt: skip
    said = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0] * len(runs), said
    return read_record(folder / "experiments.decay_values")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
def test_the_nodes_of_skypilot_train_one_run_together(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nodes = [{"SKYPILOT_NODE_IPS": "127.0.0.1\n127.0.0.1", "SKYPILOT_NODE_RANK": str(rank), "SKYPILOT_NUM_NODES": "2"}
             for rank in range(2)]  # fmt: skip
    record = as_processes(tmp_path, SKYPILOT["run"].replace("8476", str(port)), nodes)
    assert record["status"] == "finished"
    assert record["device"]["count"] == 2
    assert set(re.findall(r"\$(SKYPILOT_\w+)", SKYPILOT["run"])) == set(nodes[0])


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
def test_the_pods_of_kubernetes_share_one_run(tmp_path):
    (pod,) = KUBERNETES["spec"]["template"]["spec"]["containers"]
    bash, _, script = pod["command"]
    assert bash == "bash"
    record = as_processes(tmp_path, script, [{}, {}])
    assert record["status"] == "finished"


def test_what_the_files_give_their_commands_is_what_these_name():
    (pod,) = KUBERNETES["spec"]["template"]["spec"]["containers"]
    given = {variable["name"] for variable in pod["env"]}
    assert set(re.findall(r"\$([A-Z]+)", pod["command"][2])) == given
    assert f"--tiles {KUBERNETES['spec']['completions']} " in pod["command"][2]
    assert set(re.findall(r"\$([A-Z]+)\b(?!_)", SKYPILOT["run"])) <= set(SKYPILOT["envs"])
    assert SKYPILOT["file_mounts"].keys() == {SKYPILOT["envs"]["RUNS"]}


@pytest.mark.parametrize("name", ["skypilot", "kubernetes"])
def test_a_head_says_what_was_tried_and_what_was_not(name):
    text = (ROOT / "scripts" / f"{name}.yaml").read_text()
    assert "# Tried: " in text
    assert "Not tried: " in text
