"""Batched preconditioned conjugate gradients with a guaranteed bound of the energy error."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ._tensor_fields import Unknown

# How far below what is allowed a member of a batch waits for the others, and by how much a bound is expected to exceed
# the estimate of the preconditioner before it is known.
_PATIENCE = 0.1
_EXCESS = 10.0


PerLoad = Float[Array, "batch loads"]


class Iterations(NamedTuple):
    """Where an iteration stands."""

    solution: Unknown
    remainder: Unknown  # the residual, as the recurrence has it
    energy: PerLoad  # b' A^-1 b as far as it has been found: a lower bound that grows with the iterations
    bound: PerLoad  # of the squared energy norm of the error of the solution, from above
    residual: PerLoad  # its norm relative to that of the load, in the norm of the preconditioner
    num_iterations: Int[Array, "batch loads"]


class GaussRadau(NamedTuple):
    """Bound from the coefficients of the iteration, for a preconditioner with a spectrum of known lower end.

    With 0 < `least` <= the eigenvalues of the preconditioned operator on the complement of the null space, the squared
    energy norm of the error is at most factor * r' M r, where the factor follows the Gauss-Radau recurrence from
    1 / least.

    References:
        Golub and Meurant, Matrices, Moments and Quadrature with Applications (2010), chapter 12; Meurant and Tichy,
        Numerical Algorithms 62 (2013), eq. (3.6).
    """

    least: float

    def start(self, load: Unknown, rz: PerLoad, allowed: PerLoad) -> tuple[PerLoad, PerLoad]:
        """Bound at zero, and what `follow` wants to remember."""
        return rz / self.least, jnp.full_like(rz, 1 / self.least)

    def follow(
        self, residual: Unknown, rz: PerLoad, alpha: PerLoad, beta: PerLoad, allowed: PerLoad, factor: PerLoad
    ) -> tuple[PerLoad, PerLoad]:
        """Bound after an iteration with these coefficients, and what to remember."""
        excess = factor - alpha
        tighter = excess / (self.least * excess + beta)
        known = (excess > 0) & jnp.isfinite(tighter)
        factor = jnp.where(known, jnp.minimum(tighter, 1 / self.least), 1 / self.least)
        return factor * rz, factor


class ReferenceBound(NamedTuple):
    """Bound from the residual by the inverse of a reference medium, for any preconditioner.

    With u = R^-1 r the squared energy norm of the error is at most r' u / least, and at most the complementary energy
    u' D u where D is known. It is evaluated only when the preconditioner says that it may suffice: r' M r estimates the
    same quantity, and by how much the bound is larger is remembered.
    """

    inverse: Callable  # R^-1, a function of residuals
    least: float  # lower bound of the operator relative to R, > 0
    complementary: Callable | None = None  # D, see `complementary_values`, where it is known

    def start(self, load: Unknown, rz: PerLoad, allowed: PerLoad) -> tuple[PerLoad, PerLoad]:
        """Bound at zero, and what `follow` wants to remember."""
        # A preconditioner of at most twice the inverse: otherwise the bound cannot suffice.
        bound, _ = self.follow(load, rz, rz, rz, allowed, jnp.full_like(rz, 0.5))
        return bound, jnp.full_like(rz, _EXCESS)

    def follow(
        self, residual: Unknown, rz: PerLoad, alpha: PerLoad, beta: PerLoad, allowed: PerLoad, excess: PerLoad
    ) -> tuple[PerLoad, PerLoad]:
        """Bound after an iteration, and what to remember.

        It is dear, and made of all members at once: those that may have finished wait for the others, which costs
        nothing, until they are far below what is allowed.
        """
        promising, running = excess * rz <= allowed, allowed >= 0
        due = jnp.all(promising | ~running) | jnp.any(excess * rz <= _PATIENCE * allowed)
        found = _product(*lax.cond(due, self._pair, lambda residual: (residual, residual), residual))
        known = promising & due
        bound = jnp.where(known, found, jnp.inf)
        excess = jnp.where(known, jnp.maximum(0.5 * bound / jnp.where(rz > 0, rz, 1), 1), excess)
        return bound, excess

    def bound(self, residual: Unknown) -> PerLoad:
        """Bound of the squared energy norm of what has this residual."""
        return _product(*self._pair(residual))

    def _pair(self, residual: Unknown) -> tuple[Unknown, Unknown]:
        """Two fields whose product is the bound.

        A branch that ended in the product itself would be several times slower, the operator fused into the sum.
        """
        potential = self.inverse(residual)
        if self.complementary is not None:
            return potential, self.complementary(potential)
        return potential, residual / self.least


def _product(first: Unknown, second: Unknown) -> PerLoad:
    """Inner product of the fields of a member and load case, or zero where it is negative by rounding."""
    return jnp.maximum(jnp.sum(first * second, axis=tuple(range(2, first.ndim))), 0)


def conjugate_gradients(
    matvec: Callable,
    precondition: Callable,
    certificate: GaussRadau | ReferenceBound,
    load: Unknown,
    active: Bool[Array, "batch loads"],
    energy: PerLoad,
    allowance: Callable,
    max_iterations: int,
) -> Iterations:
    """Solve A x = load for each active member and load case, until the energy error is certified; others are zero.

    Each runs its own recurrence and is frozen when it has finished, so the members of a batch cannot disturb one
    another. `load` is orthogonal to the null space of A; `precondition` is an approximate inverse of A beside it, and
    zero on it. `energy` is what an earlier run has found, if `load` is what it left over, and `allowance` is a function
    of the energy found so far that returns the admissible `bound`.
    """
    axes = tuple(range(2, load.ndim))
    widen = lambda scalars: lax.expand_dims(scalars, axes)  # noqa: E731

    def unfinished(bound: PerLoad, energy: PerLoad, running: Bool[Array, "batch loads"]) -> Bool[Array, "batch loads"]:
        return running & ~(bound <= allowance(energy))

    def condition(state: tuple) -> Array:
        return jnp.any(state[-1]) & (state[-2] < max_iterations)

    def iterate(state: tuple) -> tuple:
        x, r, p, rz, bound, memory, energy, count, step, running = state
        q = matvec(p)
        curvature = jnp.sum(p * q, axis=axes)
        safe = jnp.where(running & (curvature > 0), curvature, 1.0)
        alpha = jnp.where(running & (curvature > 0), rz / safe, 0.0)
        x = x + widen(alpha) * p
        r = r - widen(alpha) * q
        z = precondition(r)
        new = _product(r, z)
        beta = jnp.where(running, new / jnp.where(running, rz, 1.0), 0.0)
        p = z + widen(beta) * p
        energy = energy + alpha * rz
        allowed = jnp.where(running, allowance(energy), -jnp.inf)
        followed = certificate.follow(r, new, alpha, beta, allowed, memory)
        rz, bound, memory = (
            jnp.where(running, now, before) for now, before in zip((new, *followed), (rz, bound, memory), strict=True)
        )
        count = count + running.astype(count.dtype)
        return x, r, p, rz, bound, memory, energy, count, step + 1, unfinished(bound, energy, running)

    z = precondition(load)
    initial = rz = _product(load, z)
    bound, memory = certificate.start(load, rz, jnp.where(active, allowance(energy), -jnp.inf))
    running = unfinished(bound, energy, active)
    count = jnp.zeros(rz.shape, jnp.int32)
    start = (jnp.zeros_like(load), load, z, rz, bound, memory, energy, count, jnp.int32(0), running)
    x, r, _, rz, bound, _, energy, count, _, _ = lax.while_loop(condition, iterate, start)
    residual = jnp.sqrt(rz / jnp.where(initial > 0, initial, 1.0))
    return Iterations(x, r, energy, bound, residual, count)


def found_before(load: Unknown, solution: Unknown | None = None, remainder: Unknown | None = None) -> Iterations:
    """Where an iteration begins: at a known solution with its residual, or at zero if that is closer to the truth."""
    zero = jnp.zeros(load.shape[:2], load.dtype)
    found = Iterations(jnp.zeros_like(load), load, zero, zero, zero, zero.astype(jnp.int32))
    if solution is None or remainder is None:
        return found
    axes = tuple(range(2, load.ndim))
    energy = jnp.sum(solution * (load + remainder), axis=axes)
    closer = lax.expand_dims(energy > 0, axes)
    solution, remainder = jnp.where(closer, solution, 0), jnp.where(closer, remainder, load)
    return found._replace(solution=solution, remainder=remainder, energy=jnp.maximum(energy, 0))


def certified_solution(
    solve: Callable,
    residual: Callable,
    reference: ReferenceBound,
    found: Iterations,
    active: Bool[Array, "batch loads"],
    doubtful: Bool[Array, "batch loads"],
    allowance: Callable,
    *,
    max_rounds: int = 4,
) -> Iterations:
    """Solve from `found`, certify what is doubtful by its true residual, and solve again from there while that fails.

    In finite precision the residual of the recurrence drifts from the true one. With the drift d, the energy norm of
    the error is at most that of the recurrence plus the bound for d (by `reference`), by the triangle inequality.
    `solve` is a function (load, active, energy) -> Iterations, as `conjugate_gradients` makes them.
    """
    axes = tuple(range(2, found.solution.ndim))

    def condition(state: tuple) -> Array:
        _, _, pending, rounds = state
        return jnp.any(pending) & (rounds < max_rounds)

    def check(found: Iterations) -> tuple[Unknown, PerLoad]:
        truth = residual(found.solution)
        drift = reference.bound(truth - found.remainder)
        return truth, jnp.where(doubtful, (jnp.sqrt(found.bound) + jnp.sqrt(drift)) ** 2, found.bound)

    def go_on(state: tuple) -> tuple:
        found, load, pending, rounds = state
        step = solve(load, pending, found.energy)
        wide = lax.expand_dims(pending, axes)
        found = Iterations(
            solution=found.solution + step.solution,
            remainder=jnp.where(wide, step.remainder, found.remainder),
            energy=step.energy,
            bound=jnp.where(pending, step.bound, found.bound),
            residual=jnp.where(rounds == 0, step.residual, found.residual),
            num_iterations=found.num_iterations + step.num_iterations,
        )
        pending = pending & doubtful
        truth, bound = lax.cond(jnp.any(pending), check, lambda found: (found.remainder, found.bound), found)
        bound = jnp.where(pending, bound, found.bound)
        return found._replace(bound=bound), truth, pending & ~(bound <= allowance(found.energy)), rounds + 1

    found, _, _, _ = lax.while_loop(condition, go_on, (found, found.remainder, active, jnp.int32(0)))
    return found
