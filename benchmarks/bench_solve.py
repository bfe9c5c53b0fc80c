"""The cell solver side by side with JAX-FEM and scikit-fem, in one run.

    python -m benchmarks.bench_solve [--quick] [--solvers homog jax_fem scikit_fem] [--only n=64]

Every solver has a process of its own and waits while another one works. Rounds
go over all cases and solvers in turn, so that a slow minute hits all of them.
The first, untimed round compiles. Writes results/solve.json and solve.png.
"""

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import solve_report
from benchmarks.peers.client import Worker
from benchmarks.rounds import run_rounds, say
from benchmarks.store import Store, new_parser

SEED = 20261
PACKAGES = ("numpyro-homog", "jax", "jaxlib", "jax-fem", "scikit-fem", "scipy", "numpy", "petsc4py")
PEERS = ("jax_fem", "scikit_fem")
TOLERANCES = (1e-4, 1e-6)


@dataclass(frozen=True)
class Case:
    """A batch of cells and how much of it each side is given."""

    n: int
    contrast: float | tuple[float, float]
    num_cells: int
    peer_cells: int  # members that a peer solves in one round
    peer_rounds: int
    anisotropic: bool = False

    @property
    def name(self) -> str:
        contrast = self.contrast
        label = f"{contrast[0]:g}..{contrast[1]:g}" if isinstance(contrast, tuple) else f"{contrast:g}"
        return f"n={self.n} contrast={label}" + " anisotropic" * self.anisotropic

    @property
    def recipe(self) -> dict:
        return {"num_cells": self.num_cells, "n": self.n, "contrast": self.contrast, "seed": SEED}


def cases(quick: bool) -> list[Case]:
    """The headline case first; then contrasts, voxel tensors and meshes around it."""
    n, batch = (16, 8) if quick else (64, 64)
    few, rounds = (1, 1) if quick else (1, 3)
    chosen = [Case(n, 10.0, batch, 1 if quick else 3, 2 if quick else 5)]
    for contrast in ((2.0, 200.0), 100.0, 1000.0):
        chosen.append(Case(n, contrast, batch, few, rounds))
    chosen.append(Case(n, 10.0, batch, 0, 0, anisotropic=True))
    meshes = ((32, 8),) if quick else ((32, 64), (128, 64), (256, 16))
    for other, num_cells in meshes:
        chosen.append(Case(other, 10.0, num_cells, few, 1 if other > 64 else rounds))
    return chosen


def start_workers(stack: ExitStack, solvers) -> dict:
    """One process per solver; ours twice, for 32 and 64 bit."""
    names = {peer: (peer, False) for peer in PEERS if peer in solvers}
    if "homog" in solvers:
        names |= {"float32": ("homog", False), "float64": ("homog", True)}
    return {key: stack.enter_context(Worker(name, x64=x64)) for key, (name, x64) in names.items()}


def requests(case: Case, round_index: int, workers: dict):
    """The requests of one round of a case: (key in the results, worker, operation, arguments)."""
    for peer in PEERS:
        if peer in workers and case.peer_cells and round_index < case.peer_rounds:
            members = [(max(round_index, 0) * case.peer_cells + k) % case.num_cells for k in range(case.peer_cells)]
            for operation in ("forward", "gradient"):
                yield f"{peer} {operation}", peer, operation, {"members": members}
    for dtype in ("float32", "float64"):
        if dtype not in workers:
            continue
        for tolerance in TOLERANCES:
            for operation in ("forward", "gradient"):
                arguments = {"tolerance": tolerance, "anisotropic": case.anisotropic}
                yield f"{dtype} {tolerance:g} {operation}", dtype, operation, arguments


def measure_errors(chosen, workers) -> dict:
    """Tensors and gradients of ours against the direct solve of scikit-fem, in 64 bit."""
    errors = {}
    if "scikit_fem" not in workers:
        return errors
    for case in chosen:
        reference = workers["scikit_fem"].ask("gradient", cells=case.recipe, keep=True)
        if "jax_fem" in workers and case.peer_cells:
            few = workers["jax_fem"].ask("forward", cells=case.recipe, members=[0])
            error = solve_report.tensor_error(few["effective"], reference["effective"][:1])
            errors.setdefault(case.name, {})["jax_fem"] = {"tensor": error}
        for dtype in ("float32", "float64"):
            for tolerance in TOLERANCES if dtype in workers else ():
                arguments = {"tolerance": tolerance, "anisotropic": case.anisotropic, "keep": not case.anisotropic}
                ours = workers[dtype].ask("gradient", cells=case.recipe, **arguments)
                entry = {"tensor": solve_report.tensor_error(ours["effective"], reference["effective"])}
                if "gradient" in ours:
                    entry["gradient"] = solve_report.gradient_error(ours["gradient"], reference["gradient"])
                errors.setdefault(case.name, {})[f"{dtype} {tolerance:g}"] = entry
        say(f"errors of {case.name}")
    return errors


def measure_cores(case: Case, solvers, processors, repeats: int) -> dict:
    """Seconds per cell of each peer with one process per core, all working at once."""
    seconds = {}
    for peer in (name for name in PEERS if name in solvers):
        with ExitStack() as stack:
            crew = [stack.enter_context(Worker(peer, cpu=processor)) for processor in processors]
            members = list(range(max(case.peer_cells, 1)))
            for operation in ("forward", "gradient"):
                best = float("inf")
                for _ in range(repeats + 1):  # the first one compiles and never is the best
                    start = time.perf_counter()
                    for worker in crew:
                        worker.send(operation, cells=case.recipe, members=members)
                    for worker in crew:
                        worker.receive()
                    best = min(best, (time.perf_counter() - start) / (len(members) * len(crew)))
                seconds[f"{peer} {operation}"] = best
    return seconds


def main() -> None:
    parser = new_parser(__doc__, "small sizes and few rounds: does it run at all?")
    parser.add_argument("--solvers", nargs="+", choices=("homog", *PEERS), default=("homog", *PEERS))
    parser.add_argument("--only", default="", help="besides the headline, only cases whose name contains this (n=64)")
    parser.add_argument("--rounds", type=int, help="timed rounds (default 7, with --quick 2)")
    parser.add_argument(
        "--out", type=Path, help="folder of the results (default benchmarks/results; --quick, --only: out)"
    )
    arguments = parser.parse_args()
    store = Store("solve", PACKAGES, quick=bool(arguments.quick or arguments.only), folder=arguments.out)
    num_rounds = arguments.rounds or (2 if arguments.quick else 7)
    headline, *others = cases(arguments.quick)
    chosen = [headline, *(case for case in others if arguments.only in case.name)]

    record = store.content
    record |= {"quick": arguments.quick, "seed": SEED, "headline": headline.name}
    record["cases"] = {
        case.name: {"n": case.n, "contrast": case.contrast, "num_cells": case.num_cells} for case in chosen
    }
    with ExitStack() as stack:
        workers = start_workers(stack, arguments.solvers)
        readings, _ = run_rounds(chosen, requests, workers, num_rounds)
        record["seconds_per_cell"] = solve_report.summarise(readings)
        record["errors"] = measure_errors(chosen, workers)
        if "float32" in workers:
            record["iterations"] = {
                case.name: {
                    f"{tolerance:g}": workers["float32"].ask("iterations", cells=case.recipe, tolerance=tolerance)
                    for tolerance in TOLERANCES
                }
                for case in chosen
                if not case.anisotropic
            }
        if "jax_fem" in workers:
            record["stand_in"] = workers["jax_fem"].ask("stand_in", cells=headline.recipe)
    processors, repeats = sorted(os.sched_getaffinity(0)), 2 if arguments.quick else 4
    record["one_process_per_core"] = measure_cores(headline, arguments.solvers, processors, repeats)
    record["machine"]["load_at_end"] = round(os.getloadavg()[0], 2)
    store.put("targets", solve_report.judge(record))
    solve_report.show(record)
    solve_report.draw(record, store.folder / "solve.png")
    print(f"\nwrote solve.json and solve.png to {os.path.relpath(store.folder)}")


if __name__ == "__main__":
    main()
