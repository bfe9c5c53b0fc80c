"""What the second stage of an estimate returns."""

import equinox as eqx
import numpy as np
from jaxtyping import ArrayLike

from .._results import RESULTS
from ..divergences import WeightedSlicedWasserstein
from ..population import Population
from ._prediction import predict
from ._result import MinimumDistanceResult
from ._table import Table


class ReweightedFit(eqx.Module):
    """Second-stage estimate, with standard errors and a test of the model; prints as a table.

    Attributes:
        params: name -> estimate, constrained, in the model's units.
        standard_errors: name -> standard error of each entry, of the same shape.
        covariance: covariance of the constrained parameters in the order of `labels`, simulation noise included.
        labels: name of each entry of the raveled parameters.
        unconstrained: the estimate in unconstrained space, shape (P,).
        unconstrained_covariance: covariance there, shape (P, P).
        curvature: Gauss-Newton matrix of the divergence `weighted` there, shape (P, P).
        influences: as of `MinimumDistanceResult`.
        loss_scale: weight of `weighted` in a Gibbs posterior whose size matches the covariance.
        j_statistic: squared length of the whitened residuals that no change of the parameters can remove.
        degrees_of_freedom: its mean if the model is right: number of eigenvalues above the ridge, less P.
        p_value: probability that chi-square exceeds it if the model is right. A small one says that the model cannot
            make these data; a large one proves nothing.
        weighted: the divergence, for further use: its directions and weights belong to these data.
        first: the fit of the first stage.
        result: `RESULTS.successful`, or what to beware of, as advice.
        stats: "iterations", "solves" (specimens simulated, the pilot included), "num_pilot".
    """

    params: dict[str, np.ndarray]
    standard_errors: dict[str, np.ndarray]
    covariance: np.ndarray
    labels: tuple[str, ...]
    unconstrained: np.ndarray
    unconstrained_covariance: np.ndarray
    curvature: np.ndarray
    influences: tuple[np.ndarray, np.ndarray]
    loss_scale: float
    j_statistic: float
    degrees_of_freedom: int
    p_value: float
    weighted: WeightedSlicedWasserstein
    first: MinimumDistanceResult
    result: RESULTS
    stats: dict[str, int]

    def predict(self, rng_key: ArrayLike, num_specimens: int) -> dict[str, np.ndarray]:
        """Simulate specimens at the estimate; see `MinimumDistanceResult.predict`."""
        return predict(self.population, self.params, rng_key, num_specimens)

    @property
    def population(self) -> Population:
        """What simulates the specimens of the model."""
        return self.first.population

    @property
    def prior(self) -> np.ndarray:
        """Draws of the prior in unconstrained space, shape (num_draws, P)."""
        return self.first.prior

    def summary(self) -> str:
        """Estimates of both stages and the test as a text table."""
        return self._table().to_text()

    def __repr__(self) -> str:
        return f"ReweightedFit\n\n{self.summary()}"

    def _repr_html_(self) -> str:
        return self._table().to_html("ReweightedFit")

    def _table(self):
        rows = [("parameter", "estimate", "standard error", "first stage", "standard error")]
        first_errors = self.first.standard_errors or {name: np.full(v.shape, np.nan) for name, v in self.params.items()}
        columns = (self.params, self.standard_errors, self.first.params, first_errors)
        flat = [np.concatenate([column[name].ravel() for name in self.params]) for column in columns]
        for label, *numbers in zip(self.labels, *flat, strict=True):
            rows.append((label, *(f"{x:.{digits}g}" for x, digits in zip(numbers, (5, 2, 5, 2), strict=True))))
        notes = [f"J = {self.j_statistic:.4g} on {self.degrees_of_freedom} degrees of freedom, p = {self.p_value:.2g}"]
        if self.result != RESULTS.successful:
            advice = RESULTS[self.result]  # type: ignore[type-arg, name-defined]
            notes += ["", f"Beware: {advice}"]
        return Table(rows, notes)
