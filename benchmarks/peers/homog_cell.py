"""Our own solver behind the same interface, a whole batch per call."""

import functools
import json
import time

import jax
import jax.numpy as jnp
import numpy as np

import numpyro_homog as nh
from benchmarks.peers.cells import POISSON, cells_from, weights

#: readings per request: a batch takes milliseconds, and the first one after a pause is slower
REPEATS = 3


class Batched:
    """Times ``numpyro_homog.effective_tensor`` on batches; programs and fields are kept.

    Args:
        x64: 64-bit arithmetic in this process, otherwise 32-bit.
    """

    def __init__(self, *, x64: bool) -> None:
        jax.config.update("jax_enable_x64", x64)
        self._fields = functools.lru_cache(maxsize=8)(self._make_fields)
        self._programs = functools.lru_cache(maxsize=None)(self._make_program)

    @staticmethod
    def _make_fields(recipe: str, anisotropic: bool):
        fields = jnp.asarray(cells_from(json.loads(recipe)), dtype=jnp.result_type(float))
        return fields[..., None, None] * jnp.eye(2, dtype=fields.dtype) if anisotropic else fields

    @staticmethod
    def _cell(cells: dict, tolerance: float, shape):
        grid = nh.Grid(shape[1 : 1 + cells.get("ndim", 2)])
        law = nh.LinearElasticity() if cells.get("elastic") else nh.Conductivity()
        return nh.CellProblem(grid, law, nh.Periodic(), tolerance=tolerance, preconditioner=nh.Multigrid())

    def _make_program(self, cell, gradient: bool, throw: bool):
        material = jax.jit(functools.partial(nh.lame_from_young, poisson=POISSON))
        field_of = material if isinstance(cell.law, nh.LinearElasticity) else lambda fields: fields

        def scalar(fields):
            effective = nh.effective_tensor(cell, field_of(fields))
            return jnp.sum(jnp.asarray(weights(effective.shape[-1]), effective.dtype) * effective), effective

        if gradient:
            return jax.jit(jax.value_and_grad(scalar, has_aux=True))
        return lambda fields: nh.effective_tensor(
            cell, field_of(fields), throw=throw
        )  # outside of jit it uses all cores

    def _run(self, cells, tolerance, *, gradient, anisotropic, throw=True):
        fields = self._fields(json.dumps(cells), anisotropic)
        program = self._programs(self._cell(cells, tolerance, fields.shape), gradient, throw)
        seconds = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            value = jax.block_until_ready(program(fields))
            seconds.append({"total": (time.perf_counter() - start) / len(fields)})
        return value, seconds

    def forward(self, *, cells: dict, tolerance: float, anisotropic: bool = False, throw: bool = True) -> dict:
        """Tensors (NaN where the solver refuses, if not ``throw``), and seconds per cell of each repetition."""
        value, seconds = self._run(cells, tolerance, gradient=False, anisotropic=anisotropic, throw=throw)
        return {"effective": np.asarray(value, float).tolist(), "seconds": seconds}

    def gradient(self, *, cells: dict, tolerance: float, anisotropic: bool = False, keep: bool = False) -> dict:
        """The same with the gradient of ``sum(weights * A)``, returned if ``keep``."""
        value, seconds = self._run(cells, tolerance, gradient=True, anisotropic=anisotropic)
        (_, effective), gradient = value
        answer = {"effective": np.asarray(effective, float).tolist(), "seconds": seconds}
        if keep:
            answer["gradient"] = np.asarray(gradient, float).tolist()
        return answer

    def iterations(self, *, cells: dict, tolerance: float) -> dict:
        """Iterations of the members: mean and largest, over all load cases."""
        fields = self._fields(json.dumps(cells), False)
        cell = self._cell(cells, tolerance, fields.shape)
        field = nh.lame_from_young(fields, POISSON) if cells.get("elastic") else fields
        solution = nh.solve_cell(cell, field, throw=False)
        counts = np.asarray(solution.stats["iterations"])
        return {"mean": float(counts.mean()), "max": int(counts.max())}
