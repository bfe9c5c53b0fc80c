"""Conduction and elasticity in two and three dimensions, beside FEAX and scikit-fem, in one run.

    python -m benchmarks.bench_physics [--quick] [--peers feax scikit_fem] [--feax-python PATH] [--growth no]

Processes and rounds as in bench_solve.py. FEAX is started in the interpreter of `--feax-python` (or of the environment
variable FEAX_PYTHON), which needs nothing but FEAX; without it the run goes on without FEAX. Writes physics.json,
physics.png and physics_growth.png to benchmarks/results.
"""

import itertools
import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import physics_report
from benchmarks.peers.cells import cells_from
from benchmarks.peers.client import Worker
from benchmarks.rounds import run_rounds, say
from benchmarks.solve_report import summarise
from benchmarks.store import Store, new_parser

SEED = 20262
PACKAGES = ("numpyro-homog", "jax", "jaxlib", "scikit-fem", "scipy", "numpy")
TOLERANCES = (1e-4, 1e-6)
#: names in the results: worker and options
PEERS = {
    "feax": ("feax", {"tuned": False}),
    "feax_tuned": ("feax", {"tuned": True}),
    "scikit_fem": ("scikit_fem", {"iterative": False}),
    "scikit_fem_cg": ("scikit_fem", {"iterative": True}),
}


@dataclass(frozen=True)
class Case:
    """A batch of cells, and who solves it: peers take its first cell, once a round."""

    ndim: int
    elastic: bool
    n: int
    num_cells: int
    contrast: float = 10.0
    peers: tuple[str, ...] = ()
    peer_rounds: int = 1
    gradient: bool = False

    @property
    def physics(self) -> str:
        return f"{self.ndim}D {'elasticity' if self.elastic else 'conduction'}"

    @property
    def name(self) -> str:
        return f"{self.physics} n={self.n} contrast={self.contrast:g} cells={self.num_cells}"

    @property
    def operations(self) -> tuple[str, ...]:
        return ("forward", "gradient") if self.gradient else ("forward",)

    @property
    def recipe(self) -> dict:
        shape = {"ndim": self.ndim, "elastic": self.elastic, "num_phases": [3, 4, 5]}
        return {"num_cells": self.num_cells, "n": self.n, "contrast": self.contrast, "seed": SEED, **shape}


LARGEST = Case(3, True, 32, 2, peers=("feax_tuned", "scikit_fem_cg"))


def bases(quick: bool) -> list[Case]:
    """One batch of each physics, around which contrast, mesh and batch are varied."""
    everyone = ("feax", "feax_tuned", "scikit_fem")
    if quick:
        return [Case(2, True, 8, 4, peers=everyone, gradient=True), Case(3, False, 4, 2, peers=("scikit_fem",))]
    both = ("scikit_fem", "scikit_fem_cg")
    return [
        Case(2, True, 64, 32, peers=everyone, peer_rounds=3, gradient=True),
        Case(2, False, 64, 64, peers=("scikit_fem",), peer_rounds=3),
        Case(3, False, 32, 8, peers=both),
        Case(3, True, 16, 8, peers=("feax", "feax_tuned", *both)),
    ]


def growth(base: Case, quick: bool) -> list[Case]:
    """The variations of a base case, itself among them: by contrast, mesh and batch."""
    base = replace(base, peers=(), gradient=False)
    chosen = [replace(base, contrast=contrast) for contrast in ((1000.0,) if quick else (1.0, 100.0, 1000.0, 10000.0))]
    if quick:
        return chosen
    meshes = {2: (16, 32, 128, 256), 3: (8, 32) if base.elastic else (8, 16, 64)}[base.ndim]
    voxels = base.num_cells * base.n**base.ndim
    for n in meshes:
        chosen.append(replace(base, n=n, num_cells=min(max(2, voxels // n**base.ndim), 64)))
    side = {2: base.n, 3: 8 if base.elastic else 16}[base.ndim]
    for num_cells in (1, 4, 16, 64, 256):
        chosen.append(replace(base, n=side, num_cells=num_cells))
    return chosen


def cases(quick: bool, with_growth: bool) -> list[Case]:
    """Base cases, the largest elastic cell beside its peer, and the variations; each name once."""
    chosen = bases(quick)
    if not quick:
        chosen.append(LARGEST)
    if with_growth:
        chosen += [case for base in bases(quick) for case in growth(base, quick)]
    return list({case.name: case for case in reversed(chosen)}.values())[::-1]


def requests(case: Case, round_index: int, workers: dict):
    """The requests of one round of a case: (key in the results, worker, operation, arguments)."""
    keep = {"keep": True} if round_index < 0 else {}
    for peer in case.peers:
        worker, options = PEERS[peer]
        if worker in workers and round_index < case.peer_rounds:
            for operation in case.operations:
                kept = keep if operation == "gradient" else {}
                yield f"{peer} {operation}", worker, operation, {"members": [0], **options, **kept}
    for tolerance in TOLERANCES if case.peers else TOLERANCES[:1]:
        for operation in case.operations:
            more = keep if operation == "gradient" else {"throw": False}
            yield f"float32 {tolerance:g} {operation}", "float32", operation, {"tolerance": tolerance, **more}


def measure_agreement(chosen, workers, answers) -> None:
    """Add the first cell in 64 bit at a tight tolerance to the answers: is it the same discrete problem?"""
    for case in chosen:
        if case.peers and "float64" in workers:
            recipe = {**case.recipe, "field": cells_from(case.recipe)[:1].tolist()}
            answer = workers["float64"].ask("forward", cells=recipe, tolerance=1e-10)
            answers[case.name]["float64 1e-10 forward"] = answer
            say(f"64 bit, {case.name}")


def measure_phases(quick: bool, worker: Worker) -> dict:
    """Mean iterations of ours by physics, contrast and number of phases: what a high contrast costs, and why."""
    counts = {}
    for base in bases(quick):
        for contrast, phases in itertools.product((10.0, 1000.0), (2, 3, 5)):
            recipe = {**base.recipe, "contrast": contrast, "num_phases": phases}
            answer = worker.ask("iterations", cells=recipe, tolerance=TOLERANCES[0])
            counts.setdefault(base.physics, {}).setdefault(f"{contrast:g}", {})[f"{phases}"] = answer["mean"]
    return counts


def start_workers(stack: ExitStack, peers, feax_python: str) -> tuple[dict, dict]:
    """One process per solver, and the versions of FEAX and its JAX."""
    workers = {
        "float32": stack.enter_context(Worker("homog")),
        "float64": stack.enter_context(Worker("homog", x64=True)),
    }
    versions = {}
    if "scikit_fem" in peers:
        workers["scikit_fem"] = stack.enter_context(Worker("scikit_fem"))
    probe = "import importlib.util, sys; sys.exit(importlib.util.find_spec('feax') is None)"
    if "feax" in peers and subprocess.run([feax_python, "-c", probe], check=False).returncode == 0:
        workers["feax"] = stack.enter_context(Worker("feax", python=feax_python))
        found = workers["feax"].ask("versions", packages=["feax", "jax"])
        versions = {"feax": found["feax"], "jax of feax": found["jax"]}
    elif "feax" in peers:
        say("no FEAX in the interpreter of --feax-python: left out")
    return workers, versions


def main() -> None:
    parser = new_parser(__doc__, "small sizes and one round: does it run at all?")
    parser.add_argument("--peers", nargs="*", choices=("feax", "scikit_fem"), default=("feax", "scikit_fem"))
    parser.add_argument("--feax-python", default=os.environ.get("FEAX_PYTHON", sys.executable), metavar="PATH")
    parser.add_argument("--growth", choices=("yes", "no"), default="yes", help="vary contrast, mesh and batch too")
    parser.add_argument("--rounds", type=int, help="timed rounds (default 3, with --quick 1)")
    parser.add_argument("--out", type=Path, help="folder of the results (default benchmarks/results; --quick: out)")
    arguments = parser.parse_args()
    chosen = cases(arguments.quick, arguments.growth == "yes")
    store = Store("physics", PACKAGES, quick=arguments.quick, folder=arguments.out)
    record = store.content
    record |= {"quick": arguments.quick, "seed": SEED}
    record["cases"] = {
        case.name: {
            "physics": case.physics,
            "n": case.n,
            "ndim": case.ndim,
            "contrast": case.contrast,
            "num_cells": case.num_cells,
        }
        for case in chosen
    }
    record["bases"] = [case.name for case in bases(arguments.quick)]
    with ExitStack() as stack:
        workers, versions = start_workers(stack, arguments.peers, arguments.feax_python)
        record["machine"]["versions"] |= versions
        num_rounds = arguments.rounds or (1 if arguments.quick else 3)
        readings, answers = run_rounds(chosen, requests, workers, num_rounds)
        record["seconds_per_cell"] = summarise(readings)
        measure_agreement(chosen, workers, answers)
        record["errors"] = physics_report.errors(answers)
        record["largest_difference"] = physics_report.largest_difference(record["errors"])
        record["refused"] = physics_report.refused(answers)
        record["iterations"] = {}
        for case in chosen:
            if case.num_cells > 1 and physics_report.varies(record, case.name, "contrast"):
                counts = workers["float32"].ask("iterations", cells=case.recipe, tolerance=TOLERANCES[0])
                record["iterations"][case.name] = counts
        record["iterations_by_phases"] = measure_phases(arguments.quick, workers["float32"])
    record["machine"]["load_at_end"] = round(os.getloadavg()[0], 2)
    store.put("targets", physics_report.judge(record))
    physics_report.show(record)
    physics_report.draw(record, store.folder / "physics.png")
    physics_report.draw_growth(record, store.folder / "physics_growth.png")
    print(f"\nwrote physics.json, physics.png and physics_growth.png to {os.path.relpath(store.folder)}")


if __name__ == "__main__":
    main()
