"""Compared sites as clouds of points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from numpyro_homog.clouds import CloudScale, component_cloud

RNG = np.random.default_rng(0)


def tensors(num, d=2, dtype=float):
    a = RNG.normal(size=(num, d, d))
    return (a @ np.swapaxes(a, 1, 2) + np.eye(d)).astype(dtype)


@pytest.mark.x32
def test_tensors_become_scaled_unique_components():
    data = tensors(50)
    scale = CloudScale({"K_eff": data})
    assert scale.names == ("K_eff[K11]", "K_eff[K22]", "K_eff[K12]")
    cloud = scale.data_cloud()
    assert cloud.shape == (50, 3)
    np.testing.assert_allclose(np.std(cloud, axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose(cloud[:, 2], data[:, 0, 1] / data[:, 0, 1].std(), rtol=1e-5)


def test_simulations_are_scaled_by_the_data_and_keep_derivatives():
    data = tensors(50)
    scale = CloudScale({"K_eff": data})
    simulated = jnp.asarray(tensors(20))
    cloud = np.asarray(scale.cloud({"K_eff": simulated}))
    np.testing.assert_allclose(cloud * scale.scales, component_cloud(np.asarray(simulated)), rtol=1e-6)
    slope = jax.jit(jax.jacfwd(lambda s: scale.cloud({"K_eff": s * simulated})[0, 0]))(1.0)
    np.testing.assert_allclose(slope, simulated[0, 0, 0] / scale.scales[0], rtol=1e-6)


def test_several_keys_are_concatenated():
    scale = CloudScale({"K_eff": tensors(9, 3), "porosity": RNG.normal(size=9), "moments": RNG.normal(size=(9, 2))})
    assert scale.names[6:] == ("porosity", "moments[0]", "moments[1]")
    assert scale.data_cloud().shape == (9, 9)
    assert component_cloud(np.ones((4, 5, 2, 2))).shape == (4, 15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_component_without_spread_is_dropped_with_a_warning(dtype):
    data = tensors(30).astype(dtype)
    data[:, 0, 1] = data[:, 1, 0] = RNG.normal(size=30) * np.finfo(dtype).eps
    with pytest.warns(UserWarning, match=r"without spread in the data are dropped: \['K_eff\[K12\]'\]"):
        scale = CloudScale({"K_eff": data})
    assert scale.names == ("K_eff[K11]", "K_eff[K22]")
    assert scale.cloud({"K_eff": jnp.asarray(tensors(4))}).shape == (4, 2)


BAD = tensors(4)
BAD[2, 0, 0] = np.nan
SKEW = tensors(4)
SKEW[1, 0, 1] += 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "dictionary"),
        (tensors(4), "dictionary"),
        ({"K_eff": tensors(1)}, "one specimen"),
        ({"K_eff": np.ones((5, 2, 2))}, "identical"),
        ({"K_eff": BAD}, r"not finite in specimens \[2\]"),
        ({"K_eff": SKEW}, r"not symmetric in specimens \[1\]"),
        ({"K_eff": np.array(["a", "b"])}, "real numbers"),
        ({"K_eff": 3.0}, "real numbers"),
        ({"K_eff": tensors(4), "x": np.arange(5.0)}, "numbers differ"),
    ],
)
def test_bad_data_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        CloudScale(data)


def test_event_shapes_are_compared():
    scale = CloudScale({"K_eff": tensors(4)})
    scale.check_model({"K_eff": (2, 2)}, [], 10)
    with pytest.raises(ValueError, match=r"has shape \(2, 2\), but site 'K_eff' of the model has event shape \(3, 3\)"):
        scale.check_model({"K_eff": (3, 3)}, [], 10)


def test_a_stiffness_has_21_components_in_space():
    """It had 36: each off-diagonal one twice."""
    root = np.random.default_rng(0).normal(size=(10, 6, 6))
    stiffness = root @ np.swapaxes(root, 1, 2)
    scale = CloudScale({"C_eff": stiffness})
    assert len(scale.names) == 21
    assert scale.names[6] == "C_eff[K12]"
    np.testing.assert_allclose(scale.data_cloud()[:, 6] * scale.scales[6], stiffness[:, 0, 1])
    stiffness[3, 0, 1] *= 2
    with pytest.raises(ValueError, match=r"not symmetric in specimens \[3\]"):
        CloudScale({"C_eff": stiffness})
