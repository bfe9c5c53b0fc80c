"""What a population of measurements can tell about the parameters of a model, before anything is measured."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from .._keys import single_key
from ..clouds import checked_fraction, without_failed
from ..divergences import AbstractLeastSquaresDivergence
from ..population import Population
from ._identifiability_report import Identifiability, split_by_name
from ._level import LeastSquares, Look, covariance_of, look
from ._levenberg_marquardt import Evaluation
from ._minimum_distance import MinimumDistance
from ._position import position_of
from ._problem import Problem
from ._sandwich import describe_directions, sandwich


def identifiability(
    model: Callable,
    params: Mapping[str, Any],
    divergence: AbstractLeastSquaresDivergence,
    *args: Any,
    keys: Sequence[str],
    rng_key: ArrayLike,
    num_populations: int = 4,
    plate: str | None = None,
    chunk_size: int | None = None,
    score: Sequence[str] = (),
    max_failed: float = 0.0,
    **kwargs: Any,
) -> Identifiability:
    """What measurements of `keys` would tell about the parameters, if `params` were the truth.

    Populations are simulated at `params` and compared with one another. The sandwich covariance of `MinimumDistance`,

        cov = H^-1 S H^-1 (1/N + 1/M),

    needs no data: H is the curvature of the divergence and S the covariance of the influence of one specimen, both
    from all populations together. So the question "how many specimens do I need" is answered by numbers before the
    first one is made, and a model whose parameters cannot be told apart shows.

    Args:
        model: a NumPyro model with a specimen plate, as for `MinimumDistance`.
        params: constrained value of every parameter: a guess of the truth.
        divergence: what the fit will minimise, for example `SlicedWasserstein()`.
        *args: positional arguments of the model.
        keys: names of the sites that will be measured.
        rng_key: key of everything random.
        num_populations: number of independent populations, at least two; the scatter between them is the Monte-Carlo
            error of the report.
        plate: name of the specimen plate, if not the innermost one of the compared sites.
        chunk_size: number of specimens simulated at a time; see `Population`.
        score: simulated sites whose parameters act by the score; see `MinimumDistance`.
        max_failed: fraction of the specimens of a population that may fail and are then left out.
        **kwargs: keyword arguments of the model, the size of its plate among them.

    Returns:
        An `Identifiability`.

    Raises:
        TypeError: if the divergence is no sum of squares.
        ValueError: if a parameter is missing, has the wrong shape or is outside of the support of its prior, if there
            are fewer than two populations, or where `MinimumDistance.run` raises one.
        RuntimeError: if a specimen or its derivative is not finite.

    Costs num_populations times two simulations of the plate, one of them with derivatives. It does not see other basins
    of the divergence, nor errors of the cells.

    Example:
        >>> guess = {"kappa": jnp.array([1.0, 5.0, 10.0]), "delay": jnp.array([0.1, 0.05])}
        >>> report = identifiability(model, guess, SlicedWasserstein(), keys=["K_eff"], rng_key=key, num_specimens=2000)
        >>> report.specimens_for(0.05)
        {'delay': 2060, 'kappa': 170}
    """
    if not isinstance(divergence, AbstractLeastSquaresDivergence):
        raise TypeError(f"divergence must be a sum of squares, as SlicedWasserstein() is; got {divergence!r}.")
    if int(num_populations) != num_populations or num_populations < 2:
        raise ValueError(f"num_populations must be at least 2; got {num_populations}.")
    rng_key = single_key(rng_key)
    if isinstance(keys, str):
        raise ValueError(f"keys is a list of sites: [{keys!r}].")
    population = Population(model, keys, args, kwargs, plate=plate, chunk_size=chunk_size)
    vector = position_of(population, params)
    simulate = jax.jit(population.simulate)

    keys_of = [jax.random.split(key, 3) for key in jax.random.split(rng_key, int(num_populations))]
    drawn = [without_failed(simulate(params, key), checked_fraction(max_failed))[0] for key, _, _ in keys_of]
    data = [{name: np.asarray(x) for name, x in values.items()} for values in drawn]
    if not all(np.isfinite(x).all() for values in data for x in values.values()):
        raise RuntimeError(_NOT_FINITE)
    options: dict[str, Any] = {"plate": plate, "chunk_size": chunk_size, "score": score, "max_failed": max_failed}
    estimator = MinimumDistance(model, data[0], divergence, **options)
    problem = estimator._problem(args, kwargs)
    measured = [problem.scale.cloud(values) for values in drawn]
    size = population.num_specimens
    parts = [LeastSquares(problem, size, *own)._simulate(vector) for _, *own in keys_of]
    if not all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(parts)):
        raise RuntimeError(_NOT_FINITE)
    each = [look(problem, [part], key[2], y) for part, key, y in zip(parts, keys_of, measured, strict=True)]
    pooled = [look(problem, parts, key[2], jnp.concatenate(measured)) for key in keys_of]
    return _report(problem, vector, params, each, pooled)


_NOT_FINITE = (
    "A simulated value or its derivative at these parameters is not finite: a cell that cannot be solved (zero or"
    " negative coefficients, extreme contrast) or a transform that overflows. Population(model, keys, ...).simulate("
    "params, rng_key, throw=True) shows the reason. If few fail,"
    " `max_failed=0.01` leaves them out."
)


def _report(problem: Problem, vector, params, each: list[Look], pooled: list[Look]) -> Identifiability:
    """Predictions from all populations together, for the directions of each; their errors from each by itself."""
    eps = float(np.finfo(vector.dtype).eps)
    jacobian = problem.constrain_jacobian(vector)

    def covariance_from(*looks):
        mean = Evaluation(*(np.mean(x, axis=0) for x in zip(*(look.evaluation for look in looks), strict=True)))
        scatter = covariance_of(np.concatenate([x for look in looks for x in (look.of_measured, look.of_simulated)]))
        spread = sandwich(mean, scatter, eps)
        return mean, jacobian @ spread.covariance @ jacobian.T, spread.undetermined

    mean, covariance, loose = covariance_from(*pooled)
    loose = jacobian @ loose
    size = np.abs(loose) / np.maximum(np.linalg.norm(loose, axis=0), 1e-300)
    determined = ~(size > 1e-2).any(axis=1)

    variances = np.array([np.diag(covariance_from(look)[1]) for look in each])
    # A standard error moves by half of what its square moves.
    scatter = variances.std(axis=0, ddof=1) / math.sqrt(len(each)) / np.maximum(2 * variances.mean(axis=0), 1e-300)
    accuracy = np.where(determined, scatter, np.nan)

    raw = np.diag(mean.curvature)
    weight = np.sqrt(np.where(raw > 1e-24 * raw.max(initial=0.0), raw, 1.0))
    values, vectors = np.linalg.eigh((mean.curvature - mean.curvature_noise) / weight / weight[:, None])
    directions = describe_directions(jacobian @ (vectors / weight[:, None]), problem.labels)
    shaped = {name: np.asarray(params[name]) for name in problem.population.parameters}
    return Identifiability(
        params=shaped,
        labels=tuple(problem.labels),
        covariance=covariance,
        eigenvalues=values,
        directions=directions,
        undetermined=describe_directions(loose, problem.labels),
        monte_carlo_error=split_by_name(accuracy, shaped),
        stats={
            "populations": len(each),
            "specimens": problem.population.num_specimens,
            "solves": 2 * len(each) * problem.population.num_specimens,
        },
        _determined=determined,
    )
