"""Refusal of models whose parameters cannot all be differentiated."""

from ..divergences import AbstractDivergence, AbstractLeastSquaresDivergence
from ..population import Population


def require_derivatives(population: Population, divergence: AbstractDivergence) -> None:
    """Raise unless every action of a parameter has a path derivative, or a score that the divergence can use.

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
            " parameters fixed (`handlers.substitute`), or use `generalized_bayes` with a sampler that needs no"
            " gradient."
        )
    if population.scored and not isinstance(divergence, AbstractLeastSquaresDivergence):
        raise ValueError(
            f"Parameters act by the score of simulated sites (site: parameters): {population.scored}, but"
            f" {type(divergence).__name__} cannot be reweighted. Use a sum of squares, as SlicedWasserstein() is."
        )
