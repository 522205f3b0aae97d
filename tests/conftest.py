"""Every test runs on two devices, whatever the machine has: a population is always sharded.

Programs are the ones that users run, but machine code is made of them with the least effort, which takes a third of the
time: most of the time of the tests is compilation. A law that could hang on the machine code takes `users_code`. What
one test has compiled another finds on disk, in a folder of this session. Processes that a test starts inherit both,
except that the engine's own programs are compiled there as users have them.
"""

import contextlib
import gc
import os
import shutil
import signal
import tempfile
from pathlib import Path

import hypothesis
import jax
import pytest

from wd_research.training import programs
from wd_research.training.devices import prepare_jax

CACHE = "JAX_COMPILATION_CACHE_DIR"
FLAGS = "--xla_backend_optimization_level=0"
USERS_OPTIONS = dict(programs.CPU_OPTIONS)
if jax.__version_info__ < (0, 11):  # later versions have the new emitters alone
    FLAGS += " --xla_cpu_use_fusion_emitters=false"
    USERS_OPTIONS["xla_cpu_use_fusion_emitters"] = True


def pytest_configure(config):
    hypothesis.settings.register_profile("any machine", deadline=None)  # no time in a test
    hypothesis.settings.load_profile("any machine")
    if "xla_backend_optimization_level" not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}"
    programs.CPU_OPTIONS["xla_backend_optimization_level"] = 0
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


@pytest.fixture(autouse=True, scope="module")
def _few_mappings():
    """Forget compiled programs before they have all mappings of memory that Linux gives a process (65,530): XLA's
    compiler ends in a segmentation fault then. They are found again on disk.
    """
    yield
    with contextlib.suppress(OSError):  # another system
        if Path("/proc/self/maps").read_bytes().count(b"\n") > 20_000:
            jax.clear_caches()
            gc.collect()


@pytest.fixture(scope="module")
def users_code():
    """The engine's programs become the machine code that users run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "CPU_OPTIONS", USERS_OPTIONS)
        yield


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """The folder of a run that nothing has disturbed."""
    from tests.test_resuming import finished

    folder = tmp_path_factory.mktemp("undisturbed")
    finished(folder, "--workdir", "run", "--block", "sequential")
    return folder / "run"


@pytest.fixture
def interruptible():
    """Children can be told to end, even where these tests are a job in the background or under nohup, and ignore it."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    former = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)
