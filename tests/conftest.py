"""Every test runs on two devices, whatever the machine has: a population is always sharded.

Programs are the ones that users run, but machine code is made of them with less effort (LLVM's -O1), which halves the
time of the tests: most of it is compilation. What one test has compiled another finds on disk, in a folder of this
session. Processes that a test starts inherit both.
"""

import os
import shutil
import tempfile

import hypothesis
import jax

from wd_research.training.devices import prepare_jax

CACHE = "JAX_COMPILATION_CACHE_DIR"


def pytest_configure(config):
    hypothesis.settings.register_profile("any machine", deadline=None)  # no time in a test
    hypothesis.settings.load_profile("any machine")
    if "xla_backend_optimization_level" not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=1"
    if not hasattr(config, "workerinput"):  # the process that starts the others, if any
        os.environ[CACHE] = tempfile.mkdtemp(prefix="wd_research-")
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    jax.config.update("jax_compilation_cache_dir", os.environ[CACHE])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    jax.config.update("jax_num_cpu_devices", 2)
    prepare_jax()


def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ[CACHE], ignore_errors=True)
