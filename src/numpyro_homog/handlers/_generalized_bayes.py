"""`generalized_bayes`: a divergence between populations as the factor of a posterior."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
from jaxtyping import Array, ArrayLike

from .._keys import single_key
from ..clouds import CloudScale
from ..population import Population, hide_specimens


def generalized_bayes(
    model: Callable,
    data: Any,
    divergence: Callable[..., Array],
    *,
    rng_key: ArrayLike,
    loss_scale: Any,
    plate: str | None = None,
    chunk_size: int | None = None,
) -> Callable:
    """Turn a model into a posterior model whose likelihood is a divergence of populations.

    The density is

        p(theta | data)  ~  p(theta) exp(-loss_scale * D(simulated(theta), data)),

    a Gibbs (generalized) posterior. The parameters theta are the latent sites outside the specimen plate; they keep
    their priors. The sites inside the plate are simulated with common random numbers: `rng_key` is held, so the density
    is a deterministic and smooth function of theta and any NumPyro kernel works, NUTS and SVI included.

    The intervals of this posterior are not calibrated yet: their width is set by `loss_scale`, and whether they cover
    the truth as often as they say has not been shown.

    Args:
        model: a NumPyro model with a specimen plate; see `Population`.
        data: compared site -> measured values, shape (N, *event): {"K_eff": measured}, N >= 2. Tensors are compared by
            their unique components, each divided by its standard deviation in the data.
        divergence: `divergence(x, y, *, rng_key)` -> scalar >= 0 for clouds x (M, p) and y (N, p), differentiable in x.
        rng_key: key of the simulated sites and of the divergence.
        loss_scale: weight of the divergence, > 0; `MinimumDistance` gives one (`fit.loss_scale`).
        plate: name of the specimen plate, if not the innermost one of the compared sites.
        chunk_size: number of specimens simulated at a time; see `Population`.

    Returns:
        A NumPyro model with the arguments of `model`: its sites outside the plate and the factor "divergence". The
        sites inside the plate are hidden, the compared ones included; `Predictive(model, samples)` on the original
        model draws new ones. The "homogenize" messages reach outer handlers as they do from `model`.

        A population with a failed cell, or a divergence that is not finite, has log density minus infinity.

    Warns:
        UserWarning: if a parameter acts through a simulated draw that cannot be differentiated.

    Raises:
        ValueError: at call, if `loss_scale` is not a positive number or the data are unusable (see `CloudScale`); at
            trace time, if the model and the data do not fit (see `Population`).

    Costs one simulated population per evaluation of the density; its gradient costs no further solve.

    References:
        Bissiri, Holmes and Walker, J. R. Stat. Soc. B 78 (2016), eq. 4.

    Example:
        >>> posterior = generalized_bayes(model, data, divergence, rng_key=jax.random.key(1), loss_scale=fit.loss_scale)
        >>> mcmc = numpyro.infer.MCMC(numpyro.infer.NUTS(posterior), num_warmup=500, num_samples=500)
        >>> mcmc.run(jax.random.key(2), num_specimens=1000)
    """
    if not _is_positive(loss_scale):
        raise ValueError(
            f"loss_scale must be a positive finite number; got {loss_scale!r}. It sets the width of the posterior:"
            " take `fit.loss_scale` of a MinimumDistance fit."
        )
    scale = CloudScale(data)
    simulation_key, divergence_key, hidden_key = jax.random.split(single_key(rng_key), 3)

    def posterior_model(*args, **kwargs):
        population = Population(model, scale.keys, args, kwargs, plate=plate, chunk_size=chunk_size)
        scale.check_model(population.compared, population.effective, population.num_specimens)
        if population.non_reparametrized:
            warnings.warn(
                f"Parameters act through draws without a derivative: {population.non_reparametrized}. Gradients of the"
                " posterior miss this: SVI is wrong, NUTS is inefficient. Use a gradient-free kernel, or a continuous"
                " relaxation; for a point estimate, MinimumDistance can use the score of a site with a density.",
                UserWarning,
                stacklevel=2,
            )
        hidden = hide_specimens(model, population.plate, hidden_key)
        hidden(*args, **kwargs)
        if numpyro.get_mask() is False:
            return  # as in Predictive: the density is not asked for
        # A `param` of the model is passed on too; what an outer reparam has sampled on its way is not.
        own = population.parameters.keys() | {name for name, fn in hidden.distributions.items() if fn is None}
        params = {name: value for name, value in hidden.values.items() if name in own}
        cloud = scale.cloud(population.simulate(params, simulation_key))
        # Both branches of a `where` are differentiated: keep NaN out of the divergence.
        is_finite = jnp.all(jnp.isfinite(cloud))
        loss = divergence(jnp.where(is_finite, cloud, 0), scale.data_cloud(), rng_key=divergence_key)
        is_finite &= jnp.isfinite(loss)
        numpyro.factor("divergence", jnp.where(is_finite, -loss_scale * loss, -jnp.inf))

    return posterior_model


def _is_positive(value):
    try:
        value = float(value)
    except (TypeError, ValueError):
        return False
    return math.isfinite(value) and value > 0
