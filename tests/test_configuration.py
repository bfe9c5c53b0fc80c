"""The hostile configuration of conftest.py is in force: each kind of carelessness is an error in a test."""

import os
import warnings

import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from numpyro_homog.tensors import symmetrize

pytestmark = pytest.mark.x32


def test_precision_is_the_one_asked_for(x64, eps):
    assert x64 == (os.environ.get("NUMPYRO_HOMOG_TEST_X64", "1") != "0")
    assert jnp.ones(()).dtype == (jnp.float64 if x64 else jnp.float32)
    assert eps == np.finfo(np.float64 if x64 else np.float32).eps


@pytest.mark.x64_only
def test_x64_only_tests_run_in_64_bits():
    assert jnp.ones(()).dtype == jnp.float64


def test_warnings_are_errors():
    with pytest.raises(UserWarning, match="careless"):
        warnings.warn("careless", UserWarning, stacklevel=1)


def test_dtypes_do_not_promote():
    with pytest.raises(ValueError, match="implicit dtype promotion"):
        jnp.ones(2, jnp.float32) + jnp.ones(2, jnp.int32)


def test_ranks_do_not_promote():
    with pytest.raises(ValueError, match="rank_promotion"):
        jnp.ones((2, 2)) + jnp.ones(2)


@pytest.mark.numpyro_layer
def test_promotion_is_free_where_numpyro_takes_part():
    total = jnp.ones((2, 2), jnp.float32) + jnp.ones(2, jnp.int32)
    assert total.shape == (2, 2)


def test_annotations_are_checked():
    """The package was imported through jaxtyping's hook: an array of the wrong rank is refused by its annotation."""
    with pytest.raises(jaxtyping.TypeCheckError, match="tensors"):
        symmetrize(jnp.ones(3))
