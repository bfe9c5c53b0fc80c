"""One solver in a process of its own, answering one JSON request per line.

Started by ``client.Worker`` as ``python -m benchmarks.peers.worker NAME``. A request
names an ``operation`` of the solver's adapter and its arguments; the answer is a
line of JSON. Whatever a library prints goes to the standard error.
"""

import argparse
import importlib
import json
import os
import sys
import traceback

import numpy as np

from benchmarks.machine import version
from benchmarks.peers.cells import cells_from, weights

MODULES = {"feax": "feax_cell", "jax_fem": "jax_fem_cell", "scikit_fem": "scikit_fem_cell"}


class OneByOne:
    """A peer that solves the members of a batch one after another."""

    def __init__(self, name: str) -> None:
        self._module = importlib.import_module(f"benchmarks.peers.{MODULES[name]}")
        self._cells = {}

    def _members(self, cells: dict, members, options: dict):
        fields = cells_from(cells)
        physics = {key: cells[key] for key in ("ndim", "elastic") if key in cells}
        key = (fields.shape[-1], json.dumps({**physics, **options}, sort_keys=True))
        if key not in self._cells:
            self._cells[key] = self._module.Cell(fields.shape[-1], **physics, **options)
        return self._cells[key], fields if members is None else fields[members]

    def forward(self, *, cells: dict, members=None, **options) -> dict:
        """Tensors and seconds per heading, member by member; further arguments are options of the solver."""
        cell, fields = self._members(cells, members, options)
        effective, seconds = zip(*(cell.forward(field) for field in fields), strict=True)
        return {"effective": np.stack(effective).tolist(), "seconds": seconds}

    def gradient(self, *, cells: dict, members=None, keep: bool = False, **options) -> dict:
        """The same with the gradient of ``sum(weights * A)``, returned if ``keep``."""
        cell, fields = self._members(cells, members, options)
        results = [cell.value_and_gradient(field, weights(cell.num_loads)) for field in fields]
        effective, gradients, seconds = zip(*results, strict=True)
        answer = {"effective": np.stack(effective).tolist(), "seconds": seconds}
        if keep:
            answer["gradient"] = np.stack(gradients).tolist()
        return answer

    def versions(self, *, packages) -> dict:
        """Versions of distributions in this process' environment."""
        return {package: version(package) for package in packages}

    def stand_in(self, *, cells: dict) -> dict:
        """JAX-FEM's direct solve through the PETSc stand-in against plain SciPy."""
        cell, fields = self._members(cells, None, {})
        return cell.stand_in_overhead(fields[0])


def _adapter(name: str, *, x64: bool):
    if name in MODULES:
        return OneByOne(name)
    from benchmarks.peers.homog_cell import Batched

    return Batched(x64=x64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=[*MODULES, "homog"])
    parser.add_argument("--x64", action="store_true", help="64-bit arithmetic (homog only)")
    parser.add_argument("--cpu", type=int, help="the only processor to use")
    arguments = parser.parse_args()
    if arguments.cpu is not None:
        os.sched_setaffinity(0, {arguments.cpu})
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    adapter = _adapter(arguments.name, x64=arguments.x64)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(adapter, request.pop("operation"))(**request)
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=replies, flush=True)


if __name__ == "__main__":
    main()
