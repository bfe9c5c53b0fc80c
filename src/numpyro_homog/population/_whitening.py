"""Coordinates in which the posterior about a fit is nearly standard normal."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro import handlers
from numpyro.distributions import biject_to

from ._bijection import bijection, unconstrained_log_density, values_from
from ._messengers import HideSpecimens
from ._simulator import Simulator

_FARTHEST = 4.0  # widths of the prior beyond which a draw no longer counts
_DRAWS_PER_PARAMETER = 4


class Whitening:
    """An affine map of unconstrained space, u = centre + factor z, about a fit.

    With u^ the estimate, H its curvature, w the loss scale, m and S median and covariance of the prior in unconstrained
    space, the posterior is near

        N(u^ + C S^-1 (m - u^), C),    C = (2 w H + S^-1)^-1 = factor factor',

    from which the standard normal z begins. The map moves no density: the posterior of the parameters is the same, with
    whatever fit. In directions that the data do not determine, C is that of the prior. Without a curvature the centre
    is the estimate, and C that of the prior.

    Args:
        fit: `unconstrained` (P,), `curvature` (P, P) or None, `prior` (draws, P), `labels`: a fit of `infer`.
        loss_scale: weight w of the divergence.

    Attributes:
        centre: shape (P,).
        factor: shape (P, P).
        labels: name of each entry of the raveled constrained parameters.

    Raises:
        ValueError: if the estimate is not finite.
    """

    def __init__(self, fit: Any, loss_scale: float):
        self.labels = tuple(fit.labels)
        estimate = np.asarray(fit.unconstrained, float)
        if not np.isfinite(estimate).all():
            raise ValueError(f"The estimate of this fit is not finite in unconstrained space: {estimate}. Fit again.")
        median, root = _prior_shape(np.asarray(fit.prior, float))
        if fit.curvature is None:
            self.centre, self.factor = estimate, root
            return
        # In units of the prior, what the data add to its precision of one.
        precision = np.nan_to_num(2 * loss_scale * root.T @ np.asarray(fit.curvature, float) @ root)
        values, vectors = np.linalg.eigh((precision + precision.T) / 2)
        share = 1 / (1 + np.maximum(values, 0))
        towards = vectors.T @ np.linalg.solve(root, median - estimate)
        self.centre = estimate + root @ (vectors @ (share * towards))
        self.factor = root @ (vectors * np.sqrt(share))

    def sample_parameters(self, simulator: Simulator, hidden: HideSpecimens, args: tuple, kwargs: dict) -> None:
        """Run a model without its specimens; its parameters become deterministic sites, functions of one latent.

        The sites are "whitened", the vector z of shape (P,), and the factor "whitened_prior", the log density of the
        prior in terms of z, less that of N(0, 1), so that both together are the prior.

        Args:
            simulator: of the model.
            hidden: the model without its specimens (`hide_specimens`).
            args: positional arguments of the model.
            kwargs: keyword arguments of the model.

        Raises:
            ValueError: if the parameters of the model are not those of the fit.
        """
        labels = tuple(simulator.parameters.labels)
        if labels != self.labels:
            raise ValueError(
                f"The fit is of a model with the parameters {list(self.labels)}; this one has {list(labels)}. Pass the"
                " fit of this model, or none and a loss_scale."
            )
        standard = dist.Normal(jnp.zeros(len(self.centre)), 1.0).to_event(1)
        z = numpyro.sample("whitened", standard)
        vector = jnp.asarray(self.centre, z.dtype) + jnp.asarray(self.factor, z.dtype) @ z
        unconstrained = simulator.parameters.split(vector)
        model = handlers.trace(handlers.substitute(hidden, substitute_fn=values_from(unconstrained)))
        with handlers.block(hide=list(unconstrained)):
            sites = model.get_trace(*args, **kwargs)
        density = np.linalg.slogdet(self.factor)[1] - standard.log_prob(z)
        for name, part in unconstrained.items():
            numpyro.deterministic(name, sites[name]["value"])
            density = density + _log_density(sites[name], part)
        numpyro.factor("whitened_prior", density)


def _prior_shape(draws: Float[np.ndarray, "draws P"]) -> tuple[Float[np.ndarray, "P"], Float[np.ndarray, "P P"]]:
    """Median, and a root of the covariance of draws; those that are far out or not finite do not count."""
    num_parameters = draws.shape[1]
    draws = draws[np.isfinite(draws).all(axis=1)]
    if len(draws) < 2:
        return np.zeros(num_parameters), np.eye(num_parameters)
    low, median, high = np.percentile(draws, (16, 50, 84), axis=0)
    width = np.where(high > low, (high - low) / 2, 1.0)
    scaled = np.clip((draws - median) / width, -_FARTHEST, _FARTHEST)
    covariance = scaled.T @ scaled / len(draws) + 1e-6 * np.eye(num_parameters)
    if len(draws) < _DRAWS_PER_PARAMETER * num_parameters:
        covariance = np.diag(np.diag(covariance))
    return median, width[:, None] * np.linalg.cholesky(covariance)


def _log_density(site: dict, vector: Array) -> Float[Array, ""]:
    """Log density of the unconstrained value of a site."""
    fn, scale = site["fn"], site["scale"]
    density = unconstrained_log_density(fn, vector)
    if scale is None:
        return density
    # NumPyro scales the density in coordinates of its own.
    ours, theirs, value = bijection(fn), biject_to(fn.support), site["value"]
    change = jnp.sum(ours.log_abs_det_jacobian(vector, value))
    change = change - jnp.sum(theirs.log_abs_det_jacobian(theirs.inv(value), value))
    return scale * (density - change) + change
