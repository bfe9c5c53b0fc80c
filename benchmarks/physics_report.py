"""Numbers of bench_physics.py judged against the targets, as tables and figures."""

from pathlib import Path

import numpy as np

from benchmarks.rounds import judge_targets
from benchmarks.solve_report import gradient_error, tensor_error

#: solvers whose tensors must be those of the discrete problem, to rounding
EXACT = ("scikit_fem", "feax", "float64 1e-10")
STYLES = {"2D conduction": "o-", "2D elasticity": "s-", "3D conduction": "^-", "3D elasticity": "D-"}
OURS = "float32 0.0001 forward"


def errors(answers: dict) -> dict:
    """Errors of the first cell's tensor and gradient with respect to a direct 64-bit solve, by case and solver."""
    found = {}
    for case, keys in answers.items():
        reference = keys.get("scikit_fem forward") or keys.get("float64 1e-10 forward")
        if reference is None or len(keys) == 1:
            continue
        slopes = keys.get("scikit_fem gradient")
        for key, answer in keys.items():
            solver, operation = key.rsplit(" ", 1)
            entry = found.setdefault(case, {}).setdefault(solver, {})
            if operation == "forward":
                entry["tensor"] = tensor_error(answer["effective"][:1], reference["effective"][:1])
            elif slopes:
                entry["gradient"] = gradient_error(answer["gradient"][:1], slopes["gradient"][:1])
    return found


def largest_difference(errors: dict) -> float:
    """Largest relative difference between the tensors of all solvers that solve to rounding."""
    return max(
        (entry["tensor"] for case in errors.values() for key, entry in case.items() if key in EXACT), default=0.0
    )


def refused(answers: dict) -> dict:
    """Cells of a batch without an answer: a contrast too high for 32 bits at this tolerance."""
    counts = {
        case: int(np.sum(np.isnan(np.asarray(keys[OURS]["effective"])[:, 0, 0]))) for case, keys in answers.items()
    }
    return {case: count for case, count in counts.items() if count}


def varies(record: dict, name: str, variable: str) -> bool:
    """Whether a case differs from a base case at most in one of "contrast", "n" (and the batch), "num_cells"."""
    case = record["cases"][name]
    if variable == "num_cells":  # around the base case, or on the mesh that was chosen for large batches
        siblings = [other for other in record["cases"].values() if other["physics"] == case["physics"]]
        meshes = [other["n"] for other in siblings if other["num_cells"] == 256]
        return case["contrast"] == 10.0 and case["n"] in meshes
    fixed = {"contrast": ("n", "num_cells"), "n": ("contrast",)}[variable]
    bases = [record["cases"][base] for base in record["bases"]]
    same = [base for base in bases if base["physics"] == case["physics"]]
    if variable == "n":  # not those with another batch on the mesh of the base case
        voxels = case["num_cells"] * case["n"] ** case["ndim"]
        largest = max(base["num_cells"] * base["n"] ** base["ndim"] for base in same)
        full = min(max(2, largest // case["n"] ** case["ndim"]), 64)
        if case["num_cells"] != full and voxels != largest:
            return False
    return any(all(base[key] == case[key] for key in fixed) for base in same)


def _totals(record: dict, name: str) -> dict:
    return {key: seconds["total"] for key, seconds in record["seconds_per_cell"][name].items()}


def judge(record: dict) -> list[dict]:
    """Every ratio with its target; ``passed`` is None where nothing is asked."""
    targets = []
    for name in record["cases"]:
        seconds = _totals(record, name)
        for key, theirs in seconds.items():
            peer, operation = key.rsplit(" ", 1)
            for tolerance in () if key.startswith("float") else ("0.0001", "1e-06"):
                ours = seconds.get(f"float32 {tolerance} {operation}")
                asked = 2000 if (peer, operation) == ("feax", "forward") and name.startswith("2D") else None
                if ours:
                    targets.append((f"{name}: {peer} / ours, {operation}, {tolerance}", theirs / ours, ">=", asked))
    for base in record["bases"]:
        name = base.replace("contrast=10 ", "contrast=1000 ")
        if name in record["seconds_per_cell"]:
            ratio = _totals(record, name)[OURS] / _totals(record, base)[OURS]
            targets.append((f"{record['cases'][base]['physics']}: contrast 1000 / 10", ratio, "<=", 3))
    targets.append(("largest difference of the exact solvers", record["largest_difference"], "<=", 1e-8))
    for name, solvers in record["errors"].items():
        for solver, entry in solvers.items():
            if solver.startswith("float32"):
                bound = float(solver.split()[1]) + 5e-7  # rounding of the energies
                targets.append((f"{name}: tensor error, {solver}", entry["tensor"], "<=", bound))
    return judge_targets(targets)


def show(record: dict) -> None:
    """Print the tables."""
    machine = record["machine"]
    print(f"{machine['cpu']}, {machine['cores']} cores, load {machine['load_at_start']} to {machine['load_at_end']}")
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    print(f"{versions}; commit {machine['commit']}; {machine['date']}\n")
    print(f"{'milliseconds per cell':72s}{'median':>11s}{'best':>11s}")
    for name, keys in record["seconds_per_cell"].items():
        for key, seconds in keys.items():
            print(f"{name + ', ' + key:72s}{1e3 * seconds['total']:11.3f}{1e3 * seconds['best']:11.3f}")
    for name, counts in record["iterations"].items():
        print(f"{'iterations, ' + name:72s}{counts['mean']:11.1f}{counts['max']:11d}")
    for physics, contrasts in record["iterations_by_phases"].items():
        for contrast, phases in contrasts.items():
            counts = ", ".join(f"{count:.1f} for {number}" for number, count in phases.items())
            print(f"iterations by phases, {physics}, contrast {contrast}: {counts}")
    if record["quick"]:
        print("\nThe targets below are meant for the full run, not for these small sizes.")
    print(f"\n{'target':88s}{'value':>11s}{'asked':>12s}")
    for target in record["targets"]:
        asked = "" if target["bound"] is None else f"{target['relation']} {target['bound']:.3g}"
        verdict = {True: "pass", False: "FAIL", None: ""}[target["passed"]]
        print(f"{target['name']:88s}{target['value']:11.4g}{asked:>12s}  {verdict}")


def _figure(columns: int):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt.subplots(1, columns, figsize=(4.4 * columns, 4), sharey=True, layout="constrained")


def draw(record: dict, path: Path) -> None:
    """Bars: time per cell of every solver, one panel for each case with peers."""
    names = [name for name, keys in record["seconds_per_cell"].items() if any(not k.startswith("float") for k in keys)]
    figure, axes = _figure(max(len(names), 1))
    for axis, name in zip(np.atleast_1d(axes), names, strict=False):
        seconds = {key: value for key, value in _totals(record, name).items() if key.endswith("forward")}
        order = sorted(seconds, key=seconds.get)
        labels = [key.removesuffix(" forward").replace("float32", "ours,") for key in order]
        colors = ["tab:blue" if key.startswith("float") else "tab:gray" for key in order]
        bars = axis.bar(labels, [1e3 * seconds[key] for key in order], color=colors)
        axis.bar_label(bars, fmt="%.3g", fontsize=8)
        axis.set(yscale="log", title=name.split(" contrast")[0])
        axis.tick_params("x", rotation=60)
        axis.grid(alpha=0.3, axis="y")
    np.atleast_1d(axes)[0].set_ylabel("time per cell, all load cases (ms)")
    figure.savefig(path, dpi=150)


def draw_growth(record: dict, path: Path) -> None:
    """Time per cell of ours against the voxels, the contrast and the batch."""
    figure, axes = _figure(3)
    panels = (("n", "voxels of a cell"), ("contrast", "contrast"), ("num_cells", "cells in a batch"))
    for axis, (variable, label) in zip(axes, panels, strict=True):
        for physics, style in STYLES.items():
            chosen = {
                name: case
                for name, case in record["cases"].items()
                if case["physics"] == physics and varies(record, name, variable)
            }
            points = [
                (case["n"] ** case["ndim"] if variable == "n" else case[variable], 1e3 * _totals(record, name)[OURS])
                for name, case in chosen.items()
            ]
            sides = {case["n"] for case in chosen.values()}
            if points:
                side = "" if len(sides) > 1 else f", n = {sides.pop()}"
                axis.loglog(*zip(*sorted(points), strict=True), style, ms=4, label=physics + side)
        axis.set(xlabel=label)
        axis.grid(alpha=0.3, which="major")
        if axis.lines:
            axis.legend(fontsize=7)
    axes[0].set(ylabel="time per cell, all load cases (ms)", title="contrast 10")
    axes[1].set(title="growth with the contrast")
    axes[2].set(title="contrast 10")
    figure.savefig(path, dpi=150)
