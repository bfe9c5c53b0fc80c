"""What a minimum-distance fit returns."""

from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import ArrayLike

from .._compat import arviz_groups
from .._results import RESULTS
from ..population import Population
from ._basins import BasinTable
from ._prediction import constrain_many, predict
from ._standard_errors import normal_draws
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
            population), "num_populations" (of whose estimates this one is the mean; more than one with scores).
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
        The group `posterior` holds draws from the normal approximation of the *sampling distribution of the
        estimate*: N(unconstrained, unconstrained_covariance), mapped to constrained space. It is a confidence
        distribution and no posterior: the prior plays no part. Its attributes say so. The draws are scrambled by
        fixed numbers, so that equal fits give equal objects. The estimate itself is the group `point_estimate`; the
        data are `observed_data`.

        Args:
            num_draws: number of draws; 1 chain.

        Raises:
            ValueError: if the fit has no standard errors.
        """
        import arviz as az

        if self.unconstrained_covariance is None:
            raise ValueError("This fit has no standard errors (its divergence is no sum of squares): nothing to draw.")
        draws = normal_draws(self.unconstrained, self.unconstrained_covariance, num_draws)
        posterior = {name: value[None] for name, value in constrain_many(self.population, draws).items()}
        attributes = {
            "inference": "normal approximation of the sampling distribution of a minimum-distance estimate;"
            " not a posterior",
            "loss": self.loss,
            "noise_floor": self.noise_floor,
            "loss_scale": self.loss_scale,
            "undetermined": "; ".join(self.undetermined),
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
        if stats["num_populations"] > 1:
            notes.append(f"mean of the estimates from {stats['num_populations']} independent populations")
        if self.scored:
            ways = [f"{name} by {' and '.join(how)}" for name, how in self.derivatives.items() if how]
            notes.append(f"derivatives: {', '.join(ways)}; scores of {', '.join(self.scored)}")
        if self.result != RESULTS.successful:
            advice = RESULTS[self.result]  # type: ignore[type-arg, name-defined]
            notes += ["", f"Beware: {advice}"]
            notes += [f"  undetermined: {direction}" for direction in self.undetermined]
        notes += [f"  {words}" for words in self.evidence]
        return Table(rows, notes)


def _dataset(arrays):
    import xarray as xr

    return xr.Dataset({k: ([f"{k}_dim_{i}" for i in range(v.ndim)], v) for k, v in arrays.items()})
