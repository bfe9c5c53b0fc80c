"""What is taken for a random key, and what is told of anything else."""

import jax
import numpy as np
import pytest

from numpyro_homog._keys import single_key


@pytest.mark.x32
def test_typed_raw_and_numpy_keys_are_the_same_key():
    key = jax.random.key(3)
    for given in (key, jax.random.PRNGKey(3), np.asarray(jax.random.PRNGKey(3))):
        assert single_key(given) == key
    assert jax.jit(single_key)(jax.random.PRNGKey(3)) == key


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (7, TypeError, r"pass jax.random.key\(7\)"),
        (np.int64(7), TypeError, r"pass jax.random.key\(7\)"),
        ("7", TypeError, r"pass jax.random.key\(0\)"),
        (np.array(7), TypeError, "array of int64"),
        (np.array([0.0, 1.0]), TypeError, "array of float64"),
        (jax.random.split(jax.random.key(0), 3), ValueError, r"shape \(3,\)"),
        (jax.random.split(jax.random.PRNGKey(0), 3), ValueError, r"shape \(3,\)"),
    ],
)
def test_an_integer_is_no_key_and_three_are_not_one(given, error, message):
    with pytest.raises(error, match=message):
        single_key(given)
