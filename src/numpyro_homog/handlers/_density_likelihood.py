"""`density_likelihood`: the likelihood that surrogates make computable."""

import dataclasses
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from .._keys import single_key
from .._pickling import ByValue
from ..clouds import CloudScale
from ..population import ParameterSpace, Simulator, SpecimenDensity, Whitening, hide_specimens, same_arguments
from ..surrogates import AbstractSurrogate
from ._factor import add_factor

_NUM_PRIOR_DRAWS = 256


def density_likelihood(
    model: Callable,
    data: Mapping[str, Any],
    surrogates: Mapping[str, AbstractSurrogate],
    *,
    rng_key: ArrayLike,
    fit: Any = None,
    plate: str | None = None,
    num_nodes: int = 3000,
) -> "DensityPosterior":
    """Turn a model into its posterior given measured tensors, by surrogates of their law.

    The density is

        p(theta | data)  ~  p(theta) prod_i integral q(K_i | inputs(s, theta)) p(s | theta) ds,

    with the surrogate q and the simulated sites s of the specimen plate on which its inputs depend, as the fractions of
    the phases. It is a smooth function of theta without noise, so that any NumPyro kernel works. No cell is solved.

    The one latent site is "whitened", a vector with an entry for each unconstrained parameter (see `Whitening`): in it
    the prior is nearly standard normal, or with `fit` the posterior. The parameters keep their names and values as
    deterministic sites, and their prior.

    Args:
        model: a NumPyro model whose specimens are `homogenize(name, cell, field_fn, inputs=..., num_realizations=1)`;
            see `Simulator`.
        data: compared site -> measured tensors, shape (N, d, d), symmetric positive definite.
        surrogates: compared site -> surrogate, for each site of the data.
        rng_key: key of the nodes of the integral.
        fit: what `MinimumDistance` or `reweight` has returned for this model: where chains begin, and how long their
            steps are.
        plate: name of the specimen plate, if not the innermost one of the compared sites.
        num_nodes: number of nodes; in one or two dimensions at least so many, a grid.

    Returns:
        A NumPyro model with the arguments of `model`: its parameters and the factor "density". The size of the plate
        plays no part: the number of specimens is that of the data.

    Raises:
        ValueError: at call, if the data are unusable (see `CloudScale`); at trace time, if a surrogate is missing or of
            another cell, or its inputs depend on a site that has no density.

    Costs N times `num_nodes` evaluations of the density of a surrogate, some .7 s for N = 2000 on two cores.

    The posterior is right as far as the surrogate is: its bias in units of posterior standard deviations grows with
    the square root of N. Compare with true cells at the estimate before you believe small intervals.

    Example:
        >>> posterior = density_likelihood(model, {"K_eff": measured}, {"K_eff": fit.value}, rng_key=jax.random.key(1))
        >>> mcmc = numpyro.infer.MCMC(numpyro.infer.NUTS(posterior), num_warmup=200, num_samples=500)
        >>> mcmc.run(jax.random.key(2), num_specimens=1)
    """
    scale = CloudScale(data)
    arrays = {key: np.asarray(data[key]) for key in scale.keys}
    keys = tuple(jax.random.split(single_key(rng_key)))
    return DensityPosterior(model, scale, arrays, dict(surrogates), keys, fit, plate, num_nodes)


@dataclasses.dataclass(eq=False)
class DensityPosterior:
    """The model that `density_likelihood` returns; it can be pickled, with the user's model in it."""

    model: Callable
    scale: CloudScale
    data: dict[str, np.ndarray]
    surrogates: dict[str, AbstractSurrogate]
    keys: tuple[Array, ...]  # of the nodes, and of the specimen that is thrown away
    fit: Any
    plate: str | None
    num_nodes: int
    _cache: list[tuple[tuple, dict, SpecimenDensity, Whitening]] = dataclasses.field(default_factory=list)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"model": ByValue(self.model), "_cache": []}

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Run the model, as NumPyro does."""
        density, whitening = self._prepared(args, kwargs)
        simulator = density.simulator
        hidden = hide_specimens(self.model, simulator.plate, self.keys[1])
        whitening.sample_parameters(simulator, hidden, args, kwargs)

        def log_factor(params):
            total = jnp.sum(density.log_prob(params, self.data))
            return jnp.where(jnp.isfinite(total), total, -jnp.inf)

        add_factor("density", log_factor, simulator.parameters, hidden)

    def _prepared(self, args: tuple, kwargs: dict) -> tuple[SpecimenDensity, Whitening]:
        """For these arguments of the model; nodes are made once."""
        if self._cache and same_arguments(self._cache[0][0], args) and same_arguments(self._cache[0][1], kwargs):
            return self._cache[0][2:]
        simulator = Simulator(self.model, self.scale.keys, args, kwargs, plate=self.plate)
        self.scale.check_model(simulator.compared, simulator.effective, self.scale.num_specimens)
        with jax.ensure_compile_time_eval():
            density = SpecimenDensity(simulator, self.surrogates, self.keys[0], num_nodes=self.num_nodes)
            whitening = Whitening(*self._shape(simulator.parameters))
        self._cache[:] = [(args, kwargs, density, whitening)]
        return density, whitening

    def _shape(self, parameters: ParameterSpace) -> tuple[Any, float]:
        """What the coordinates of the sampler are made of: the fit, else the prior."""
        if self.fit is not None:
            return self.fit, float(self.fit.loss_scale)
        prior = parameters.sample_vectors(self.keys[0], _NUM_PRIOR_DRAWS)
        about = {"unconstrained": np.median(prior, axis=0), "curvature": None, "prior": prior}
        return SimpleNamespace(**about, labels=parameters.labels), 1.0
