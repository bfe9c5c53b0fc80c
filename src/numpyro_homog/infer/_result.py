"""What a minimum-distance fit returns."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import ArrayLike

from .._compat import arviz_groups
from .._results import RESULTS
from ..population import Population
from ._basins import BasinTable
from ._bootstrap import posterior_bootstrap
from ._prediction import predict
from ._table import Table


class MinimumDistanceResult(eqx.Module):
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
        population: what simulates the specimens of the model. It goes into a pickle with the model's own code, unless a
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
    population: Population = eqx.field(static=True)

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
        return predict(self.population, self.params, rng_key, num_specimens)

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

    def summary(self) -> str:
        """Estimates, standard errors, fit and costs as a text table."""
        return self._table().to_text()

    def __repr__(self) -> str:
        return f"MinimumDistanceResult\n\n{self.summary()}\n\n{self.basins!r}"

    def _repr_html_(self) -> str:
        return self._table().to_html("MinimumDistanceResult") + self.basins._repr_html_()

    def _table(self):
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
        if self.result != RESULTS.successful:
            advice = RESULTS[self.result]  # type: ignore[type-arg, name-defined]
            notes += ["", f"Beware: {advice}"]
            notes += [f"  undetermined: {direction}" for direction in self.undetermined]
            notes += [f"  at the edge of its support: {name}" for name in self.at_edge]
        notes += [f"  {words}" for words in self.evidence]
        return Table(rows, notes)


def _dataset(arrays):
    import xarray as xr

    return xr.Dataset({k: ([f"{k}_dim_{i}" for i in range(v.ndim)], v) for k, v in arrays.items()})
