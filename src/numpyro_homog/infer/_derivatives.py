"""What the derivatives of a model ask for: that there are any, and with scores a population that is large enough."""

import warnings

import jax
import jax.numpy as jnp

from .._compat import dependencies
from ..divergences import AbstractDivergence, AbstractLeastSquaresDivergence
from ..population import Population


def require_derivatives(population: Population, divergence: AbstractDivergence) -> None:
    """Raise unless every action of a parameter has a path derivative, or a score that the divergence can use.

    Nothing is computed, but the model is traced with its derivative.

    Raises:
        ValueError: naming the sites and the parameters.
    """
    if population.without_derivative:
        blocked = "; ".join(f"'{site}': {list(names)}" for site, names in population.without_derivative.items())
        raise ValueError(
            f"Parameters act on simulated sites by neither path nor score (site: parameters): {blocked}. The draw is"
            " not differentiable in them, and neither it nor a site before it has a density with a support that stays."
            " Write what the draw depends on as a site that has one (`phi = numpyro.sample('phi',"
            " dist.Dirichlet(alpha))`, then `VoronoiPhases(grid, phi, ...)`), relax the draw (`temperature=...`, where"
            " the distribution has it), write it as a differentiable function of parameter-free noise, hold these"
            " parameters fixed (`handlers.condition`), or use `generalized_bayes` with a sampler that needs no"
            " gradient."
        )
    if population.scored and not isinstance(divergence, AbstractLeastSquaresDivergence):
        raise ValueError(
            f"Parameters act by the score of simulated sites (site: parameters): {population.scored}, but"
            f" {type(divergence).__name__} cannot be reweighted. Use a sum of squares, as SlicedWasserstein() is."
        )
    moved = _moved_by(population)
    blind = [name for name, ways in population.derivatives.items() if ways and name not in moved]
    if blind:
        raise ValueError(
            f"The compared sites depend on parameters {blind}, but their derivative is identically zero: each way from"
            " them goes through a discrete step outside of a distribution (a comparison, an index, a label drawn in the"
            " function given to `homogenize`). If the way passes through a simulated site with a density, name it:"
            f" MinimumDistance(..., score=[...]), one of {list(population.simulated)}. Otherwise make the step smooth."
        )


def warn_of_few_simulated(population: Population, num_data: int) -> None:
    """Warn if estimates by score would rest on fewer simulated specimens than twice the measured ones.

    The noise of the simulation is in the loss and changes with the parameters. Reweighted specimens fit it, and
    the estimate moves by a part of order 1/M, of which no standard error knows.
    """
    if population.scored and population.num_specimens < 2 * num_data:
        warnings.warn(
            f"{population.num_specimens} specimens are simulated for {num_data} measured ones, and parameters act by"
            f" the score of {list(population.scored)}: such a fit can end far from the truth, with small standard"
            f" errors. Give plate '{population.plate}', whose size is an argument of the model, at least twice as many"
            f" specimens as are measured, {2 * num_data}.",
            UserWarning,
            stacklevel=3,
        )


def _moved_by(population):
    """Parameters in which a simulated value, or the density of a scored site, has a derivative; the others are zero."""
    primals = "values of all parameters"

    def simulate(params):
        return population.simulate_chunk_scored(params, jax.random.key(0), 0)

    def change(**names):
        values = names.pop(primals)
        return {"change": jax.jvp(simulate, (values,), (names,))[1]}

    # Inputs all: what is concrete would be computed.
    zeros = {name: jnp.zeros(parameter.shape, parameter.dtype) for name, parameter in population.parameters.items()}
    return dependencies(change, {primals: zeros, **zeros})["change"]
