"""A microstructure of the user's own: a function of noise."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.distributions import constraints
from numpyro.distributions.transforms import Transform
from numpyro.infer.reparam import TransformReparam

import numpyro_homog as nh
from numpyro_homog.distributions import Pushforward
from numpyro_homog.population import Simulator

KEY = jax.random.key(0)
CENTRE = dist.Uniform(0.0, 1.0).expand([2]).to_event(1)
POINTS = (np.stack(np.meshgrid(np.arange(8), np.arange(8), indexing="ij"), -1) + 0.5) / 8


def disk(centre, radius):
    """Phase fractions (8, 8, 2) of a disk on the torus."""
    offset = POINTS - centre
    distance = jnp.sqrt(jnp.sum((offset - jnp.round(offset)) ** 2, axis=-1))
    inside = jax.nn.sigmoid(40 * (radius - distance))
    return jnp.stack([inside, 1 - inside], axis=-1)


@pytest.mark.x32
def test_a_sample_is_the_function_of_the_noise():
    law = Pushforward(CENTRE, disk, 0.3)
    assert (law.batch_shape, law.event_shape) == ((), (8, 8, 2))
    centres = CENTRE.sample(KEY, (3,))
    np.testing.assert_array_equal(law.sample(KEY, (3,)), jnp.stack([disk(c, 0.3) for c in centres]))


def test_parameters_of_each_specimen_in_a_plate():
    def model(num_specimens):
        with numpyro.plate("specimens", num_specimens):
            radius = numpyro.sample("radius", dist.Uniform(0.1, 0.4))
            numpyro.sample("phases", Pushforward(CENTRE, disk, radius, batch_ndims=1))

    sites = handlers.trace(handlers.seed(handlers.reparam(model, {"phases": TransformReparam()}), KEY)).get_trace(3)
    expected = [disk(c, r) for c, r in zip(sites["phases_base"]["value"], sites["radius"]["value"], strict=True)]
    np.testing.assert_allclose(sites["phases"]["value"], jnp.stack(expected), rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Pushforward(dist.Uniform(0.0, 1.0).expand([2]), disk, 0.3), r"write `noise.to_event\(1\)`"),
        (lambda: Pushforward(CENTRE, disk, 0.3, batch_ndims=1), r"Parameter 0 has shape \(\), without the 1 axes"),
        (lambda: Pushforward(CENTRE, lambda c: (c, c)), r"fn must return one array, .* noise of shape \(2,\)"),
    ],
)
def test_what_cannot_be_made_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


class WithoutInverseShape(Transform):
    domain = constraints.independent(constraints.unit_interval, 1)
    codomain = constraints.independent(constraints.unit_interval, 3)

    def __call__(self, centre):
        return jax.vmap(lambda c: disk(c, 0.3))(centre.reshape(-1, 2)).reshape(*centre.shape[:-1], 8, 8, 2)

    def forward_shape(self, shape):
        return (*shape[:-1], 8, 8, 2)


def test_a_transform_without_inverse_shape_is_told_what_is_missing():
    def model(num_specimens):
        kappa = numpyro.sample("kappa", dist.LogNormal(0.0, 1.0))
        with numpyro.plate("specimens", num_specimens):
            phases = numpyro.sample("phases", dist.TransformedDistribution(CENTRE, [WithoutInverseShape()]))
            nh.homogenize("K_eff", nh.LaminateCell(), (phases[..., 0, 0, :], jnp.stack([kappa, 1.0])))

    message = r"'phases' has shape \(5, 8, 8, 8, 8, 2\), .* announces \(5, 8, 8, 2\).* `inverse_shape`"
    with pytest.raises(ValueError, match=message):
        Simulator(model, ("K_eff",), (5,), {})
