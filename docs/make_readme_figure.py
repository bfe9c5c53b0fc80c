"""Run the first two examples of README.md as they stand there, say what they cost, and draw docs/readme.png.

python docs/make_readme_figure.py
"""

import re
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import jax
import matplotlib.pyplot as plt
import numpy as np

ROOT = Path(__file__).parents[1]
PHASES = ("tab:blue", "tab:orange", "tab:red")


def main() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[:2]
    names: dict = {}
    for number, block in enumerate(blocks):
        wall, cpu = time.perf_counter(), time.process_time()
        exec(block, names)
        jax.block_until_ready(names["mcmc"].get_samples() if number else ())
        print(f"block {number}: {time.perf_counter() - wall:.0f} s, {time.process_time() - cpu:.0f} s of a core")
    fit, samples = names["fit"], names["mcmc"].get_samples()
    simulated = fit.predict(jax.random.key(3), len(names["measured"]))["K_eff"]

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for cloud, label, color in (
        (names["measured"], "measured", "0.6"),
        (simulated, "simulated at the estimate", "tab:blue"),
    ):
        cloud = np.asarray(cloud)
        left.plot(cloud[:, 0, 0], cloud[:, 1, 1], ".", ms=3, alpha=0.6, color=color, label=label)
    left.set(xlabel="$K_{11}$, W/(m K)", ylabel="$K_{22}$, W/(m K)")
    left.legend(frameon=False)
    for j, color in enumerate(PHASES):
        right.hist(np.asarray(samples["kappa"])[:, j], 30, density=True, color=color, alpha=0.5)
        right.axvline(fit.params["kappa"][j], color=color)
    right.set(xscale="log", xlabel="conductivities of the phases, W/(m K)", ylabel="posterior density")
    right.set_xticks([1, 2, 5, 10], ["1", "2", "5", "10"])
    figure.savefig(ROOT / "docs" / "readme.png", dpi=100)


if __name__ == "__main__":
    main()
