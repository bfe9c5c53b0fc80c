"""Batched solution of cell problems, and its derivative rules."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PyTree

from ._batching import map_in_chunks
from ._conjugate_gradients import (
    GaussRadau,
    Iterations,
    ReferenceBound,
    certified_solution,
    conjugate_gradients,
    found_before,
)
from ._energies import contract, rounding_error
from ._law import Coefficients
from ._reference import Preconditioner
from ._space import AbstractSpace
from ._tensor_fields import Energies, Unknown, Values, complementary_values

Limits = tuple[float, int]  # the tolerance of a cell problem and its most iterations


# Of each solve, (batch, loads): "iterations", "residual" relative to the load in the norm of the preconditioner, and
# "error", the certified upper bound of the relative error of the diagonal entry of the effective tensor.
Stats = dict[str, Array]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def energy_tensor(space: AbstractSpace, limits: Limits, coefficients: Coefficients) -> tuple[Array, Stats]:
    """Effective tensors (batch, loads, loads) and `Stats`; the correctors are not kept.

    The tensor is the minimum of the energy over correctors, so its first derivative is the energy of the same
    corrector with the tangent of the coefficients: no further solve.
    """
    tensors, _, stats = _evaluate(space, limits, coefficients, keep=False)
    return tensors, stats


@energy_tensor.defjvp
def _energy_tensor_jvp(space: AbstractSpace, limits: Limits, primals: tuple, tangents: tuple) -> tuple:
    (coefficients,), (direction,) = primals, tangents
    tensor, energies, stats = _sensitivities(space, limits, coefficients)
    return (tensor, stats), (contract(direction.values, energies), _zero_tangents(stats))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _sensitivities(space: AbstractSpace, limits: Limits, coefficients: Coefficients) -> tuple[Array, Energies, Stats]:
    """Effective tensors, their derivatives with respect to the coefficients of each voxel, and `Stats`."""
    return _evaluate(space, limits, coefficients, keep=True)


def _evaluate(space: AbstractSpace, limits: Limits, coefficients: Coefficients, *, keep: bool) -> tuple:
    """Effective tensors, their `_sensitivities` if they are to be kept, and `Stats`."""

    def solve(members: Coefficients) -> tuple[Array, Energies | None, Stats]:
        solution, stats = _iterate(space, limits, members)
        energies = space.strain_energies(solution)
        return contract(members.values, energies), energies if keep else None, stats

    return map_in_chunks(solve, coefficients, _contrast(coefficients), space.chunk)


@_sensitivities.defjvp
def _sensitivities_jvp(space: AbstractSpace, limits: Limits, primals: tuple, tangents: tuple) -> tuple:
    def through_corrector(coefficients: Coefficients) -> tuple[Array, Energies, Stats]:
        solution, stats = corrector(space, limits, coefficients, None)
        energies = space.strain_energies(solution)
        return contract(coefficients.values, energies), energies, stats

    return jax.jvp(through_corrector, primals, tangents)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def corrector(
    space: AbstractSpace, limits: Limits, coefficients: Coefficients, start: Array | None
) -> tuple[Array, Stats]:
    """Correctors (batch, loads, components, *nodes) and `Stats`. Each derivative costs one more batched solve.

    The iteration begins at `start`, which has no influence on the solution, and so no derivative.
    """
    run = lambda members: _iterate(space, limits, *members)  # noqa: E731
    return map_in_chunks(run, (coefficients, start), _contrast(coefficients), space.chunk)


@corrector.defjvp
def _corrector_jvp(space: AbstractSpace, limits: Limits, primals: tuple, tangents: tuple) -> tuple:
    (coefficients, start), (direction, _) = primals, tangents
    solution, stats = corrector(space, limits, coefficients, start)
    prepared = space.prepare(coefficients.values)

    def unbalanced(values: Values) -> Unknown:
        return -space.apply(space.prepare(values), solution, strained=True)

    def solve(_: Callable, load: Unknown) -> Unknown:
        arguments = (lax.stop_gradient(coefficients), load)
        run = lambda members: _iterate_derivative(space, limits, *members)  # noqa: E731
        return map_in_chunks(run, arguments, _contrast(coefficients), space.chunk)

    _, load = jax.jvp(unbalanced, (coefficients.values,), (direction.values,))
    tangent = lax.custom_linear_solve(lambda u: space.apply(prepared, u), load, solve, symmetric=True)
    return (solution, stats), (tangent, _zero_tangents(stats))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def stationary_tensor(space: AbstractSpace, values: Array, solution: Array) -> tuple[Array, Array]:
    """Energies of correctors that solve the cell problem, where their derivative by the corrector is zero.

    Also an estimate of the relative rounding error of the diagonal, shape (batch, loads).
    """
    energies = space.strain_energies(solution)
    return contract(values, energies), rounding_error(values, energies)


@stationary_tensor.defjvp
def _stationary_tensor_jvp(space: AbstractSpace, primals: tuple, tangents: tuple) -> tuple:
    (values, solution), (direction, _) = primals, tangents
    energies = space.strain_energies(solution)
    rounding = rounding_error(values, energies)
    return (contract(values, energies), rounding), (contract(direction, energies), jnp.zeros_like(rounding))


def _iterate(
    space: AbstractSpace, limits: Limits, coefficients: Coefficients, start: Unknown | None = None
) -> tuple[Unknown, Stats]:
    """Solve one chunk for all unit strains."""
    tolerance, _ = limits
    values, contrast = _normalize(coefficients)
    prepared, mean = space.prepare(values), space.mean(values)
    diagonals = np.einsum("cij,li,lj->cl", np.array(space.bases), space.units, space.units)
    voigt = jnp.dot(mean, jnp.asarray(diagonals, mean.dtype), precision=lax.Precision.HIGHEST)

    def stiffness(energy: Array) -> Array:
        return voigt - energy / space.volume

    def allowance(energy: Array) -> Array:
        return tolerance * space.volume * stiffness(energy)

    active = jnp.broadcast_to(coefficients.valid[:, None], voigt.shape)
    # Rounding lets the recurrence drift by about eps * contrast; below this limit that is beyond notice.
    drift = float(jnp.finfo(values.dtype).eps) * contrast
    doubtful = active & (drift > 0.03 * tolerance**0.5)[:, None]

    def residual(solution: Unknown) -> Unknown:
        return -space.apply(prepared, solution, strained=True)

    load = space.load(prepared)
    found = found_before(load) if start is None else found_before(load, start, residual(start))

    def run(solve: Callable, reference: ReferenceBound) -> Iterations:
        return certified_solution(solve, residual, reference, found, active, doubtful, allowance)

    done = _precondition(space, limits, coefficients, prepared, allowance, run)
    error = done.bound / space.volume / stiffness(done.energy)
    return done.solution, {"iterations": done.num_iterations, "residual": done.residual, "error": error}


def _iterate_derivative(space: AbstractSpace, limits: Limits, coefficients: Coefficients, load: Unknown) -> Unknown:
    """Solve one chunk for given right-hand sides, to an accuracy that makes second derivatives right."""
    # Of the energy, so that the corrector is right to its square root. An iteration that goes on below what rounding
    # leaves of the residual diverges.
    accuracy = max(limits[0] ** 2, 10 * float(jnp.finfo(load.dtype).eps))
    values, _ = _normalize(coefficients)
    scale = lax.expand_dims(coefficients.least, tuple(range(1, load.ndim)))
    active = jnp.broadcast_to(coefficients.valid[:, None], load.shape[:2])
    load = load / jnp.where(coefficients.valid.reshape(scale.shape), scale, 1)
    allowance = lambda energy: accuracy * energy  # noqa: E731
    run = lambda solve, _: solve(load, active, jnp.zeros(load.shape[:2], load.dtype))  # noqa: E731
    return _precondition(space, limits, coefficients, space.prepare(values), allowance, run).solution


def _normalize(coefficients: Coefficients) -> tuple[Values, Float[Array, " batch"]]:
    """Coefficients divided by their lower bound, so that no unit under- or overflows; and their contrast."""
    least = jnp.where(coefficients.valid, coefficients.least, 1)
    values = coefficients.values / lax.expand_dims(least, tuple(range(1, coefficients.values.ndim)))
    return values, jnp.where(coefficients.valid, coefficients.greatest / least, 1)


def _precondition(
    space: AbstractSpace, limits: Limits, coefficients: Coefficients, prepared: Array, allowed: Callable, run: Callable
) -> Iterations:
    """`run(solve, reference)` with the preconditioner that the highest contrast of the chunk asks for."""
    (values, contrast), (_, max_iterations) = _normalize(coefficients), limits
    apply, medium = functools.partial(space.apply, prepared), space.reference
    inverse = medium.preconditioner(lax.stop_gradient(coefficients.ratio))
    reference = ReferenceBound(inverse, medium.least)

    def run_with(
        precondition: Preconditioner, certificate: GaussRadau | ReferenceBound, reference: ReferenceBound
    ) -> Iterations:
        def solve(load: Unknown, active: Array, energy: Array) -> Iterations:
            return conjugate_gradients(apply, precondition, certificate, load, active, energy, allowed, max_iterations)

        return run(solve, reference)

    def with_cycle(cycle: Callable) -> Iterations:
        certificate = reference
        if medium.is_medium:
            mode = space.law.reference_mode(space.geometry.ndim)
            opposite = complementary_values(space.bases, values, coefficients.ratio, mode)
            if opposite is not None:
                dual = functools.partial(space.apply, space.prepare(opposite))
                certificate = reference._replace(complementary=dual)
        return run_with(cycle(values), certificate, certificate)

    with_reference = functools.partial(run_with, inverse, GaussRadau(medium.least), reference)
    if space.cycle is None:
        return with_reference()
    return lax.cond(jnp.max(contrast) > space.switch, functools.partial(with_cycle, space.cycle), with_reference)


def _contrast(coefficients: Coefficients) -> Float[Array, " batch"]:
    return lax.stop_gradient(coefficients.greatest / coefficients.least)


def _zero_tangents(tree: PyTree) -> PyTree:
    def zero(x: Array) -> Array | np.ndarray:
        is_float = jnp.issubdtype(x.dtype, jnp.floating)
        return jnp.zeros_like(x) if is_float else np.zeros(x.shape, jax.dtypes.float0)

    return jax.tree.map(zero, tree)
