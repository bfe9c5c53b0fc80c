"""The estimator on simulated data of known truth, beside the stochastic-gradient way of the paper.

    python -m benchmarks.bench_estimate [--quick] [--part accuracy paper coverage]

Three parts: accuracy and time on data sets of 10,000 specimens; the paper's way (softmax relaxation, Adam, fresh
batches) on the first of them; root mean square errors and coverage of the standard errors on data sets of 1000. Data
are sharp cells on a fine grid, cached in benchmarks/cache; the model works on 32 x 32. Results are appended to
results/estimate.json after each data set; a run that was stopped goes on. Times exclude compilation, which is listed.
"""

import time
from pathlib import Path

import jax
import numpy as np
import optax

import numpyro_homog as nh
from benchmarks.estimate_models import DELAYS, KAPPA, errors, make_model, make_relaxed_model, simulate
from benchmarks.store import Store, new_parser, rounded

SIZES = {
    False: {
        "num_large": 10_000, "sets_large": 5, "num_small": 1000, "sets_small": 30, "n_data": 128, "n": 32,
        "simulated_large": 10_000, "simulated_small": 2000, "starts": 5,
        "paper_steps": 1000, "paper_batch": 128, "paper_data": 1000, "paper_sets": 1, "paper_starts": 5,
    },
    True: {
        "num_large": 400, "sets_large": 1, "num_small": 200, "sets_small": 3, "n_data": 32, "n": 16,
        "simulated_large": 400, "simulated_small": 200, "starts": 2,
        "paper_steps": 20, "paper_batch": 32, "paper_data": 100, "paper_sets": 1, "paper_starts": 2,
    },
}  # fmt: skip


def open_store(name: str, quick: bool, sizes: dict) -> Store:
    """Results by part and data set, for known truth."""
    packages = ("numpyro-homog", "jax", "jaxlib", "numpyro", "optax")
    settings = {"sizes": sizes, "truth": {"kappa": KAPPA, "delays": DELAYS}}
    return Store(name, packages, quick=quick, settings=settings)


def put_row(store: Store, part: str, index: int, row: dict) -> None:
    """Store a row and show it."""
    store.put(part, index, row)
    print(part, index, rounded(row), flush=True)


def row_of(fit: nh.MinimumDistanceResult, kappa, seconds: float) -> dict:
    row = {f"error_{name}": value for name, value in errors(kappa, fit.params["delay"]).items()}
    row |= {"kappa": np.asarray(kappa).tolist(), "delay": fit.params["delay"].tolist()}
    row |= {"loss": fit.loss, "noise_floor": fit.noise_floor, "solves": fit.stats["solves"]}
    row |= {"seconds": seconds - fit.stats["compile_seconds"], "compile_seconds": fit.stats["compile_seconds"]}
    row["basins"] = [{"starts": list(b.starts), "loss": b.loss, "ended": b.status} for b in fit.basins]
    return row


def run_fits(store: Store, part: str, sizes: dict, count: int, num_data: int, num_simulated: int) -> None:
    """Fit data sets 0 .. count - 1, all by the same compiled estimator."""
    estimator = None
    for index in range(count):
        if store.has(part, index):
            continue
        # The large data sets are cut into small ones: no specimen is used twice within a part.
        per_large = sizes["num_large"] // num_data
        large = simulate(index // per_large, sizes["num_large"], sizes["n_data"])
        data = {"K_eff": large[(index % per_large) * num_data :][:num_data]}
        if estimator is None:
            estimator = nh.MinimumDistance(make_model(sizes["n"]), data, nh.SlicedWasserstein())
        estimator = estimator.with_data(data)
        begin, begin_cpu = time.perf_counter(), time.process_time()
        fit = estimator.run(jax.random.key(index), num_simulated, num_starts=sizes["starts"], progress=False)
        row = row_of(fit, fit.params["kappa"], time.perf_counter() - begin)
        row["cpu_seconds"] = time.process_time() - begin_cpu  # of all cores, compilation included
        truth = {"kappa": np.array(KAPPA), "delay": np.array(DELAYS[1:])}
        row["z"] = {k: ((fit.params[k] - truth[k]) / fit.standard_errors[k]).tolist() for k in truth}
        row["standard_errors"] = {k: fit.standard_errors[k].tolist() for k in truth}
        row["result"] = "successful" if fit.result == nh.RESULTS.successful else "flagged"
        put_row(store, part, index, row)


def run_paper(store: Store, sizes: dict) -> None:
    """The paper's way on the first data sets."""
    steps = sizes["paper_steps"]
    rate = optax.exponential_decay(1e-2, max(1, steps // 4), 0.5, staircase=True)
    for index in range(sizes["paper_sets"]):
        if store.has("paper", index):
            continue
        data = {"K_eff": simulate(index, sizes["num_large"], sizes["n_data"])}
        estimator = nh.MinimumDistance(
            make_relaxed_model(sizes["n"]), data, nh.SlicedWasserstein(100), optax.adam(rate),
            num_steps=steps, batch_size=sizes["paper_data"],
        )  # fmt: skip
        begin = time.perf_counter()
        fit = estimator.run(
            jax.random.key(index), sizes["paper_batch"], num_starts=sizes["paper_starts"], progress=False
        )
        row = row_of(fit, np.exp(fit.params["log_kappa"]), time.perf_counter() - begin)
        put_row(store, "paper", index, row)


def report(content: dict) -> str:
    """The results as a text table, and whether they are as good as promised."""
    sizes, lines = content["sizes"], []

    def median(part, key):
        rows = content.get(part, {}).values()
        return float(np.median([row[key] for row in rows])) if rows else float("nan")

    lines.append(f"{'':28}{'error kappa':>12}{'error delays':>14}{'cell solves':>13}{'seconds':>9}{'compiling':>11}")
    names = {"accuracy": "Levenberg-Marquardt", "paper": "the paper's way (Adam)"}
    for part, name in names.items():
        if part in content:
            label = f"{name}, {len(content[part])} sets"
            lines.append(
                f"{label:28}{median(part, 'error_kappa'):12.2%}{median(part, 'error_delays'):14.2%}"
                f"{median(part, 'solves'):13,.0f}{median(part, 'seconds'):9.1f}{median(part, 'compile_seconds'):11.1f}"
            )
    lines.append(f"(medians; {sizes['num_large']} specimens, {sizes['n_data']} x {sizes['n_data']} sharp; five starts)")
    if "coverage" in content:
        rows = list(content["coverage"].values())
        z = np.array([row["z"]["kappa"] + row["z"]["delay"] for row in rows])
        rms = [np.sqrt(np.mean([row[f"error_{name}"] ** 2 for row in rows])) for name in ("kappa", "delays")]
        lines += [
            "",
            f"{len(rows)} data sets of {sizes['num_small']}: RMSE kappa {rms[0]:.2%}, delays {rms[1]:.2%};"
            f" coverage of +-2 standard errors {np.mean(np.abs(z) < 2):.1%}"
            f" (by parameter {', '.join(f'{share:.0%}' for share in np.mean(np.abs(z) < 2, axis=0))});"
            f" {np.median([row['seconds'] for row in rows]):.1f} s each",
        ]
    return "\n".join(lines)


def draw(content: dict, path: Path) -> None:
    """Errors against cell solves, and standardised errors."""
    import matplotlib.pyplot as plt
    import matplotlib.ticker

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for part, marker in (("accuracy", "o"), ("paper", "s")):
        rows = content.get(part, {}).values()
        for name, color in (("kappa", "#004488"), ("delays", "#DD7733")):
            x, y = [row["solves"] for row in rows], [100 * row[f"error_{name}"] for row in rows]
            axes[0].loglog(x, y, marker, color=color, label=f"{name}, {part}")
    axes[0].set(xlabel="cell solves", ylabel="relative error (%)", xlim=(4e4, 1.5e6))
    axes[0].xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
    axes[0].legend(fontsize=8)
    rows = list(content.get("coverage", {}).values())
    if rows:
        z = np.array([row["z"]["kappa"] + row["z"]["delay"] for row in rows])
        labels = ["kappa[0]", "kappa[1]", "kappa[2]", "delay[0]", "delay[1]"]
        for i in range(5):
            axes[1].plot(np.full(len(z), i), z[:, i], "o", color="#004488", alpha=0.4)
        axes[1].axhspan(-2, 2, color="#B8B8B8", alpha=0.4, lw=0)
        axes[1].set_xticks(range(5), labels, fontsize=8)
        axes[1].set(ylabel="error / standard error")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    parser = new_parser(__doc__, "tiny sizes: does it run at all?")
    parser.add_argument("--part", nargs="*", default=["accuracy", "coverage", "paper"], help="which parts")
    options = parser.parse_args()
    sizes = SIZES[options.quick]
    store = open_store("estimate", options.quick, sizes)
    if "accuracy" in options.part:
        run_fits(store, "accuracy", sizes, sizes["sets_large"], sizes["num_large"], sizes["simulated_large"])
    if "coverage" in options.part:
        run_fits(store, "coverage", sizes, sizes["sets_small"], sizes["num_small"], sizes["simulated_small"])
    if "paper" in options.part:
        run_paper(store, sizes)
    print("\n" + report(store.content))
    draw(store.content, store.folder / "estimate.png")


if __name__ == "__main__":
    main()
