"""5.1: periodic cells of three phases that grow from uniform seeds with different start times; also the paper's way.

The runs are those of benchmarks/bench_estimate.py, and so are their files.
"""

import numpy as np

from benchmarks.bench_estimate import SIZES, open_store, run_fits, run_paper
from benchmarks.estimate_models import DELAYS, KAPPA

from .rows import Rows

NAME = "5.1"


def run(rows: Rows, num_data_sets: int, quick: bool) -> None:
    """Data sets of sharp cells on a fine grid, the model on 32 x 32."""
    sizes = SIZES[quick]
    num, simulated = sizes["num_large"], sizes["simulated_large"]
    store = open_store("estimate", quick, sizes)
    run_fits(store, "accuracy", sizes, num_data_sets, num, simulated)
    run_paper(store, sizes)
    truth = {"kappa": np.array(KAPPA), "delays": np.array(DELAYS[1:])}
    for part, estimator in (("accuracy", "sliced Wasserstein"), ("paper", "the paper's way")):
        for index, found in sorted(store.content[part].items()):
            if rows.has(NAME, estimator, num, int(index)):
                continue
            row = {"experiment": NAME, "estimator": estimator, "num_specimens": num, "data_set": int(index)}
            row |= {"errors": {block: found[f"error_{block}"] for block in truth}, "floor": {}}
            if spread := found.get("standard_errors"):
                share = np.sqrt(simulated / (num + simulated))
                floors = {"kappa": spread["kappa"], "delays": spread["delay"]}
                row["floor"] = {
                    k: float(share * np.linalg.norm(v) / np.linalg.norm(truth[k])) for k, v in floors.items()
                }
            rows.put(row | {"solves": found["solves"], "seconds": found["seconds"]})
