"""Signals, as real ones to real processes: whatever a run is doing, it ends, says so, and records that it was ended."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
SCRIPT = """
import sys
print("importing", flush=True)
import wd_research as wd
phase = sys.argv.pop(1)


def experiment(*, seeds: int = 2) -> wd.Experiment:
    import jax
    import jax.numpy as jnp
    from dataclasses import replace
    from tests.training import cases
    from wd_research.reporting import page
    from wd_research.training import population

    print("declared", flush=True)
    arm, task, never = cases.arm(), cases.arm().task, 10**9

    def folded(number):  # zero, by a constant that XLA folds for minutes
        square = jnp.zeros((3000, 3000)) + 1.5
        sums = jax.lax.reduce_window(square, 0.0, jax.lax.add, (301, 301), (1, 1), "SAME")
        return 0 * jax.lax.stop_gradient(number + sums[3, 3])

    def waited(number):  # zero, in one call that takes for ever
        jax.debug.callback(lambda: print("evaluating now", flush=True))
        return 0 * jax.lax.fori_loop(0, never, lambda _, x: jnp.sin(x) + 1e-9, number)

    def objective(params, extras, batch, key):
        loss, aux = task.loss(None)(params, extras, batch, key)
        if phase == "auditing":
            return loss + folded(loss), aux
        return loss + 0 * jax.lax.fori_loop(0, 10**6, lambda _, x: jnp.sin(x), jax.lax.stop_gradient(loss)), aux

    def evaluate(params, extras, batch, name):
        metrics = task.evaluate(params, extras, batch, name)
        zero = folded(metrics["loss"]) if phase == "compiling" else waited(metrics["loss"])
        return {**metrics, "loss": metrics["loss"] + zero}

    if phase in ("auditing", "training", "recording"):
        arm = replace(arm, objective=lambda hypers: objective)
    if phase == "compiling":
        compiled = jax.stages.Lowered.compile

        def compile(lowered, *given, **options):
            print("compiling now", flush=True)
            return compiled(lowered, *given, **options)

        jax.stages.Lowered.compile = compile
    if phase in ("compiling", "evaluating"):
        arm = replace(arm, task=task._replace(evaluate=evaluate))
    if phase in ("recording", "writing"):

        def slowly(*given):
            import time

            print(f"{phase} now", flush=True)
            time.sleep(never)

        if phase == "recording":
            page.report = slowly
        else:
            import wd_research.measuring

            wd_research.measuring.write_results = slowly
    return wd.Experiment({"net": arm}, seeds=seeds, steps=10**4 if phase in ("training", "recording") else 4,
                         evaluations=1, confirm=0, question="Which?")


if __name__ == "__main__":
    wd.main(experiment)
"""


def ended(tmp_path, phase, at, *numbers):
    """What became of a run that got signals when it had printed `at`: exit code, standard error, status."""
    (tmp_path / "slow.py").write_text(SCRIPT)
    run = subprocess.Popen(
        [sys.executable, "slow.py", phase, "--workdir", "run", "--no-tensorboard"], cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert run.stdout
    waiting = [*numbers]
    for line in run.stdout:
        if waiting and at[len(numbers) - len(waiting)] in line:
            run.send_signal(waiting.pop(0))
        if not waiting:
            break
    _, said = run.communicate()
    record = tmp_path / "run" / "experiment.json"
    return run.returncode, said, json.loads(record.read_text())["status"] if record.exists() else None


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
@pytest.mark.parametrize(
    ("phase", "at", "status"),
    [
        ("declaring", "declared", None),
        ("auditing", "auditing", "interrupted"),
        ("compiling", "compiling now", "interrupted"),
        ("training", "training net", "interrupted"),
        ("evaluating", "evaluating now", "interrupted"),
        ("writing", "writing now", "interrupted"),
    ],
)
def test_a_signal_ends_what_would_not_end(tmp_path, interruptible, number, phase, at, status):
    code, said, recorded = ended(tmp_path, phase, [at], number)
    assert code == CODES[number], said
    assert "Traceback" not in said
    assert "error: interrupted" in said
    assert recorded == status


@pytest.mark.parametrize(("first", "second"), [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT)])
def test_a_second_signal_ends_what_the_first_is_recorded_by(tmp_path, interruptible, first, second):
    """The report would take for ever to write; the status is written before it."""
    code, said, recorded = ended(tmp_path, "recording", ["training net", "recording now"], first, second)
    assert (code, recorded) == (CODES[first], "interrupted")
    assert {line.partition(";")[0] for line in said.splitlines()} == {"error: interrupted"}
