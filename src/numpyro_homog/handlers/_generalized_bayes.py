"""`generalized_bayes`: a divergence between populations as the factor of a posterior."""

import dataclasses
import math
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._keys import single_key
from .._pickling import ByValue
from ..clouds import CloudScale, checked_fraction, without_failed
from ..population import Simulator, Whitening, hide_specimens
from ._factor import add_factor


def generalized_bayes(
    model: Callable,
    data: Any,
    divergence: Callable[..., Array],
    *,
    rng_key: ArrayLike,
    fit: Any = None,
    loss_scale: Any = None,
    plate: str | None = None,
    chunk_size: int | None = None,
    max_failed: float = 0.0,
) -> Callable:
    """Turn a model into a posterior model whose likelihood is a divergence of populations.

    The density is

        p(theta | data)  ~  p(theta) exp(-loss_scale * D(simulated(theta), data)),

    a Gibbs (generalized) posterior. The parameters theta are the latent sites outside the specimen plate; they keep
    their priors. The sites inside the plate are simulated with common random numbers: `rng_key` is held, so the density
    is a deterministic and smooth function of theta and any NumPyro kernel works, NUTS and SVI included.

    With `fit`, the one latent site is "whitened", a vector with an entry for each unconstrained parameter, in which the
    posterior about the fit is nearly standard normal (see `Whitening`). Default starts, step sizes and metrics are
    then right. The parameters keep their names and values as deterministic sites, and their posterior is the same.

    The intervals of this posterior are not calibrated yet: their width is set by `loss_scale`, and whether they cover
    the truth as often as they say has not been shown.

    Args:
        model: a NumPyro model with a specimen plate; see `Simulator`.
        data: compared site -> measured values, shape (N, *event): {"K_eff": measured}, N >= 2. Tensors are compared by
            their unique components, each divided by its standard deviation in the data.
        divergence: `divergence(x, y, *, rng_key)` -> scalar >= 0 for clouds x (M, p) and y (N, p), differentiable in x.
        rng_key: key of the simulated sites and of the divergence.
        fit: what `MinimumDistance` or `reweight` has returned for this model: where the chains begin, how long their
            steps are, and the `loss_scale`. With `reweight`, the divergence is `fit.weighted`.
        loss_scale: weight of the divergence, > 0; default: `fit.loss_scale`.
        plate: name of the specimen plate, if not the innermost one of the compared sites.
        chunk_size: number of specimens simulated at a time; see `Simulator`.
        max_failed: fraction of the simulated specimens that may fail and are then left out, as in `MinimumDistance`.

    Returns:
        A NumPyro model with the arguments of `model`: its sites outside the plate and the factor "divergence". The
        sites inside the plate are hidden, the compared ones included; `Predictive(model, samples)` on the original
        model draws new ones. The "homogenize" messages reach outer handlers as they do from `model`. With `fit`, to
        hold a parameter, hold it in `model` before the fit (`handlers.condition`).

        A population with a failed cell, or a divergence that is not finite, has log density minus infinity.

    Warns:
        UserWarning: if a parameter acts through a simulated draw that cannot be differentiated.

    Raises:
        ValueError: at call, if `loss_scale` is not a positive number, there is neither it nor a fit with one, or the
            data are unusable (see `CloudScale`); at trace time, if the model and the data do not fit (see
            `Simulator`), or the fit is of other parameters.

    Costs one simulated population per evaluation of the density; its gradient costs no further solve.

    References:
        Bissiri, Holmes and Walker, J. R. Stat. Soc. B 78 (2016), eq. 4.

    Example:
        >>> fit = MinimumDistance(model, data, divergence).run(jax.random.key(0), num_specimens=4000)
        >>> posterior = generalized_bayes(model, data, divergence, rng_key=jax.random.key(1), fit=fit)
        >>> mcmc = numpyro.infer.MCMC(numpyro.infer.NUTS(posterior), num_warmup=50, num_samples=100)
        >>> mcmc.run(jax.random.key(2), num_specimens=1000)
    """
    if loss_scale is None and fit is None:
        raise ValueError(
            "The width of the posterior is not known: pass fit=..., which MinimumDistance returns, or loss_scale=...."
        )
    if loss_scale is None:
        loss_scale = fit.loss_scale
        if loss_scale is None or not math.isfinite(loss_scale):
            raise ValueError(
                f"This fit has no loss_scale ({loss_scale}): its divergence is no sum of squares, or its data determine"
                " nothing. Pass loss_scale=... beside it."
            )
    if not _is_positive(loss_scale):
        raise ValueError(
            f"loss_scale must be a positive finite number; got {loss_scale!r}. It sets the width of the posterior:"
            " take `fit.loss_scale` of a MinimumDistance fit."
        )
    whitening = None if fit is None else Whitening(fit, float(loss_scale))
    scale, keys = CloudScale(data), tuple(jax.random.split(single_key(rng_key), 3))
    options = {"plate": plate, "chunk_size": chunk_size}
    failed = checked_fraction(max_failed)
    return GibbsPosterior(model, scale, divergence, keys, loss_scale, whitening, failed, options)


@dataclasses.dataclass(eq=False)
class GibbsPosterior:
    """The model that `generalized_bayes` returns; it can be pickled, with the user's model in it."""

    model: Callable
    scale: CloudScale
    divergence: Callable[..., Array]
    keys: tuple[Array, ...]  # of the simulated sites, of the divergence, and of the specimen that is thrown away
    loss_scale: Any
    whitening: Whitening | None
    max_failed: float
    options: dict[str, Any]  # of the simulator

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"model": ByValue(self.model), "divergence": ByValue(self.divergence)}

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Run the model, as NumPyro does."""
        simulator = Simulator(self.model, self.scale.keys, args, kwargs, **self.options)
        self.scale.check_model(simulator.compared, simulator.effective, simulator.num_specimens)
        if simulator.non_reparametrized:
            warnings.warn(
                f"Parameters act through draws without a derivative: {simulator.non_reparametrized}. Gradients of the"
                " posterior miss this: SVI is wrong, NUTS is inefficient. Use a gradient-free kernel, or a continuous"
                " relaxation; for a point estimate, MinimumDistance can use the score of a site with a density.",
                UserWarning,
                stacklevel=2,
            )
        hidden = hide_specimens(self.model, simulator.plate, self.keys[2])
        if self.whitening is None:
            hidden(*args, **kwargs)
        else:
            self.whitening.sample_parameters(simulator, hidden, args, kwargs)
        add_factor("divergence", lambda params: self._log_factor(simulator, params), simulator.parameters, hidden)

    def _log_factor(self, simulator: Simulator, params: dict[str, Array]) -> Float[Array, ""]:
        cloud = self.scale.cloud(simulator.simulate(params, self.keys[0]))
        cloud, _ = without_failed(cloud, self.max_failed)
        # Both branches of a `where` are differentiated: keep NaN out of the divergence.
        is_finite = jnp.all(jnp.isfinite(cloud))
        loss = self.divergence(jnp.where(is_finite, cloud, 0), self.scale.data_cloud(), rng_key=self.keys[1])
        is_finite &= jnp.isfinite(loss)
        return jnp.where(is_finite, -self.loss_scale * loss, -jnp.inf)


def _is_positive(value: Any) -> bool:
    try:
        value = float(value)
    except (TypeError, ValueError):
        return False
    return math.isfinite(value) and value > 0
