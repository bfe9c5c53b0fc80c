"""What a fit asks of a simulator: derivatives, enough specimens, no values from outside."""

import warnings

import jax
import jax.numpy as jnp

from .._compat import dependencies, sites_given_outside
from ..divergences import AbstractDivergence, AbstractLeastSquaresDivergence
from ._simulator import Simulator


def check_simulator(simulator: Simulator, divergence: AbstractDivergence) -> None:
    """Raise unless a fit by the derivatives of the simulated specimens is possible.

    Every action of a parameter needs a path derivative, or a score that the divergence can use, and no handler around
    the call may give a parameter its value. Nothing is computed, but the model is traced with its derivative.

    Args:
        simulator: of the specimens.
        divergence: what is to be minimised.

    Raises:
        ValueError: naming the sites and the parameters.
    """
    given = sorted(sites_given_outside() & set(simulator.parameters))
    if given:
        raise ValueError(
            f"Handlers around this call give values to {given}, but a fit hides its model from them. To fix parameters,"
            " wrap the model: `handlers.condition(model, {name: value})`."
        )
    if simulator.without_derivative:
        blocked = "; ".join(f"'{site}': {list(names)}" for site, names in simulator.without_derivative.items())
        raise ValueError(
            f"Parameters act on simulated sites by neither path nor score (site: parameters): {blocked}. The draw is"
            " not differentiable in them, and neither it nor a site before it has a density with a support that stays."
            " Write what the draw depends on as a site that has one (`phi = numpyro.sample('phi',"
            " dist.Dirichlet(alpha))`, then `VoronoiPhases(grid, phi, ...)`), relax the draw (`temperature=...`, where"
            " the distribution has it), write it as a differentiable function of parameter-free noise, hold these"
            " parameters fixed (`handlers.condition`), or use `generalized_bayes` with a sampler that needs no"
            " gradient."
        )
    if simulator.scored and not isinstance(divergence, AbstractLeastSquaresDivergence):
        raise ValueError(
            f"Parameters act by the score of simulated sites (site: parameters): {simulator.scored}, but"
            f" {type(divergence).__name__} cannot be reweighted. Use a sum of squares, as SlicedWasserstein() is."
        )
    moved = _moved_by(simulator)
    blind = [name for name, ways in simulator.derivatives.items() if ways and name not in moved]
    if blind:
        raise ValueError(
            f"The compared sites depend on parameters {blind}, but their derivative is identically zero: each way from"
            " them goes through a discrete step outside of a distribution (a comparison, an index, a label drawn in the"
            " function given to `homogenize`). If the way passes through a simulated site with a density, name it:"
            f" MinimumDistance(..., score=[...]), one of {list(simulator.simulated)}. Otherwise make the step smooth."
        )


def warn_of_few_simulated(simulator: Simulator, num_data: int) -> None:
    """Warn if scores would rest on fewer simulated specimens than twice the measured ones.

    The noise of the simulation is in the loss and changes with the parameters. Reweighted specimens fit it, and
    the estimate moves by a part of order 1/M, of which no standard error knows.

    Args:
        simulator: of the specimens.
        num_data: number of measured ones.
    """
    if simulator.scored and simulator.num_specimens < 2 * num_data:
        warnings.warn(
            f"{simulator.num_specimens} specimens are simulated for {num_data} measured ones, and parameters act by"
            f" the score of {list(simulator.scored)}: such a fit can end far from the truth, with small standard"
            f" errors. Give plate '{simulator.plate}', whose size is an argument of the model, at least twice as many"
            f" specimens as are measured, {2 * num_data}.",
            UserWarning,
            stacklevel=3,
        )


def _moved_by(simulator: Simulator) -> frozenset[str]:
    """Parameters in which a simulated value, or the density of a scored site, has a derivative; the others are zero."""
    primals = "values of all parameters"

    def simulate(params):
        return simulator.simulate_chunk_scored(params, jax.random.key(0), 0)

    def change(**names):
        values = names.pop(primals)
        return {"change": jax.jvp(simulate, (values,), (names,))[1]}

    # Inputs all: what is concrete would be computed.
    zeros = {name: jnp.zeros(parameter.shape, parameter.dtype) for name, parameter in simulator.parameters.items()}
    return dependencies(change, {primals: zeros, **zeros})["change"]
