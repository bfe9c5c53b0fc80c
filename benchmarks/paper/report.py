"""The rows as a table and as figures."""

import re
from collections import defaultdict
from pathlib import Path

import numpy as np

#: relative errors that the paper prints and that survive in its text
PRINTED = {"5.2": "1.76 %, .383 %, .97 %", "6.1": "2.98 %", "6.2": ".46 %"}
MOST = 300.0  # percent, in the figure; what is above is not determined


def grouped(rows: list[dict]) -> dict[tuple, list[dict]]:
    """Rows by experiment, estimator and number of specimens."""
    groups = defaultdict(list)
    for row in rows:
        groups[row["experiment"], row["estimator"], row["num_specimens"]].append(row)
    return dict(sorted(groups.items(), key=lambda item: (_natural(item[0][0]), *item[0][1:])))


def _natural(name: str) -> list:
    """What a name is sorted by: words as words, numbers as numbers."""
    parts = re.split(r"(\d+\.?\d*)", name)
    return [float(part) if i % 2 else part for i, part in enumerate(parts)]


def rms(values) -> float:
    """Root mean square of numbers."""
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else float("nan")


def table(rows: list[dict]) -> str:
    """Markdown: root mean square error over data sets (and its range), floor, ratio, solves, seconds."""
    head = ("experiment", "estimator", "N", "sets", "block", "RMS error %", "range %", "floor %", "error / floor",
            "solves", "s", "printed")  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for (experiment, estimator, num), group in grouped(rows).items():
        solves, seconds = (
            f"{np.median([row[key] for row in group]):,.{d}f}" for key, d in (("solves", 0), ("seconds", 0))
        )
        for block in group[0]["errors"]:
            errors = [100 * row["errors"][block] for row in group]
            floors = [100 * row["floor"][block] for row in group if np.isfinite(row["floor"].get(block, np.nan))]
            floor = float(np.median(floors)) if floors else float("nan")
            cells = [experiment, estimator, f"{num:,}", str(len(group)), block, f"{rms(errors):.3g}"]
            cells += [f"{min(errors):.2g} to {max(errors):.2g}", f"{floor:.3g}" if floors else ""]
            cells += [f"{rms(errors) / floor:.2f}" if floors else "", solves, seconds, PRINTED.get(experiment, "")]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(rows: list[dict], folder: Path) -> None:
    """Errors against their floors, by experiment; convergence in 1D; the sweep over gamma."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(14, 4.2), layout="constrained")
    colors = {"alpha": "#004488", "kappa": "#DD7733", "delays": "#228833", "limits": "#AA3377", "gamma": "#66CCEE",
              "nu": "#888888"}  # fmt: skip
    groups = {key: group for key, group in grouped(rows).items() if key[1] == "sliced Wasserstein"}
    largest = {}
    for (experiment, _, num), group in groups.items():
        if num >= largest.get(experiment, (0, None))[0]:
            largest[experiment] = num, group
    names = sorted(largest, key=_natural)
    for place, name in enumerate(names):
        for shift, (block, color) in zip(np.linspace(-0.25, 0.25, len(colors)), colors.items(), strict=True):
            group = [row for row in largest[name][1] if block in row["errors"]]
            errors = [100 * row["errors"][block] for row in group]
            axes[0].semilogy([place + shift] * len(errors), np.minimum(errors, MOST), "o", ms=4, color=color, alpha=0.6)
            floors = [100 * row["floor"][block] for row in group if np.isfinite(row["floor"].get(block, np.nan))]
            if floors:
                axes[0].semilogy(place + shift, min(np.median(floors), MOST), "_", ms=16, color=color)
    axes[0].set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=8)
    for block, color in colors.items():
        axes[0].semilogy([], [], "o", ms=4, color=color, label=block)
    axes[0].set(ylabel="relative error (%)", title=f"data sets (dots) and floors (bars), at most {MOST:.0f} %")
    for block in ("alpha", "kappa"):
        for estimator, style in (("sliced Wasserstein", "o-"), ("exact likelihood", "s--")):
            found = {num: rms([100 * row["errors"][block] for row in group if block in row["errors"]])
                     for (name, kind, num), group in grouped(rows).items()
                     if name == "4.3 gamma=1" and kind == estimator}  # fmt: skip
            axes[1].loglog(list(found), list(found.values()), style, color=colors[block], label=f"{block}, {estimator}")
        sweep = {float(name.split("=")[1]): group for (name, _, num), group in groups.items()
                 if name.startswith("4.3 gamma") and num == 10_000}  # fmt: skip
        for part in ("gamma", "nu", "kappa") if block == "alpha" else ():
            found = {
                g: rms([100 * row["errors"][part] for row in sweep[g] if part in row["errors"]]) for g in sorted(sweep)
            }
            axes[2].loglog(list(found), list(found.values()), "o-", color=colors[part], label=part)
    axes[1].set(xlabel="specimens N", ylabel="RMS relative error (%)", title="4.3, gamma = 1")
    axes[2].set(xlabel="gamma", ylabel="RMS relative error (%)", title="4.3, N = 10,000", ylim=(None, MOST))
    axes[0].legend(fontsize=8, ncols=2, loc="lower right")
    for axis in axes[1:]:
        if axis.lines:
            axis.legend(fontsize=8)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "paper.png", dpi=130)
    plt.close(figure)
    print(f"wrote {folder / 'paper.json'} and paper.png")
