"""Every test runs on two devices, whatever the machine has: a population is always sharded."""

import jax

from wd_research.training.devices import prepare_jax


def pytest_configure():
    jax.config.update("jax_num_cpu_devices", 2)
    prepare_jax()
