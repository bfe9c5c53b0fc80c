"""Peak memory of large cells and of large batches.

    python -m benchmarks.bench_memory [--quick]

Each case in a process of its own: anonymous memory while it runs, beyond that after the imports (files that are mapped
do not count). 32 bits, tolerance 1e-4, contrast 10. Linux only. Writes results/memory.json.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from benchmarks.machine import ROOT
from benchmarks.store import Store, new_parser

CASES = {
    "elastic cell, 32 x 32 x 32": ("cell", 32, "tensor"),
    "elastic cell, 64 x 64 x 64": ("cell", 64, "tensor"),
    "the same with Multigrid()": ("cell", 64, "multigrid"),
    "the same, value and gradient": ("cell", 64, "gradient"),
    "10,000 cells of 64 x 64, memory map": ("batch", 64, 10_000),
    "100,000 cells of 64 x 64, memory map": ("batch", 64, 100_000),
}
QUICK = {"elastic cell, 8 x 8 x 8": ("cell", 8, "tensor"), "100 cells of 16 x 16": ("batch", 16, 100)}


def anonymous_memory() -> float:
    """MiB of memory of this process that belong to no file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024


class Watch:
    """The peak of `anonymous_memory` while the block runs."""

    def __enter__(self):
        self.before, self.peak, self._done = anonymous_memory(), 0.0, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        self._begin = time.perf_counter()
        return self

    def _look(self):
        while not self._done.wait(0.01):
            self.peak = max(self.peak, anonymous_memory())

    def __exit__(self, *_):
        self.seconds = time.perf_counter() - self._begin
        self._done.set()
        self._thread.join()


def run_case(kind: str, n: int, what) -> dict:
    """Peak memory in MiB beyond that of the imports and of the field, and seconds with compilation."""
    import jax
    import jax.numpy as jnp

    import numpyro_homog as nh

    rng = np.random.default_rng(0)
    if kind == "cell":
        preconditioner = nh.Multigrid(contrast=1.0) if what == "multigrid" else nh.ReferenceMedium()
        grid = nh.Grid((n, n, n))
        cell = nh.CellProblem(grid, nh.LinearElasticity(), nh.Periodic(), tolerance=1e-4, preconditioner=preconditioner)
        blocks = np.geomspace(1, 10, 5)[rng.integers(5, size=(4, 4, 4))].astype(np.float32)
        k = jnp.asarray(np.kron(blocks, np.ones((n // 4,) * 3, np.float32)))
        field = (0.6 * k, 0.4 * k)
        scalar = jax.value_and_grad(lambda field: jnp.trace(nh.effective_tensor(cell, field)))
        with Watch() as watch:
            jax.block_until_ready(scalar(field) if what == "gradient" else nh.effective_tensor(cell, field))
    else:
        cell = nh.CellProblem(nh.Grid((n, n)), nh.Conductivity(), nh.Periodic(), tolerance=1e-4)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "field.npy"
            field = np.lib.format.open_memmap(path, "w+", np.float32, (what, n, n))
            for begin in range(0, what, 1000):
                blocks = np.array([1.0, 3.0, 10.0], np.float32)[rng.integers(3, size=(min(1000, what), 8, 8))]
                field[begin : begin + 1000] = np.kron(blocks, np.ones((n // 8, n // 8), np.float32))
            field.flush()
            field = np.load(path, mmap_mode="r")
            with Watch() as watch:
                nh.effective_tensor(cell, field)
    return {"MiB": round(watch.peak - watch.before), "imports_MiB": round(watch.before), "seconds": watch.seconds}


def main() -> None:
    parser = new_parser(__doc__, "small cases: does it run at all?")
    parser.add_argument("--case", help="run one case here and print its row")
    options = parser.parse_args()
    cases = QUICK if options.quick else CASES
    if options.case:
        print(json.dumps(run_case(*cases[options.case])))
        return
    store = Store("memory", ["numpyro-homog", "jax", "jaxlib"], quick=options.quick)
    for name in cases:
        command = [sys.executable, "-m", "benchmarks.bench_memory", "--case", name, *["--quick"] * options.quick]
        shown = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        row = json.loads(shown.splitlines()[-1])
        store.put("cases", name, row)
        print(f"{name:40}{row['MiB']:8d} MiB {row['seconds']:8.1f} s", flush=True)


if __name__ == "__main__":
    main()
