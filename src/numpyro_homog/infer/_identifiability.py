"""What a population of measurements can tell about the parameters of a model, before anything is measured."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float

from .._keys import single_key
from .._table import AbstractReport, Table
from ..clouds import checked_fraction, without_failed
from ..divergences import AbstractLeastSquaresDivergence, covariance_of, sandwich
from ..optimise import Evaluation
from ..population import Simulator
from ._minimum_distance import MinimumDistance
from ._problem import Influences, Problem, are_finite

_SHOWN_SIZES = (100, 1000, 10_000)
_SHOWN_TARGET = 0.05


class Identifiability(AbstractReport, eqx.Module):
    """Predicted errors of a minimum-distance estimate at given parameters; prints as a table.

    Attributes:
        params: name -> value for which the report was made, constrained.
        labels: name of each entry of the raveled parameters.
        covariance: covariance of the estimate from one specimen, first order, in the order of `labels`, on the
            directions that the data determine: N specimens compared with M simulated ones have (1/N + 1/M) of it.
        eigenvalues: of the Gauss-Newton matrix, ascending, with each unconstrained parameter scaled to curvature one:
            all are one if no parameter can stand in for another, zero if the data leave a direction open.
        directions: the eigenvector of each eigenvalue as a direction of the constrained parameters, in words.
        undetermined: directions that no number of specimens determines, in words.
        monte_carlo_error: name -> relative standard error of the predicted errors from the finite populations, NaN
            where there is no prediction.
        stats: "populations", "specimens" (in each) and "solves" (specimens simulated in all).
    """

    params: dict[str, np.ndarray]
    labels: tuple[str, ...]
    covariance: np.ndarray
    eigenvalues: np.ndarray
    directions: tuple[str, ...]
    undetermined: tuple[str, ...]
    monte_carlo_error: dict[str, np.ndarray]
    stats: dict[str, int]
    _determined: np.ndarray

    def standard_errors(self, num_data: int, num_simulated: int | None = None) -> dict[str, np.ndarray]:
        """Standard error of each parameter.

        Args:
            num_data: number N of measured specimens.
            num_simulated: number M of simulated ones; default: so many that their noise does not count.

        Returns:
            Name -> standard errors in the shape of the parameter, infinite where the data do not determine it.

        Raises:
            ValueError: if a number is not positive.
        """
        errors = self._errors() * math.sqrt(_noise(num_data, num_simulated))
        parts = np.split(errors, np.cumsum([value.size for value in self.params.values()])[:-1])
        return {name: part.reshape(v.shape) for part, (name, v) in zip(parts, self.params.items(), strict=True)}

    def relative_errors(self, num_data: int, num_simulated: int | None = None) -> dict[str, float]:
        """Root mean square error of each parameter in the 2-norm, over its 2-norm; infinite for a value of zero.

        Arguments and errors are those of `standard_errors`.
        """
        errors = self.standard_errors(num_data, num_simulated)
        return {name: _relative(errors[name], value) for name, value in self.params.items()}

    def specimens_for(self, relative_error: float) -> dict[str, int | float]:
        """Number of specimens that brings the relative error of each parameter to `relative_error`.

        With as many simulated as measured specimens, twice as many are needed. Predictions for a few specimens are
        extrapolations: errors are first order.

        Args:
            relative_error: what is wanted, 0.05 for 5 %.

        Returns:
            Name -> a whole number, infinite where no number will do.

        Raises:
            ValueError: if `relative_error` is not positive.
        """
        if not relative_error > 0:
            raise ValueError(f"relative_error must be positive, 0.05 for 5 %; got {relative_error}.")
        return {name: _ceil((error / relative_error) ** 2) for name, error in self.relative_errors(1).items()}

    def _table(self) -> Table:
        rows = [("parameter", "value", *(f"N = {size}" for size in _SHOWN_SIZES), f"N for {_SHOWN_TARGET:.0%}")]
        values, errors = np.concatenate([v.ravel() for v in self.params.values()]), self._errors()
        for label, value, error in zip(self.labels, values, errors, strict=True):
            rows.append(_row(label, f"{value:.4g}", _relative(error, value)))
        errors_of_norms = self.relative_errors(1).items()
        rows += [_row(name, "2-norm", error) for name, error in errors_of_norms if self.params[name].size > 1]
        accuracy = np.concatenate([value.ravel() for value in self.monte_carlo_error.values()])
        known = f" (Monte-Carlo accuracy {np.nanmax(accuracy):.0%})" if np.isfinite(accuracy).any() else ""
        spectrum = ", ".join(f"{max(value, 0):.2g}" for value in self.eigenvalues)
        notes = [
            f"relative standard errors of N measured specimens{known}; multiply by sqrt(1 + N/M) for M simulated ones",
            f"eigenvalues of the scaled Gauss-Newton matrix: {spectrum}",
        ]
        if self.undetermined:
            notes += [f"undetermined: {direction}" for direction in self.undetermined]
        else:
            notes.append(f"weakest direction: {self.directions[0]}")
        title = f"Identifiability, from {self.stats['populations']} populations of {self.stats['specimens']} specimens"
        return Table(title, rows, notes)

    def _errors(self) -> Float[np.ndarray, " entries"]:
        return np.where(self._determined, np.sqrt(np.maximum(np.diag(self.covariance), 0)), np.inf)


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
        chunk_size: number of specimens simulated at a time; see `Simulator`.
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
    simulator = Simulator(model, keys, args, kwargs, plate=plate, chunk_size=chunk_size)
    vector = simulator.parameters.position_of(params)

    keys_of = [jax.random.split(key, 3) for key in jax.random.split(rng_key, int(num_populations))]
    max_failed = checked_fraction(max_failed)
    drawn = [jax.tree.map(jnp.asarray, simulator.sample(params, key, throw=False)) for key, _, _ in keys_of]
    drawn = [without_failed(values, max_failed)[0] for values in drawn]
    data = [{name: np.asarray(x) for name, x in values.items()} for values in drawn]
    if not all(np.isfinite(x).all() for values in data for x in values.values()):
        raise RuntimeError(_NOT_FINITE)
    options: dict[str, Any] = {"plate": plate, "chunk_size": chunk_size, "score": score, "max_failed": max_failed}
    problem = MinimumDistance(model, data[0], divergence, **options).problem(*args, **kwargs)
    measured = [problem.scale.cloud(values) for values in drawn]
    parts = [problem.simulate(vector, key, simulator.num_specimens)[0] for _, key, _ in keys_of]
    if not all(are_finite(part).all() for part in parts):
        raise RuntimeError(_NOT_FINITE)
    each = [problem.influences([part], key[2], y) for part, key, y in zip(parts, keys_of, measured, strict=True)]
    pooled = [problem.influences(parts, key[2], jnp.concatenate(measured)) for key in keys_of]
    return _report(problem, vector, params, each, pooled)


_NOT_FINITE = (
    "A simulated value or its derivative at these parameters is not finite: a cell that cannot be solved (zero or"
    " negative coefficients, extreme contrast) or a transform that overflows. Simulator(model, keys, ...).sample("
    "params, rng_key) shows the reason. If few fail, `max_failed=0.01` leaves them out."
)


def _report(
    problem: Problem,
    vector: Float[np.ndarray, "P"],
    params: Mapping[str, Any],
    each: list[Influences],
    pooled: list[Influences],
) -> Identifiability:
    """Predictions from all populations together, for the directions of each; their errors from each by itself."""
    eps, labels = float(np.finfo(vector.dtype).eps), problem.parameters.labels
    jacobian = problem.parameters.jacobian(vector)

    def covariance_from(*looks):
        mean = Evaluation(*(np.mean(x, axis=0) for x in zip(*(look.evaluation for look in looks), strict=True)))
        scatter = covariance_of(np.concatenate([x for look in looks for x in (look.of_measured, look.of_simulated)]))
        spread = sandwich(mean, scatter, eps)
        return mean, jacobian @ spread.covariance @ jacobian.T, spread.undetermined

    mean, covariance, loose = covariance_from(*pooled)
    loose = jacobian @ loose
    share = np.abs(loose) / np.maximum(np.linalg.norm(loose, axis=0), 1e-300)
    determined = ~(share > 1e-2).any(axis=1)

    variances = np.array([np.diag(covariance_from(look)[1]) for look in each])
    # A standard error moves by half of what its square moves.
    scatter = variances.std(axis=0, ddof=1) / math.sqrt(len(each)) / np.maximum(2 * variances.mean(axis=0), 1e-300)
    accuracy = np.where(determined, scatter, np.nan)

    raw = np.diag(mean.curvature)
    weight = np.sqrt(np.where(raw > 1e-24 * raw.max(initial=0.0), raw, 1.0))
    values, vectors = np.linalg.eigh((mean.curvature - mean.curvature_noise) / weight / weight[:, None])
    directions = problem.parameters.describe_directions(jacobian @ (vectors / weight[:, None]))
    size = problem.simulator.num_specimens
    return Identifiability(
        params={name: np.asarray(params[name]) for name in problem.parameters},
        labels=tuple(labels),
        covariance=covariance,
        eigenvalues=values,
        directions=directions,
        undetermined=problem.parameters.describe_directions(loose),
        monte_carlo_error=problem.parameters.by_name(accuracy),
        stats={"populations": len(each), "specimens": size, "solves": 2 * len(each) * size},
        _determined=determined,
    )


def _noise(num_data: int, num_simulated: int | None) -> float:
    for name, number in (("num_data", num_data), ("num_simulated", num_simulated)):
        if number is not None and not number > 0:
            raise ValueError(f"{name} must be positive; got {number}.")
    return 1 / num_data + (0.0 if num_simulated is None else 1 / num_simulated)


def _relative(error: Any, value: Any) -> float:
    size = float(np.linalg.norm(value))
    return float(np.linalg.norm(error)) / size if size > 0 else math.inf


def _row(label: str, value: str, error: float) -> tuple[str, ...]:
    """A line of the table; `error` is the relative one of a single specimen."""
    cells = [f"{error / math.sqrt(size):.2%}" if math.isfinite(error) else "-" for size in _SHOWN_SIZES]
    needed = _ceil((error / _SHOWN_TARGET) ** 2)
    return (label, value, *cells, f"{needed:,}" if math.isfinite(needed) else "-")


def _ceil(number: float) -> int | float:
    return math.ceil(number) if math.isfinite(number) else math.inf
