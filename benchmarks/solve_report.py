"""Numbers of bench_solve.py judged against the targets, as a table and a figure."""

import statistics
from pathlib import Path

import numpy as np

from benchmarks.rounds import judge_targets

HEADINGS = ("assembly", "solve", "total")


def summarise(readings: dict) -> dict:
    """Median, best and number of readings per heading, for each case and key."""

    def of_key(seconds):
        headings = [heading for heading in HEADINGS if heading in seconds[0]]
        columns = {heading: [reading[heading] for reading in seconds] for heading in headings}
        middle = {heading: statistics.median(column) for heading, column in columns.items()}
        return {**middle, "best": min(columns["total"]), "readings": len(seconds)}

    return {case: {key: of_key(seconds) for key, seconds in keys.items()} for case, keys in readings.items()}


def tensor_error(ours, reference) -> float:
    """Largest error of a component over the batch, relative to sqrt(A_ii A_jj)."""
    ours, reference = np.asarray(ours), np.asarray(reference)
    diagonal = np.sqrt(np.diagonal(reference, axis1=-2, axis2=-1))
    scale = diagonal[..., :, None] * diagonal[..., None, :]
    return float(np.max(np.abs(ours - reference) / scale))


def gradient_error(ours, reference) -> float:
    """Largest relative 2-norm error of a member's voxel gradient."""
    ours, reference = np.asarray(ours), np.asarray(reference)
    error, size = (np.linalg.norm(array.reshape(len(array), -1), axis=1) for array in (ours - reference, reference))
    return float(np.max(error / size))


def _headline_targets(record: dict) -> list:
    seconds = record["seconds_per_cell"][record["headline"]]
    targets = []
    for tolerance, forward, gradient in (("0.0001", 400, 600), ("1e-06", 200, 300)):
        for operation, least in (("forward", forward), ("gradient", gradient)):
            ours = seconds.get(f"float32 {tolerance} {operation}")
            for peer, bound in (("jax_fem", least), ("scikit_fem", None)):
                theirs = seconds.get(f"{peer} {operation}")
                if ours and theirs:
                    name = f"{peer} / ours, {operation}, tolerance {tolerance}"
                    targets.append((name, theirs["total"] / ours["total"], ">=", bound))
    return targets


def _relative_targets(record: dict) -> list:
    """Times relative to the headline case, which ran in the same rounds."""
    targets = []
    base = record["seconds_per_cell"][record["headline"]]
    n = record["cases"][record["headline"]]["n"]
    bounds = {f"n={n} contrast=2..200": 2.5, f"n={n} contrast=1000": 3.0, f"n={n} contrast=10 anisotropic": 1.6}
    for case, bound in bounds.items():
        for tolerance in ("0.0001", "1e-06"):
            key = f"float32 {tolerance} forward"
            ours = record["seconds_per_cell"].get(case, {}).get(key)
            if ours and key in base:
                name = f"{case} / contrast 10, tolerance {tolerance}"
                targets.append((name, ours["total"] / base[key]["total"], "<=", bound))
    return targets


def _error_targets(record: dict) -> list:
    """The tolerance holds wherever the arithmetic can express it."""
    targets = []
    for case, solvers in record["errors"].items():
        for solver, errors in solvers.items():
            if solver == "jax_fem":
                bound = 1e-8
            else:
                dtype, tolerance = solver.split()
                floor = 5e-7 if dtype == "float32" else 0.0  # rounding of the energies
                bound = float(tolerance) + floor
            targets.append((f"tensor error, {case}, {solver}", errors["tensor"], "<=", bound))
    return targets


def judge(record: dict) -> list[dict]:
    """Every target with its value; ``passed`` is None where nothing is asked."""
    targets = _headline_targets(record) + _relative_targets(record) + _error_targets(record)
    if "stand_in" in record:
        targets.append(("stand-in's solve / plain SciPy", record["stand_in"]["ratio"], "<=", 1.2))
    return judge_targets(targets)


def show(record: dict) -> None:
    """Print the tables."""
    machine = record["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    print(f"{machine['cpu']}, {machine['cores']} cores, load {machine['load_at_start']}; {machine['date']}")
    print(f"{versions}; commit {machine['commit']}\n")
    print(f"{'milliseconds per cell, two load cases':42s}{'assembly':>10s}{'solve':>10s}{'total':>10s}{'best':>10s}")
    for case, keys in record["seconds_per_cell"].items():
        print(f"{case}, batch of {record['cases'][case]['num_cells']}")
        for key, seconds in keys.items():
            columns = [seconds.get(heading) for heading in (*HEADINGS, "best")]
            print(f"  {key:40s}" + "".join(f"{'-':>10s}" if c is None else f"{1e3 * c:10.3f}" for c in columns))
    for key, seconds in record["one_process_per_core"].items():
        print(f"  {key + ', one process per core':60s}{1e3 * seconds:12.3f}")
    print("\nours in 32 bit: iterations over the batch, and the largest relative error of a voxel gradient")
    for case, tolerances in record.get("iterations", {}).items():
        for tolerance, iterations in tolerances.items():
            errors = record["errors"].get(case, {}).get(f"float32 {tolerance}", {})
            counts = f"mean {iterations['mean']:6.1f}  max {iterations['max']:4d}"
            print(f"  {case:36s}{tolerance:>8s}  {counts}{errors.get('gradient', float('nan')):12.1e}")
    if record["quick"]:
        print("\nThe targets below are meant for the full run, not for these small sizes.")
    print(f"\n{'target':66s}{'value':>11s}{'asked':>14s}")
    for target in record["targets"]:
        asked = "" if target["bound"] is None else f"{target['relation']} {target['bound']:.3g}"
        verdict = {True: "pass", False: "FAIL", None: ""}[target["passed"]]
        print(f"{target['name']:66s}{target['value']:11.4g}{asked:>14s}  {verdict}")


def draw(record: dict, path: Path) -> None:
    """Time per cell against the mesh and the contrast."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    headline_n = record["cases"][record["headline"]]["n"]
    plain = {name: case for name, case in record["cases"].items() if "anisotropic" not in name}
    panels = (
        ("n", "voxels along a side", lambda case: case["contrast"] == 10.0),
        ("contrast", "contrast", lambda case: case["n"] == headline_n and np.isscalar(case["contrast"])),
    )
    styles = {"jax_fem": "s-", "scikit_fem": "^-", "float32": "o-", "float64": "o--"}
    for axis, (variable, label, chosen) in zip(axes, panels, strict=True):
        names = sorted((name for name in plain if chosen(plain[name])), key=lambda name: plain[name][variable])
        keys = {key for name in names for key in record["seconds_per_cell"][name] if key.endswith("forward")}
        for key in sorted(keys):
            points = [
                (plain[name][variable], 1e3 * record["seconds_per_cell"][name][key]["total"])
                for name in names
                if key in record["seconds_per_cell"][name]
            ]
            axis.loglog(*zip(*points, strict=True), styles[key.split()[0]], label=key.removesuffix(" forward"))
        ticks = [plain[name][variable] for name in names]
        axis.set(xlabel=label, xticks=ticks, xticklabels=[f"{tick:g}" for tick in ticks])
        axis.minorticks_off()
        axis.grid(alpha=0.3, which="both")
    axes[0].set(ylabel="time per cell, two load cases (ms)", title="contrast 10")
    axes[1].set(title=f"{headline_n} x {headline_n} voxels")
    if record.get("iterations"):
        twin = axes[1].twinx()
        for tolerance, style in (("0.0001", "k:"), ("1e-06", "k-.")):
            counts = [(plain[name]["contrast"], record["iterations"][name][tolerance]["mean"]) for name in names]
            twin.semilogx(*zip(*counts, strict=True), style, lw=1, label=f"iterations, {tolerance}")
        twin.set(ylabel="mean iterations (beyond 30 by Multigrid)")
        twin.set_ylim(0, 2 * twin.get_ylim()[1])
        twin.legend(loc="upper right", fontsize=7)
    axes[0].legend(fontsize=7)
    figure.savefig(path, dpi=150)
    plt.close(figure)
