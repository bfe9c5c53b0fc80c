"""The quantile of the gamma distribution, in logarithms and of a normal score. Pure JAX."""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma, gammaln, log_ndtr
from jaxtyping import Array, Bool, Float

_MAX_STEPS = 20
Values: TypeAlias = Float[Array, "*n"]
_State: TypeAlias = tuple[Values, ...]


def log_gamma_quantile(shape: Float[Array, "*#n"], score: Float[Array, "*#n"]) -> Float[Array, "*n"]:
    """Logarithm of g, where P(shape, g) = Phi(score), with P the regularised lower incomplete gamma function.

    The logarithm does not underflow where g does (small shapes), and the score c = Phi(score) keeps the precision of
    both tails. Shape (> 0) and score broadcast and have one dtype. Differentiable once, forward and backward, in both:
    the implicit derivative.
    """
    return _log_quantile(*jnp.broadcast_arrays(shape, score))


@jax.custom_jvp
@jax.jit
def _log_quantile(a: Values, z: Values) -> Values:
    """Halley's method on log P(a, e^y) below the median and log Q(a, e^y) above it.

    Both are concave in y, so that already Newton's method would converge from one side. Three steps are usual.
    """
    lower = z < 0
    target = log_ndtr(-jnp.abs(z))
    log_gamma = gammaln(a)
    tolerance = jnp.finfo(a.dtype).eps ** 0.5

    def step(state: tuple) -> tuple:
        y, _, count = state
        x = jnp.exp(y)
        log_tail = _log_tail(a, x, y, log_gamma, lower)
        slope = jnp.exp(a * y - x - log_gamma - log_tail)
        newton = (log_tail - target) / slope
        # Second over first derivative of the logarithm of the tail.
        curvature = jnp.where(lower, a - x - slope, a - x + slope)
        newton = jnp.where(lower, newton, -newton)
        change = -newton / jnp.maximum(1 - newton * curvature / 2, 0.5)
        change = jnp.clip(change, -2, 2)
        return y + change, jnp.max(jnp.abs(change) / (1 + jnp.abs(y)), initial=0), count + 1

    # Begin with Wilson and Hilferty's cube, or the power law of small g.
    power = (log_ndtr(z) + gammaln(a + 1)) / a
    cube = 1 - 1 / (9 * a) + z / (3 * jnp.sqrt(a))
    normal = jnp.log(a) + 3 * jnp.log(jnp.maximum(cube, 0.05))
    start = jnp.where((power < jnp.log(0.2 * (a + 1))) & (cube < 0.6), power, normal)
    state = start, jnp.asarray(jnp.inf, a.dtype), 0
    return jax.lax.while_loop(lambda state: (state[1] > tolerance) & (state[2] < _MAX_STEPS), step, state)[0]


def _log_tail(a: Values, x: Values, y: Values, log_gamma: Values, lower: Bool[Array, "*n"]) -> Values:
    """Logarithm of P(a, x) or of Q(a, x) for y = log x, also where x or P underflow.

    By the series of P, or the continued fraction of Q where that converges fast (Numerical Recipes, section 6.2); then
    P + Q = 1 where it is the other one. That loses at most three digits: for small shapes, Q just below the switch.
    """
    wide = jnp.finfo(a.dtype).bits == 64
    fraction = x > jnp.maximum(a, 3.0 if wide else 1.0)
    log_p = a * y - x - log_gamma - jnp.log(a) + jnp.log(_series(a, x, ~fraction))
    log_q = a * y - x - log_gamma + jnp.log(_fraction(a, x, fraction))
    known = jnp.minimum(jnp.where(fraction, log_q, log_p), -jnp.finfo(a.dtype).eps)
    return jnp.where(lower ^ fraction, known, jnp.log(-jnp.expm1(known)))


def _series(a: Values, x: Values, use: Bool[Array, "*n"]) -> Values:
    """sum_n x^n / ((a + 1) ... (a + n)), where `use`."""

    def term(state: _State) -> _State:
        n, last, total, _ = state
        last = last * x / (a + n)
        total = total + last
        return n + 1, last, total, last / total

    x, one = jnp.where(use, x, 0), jnp.ones_like(a)
    return _converged(term, (one, one, one, one), 10_000)


def _fraction(a: Values, x: Values, use: Bool[Array, "*n"]) -> Values:
    """1/(x + 1 - a - 1(1 - a)/(x + 3 - a - 2(2 - a)/...)) by Lentz's method, where `use`."""

    def level(state: _State) -> _State:
        n, b, c, d, value, _ = state
        factor = n * (a - n)
        b = b + 2
        c = b + factor / c
        d = 1 / (b + factor * d)
        return n + 1, b, c, d, value * c * d, c * d - 1

    b = jnp.where(use, x + 1 - a, 41)
    huge = jnp.full_like(b, 1 / jnp.finfo(b.dtype).tiny)
    return _converged(level, (jnp.ones_like(a), b, huge, 1 / b, 1 / b, jnp.ones_like(b)), 1000)


def _converged(step: Callable[[_State], _State], state: _State, limit: int) -> Values:
    """The last but one entry of the state, once the last one, a relative change of it, is a matter of rounding."""
    small = 4 * jnp.finfo(state[-1].dtype).eps

    def unfinished(state: _State) -> Bool[Array, ""]:
        return jnp.any(jnp.abs(state[-1]) > small) & jnp.all(state[0] < limit)

    return jax.lax.while_loop(unfinished, step, state)[-2]


@_log_quantile.defjvp
@jax.jit
def _log_quantile_jvp(primals: tuple[Values, Values], tangents: tuple[Values, Values]) -> tuple[Values, Values]:
    """Implicit: P(a, e^y) = Phi(z), differentiated; for small e^y, P is the power law e^(a y) / Gamma(a + 1)."""
    a, z = primals
    y = _log_quantile(a, z)
    x, least = jnp.exp(y), jnp.finfo(a.dtype).eps
    by_shape = jax.lax.random_gamma_grad(a, jnp.maximum(x, least)) / jnp.maximum(x, least)
    by_shape = jnp.where(x < least, (digamma(a + 1) - y) / a, by_shape)
    by_score = jnp.exp(-(z**2) / 2 - jnp.log(2 * jnp.pi) / 2 - (a * y - x - gammaln(a)))
    return y, by_shape * tangents[0] + by_score * tangents[1]
