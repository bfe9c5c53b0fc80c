"""Cells per second, and one whole fit, on a GPU beside the CPU of the same machine.

    benchmarks/gpu.sh [--quick]

Each device has a process of its own; cells are Voronoi cells of five phases in 32 bits, at a tolerance of 1e-4. Values
are held against those of the CPU in 64 bits at 1e-8. Writes results/gpu.json after
each case; nothing without a GPU.
"""

import json
import os
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import numpyro

import numpyro_homog as nh
from benchmarks.machine import ROOT
from benchmarks.store import Store, new_parser
from benchmarks.voronoi_cells import voronoi_field

CASES = {
    "conduction 64 x 64, contrast 10": (nh.Conductivity(), (64, 64), 10.0),
    "conduction 64 x 64, contrast 1000": (nh.Conductivity(), (64, 64), 1000.0),
    "elasticity 64 x 64, contrast 10": (nh.LinearElasticity(), (64, 64), 10.0),
    "conduction 32^3, contrast 10": (nh.Conductivity(), (32, 32, 32), 10.0),
}
PRECONDITIONERS = {"multigrid": nh.Multigrid(contrast=1.0), "reference medium": nh.ReferenceMedium()}
DIFFERENT, REPEATS = 64, 5  # cells of a batch repeat, in another order
SIZES = {"gpu": 2**24, "cpu": 2**21}  # voxels of a batch


def batch_of(law, shape, contrast, num_cells):
    some = voronoi_field(shape, law, DIFFERENT, np.geomspace(1.0, contrast, 5))
    members = np.random.default_rng(0).integers(0, DIFFERENT, num_cells)
    members[:DIFFERENT] = np.arange(DIFFERENT)
    return jax.tree.map(lambda k: k[members], some)


def rate(fn, field, num_cells):
    """Cells per second, the median; compile seconds; and the answer."""
    start = time.perf_counter()
    answer = jax.block_until_ready(fn(field))
    compiling, seconds = time.perf_counter() - start, []
    for _ in range(REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(fn(field))
        seconds.append(time.perf_counter() - start)
    return num_cells / np.median(seconds), compiling, answer


def cells_per_second(device, law, shape, contrast, quick):
    num_cells = max(DIFFERENT, SIZES[device] // (16 if quick else 1) // np.prod(shape))
    field = batch_of(law, shape, contrast, num_cells)
    row = {"cells": int(num_cells)}
    for name, preconditioner in PRECONDITIONERS.items():
        cell = nh.CellProblem(nh.Grid(shape), law, nh.Periodic(), tolerance=1e-4, preconditioner=preconditioner)
        forward = lambda field, cell=cell: nh.effective_tensor(cell, field)  # noqa: E731
        row[f"{name}, forward"], compiling, tensors = rate(forward, field, num_cells)
        gradient = jax.jit(jax.grad(lambda field, fn=forward: jnp.sum(fn(field)[:, 0, 0])))
        row[f"{name}, gradient"], more, _ = rate(gradient, field, num_cells)
        row[f"{name}, first calls (s)"] = compiling + more
        row[f"{name}, tensors"] = np.asarray(tensors[:4], float).tolist()
    return row


def fit_seconds(quick):
    """The README's model on 1000 of its own specimens: seconds of a fit, and of a second one with all compiled."""
    from benchmarks.estimate_models import DELAYS, KAPPA, make_model

    num, n = (100, 16) if quick else (1000, 64)
    model = make_model(n)
    truth = {"delay": jnp.array(DELAYS[1:]), "kappa": jnp.array(KAPPA)}
    handlers = numpyro.handlers
    sites = handlers.trace(handlers.seed(handlers.condition(model, truth), jax.random.key(7))).get_trace(num)
    estimator = nh.MinimumDistance(model, {"K_eff": sites["K_eff"]["value"]}, nh.SlicedWasserstein())
    row = {}
    for name in ("first fit (s)", "second fit (s)"):
        start = time.perf_counter()
        fit = estimator.run(jax.random.key(0), 4 * num, num_starts=3, progress=False)
        row[name] = time.perf_counter() - start
        row |= {"solves": fit.stats["solves"], "kappa": np.asarray(fit.params["kappa"]).tolist()}
    return row


def measure(device, quick):
    """All cases on the default device of this process, one row a line."""
    print(json.dumps({"device": jax.devices()[0].device_kind, "platform": jax.default_backend()}), flush=True)
    for name, case in CASES.items():
        print(json.dumps({name: cells_per_second(device, *case, quick)}), flush=True)
    print(json.dumps({"a fit": fit_seconds(quick)}), flush=True)


def exact_tensors():
    """The first cells of each case in 64 bits."""
    with jax.enable_x64(True):
        for name, (law, shape, contrast) in CASES.items():
            cell = nh.CellProblem(nh.Grid(shape), law, nh.Periodic(), tolerance=1e-8, preconditioner=nh.Multigrid())
            some = jax.tree.map(lambda k: jnp.asarray(k[:4], float), batch_of(law, shape, contrast, DIFFERENT))
            yield name, np.asarray(nh.effective_tensor(cell, some)).tolist()


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--device", choices=["gpu", "cpu", "exact"], help="measure here, one row a line")
    arguments = parser.parse_args()
    if arguments.device == "exact":
        print(json.dumps(dict(exact_tensors())))
    elif arguments.device:
        measure(arguments.device, arguments.quick)
    else:
        collect(arguments.quick)


def rows_of(device, quick):
    command = [sys.executable, "-m", "benchmarks.bench_gpu", "--device", device, *["--quick"] * quick]
    platform = {"JAX_PLATFORMS": "cuda" if device == "gpu" else "cpu"}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ | platform) as process:
        for line in process.stdout:
            yield json.loads(line)
    if process.returncode:
        print(f"The process for {device} ended with {process.returncode}.", file=sys.stderr)


def collect(quick):
    (exact,) = rows_of("exact", quick)
    store = Store("gpu", ("numpyro-homog", "jax", "jaxlib", "numpyro"), quick=quick)
    for device in ("gpu", "cpu"):
        for row in rows_of(device, quick):
            ((name, values),) = row.items() if len(row) == 1 else [("device", row)]
            for key in [key for key in values if key.endswith("tensors")] if name in exact else []:
                error = np.abs(np.array(values.pop(key)) - exact[name]).max() / np.abs(exact[name]).max()
                values[key.replace("tensors", "error")] = error
            print(device, name, values, flush=True)
            if device == "gpu" or store.has("gpu"):
                store.put(device, name, values)


if __name__ == "__main__":
    main()
