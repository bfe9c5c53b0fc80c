"""Run the first example of README.md as it stands there, say what it costs, and draw docs/readme.png.

python docs/make_readme_figure.py
"""

import re
import time
from pathlib import Path
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np

import numpyro_homog as nh

ROOT = Path(__file__).parents[1]
TRUTH = nh.example_truth("laguerre_plates")
TRUE = np.concatenate([TRUTH["delays"][1:], TRUTH["kappa"]])


def main() -> None:
    names: dict[str, Any] = {}
    wall, cpu = time.perf_counter(), time.process_time()
    exec(re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0], names)
    print(f"{time.perf_counter() - wall:.0f} s, {time.process_time() - cpu:.0f} s of a core")
    draw(names["fit"], names["measured"])


def draw(fit: Any, measured: Any) -> None:
    simulated = fit.predict(jax.random.key(3), len(measured))["K_eff"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for cloud, label, color in ((measured, "measured", "0.6"), (simulated, "simulated at the estimate", "tab:blue")):
        cloud = np.asarray(cloud)
        left.plot(cloud[:, 0, 0], cloud[:, 1, 1], ".", ms=3, alpha=0.6, color=color, label=label)
    left.set(xlabel="$K_{11}$, W/(m K)", ylabel="$K_{22}$, W/(m K)")
    left.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, markerscale=3)
    estimate, error = (np.concatenate([part[k].ravel() for k in part]) for part in (fit.params, fit.standard_errors))
    rows = np.arange(len(estimate))
    right.errorbar(estimate / TRUE, rows, xerr=2 * error / TRUE, fmt="o", color="tab:blue", label="± 2 standard errors")
    right.axvline(1, color="0.6", label="truth")
    right.set(xlabel="estimate / truth", yticks=rows, yticklabels=fit.labels, ylim=(len(rows) - 0.4, -1))
    right.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    figure.savefig(ROOT / "docs" / "readme.png", dpi=100)


if __name__ == "__main__":
    main()
