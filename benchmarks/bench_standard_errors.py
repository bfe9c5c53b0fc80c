"""Standard errors of the estimator: do they depend on the key, and do they cover the truth?

    python -m benchmarks.bench_standard_errors [--quick] [--part predicted keys coverage]

Three parts. `predicted`: what `identifiability` says at the truth for the sizes of the README's example. `keys`: the
README's fit with nine keys, on the packaged example. `coverage`: intervals of 90 % on the 30 data sets of 1000
specimens of bench_estimate, from the standard errors and from `posterior_bootstrap`; each fit starts at the estimate
that results/estimate.json lists for the set, with the same key. Results are appended to results/standard_errors.json
after each fit; a run that was stopped goes on.
"""

import json
import time

import jax
import numpy as np

import numpyro_homog as nh
from benchmarks.bench_estimate import open_store, put_row
from benchmarks.estimate_models import DELAYS, KAPPA, make_model, simulate
from benchmarks.store import Store, new_parser

TRUTH = {"kappa": np.array(KAPPA), "delay": np.array(DELAYS[1:])}
LABELS = ["kappa[0]", "kappa[1]", "kappa[2]", "delay[0]", "delay[1]"]
SIZES = {
    False: {
        "num_keys": 9, "simulated": 4000, "populations": 8, "starts": 5, "n": 32,
        "sets": 30, "num_large": 10_000, "num_small": 1000, "simulated_small": 2000, "n_data": 128,
    },
    True: {
        "num_keys": 2, "simulated": 500, "populations": 2, "starts": 2, "n": 16,
        "sets": 2, "num_large": 400, "num_small": 200, "simulated_small": 200, "n_data": 32,
    },
}  # fmt: skip


def flat(values) -> list[float]:
    """Values of all parameters in the order of the labels."""
    return np.concatenate([np.ravel(values[name]) for name in TRUTH]).astype(float).tolist()


def run_predicted(store: Store, sizes: dict) -> None:
    """Errors at the truth, for populations of the size of the fit."""
    if store.has("predicted", 0):
        return
    report = nh.identifiability(
        make_model(sizes["n"]), TRUTH, nh.SlicedWasserstein(), sizes["simulated"], keys=["K_eff"],
        rng_key=jax.random.key(2026), num_populations=sizes["populations"],
    )  # fmt: skip
    errors = report.standard_errors(sizes["num_small"], sizes["simulated"])
    put_row(store, "predicted", 0, {"errors": flat(errors), "monte_carlo_error": flat(report.monte_carlo_error)})


def run_keys(store: Store, sizes: dict) -> None:
    """The README's fit, key by key."""
    data = {"K_eff": nh.load_example("laguerre_plates")}
    estimator = nh.MinimumDistance(make_model(sizes["n"]), data, nh.SlicedWasserstein())
    for key in range(sizes["num_keys"]):
        if store.has("keys", key):
            continue
        fit = estimator.run(jax.random.key(key), sizes["simulated"], num_starts=sizes["starts"], progress=False)
        row = {"estimate": flat(fit.params), "errors": flat(fit.standard_errors), **costs_of(fit)}
        put_row(store, "keys", key, row)


def run_coverage(store: Store, sizes: dict) -> None:
    """Fits to data sets of known truth from estimates that are listed already."""
    path = store.folder / "estimate.json"
    listed = json.loads(path.read_text())["coverage"] if path.exists() else {}
    estimator = None
    for index in range(sizes["sets"]):
        if store.has("coverage", index):
            continue
        per_large = sizes["num_large"] // sizes["num_small"]
        large = simulate(index // per_large, sizes["num_large"], sizes["n_data"])
        data = {"K_eff": large[(index % per_large) * sizes["num_small"] :][: sizes["num_small"]]}
        if estimator is None:
            estimator = nh.MinimumDistance(make_model(sizes["n"]), data, nh.SlicedWasserstein())
        estimator = estimator.with_data(data)
        row = listed.get(str(index), TRUTH)
        start = {name: np.asarray(row[name], np.float32) for name in TRUTH}
        fit = estimator.run(
            jax.random.key(index), sizes["simulated_small"], num_starts=1, starts=[start], progress=False
        )
        begin = time.perf_counter()
        draws = nh.posterior_bootstrap(jax.random.key(index), fit)
        seconds = time.perf_counter() - begin
        low, high = ({name: np.percentile(x, q, axis=0) for name, x in draws.items()} for q in (5, 95))
        put_row(
            store, "coverage", index,
            {"estimate": flat(fit.params), "errors": flat(fit.standard_errors), "low": flat(low), "high": flat(high),
             "bootstrap_seconds": seconds, **costs_of(fit)},
        )  # fmt: skip


def costs_of(fit) -> dict:
    return {"solves": fit.stats["solves"], "result": "successful" if fit.result == nh.RESULTS.successful else "flagged"}


def report(content: dict) -> str:
    """The results as tables in Markdown."""
    lines = ["| key | " + " | ".join(LABELS) + " |", "|---" * (len(LABELS) + 1) + "|"]
    predicted = content.get("predicted", {}).get("0")
    if predicted:
        lines.append("| predicted | " + " | ".join(f"{x:.2g}" for x in predicted["errors"]) + " |")
    rows = content.get("keys", {})
    for key, row in rows.items():
        lines.append(f"| {key} | " + " | ".join(f"{x:.2g}" for x in row["errors"]) + " |")
    if rows and predicted:
        ratio = np.array([row["errors"] for row in rows.values()]) / predicted["errors"]
        within = (np.abs(ratio - 1) <= 0.2).mean(axis=0)
        lines += ["", f"within 20 % of the prediction: {dict(zip(LABELS, within.round(2).tolist(), strict=True))};"]
        lines += [f"mean ratio {ratio.mean(axis=0).round(3)}, scatter {ratio.std(axis=0).round(3)};"]
        lines += [f"solves {[row['solves'] for row in rows.values()]}"]
    sets = list(content.get("coverage", {}).values())
    if sets:
        truth, names = np.array(flat(TRUTH)), ("estimate", "errors", "low", "high")
        estimate, errors, low, high = (np.array([row[name] for row in sets]) for name in names)
        sandwich = (np.abs(estimate - truth) < 1.645 * errors).mean(axis=0)
        drawn = ((low < truth) & (truth < high)).mean(axis=0)
        z = np.sqrt(np.mean(((estimate - truth) / errors) ** 2, axis=0))
        lines += ["", f"{len(sets)} sets of {content['sizes']['num_small']}, 90 % intervals:", ""]
        lines += ["| | " + " | ".join(LABELS) + " | all |", "|---" * (len(LABELS) + 2) + "|"]
        for name, share in (("standard errors", sandwich), ("posterior bootstrap", drawn)):
            lines.append(f"| {name} | " + " | ".join(f"{x:.0%}" for x in [*share, share.mean()]) + " |")
        lines += ["", f"root mean square of error / standard error: {z.round(2)}"]
        seconds = np.median([row["bootstrap_seconds"] for row in sets])
        lines += [f"a bootstrap of 1000 draws takes {seconds:.2f} s (median)"]
    return "\n".join(lines)


def main() -> None:
    parser = new_parser(__doc__, "tiny sizes: does it run at all?")
    parser.add_argument("--part", nargs="*", default=["predicted", "keys", "coverage"], help="which parts")
    options = parser.parse_args()
    sizes = SIZES[options.quick]
    store = open_store("standard_errors", options.quick, sizes)
    if "predicted" in options.part:
        run_predicted(store, sizes)
    if "keys" in options.part:
        run_keys(store, sizes)
    if "coverage" in options.part:
        run_coverage(store, sizes)
    print("\n" + report(store.content))


if __name__ == "__main__":
    main()
