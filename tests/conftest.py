"""Every test runs on two devices, whatever the machine has: a population is always sharded.

Programs are the ones that users run, but machine code is made of them with less effort (LLVM's -O1), which halves the
time of the tests: most of it is compilation. Processes that a test starts inherit that.
"""

import os

import jax

from wd_research.training.devices import prepare_jax


def pytest_configure():
    if "xla_backend_optimization_level" not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=1"
    jax.config.update("jax_num_cpu_devices", 2)
    prepare_jax()
