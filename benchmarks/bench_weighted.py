"""Plain against weighted sliced quantiles: is the second stage worth its price?

    python -m benchmarks.bench_weighted [--quick] [--part laminate laguerre] [--sets 30]

Two models of known truth: laminates of three phases with Dirichlet fractions (exact cells, one number a specimen), and
the periodic cells of three phases of bench_estimate.py. Data are simulated by the model itself on its own grid, so that
errors are those of sampling alone. Each data set is fitted by `MinimumDistance` with `SlicedWasserstein`, and that fit
is refined by `reweight`, with and without folded log-Euclidean coordinates. Results go to results/weighted_*.json
after each data set; a run that was stopped goes on.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.distributions.transforms import ExpTransform, OrderedTransform

import numpyro_homog as nh
from benchmarks.bench_estimate import open_store, put_row
from benchmarks.estimate_models import DELAYS, KAPPA, make_model
from benchmarks.store import Store, new_parser
from numpyro_homog.population import Simulator

SIZES = {
    False: {"num_data": 1000, "num_simulated": 4000, "num_pilot": 20_000, "n": 16, "starts": 3, "ridge": 1e-3},
    True: {"num_data": 200, "num_simulated": 400, "num_pilot": 2000, "n": 8, "starts": 1, "ridge": 1e-2},
}
QUANTILE = 1.6449  # of the normal distribution: 90 % within it on both sides


def laminates(num_specimens):
    """Laminates of three phases with Dirichlet fractions."""
    kappa_prior = dist.TransformedDistribution(
        dist.Normal(0.5, 1.0).expand([3]).to_event(1), [OrderedTransform(), ExpTransform()]
    )
    alpha = numpyro.sample("alpha", dist.LogNormal(-1.0, 0.7).expand([3]).to_event(1))
    kappa = numpyro.sample("kappa", kappa_prior)
    with numpyro.plate("specimens", num_specimens):
        phi = numpyro.sample("phi", dist.Dirichlet(alpha))
        nh.homogenize("K_eff", nh.LaminateCell(), (phi, kappa))


def cases(sizes: dict) -> dict:
    """Model, truth, and the ways of weighting, by part."""
    return {
        "laminate": (
            laminates,
            {"alpha": jnp.array([0.5, 0.3, 0.2]), "kappa": jnp.array([1.0, 4.0, 10.0])},
            {"20 bins": {"num_bins": 20}, "80 bins": {}},
        ),
        "laguerre": (
            make_model(sizes["n"]),
            {"kappa": jnp.array(KAPPA), "delay": jnp.array(DELAYS[1:])},
            {"raw": {}, "log": {"coordinates": False}, "folded": {"coordinates": True}},
        ),
    }


def row_of(fit, truth) -> dict:
    errors = {k: np.asarray(fit.params[k] - truth[k], float) for k in truth}
    return {
        "error": {k: float(np.linalg.norm(e) / np.linalg.norm(truth[k])) for k, e in errors.items()},
        "predicted": {k: float(np.linalg.norm(fit.standard_errors[k]) / np.linalg.norm(truth[k])) for k in truth},
        "z": {k: (e / fit.standard_errors[k]).tolist() for k, e in errors.items()},
        "converged": bool(fit.result == nh.RESULTS.successful),
    }


def run(store: Store, part: str, sizes: dict, count: int) -> None:
    model, truth, ways = cases(sizes)[part]
    simulate = jax.jit(lambda key: Simulator(model, ["K_eff"], (sizes["num_data"],)).simulate(truth, key))
    estimator = None
    for index in range(count):
        if store.has(part, index):
            continue
        data = {k: np.asarray(v) for k, v in simulate(jax.random.fold_in(jax.random.key(31), index)).items()}
        estimator = (
            nh.MinimumDistance(model, data, nh.SlicedWasserstein()) if estimator is None else estimator.with_data(data)
        )
        fit_key, *keys = jax.random.split(jax.random.key(index), 1 + len(ways))
        begin = time.perf_counter()
        fit = estimator.run(fit_key, sizes["num_simulated"], num_starts=sizes["starts"], progress=False)
        seconds = time.perf_counter() - begin - fit.stats["compile_seconds"]
        row = {"plain": row_of(fit, truth) | {"seconds": seconds, "loss": fit.loss / fit.noise_floor}}
        for key, (way, options) in zip(keys, [] if fit.undetermined else ways.items(), strict=False):
            if "coordinates" in options:
                fold = options["coordinates"]
                options = options | {"coordinates": nh.LogEuclidean(estimator.scale.scales, fold=fold)}
            begin = time.perf_counter()
            sharper = nh.reweight(
                estimator, fit, sizes["num_simulated"], rng_key=key, num_pilot=sizes["num_pilot"],
                ridge=sizes["ridge"], **options,
            )  # fmt: skip
            row[way] = row_of(sharper, truth) | {
                "seconds": time.perf_counter() - begin,
                "j": sharper.j_statistic, "freedom": sharper.degrees_of_freedom, "p_value": sharper.p_value,
            }  # fmt: skip
        put_row(store, part, index, row)


def report(part: str, rows: list[dict]) -> str:
    """Root mean square errors, their ratio to plain, and coverage."""
    # A first stage in a wrong basin, or blind to a direction, says nothing about weights.
    good = [row for row in rows if row["plain"]["loss"] < 3 and len(row) > 1]
    lines = [f"{part}: {len(good)} of {len(rows)} data sets, first stage in the right basin"]
    for way in good[0] if good else ():
        cells = []
        for k in good[0]["plain"]["error"]:
            rms, plain = (np.sqrt(np.mean([row[w]["error"][k] ** 2 for row in good])) for w in (way, "plain"))
            cover = np.mean(np.abs([row[way]["z"][k] for row in good]) < QUANTILE)
            predicted = np.median([row[way]["predicted"][k] for row in good])
            cells.append(
                f"{k} {rms:.2%} (predicted {predicted:.2%}, ratio {rms / plain:.2f}, 90 % interval {cover:.0%})"
            )
        cells.append(f"{np.median([row[way]['seconds'] for row in good]):.1f} s")
        cells.append(f"converged {np.mean([row[way]['converged'] for row in good]):.0%}")
        if way != "plain":
            cells.append(f"p < .05 in {np.mean([row[way]['p_value'] < 0.05 for row in good]):.0%}")
        lines.append(f"  {way:8} " + "; ".join(cells))
    return "\n".join(lines)


def main() -> None:
    parser = new_parser(__doc__, "tiny sizes: does it run at all?")
    parser.add_argument("--part", nargs="*", default=["laminate", "laguerre"], help="which parts")
    parser.add_argument("--sets", type=int, default=30, help="number of data sets")
    options = parser.parse_args()
    sizes = SIZES[options.quick]
    for part in options.part:
        store = open_store(f"weighted_{part}", options.quick, sizes)
        run(store, part, sizes, 2 if options.quick else options.sets)
        print("\n" + report(part, list(store.content.get(part, {}).values())), flush=True)


if __name__ == "__main__":
    main()
