"""Predicted errors of an estimate, and which directions of parameter space are weak."""

import math

import equinox as eqx
import numpy as np

from ._table import Table

_SHOWN_SIZES = (100, 1000, 10_000)
_SHOWN_TARGET = 0.05


class Identifiability(eqx.Module):
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
        return split_by_name(self._errors() * math.sqrt(_noise(num_data, num_simulated)), self.params)

    def relative_errors(self, num_data: int, num_simulated: int | None = None) -> dict[str, float]:
        """Root mean square error of each parameter in the 2-norm, over its 2-norm; infinite for a value of zero.

        Args:
            num_data: number N of measured specimens.
            num_simulated: number M of simulated ones; default: so many that their noise does not count.

        Raises:
            ValueError: if a number is not positive.
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

    def summary(self) -> str:
        """Predicted errors, open and weak directions as a text table."""
        return self._table().to_text()

    def __repr__(self) -> str:
        return f"{self._title()}\n\n{self.summary()}"

    def _repr_html_(self) -> str:
        return self._table().to_html(self._title())

    def _title(self):
        return f"Identifiability, from {self.stats['populations']} populations of {self.stats['specimens']} specimens"

    def _table(self):
        sizes = [f"N = {size}" for size in _SHOWN_SIZES]
        rows = [("parameter", "value", *sizes, f"N for {_SHOWN_TARGET:.0%}")]
        values, errors = np.concatenate([v.ravel() for v in self.params.values()]), self._errors()
        for label, value, error in zip(self.labels, values, errors, strict=True):
            rows.append(_row(label, f"{value:.4g}", _relative(error, value)))
        for name, error in self.relative_errors(1).items():
            if self.params[name].size > 1:
                rows.append(_row(name, "2-norm", error))
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
        return Table(rows, notes)

    def _errors(self):
        return np.where(self._determined, np.sqrt(np.maximum(np.diag(self.covariance), 0)), np.inf)


def split_by_name(flat: np.ndarray, params: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A vector in the order of the labels, in the shapes of the parameters."""
    sizes = [value.size for value in params.values()]
    parts = np.split(flat, np.cumsum(sizes)[:-1])
    return {name: part.reshape(value.shape) for part, (name, value) in zip(parts, params.items(), strict=True)}


def _noise(num_data, num_simulated):
    for name, number in (("num_data", num_data), ("num_simulated", num_simulated)):
        if number is not None and not number > 0:
            raise ValueError(f"{name} must be positive; got {number}.")
    return 1 / num_data + (0.0 if num_simulated is None else 1 / num_simulated)


def _relative(error, value):
    size = float(np.linalg.norm(value))
    return float(np.linalg.norm(error)) / size if size > 0 else math.inf


def _row(label, value, error):
    """A line of the table; `error` is the relative one of a single specimen."""
    cells = [f"{error / math.sqrt(size):.2%}" if math.isfinite(error) else "-" for size in _SHOWN_SIZES]
    needed = _ceil((error / _SHOWN_TARGET) ** 2)
    return (label, value, *cells, f"{needed:,}" if math.isfinite(needed) else "-")


def _ceil(number):
    return math.ceil(number) if math.isfinite(number) else math.inf
