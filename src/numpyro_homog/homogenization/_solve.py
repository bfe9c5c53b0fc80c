"""Batched solution of cell problems, and its derivative rules."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from .._platform import voxels_per_chunk
from ._batching import map_in_chunks
from ._boundary import AbstractBoundary
from ._complementary import complementary_values
from ._conditioning import AbstractPreconditioner
from ._conjugate_gradients import (
    GaussRadau,
    Iterations,
    ReferenceBound,
    certified_solution,
    conjugate_gradients,
    found_before,
    nothing_found,
)
from ._energies import contract, rounding_error
from ._law import AbstractLaw, Coefficients
from ._mesh_operator import MeshOperator
from ._space import VoxelSpace, discrete_space, work
from ._tensor_fields import Geometry


class Discretization(NamedTuple):
    """What a cell problem needs to be solved; hashable, so that it can be a static argument."""

    geometry: Geometry
    law: AbstractLaw
    boundary: AbstractBoundary
    preconditioner: AbstractPreconditioner
    bases: tuple
    tolerance: float
    max_iterations: int

    @property
    def space(self) -> VoxelSpace | MeshOperator:
        return discrete_space(self.geometry, self.law, self.boundary, self.bases)

    @property
    def chunk(self) -> int:
        return max(1, voxels_per_chunk() // work(self.geometry, self.law))


class Diagnostics(NamedTuple):
    """Stats of a batch of solves, each of shape (batch, loads).

    Attributes:
        iterations: conjugate-gradient iterations.
        residual: residual relative to the load, in the norm of the preconditioner.
        error: certified upper bound of the relative error of the diagonal entry of the effective tensor.
    """

    iterations: Array
    residual: Array
    error: Array


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def energy_tensor(problem: Discretization, coefficients: Coefficients):
    """Effective tensors (batch, m, m) and `Diagnostics`; the correctors are not kept.

    The tensor is the minimum of the energy over correctors, so its first derivative is the energy of the same
    corrector with the tangent of the coefficients: no further solve.
    """

    def solve(members):
        iterations, error = _iterate(problem, members)
        return assemble(problem, members.values, iterations.solution), _diagnostics(iterations, error)

    return map_in_chunks(solve, coefficients, _contrast(coefficients), problem.chunk)


@energy_tensor.defjvp
def _energy_tensor_jvp(problem, primals, tangents):
    (coefficients,), (direction,) = primals, tangents
    tensor, energies, diagnostics = _sensitivities(problem, coefficients)
    return (tensor, diagnostics), (contract(direction.values, energies), _zero_tangents(diagnostics))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _sensitivities(problem: Discretization, coefficients: Coefficients):
    """Effective tensors, their derivatives with respect to the coefficients of each voxel, and `Diagnostics`."""

    def solve(members):
        iterations, error = _iterate(problem, members)
        energies = problem.space.strain_energies(iterations.solution)
        return contract(members.values, energies), energies, _diagnostics(iterations, error)

    return map_in_chunks(solve, coefficients, _contrast(coefficients), problem.chunk)


@_sensitivities.defjvp
def _sensitivities_jvp(problem, primals, tangents):
    def through_corrector(coefficients):
        solution, diagnostics = corrector(problem, coefficients, None)
        energies = problem.space.strain_energies(solution)
        return contract(coefficients.values, energies), energies, diagnostics

    return jax.jvp(through_corrector, primals, tangents)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def corrector(problem: Discretization, coefficients: Coefficients, start: Array | None):
    """Correctors (batch, loads, components, *grid) and `Diagnostics`. Each derivative costs one more batched solve.

    The iteration begins at `start`, which has no influence on the solution, and so no derivative.
    """

    def solve(members):
        iterations, error = _iterate(problem, *members)
        return iterations.solution, _diagnostics(iterations, error)

    return map_in_chunks(solve, (coefficients, start), _contrast(coefficients), problem.chunk)


@corrector.defjvp
def _corrector_jvp(problem, primals, tangents):
    (coefficients, start), (direction, _) = primals, tangents
    solution, diagnostics = corrector(problem, coefficients, start)
    space = problem.space
    prepared = space.prepare(coefficients.values)

    def unbalanced(values):
        return -space.apply(space.prepare(values), solution, strained=True)

    def solve(_, load):
        def run(members):
            return _iterate_derivative(problem, *members).solution

        arguments = (lax.stop_gradient(coefficients), load)
        return map_in_chunks(run, arguments, _contrast(coefficients), problem.chunk)

    _, load = jax.jvp(unbalanced, (coefficients.values,), (direction.values,))
    tangent = lax.custom_linear_solve(lambda u: space.apply(prepared, u), load, solve, symmetric=True)
    return (solution, diagnostics), (tangent, _zero_tangents(diagnostics))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def stationary_tensor(problem: Discretization, values: Float[Array, "..."], solution: Float[Array, "..."]):
    """`assemble` at correctors that solve the cell problem, where its derivative by the corrector is zero.

    Also an estimate of the relative rounding error of the diagonal, shape (batch, loads).
    """
    energies = problem.space.strain_energies(solution)
    return contract(values, energies), rounding_error(values, energies)


@stationary_tensor.defjvp
def _stationary_tensor_jvp(problem, primals, tangents):
    (values, solution), (direction, _) = primals, tangents
    energies = problem.space.strain_energies(solution)
    rounding = rounding_error(values, energies)
    tensors, tangents = (contract(factors, energies) for factors in (values, direction))
    return (tensors, rounding), (tangents, jnp.zeros_like(rounding))


def assemble(problem: Discretization, values: Float[Array, "..."], solution: Float[Array, "..."]):
    """Energy of the correctors: effective tensors, shape (batch, m, m)."""
    return contract(values, problem.space.strain_energies(solution))


def _iterate(problem, coefficients, start=None) -> tuple[Iterations, Array]:
    """Solve one chunk for all unit strains; also the certified relative error, shape (batch, loads)."""
    space = problem.space
    values, contrast = _normalize(coefficients)
    prepared = space.prepare(values)
    mean = space.mean(values)
    diagonals = jnp.asarray(np.array(problem.bases).diagonal(axis1=1, axis2=2), mean.dtype)
    voigt = jnp.dot(mean, diagonals, precision=lax.Precision.HIGHEST)

    def stiffness(energy):
        return voigt - energy / space.volume

    def allowance(energy):
        return problem.tolerance * space.volume * stiffness(energy)

    active = jnp.broadcast_to(coefficients.valid[:, None], voigt.shape)
    # Rounding lets the recurrence drift by about eps * contrast; below this limit that is beyond notice.
    drift = float(jnp.finfo(values.dtype).eps) * contrast

    def residual(solution):
        return -space.apply(prepared, solution, strained=True)

    load = space.load(prepared)
    found = nothing_found(load) if start is None else found_before(start, residual(start), load)

    def run(solve, reference):
        return certified_solution(
            solve,
            residual,
            reference,
            found,
            active,
            active & (drift > 0.03 * problem.tolerance**0.5)[:, None],
            allowance,
        )

    iterations = _precondition(problem, coefficients, values, prepared, contrast, allowance, run)
    return iterations, iterations.bound / space.volume / stiffness(iterations.energy)


def _iterate_derivative(problem, coefficients, load) -> Iterations:
    """Solve one chunk for given right-hand sides, to an accuracy that makes second derivatives right."""
    # Of the energy, so that the corrector is right to its square root. An iteration that goes on below what rounding
    # leaves of the residual diverges.
    accuracy = max(problem.tolerance**2, 10 * float(jnp.finfo(load.dtype).eps))
    values, contrast = _normalize(coefficients)
    prepared = problem.space.prepare(values)
    scale = lax.expand_dims(coefficients.least, tuple(range(1, load.ndim)))
    active = jnp.broadcast_to(coefficients.valid[:, None], load.shape[:2])
    load = load / jnp.where(coefficients.valid.reshape(scale.shape), scale, 1)

    def run(solve, _):
        return solve(load, active)

    return _precondition(problem, coefficients, values, prepared, contrast, lambda energy: accuracy * energy, run)


def _normalize(coefficients):
    """Coefficients divided by their lower bound, so that no unit under- or overflows; and their contrast, (batch,)."""
    least = jnp.where(coefficients.valid, coefficients.least, 1)
    values = coefficients.values / lax.expand_dims(least, tuple(range(1, coefficients.values.ndim)))
    return values, jnp.where(coefficients.valid, coefficients.greatest / least, 1)


def _precondition(problem, coefficients, values, prepared, contrast, allowance, run) -> Iterations:
    """`run(solve, reference)` with the preconditioner that the highest contrast of the chunk asks for."""
    space = problem.space
    inverse = space.inverse.preconditioner(lax.stop_gradient(coefficients.ratio))
    reference = ReferenceBound(inverse, space.inverse.least)

    def run_with(precondition, certificate, reference):
        def solve(load, active, energy=None):
            apply = functools.partial(space.apply, prepared)
            return conjugate_gradients(
                apply, precondition, certificate, load, active, allowance, problem.max_iterations, energy
            )

        return run(solve, reference)

    def with_reference():
        return run_with(inverse, GaussRadau(space.inverse.least), reference)

    def with_cycle():
        opposite = complementary_values(coefficients, values, problem.law.reference_mode(problem.geometry.ndim))
        known = opposite is not None and space.inverse.is_medium
        dual = functools.partial(space.apply, space.prepare(opposite)) if known else None
        certificate = reference._replace(complementary=dual)
        return run_with(cycle.preconditioner(values), certificate, certificate)

    cycle = problem.preconditioner.cycle(problem.geometry, problem.law, problem.boundary, problem.bases)
    if cycle is None:
        return with_reference()
    switch = problem.preconditioner.switch(problem.law, problem.geometry.ndim)
    return lax.cond(jnp.max(contrast) > switch, with_cycle, with_reference)


def _contrast(coefficients):
    return lax.stop_gradient(coefficients.greatest / coefficients.least)


def _diagnostics(iterations, error):
    return Diagnostics(iterations.num_iterations, iterations.residual, error)


def _zero_tangents(tree):
    def zero(x):
        is_float = jnp.issubdtype(x.dtype, jnp.floating)
        return jnp.zeros_like(x) if is_float else np.zeros(x.shape, jax.dtypes.float0)

    return jax.tree.map(zero, tree)
