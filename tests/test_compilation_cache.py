"""The compiled programs that processes find on disk: a damaged one is compiled anew."""

import random
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest


@pytest.fixture
def cache(tmp_path):
    """A folder of compiled programs, empty."""
    from jax._src import compilation_cache

    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    compilation_cache.reset_cache()
    yield tmp_path
    jax.config.update("jax_compilation_cache_dir", before)
    compilation_cache.reset_cache()


@pytest.mark.slow
def test_a_changed_bit_of_a_compiled_program_is_found_and_changes_no_number(cache):
    def program(x):
        return jnp.tanh(x @ x.T).sum()

    x = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
    wanted = float(jax.jit(program)(x))
    (path,) = cache.glob("jit_program-*-cache")
    whole, rng, found = path.read_bytes(), random.Random(0), 0
    for _ in range(200):
        damaged, bit = bytearray(whole), rng.randrange(8 * len(whole))
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        jax.clear_caches()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            assert float(jax.jit(program)(x)) == wanted
        found += any("compilation cache" in str(warning.message) for warning in said)
    assert found >= 190  # some bits mean nothing
