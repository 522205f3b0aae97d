"""What JAX must know before it starts: one XLA device per CPU core, and float32 products in float32."""

import os
import warnings
from pathlib import Path
from typing import Any

import jax


def prepare_jax() -> None:
    """Give XLA one CPU device per core that this process may use, and full precision; call it before JAX starts.

    Cores are counted by affinity and cgroup quota. A GPU would multiply float32 matrices in TF32 and a TPU in bfloat16:
    decay and its absence are compared, so rounding must not decide. Compiled programs are kept on disk, in
    $XDG_CACHE_HOME/wd_research, by default ~/.cache/wd_research: a second process with other numbers compiles nothing.
    What the user has set is left alone; where JAX has already started, one warning says with how many devices.
    """
    config: Any = jax.config
    if config.jax_compilation_cache_dir is None and config.jax_enable_compilation_cache:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(home / "wd_research"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # a process has many small programs
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    if config.jax_default_matmul_precision is None:
        jax.config.update("jax_default_matmul_precision", "float32")
    if config.jax_num_cpu_devices > 0 or "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    import joblib  # here, because it takes a tenth of a second to import

    cores = joblib.cpu_count()
    try:
        jax.config.update("jax_num_cpu_devices", cores)
    except RuntimeError:
        if jax.default_backend() == "cpu" and jax.device_count() != cores:
            warnings.warn(
                f"JAX has already started with {jax.device_count()} device(s) for {cores} core(s): "
                "call prepare_jax() before the first JAX computation",
                stacklevel=2,
            )
