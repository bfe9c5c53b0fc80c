"""4.3: layered specimens, whose tensor is one number: joint recovery of alpha and kappa, and an exact likelihood."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import scipy.optimize
import scipy.special
from numpyro.distributions.transforms import ExpTransform, OrderedTransform

import numpyro_homog as nh

from .rows import Clock, Rows, fit_row, relative_error

KAPPA = np.array([1.0, 4.0, 10.0])
NU = np.array([0.5, 0.3, 0.2])
GAMMAS = (0.1, 0.3, 1.0, 3.0, 10.0)
LOW, HIGH = 0.2, 0.7
# Closed-form cells cost next to nothing, and at small gamma few starts find the basin of the truth.
OPTIMIZER = nh.infer.LevenbergMarquardt(max_rounds=10)


def simulate(alpha, num_specimens: int, data_set: int) -> np.ndarray:
    """Effective conductivities of layers, shape (num_specimens, 1, 1), in double precision."""
    generator = np.random.default_rng([20264, data_set, round(1000 * float(np.sum(alpha)))])
    # In logarithms: fractions of small concentrations underflow.
    gamma = generator.gamma(alpha + 1, size=(num_specimens, len(alpha)))
    logs = np.log(gamma) + np.log(generator.random(gamma.shape)) / alpha
    fractions = scipy.special.softmax(logs, axis=1)
    return (1 / (fractions / KAPPA).sum(axis=1)).reshape(-1, 1, 1)


def model(num_specimens):
    """Dirichlet volume fractions of three layers."""
    log_kappa = dist.Normal(0.8, 0.8).expand([3]).to_event(1)
    alpha = numpyro.sample("alpha", dist.LogNormal(-1.0, 1.0).expand([3]).to_event(1))
    kappa = numpyro.sample("kappa", dist.TransformedDistribution(log_kappa, [OrderedTransform(), ExpTransform()]))
    scores = nh.GaussianField(jnp.zeros((1, 1)), nh.PeriodicSquaredExponential((1.0,), 1.0, num_modes=1))
    with numpyro.plate("specimens", num_specimens):
        fractions = numpyro.sample("fractions", nh.DirichletCopulaField(alpha, scores))[..., 0, :]
        nh.homogenize("K_eff", nh.LaminateCell(), (fractions, kappa))


class ExactLikelihood:
    """Density of the effective conductivity of three layers with Dirichlet fractions, and its maximum.

    Close to each 1/kappa_j the density has a pole where the concentrations are small: the global maximum is then a
    pole on a measured value, and what counts is the local maximum next to the truth.

    The fractions with one value of 1/k are a segment of the simplex; along it the density of the Dirichlet law is
    integrated by Gauss-Jacobi quadrature, whose weight is the law's own singularity at both ends.
    """

    def __init__(self, conductivities: np.ndarray, num_nodes: int = 48):
        self.t = 1 / conductivities.ravel()
        self.num_nodes = num_nodes

    def log_likelihood(self, alpha: np.ndarray, kappa: np.ndarray) -> float:
        c = 1 / kappa  # descending
        if not (c[0] > self.t.max() and c[2] < self.t.min()):
            return -np.inf
        upper = self.t > c[1]
        total = np.log(self._density(self.t[~upper], alpha, c)).sum()
        total += np.log(self._density(self.t[upper], alpha[::-1], c[::-1])).sum()
        return float(total) if np.isfinite(total) else -np.inf

    def _density(self, t, alpha, c):
        """Density of t between c[2] and c[1]: fractions (s u, (1 - s) v, the rest), s in (0, 1)."""
        x, weights = scipy.special.roots_jacobi(self.num_nodes, alpha[1] - 1, alpha[0] - 1)
        s, weights = (x + 1) / 2, weights / 2 ** (alpha[0] + alpha[1] - 1)
        u, v = ((t - c[2]) / (c[i] - c[2]) for i in (0, 1))
        rest = 1 - s * u[:, None] - (1 - s) * v[:, None]
        integral = (rest ** (alpha[2] - 1)) @ weights
        norm = scipy.special.gammaln(alpha.sum()) - scipy.special.gammaln(alpha).sum()
        # The area of the simplex in (fraction 0, fraction 1): u v ds dt / (t - c[2]).
        scale = u ** alpha[0] * v ** alpha[1] / np.abs(t - c[2])
        return np.exp(norm) * scale * integral

    def maximum(self, alpha: np.ndarray, kappa: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Estimates of alpha and kappa, from a start."""
        least, greatest = 1 / self.t.max(), 1 / self.t.min()

        def unpack(x):
            # The outer conductivities bound the data: they lie outside of them.
            return np.exp(x[:3]), np.array([least - np.exp(x[3]), np.exp(x[4]), greatest + np.exp(x[5])])

        def objective(x):
            value = self.log_likelihood(*unpack(x))
            return -value / len(self.t) if np.isfinite(value) else 1e6

        gaps = np.log([max(least - kappa[0], 1e-8), kappa[1], max(kappa[2] - greatest, 1e-6)])
        x = np.concatenate([np.log(alpha), gaps])
        for _ in range(3):
            x = scipy.optimize.minimize(
                objective, x, method="Nelder-Mead", options={"maxfev": 1500, "adaptive": True}
            ).x
        return unpack(x)


def uniform_model(num_specimens):
    """Theorem 4.1: two known layers, the fraction of the first uniform between unknown limits."""
    low = numpyro.sample("low", dist.Uniform(0.0, 0.45))
    high = numpyro.sample("high", dist.Uniform(0.55, 1.0))
    with numpyro.plate("specimens", num_specimens):
        fractions = numpyro.sample("fractions", nh.UniformSimplex(low, high[None]))
        nh.homogenize("K_eff", nh.LaminateCell(), (fractions, jnp.array([1.0, 4.0])))


def run(rows: Rows, num_data_sets: int, quick: bool) -> None:
    """Joint recovery, the growth of accuracy with N, the sweep over gamma, theorem 4.1."""
    large, simulated = (500, 1000) if quick else (10_000, 40_000)
    for gamma in GAMMAS[2:3] if quick else GAMMAS:
        for index in range(num_data_sets):
            recover(rows, gamma, index, large, simulated)
    for num_specimens in () if quick else (300, 1000, 3000, 30_000, 100_000):
        for index in range(num_data_sets):
            recover(rows, 1.0, index, num_specimens, 4 * min(num_specimens, 30_000))
    for index in range(num_data_sets):
        recover_limits(rows, index, large, simulated)


def recover(rows: Rows, gamma: float, index: int, num_data: int, num_simulated: int) -> None:
    """alpha and kappa of one data set, by the divergence and by the exact likelihood."""
    name, alpha = f"4.3 gamma={gamma:g}", gamma * NU
    exact = f"{name}", "exact likelihood", num_data, index
    data = simulate(alpha, num_data, index)
    if gamma == 1.0 and not rows.has(*exact):
        clock = Clock()
        found = ExactLikelihood(data).maximum(alpha, KAPPA)
        errors = {"alpha": relative_error(found[0], alpha), "kappa": relative_error(found[1], KAPPA)}
        row = dict(zip(("experiment", "estimator", "num_specimens", "data_set"), exact, strict=True))
        rows.put(row | {"errors": errors, "floor": {}, "solves": 0, "seconds": clock()})
    if rows.has(name, "sliced Wasserstein", num_data, index):
        return
    estimator = nh.MinimumDistance(model, {"K_eff": data.astype(np.float32)}, nh.SlicedWasserstein(), OPTIMIZER)
    fit = estimator.run(jax.random.key(index), num_simulated, num_starts=10, progress=False)
    truth = {"alpha": alpha, "kappa": KAPPA}
    blocks = {block: (fit.params[block], fit.standard_errors[block], value) for block, value in truth.items()}
    gammas, nu = fit.params["alpha"].sum(), fit.params["alpha"] / fit.params["alpha"].sum()
    row = fit_row(name, "sliced Wasserstein", index, fit, blocks)
    row["errors"] |= {"gamma": abs(float(gammas) / gamma - 1), "nu": relative_error(nu, NU)}
    rows.put(row)


def recover_limits(rows: Rows, index: int, num_data: int, num_simulated: int) -> None:
    """The limits of a uniform fraction."""
    name = "4.3 theorem 4.1"
    if rows.has(name, "sliced Wasserstein", num_data, index):
        return
    fraction = np.random.default_rng([20265, index]).uniform(LOW, HIGH, num_data)
    data = (1 / (fraction + (1 - fraction) / 4)).reshape(-1, 1, 1)
    estimator = nh.MinimumDistance(uniform_model, {"K_eff": data.astype(np.float32)}, nh.SlicedWasserstein(), OPTIMIZER)
    fit = estimator.run(jax.random.key(index), num_simulated, num_starts=10, progress=False)
    found = np.array([fit.params["low"], fit.params["high"]])
    spread = np.array([fit.standard_errors["low"], fit.standard_errors["high"]])
    rows.put(fit_row(name, "sliced Wasserstein", index, fit, {"limits": (found, spread, np.array([LOW, HIGH]))}))
