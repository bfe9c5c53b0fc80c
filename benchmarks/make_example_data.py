"""Make the packaged example: 1000 cells of a tessellation with start times, simulated on a fine grid.

    JAX_ENABLE_X64=1 python -m benchmarks.make_example_data

writes data/laguerre_plates.csv and .json of the package. A cell is a unit torus with one uniform seed for each phase;
phase j fills the points whose distance to its seed plus its delay is least. Voxels are sharp: each belongs wholly to
the phase at its centre. The grid is much finer than the one a model of these data would use, so that the model's own
discretisation error is not hidden.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

NAME = "laguerre_plates"
SEED = 20260101
NUM_SPECIMENS = 1000
RESOLUTION = 256
KAPPA = (1.0, 5.0, 10.0)
DELAYS = (0.0, 0.1, 0.05)
TOLERANCE = 1e-8
DIGITS = 9
DATA = Path(__file__).parents[1] / "src" / "numpyro_homog" / "data"


def draw_seeds() -> np.ndarray:
    """Seed points of all cells, uniform on the unit torus, shape (specimens, phases, 2)."""
    return np.random.default_rng(SEED).random((NUM_SPECIMENS, len(KAPPA), 2))


def phase_at(seeds: np.ndarray, resolution: int) -> np.ndarray:
    """Index of the phase of each voxel, shape (specimens, resolution, resolution)."""
    centers = (np.arange(resolution) + 0.5) / resolution
    offsets = np.abs(centers - seeds[..., None])  # (specimens, phases, 2, resolution)
    offsets = np.minimum(offsets, 1 - offsets)
    distance = np.hypot(offsets[:, :, 0, :, None], offsets[:, :, 1, None, :])
    return np.argmin(distance + np.reshape(DELAYS, (-1, 1, 1)), axis=1)


def fractions_of(phases: np.ndarray) -> np.ndarray:
    """Volume fractions of the phases in each cell, shape (specimens, phases)."""
    return np.stack([(phases == j).mean(axis=(1, 2)) for j in range(len(KAPPA))], axis=-1)


def simulate(seeds: np.ndarray, resolution: int, chunk: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Effective tensors (specimens, 2, 2) and volume fractions (specimens, phases) of the cells."""
    import numpyro_homog as nh

    cell = nh.CellProblem(nh.Grid((resolution, resolution)), nh.Conductivity(), nh.Periodic(), tolerance=TOLERANCE)
    tensors, fractions = [], []
    for start in range(0, len(seeds), chunk):
        phases = phase_at(seeds[start : start + chunk], resolution)
        tensors.append(np.asarray(nh.effective_tensor(cell, np.asarray(KAPPA)[phases])))
        fractions.append(fractions_of(phases))
    return np.concatenate(tensors), np.concatenate(fractions)


def truth(fractions: np.ndarray) -> dict:
    """What `numpyro_homog.datasets.example_truth` returns."""
    return {
        "kappa": KAPPA,
        "delays": DELAYS,
        "num_phases": len(KAPPA),
        "mean_fractions": [round(float(fraction), 6) for fraction in fractions.mean(axis=0)],
        "units": {"kappa": "W/(m K)", "delays": "edge length of the cell / growth velocity", "tensors": "W/(m K)"},
        "num_specimens": NUM_SPECIMENS,
        "grid": [RESOLUTION, RESOLUTION],
        "tolerance": TOLERANCE,
        "seed": SEED,
        "made_by": "python -m benchmarks.make_example_data",
        "description": (
            "Effective conductivities of periodic cells, one nucleus for each phase, uniform on the unit torus and "
            "independent. Phase j grows from its nucleus at unit velocity after its delay: it fills the points x with "
            "the least |x - z_j| + delay_j. Isotropic conductivity kappa_j in phase j. Sharp voxels (the phase at the "
            "centre), bilinear finite elements, no noise."
        ),
    }


def main() -> None:
    """Simulate, check, write, report."""
    import jax

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=DATA, help="folder of the two files")
    output = parser.parse_args().output
    if not jax.config.read("jax_enable_x64"):
        raise SystemExit("The example is made in double precision: set JAX_ENABLE_X64=1.")
    from numpyro_homog.io import save_specimens

    start = time.perf_counter()
    tensors, fractions = simulate(draw_seeds(), RESOLUTION)
    output.mkdir(parents=True, exist_ok=True)
    save_specimens(output / f"{NAME}.csv", tensors, digits=DIGITS)
    (output / f"{NAME}.json").write_text(json.dumps(truth(fractions), indent=2) + "\n")
    print(f"{len(tensors)} cells at {RESOLUTION} x {RESOLUTION} in {time.perf_counter() - start:.0f} s")
    print(f"mean tensor {tensors.mean(axis=0).tolist()}, mean fractions {fractions.mean(axis=0).tolist()}")


if __name__ == "__main__":
    main()
