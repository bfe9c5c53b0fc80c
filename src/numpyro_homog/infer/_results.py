"""What the stages of an estimate return."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import ArrayLike

from .._compat import arviz_groups
from .._results import RESULTS
from .._table import AbstractReport, Table
from ..divergences import WeightedDistance
from ..optimise import BasinTable
from ..population import Simulator
from ._bootstrap import posterior_bootstrap


class MinimumDistanceResult(AbstractReport, eqx.Module):
    """Point estimate of the parameters of a model, with standard errors and what they rest on.

    Attributes:
        params: name -> estimate, constrained, in the model's units.
        standard_errors: name -> standard error of each entry of `params`, of the same shape; infinite where the data
            do not determine it. None for divergences that are no sums of squares.
        covariance: sandwich covariance of the constrained parameters in the order of `labels`, simulation noise
            included, on the directions that the data determine; None as above.
        labels: name of each entry of the raveled constrained parameters.
        derivatives: parameter -> the ways in which it was differentiated: "path", "score", both, or none if it
            does not act on the compared sites.
        scored: simulated site whose score was used -> names of the parameters that act through it.
        unconstrained: the estimate in unconstrained space, shape (P,).
        unconstrained_covariance: sandwich covariance there, shape (P, P); None as above.
        curvature: Gauss-Newton matrix H of the divergence there, shape (P, P), with D about loss + step' H step, the
            simulation noise taken off; None as above. The Gibbs posterior exp(-w D) has about the precision 2 w H.
        undetermined: directions of parameter space that the data do not determine, in words, and parameters whose
            sampling distribution is wider than their prior.
        at_edge: names of the entries of parameters that are at an edge of the support of their prior.
        influences: change of the estimate in unconstrained space, to first order, with the mass of one measured, shape
            (N, P), or one simulated specimen, shape (num, P); what `posterior_bootstrap` draws from. Those of the
            simulated ones are scaled to the number that the fit rests on. None as above.
        loss: divergence at the estimate.
        noise_floor: divergence that sampling alone makes at the truth: two clouds of these sizes from the law of the
            data.
        losses: divergence after each iteration of each start, shape (num_starts, num_iterations), NaN-padded; more rows
            if there was more than one round of starts. The
            first `stats["screening_iterations"]` entries of a row are those of parts of the population (first few
            specimens, then more); rows of polished starts go on with those of the whole.
        basins: which starts ended where.
        loss_scale: weight w of the divergence D in the Gibbs posterior exp(-w D) whose size matches the sandwich
            covariance; None as above.
        result: `RESULTS.successful`, or what to beware of, as advice.
        evidence: what speaks against the model, its prior or its data, in words: parameters outside of their prior, how
            the clouds differ after a misfit, phases that are exchangeable.
        stats: costs: "iterations" (populations simulated), "solves" (specimens simulated), "seconds",
            "compile_seconds" (within "seconds"), "screening_iterations" (per start), "num_data", "num_simulated" (in a
            population), "failed" (specimens left out at the estimate; None, not counted, if the divergence has no
            residuals), "num_populations" (of whose estimates this one is the mean; more than one with scores).
        data: compared site -> measured values.
        prior: draws of the prior in unconstrained space, shape (num_draws, P).
        simulator: what simulates the specimens of the model. It goes into a pickle with the model's own code, unless a
            module holds that.
    """

    params: dict[str, np.ndarray]
    standard_errors: dict[str, np.ndarray] | None
    covariance: np.ndarray | None
    labels: tuple[str, ...]
    derivatives: dict[str, tuple[str, ...]]
    scored: dict[str, tuple[str, ...]]
    unconstrained: np.ndarray
    unconstrained_covariance: np.ndarray | None
    curvature: np.ndarray | None
    undetermined: tuple[str, ...]
    at_edge: tuple[str, ...]
    influences: tuple[np.ndarray, np.ndarray] | None
    loss: float
    noise_floor: float
    losses: np.ndarray
    basins: BasinTable
    loss_scale: float | None
    result: RESULTS
    evidence: tuple[str, ...]
    stats: dict[str, Any]
    data: dict[str, np.ndarray]
    prior: np.ndarray
    simulator: Simulator = eqx.field(static=True)

    def predict(self, rng_key: ArrayLike, num_specimens: int) -> dict[str, np.ndarray]:
        """Simulate specimens at the estimate.

        Args:
            rng_key: key of the simulated sites; another one than that of the fit gives independent specimens.
            num_specimens: how many, fewer or more than the fit has simulated.

        Returns:
            Compared site -> values, shape (num_specimens, *event).

        Raises:
            ValueError: if `num_specimens` is not a positive integer.
            RuntimeError: if a cell fails.

        Costs their simulation, chunk by chunk, and the compilation of one chunk.

        Example:
            >>> nh.plot_cloud(measured, fit.predict(jax.random.key(1), 4000)["K_eff"], unit="W/(m K)")
        """
        return self.simulator.resize(num_specimens).sample(self.params, rng_key)

    def to_arviz(self, *, num_draws: int = 1000) -> Any:
        """The estimate as an ArviZ object, which writes NetCDF.

        It is what `arviz.from_numpyro` returns: an `arviz.InferenceData` before ArviZ 1.0, an `xarray.DataTree` since.
        The group `posterior` holds draws of `posterior_bootstrap`, which approximate the *sampling distribution of the
        estimate*. It is a confidence distribution: of the prior only the support plays a part. Its attributes say so.
        The key is fixed, so that equal fits give equal objects. The estimate itself is the group `point_estimate`; the
        data are `observed_data`.

        Args:
            num_draws: number of draws; 1 chain.

        Raises:
            ValueError: if the fit has no standard errors.
        """
        import arviz as az

        draws = posterior_bootstrap(jax.random.key(0), self, num_draws=num_draws)
        posterior = {name: value[None] for name, value in draws.items()}
        attributes = {
            "inference": "posterior bootstrap of a minimum-distance estimate: Dirichlet weights on measured and"
            " simulated specimens, one Gauss-Newton step; a confidence distribution, not a posterior",
            "loss": self.loss,
            "noise_floor": self.noise_floor,
            "loss_scale": self.loss_scale,
            "undetermined": "; ".join(self.undetermined),
            "at_edge": ", ".join(self.at_edge),
        }
        return arviz_groups(
            posterior=az.dict_to_dataset(posterior, attrs=attributes),
            observed_data=_dataset(self.data),
            point_estimate=_dataset(self.params),
        )

    def _table(self) -> Table:
        estimates = np.concatenate([value.ravel() for value in self.params.values()])
        rows = [("parameter", "estimate", "standard error")]
        if self.standard_errors is None or self.result == RESULTS.misfit:
            errors = np.full(len(estimates), np.nan)
        else:
            errors = np.concatenate([value.ravel() for value in self.standard_errors.values()])
        for label, estimate, error in zip(self.labels, estimates, errors, strict=True):
            rows.append((label, f"{estimate:.5g}", "-" if np.isnan(error) else f"{error:.2g}"))
        stats = self.stats
        notes = [
            f"divergence {self.loss:.4g}; sampling noise alone makes {self.noise_floor:.4g}"
            f" ({stats['num_data']} measured, {stats['num_simulated']} simulated specimens)",
            f"{stats['solves']} specimens simulated in {stats['seconds']:.1f} s"
            f" ({stats['compile_seconds']:.1f} s of them compiling)",
        ]
        if stats["failed"]:
            notes.append(f"left out because they fail: {stats['failed']} simulated specimens")
        if stats["num_populations"] > 1:
            notes.append(f"mean of the estimates from {stats['num_populations']} independent populations")
        if self.scored:
            ways = [f"{name} by {' and '.join(how)}" for name, how in self.derivatives.items() if how]
            notes.append(f"derivatives: {', '.join(ways)}; scores of {', '.join(self.scored)}")
        notes += _advice(self.result)
        if self.result != RESULTS.successful:
            notes += [f"  undetermined: {direction}" for direction in self.undetermined]
            notes += [f"  at the edge of its support: {name}" for name in self.at_edge]
        notes += [f"  {words}" for words in self.evidence]
        return Table("MinimumDistanceResult", rows, notes, self.basins.table())


class ReweightedFit(AbstractReport, eqx.Module):
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
    weighted: WeightedDistance
    first: MinimumDistanceResult
    result: RESULTS
    stats: dict[str, int]

    def predict(self, rng_key: ArrayLike, num_specimens: int) -> dict[str, np.ndarray]:
        """Simulate specimens at the estimate; see `MinimumDistanceResult.predict`."""
        return self.simulator.resize(num_specimens).sample(self.params, rng_key)

    @property
    def simulator(self) -> Simulator:
        """What simulates the specimens of the model."""
        return self.first.simulator

    @property
    def prior(self) -> np.ndarray:
        """Draws of the prior in unconstrained space, shape (num_draws, P)."""
        return self.first.prior

    def _table(self) -> Table:
        rows = [("parameter", "estimate", "standard error", "first stage", "standard error")]
        first_errors = self.first.standard_errors or {name: np.full(v.shape, np.nan) for name, v in self.params.items()}
        columns = (self.params, self.standard_errors, self.first.params, first_errors)
        flat = [np.concatenate([column[name].ravel() for name in self.params]) for column in columns]
        for label, *numbers in zip(self.labels, *flat, strict=True):
            rows.append((label, *(f"{x:.{digits}g}" for x, digits in zip(numbers, (5, 2, 5, 2), strict=True))))
        notes = [f"J = {self.j_statistic:.4g} on {self.degrees_of_freedom} degrees of freedom, p = {self.p_value:.2g}"]
        return Table("ReweightedFit", rows, notes + _advice(self.result))


def _advice(result: Any) -> list[str]:
    return [] if result == RESULTS.successful else ["", f"Beware: {RESULTS[result]}"]  # type: ignore[misc]


def _dataset(arrays: dict[str, np.ndarray]) -> Any:
    import xarray as xr

    return xr.Dataset({k: ([f"{k}_dim_{i}" for i in range(v.ndim)], v) for k, v in arrays.items()})
