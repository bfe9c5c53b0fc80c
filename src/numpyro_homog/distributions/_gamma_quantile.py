"""The quantile of the gamma distribution, in logarithms and of a normal score. Pure JAX."""

import functools

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln, log_ndtr
from jaxtyping import Array, Float

_MAX_STEPS = 20


def log_gamma_quantile(shape: Float[Array, "*#n"], score: Float[Array, "*#n"]) -> Float[Array, "*n"]:
    """Logarithm of g, where P(shape, g) = Phi(score), with P the regularised lower incomplete gamma function.

    The logarithm does not underflow where g does (small shapes), and the score c = Phi(score) keeps the precision of
    both tails. Shape (> 0) and score broadcast and have one dtype. Differentiable once, forward and backward, in both:
    the implicit derivative.
    """
    return _log_quantile(*jnp.broadcast_arrays(shape, score))


@jax.custom_jvp
@jax.jit
def _log_quantile(a, z):
    """Halley's method on log P(a, e^y) below the median and log Q(a, e^y) above it.

    Both are concave in y, so that already Newton's method would converge from one side. Three steps are usual.
    """
    lower = z < 0
    target = log_ndtr(-jnp.abs(z))
    log_gamma = gammaln(a)
    tolerance = jnp.finfo(a.dtype).eps ** 0.5

    def step(state):
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


def _log_tail(a, x, y, log_gamma, lower):
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


def _series(a, x, use):
    """sum_n x^n / ((a + 1) ... (a + n)), where `use`."""

    def term(state):
        n, a, x, last, total, _ = state
        last = last * x / (a + n)
        total = total + last
        return n + 1, a, x, last, total, last / total

    one = jnp.ones_like(a)
    return _converged(term, (one, a, jnp.where(use, x, 0), one, one, one), 10_000)[-2]


def _fraction(a, x, use):
    """1/(x + 1 - a - 1(1 - a)/(x + 3 - a - 2(2 - a)/...)) by Lentz's method, where `use`."""

    def level(state):
        n, a, b, c, d, value, _ = state
        factor = n * (a - n)
        b = b + 2
        c = b + factor / c
        d = 1 / (b + factor * d)
        return n + 1, a, b, c, d, value * c * d, c * d - 1

    b = jnp.where(use, x + 1 - a, 41)
    huge = jnp.full_like(b, 1 / jnp.finfo(b.dtype).tiny)
    return _converged(level, (jnp.ones_like(a), a, b, huge, 1 / b, 1 / b, jnp.ones_like(b)), 1000)[-2]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 2))
def _converged(step, state, limit):
    """Repeat `step` until the last entry of the state, a relative change, is a matter of rounding."""
    small = 4 * jnp.finfo(state[-1].dtype).eps

    def unfinished(state):
        return jnp.any(jnp.abs(state[-1]) > small) & jnp.all(state[0] < limit)

    return jax.lax.while_loop(unfinished, step, state)


@_converged.defjvp
def _converged_jvp(step, limit, primals, tangents):
    """The derivative converges later than the value: wait for it too."""
    small = 4 * jnp.finfo(primals[0][-1].dtype).eps

    def both(states):
        return jax.jvp(step, (states[0],), (states[1],))

    def unfinished(states):
        state, tangent = states
        changes = (jnp.abs(state[-1]) > small) | (jnp.abs(tangent[-1]) > 8 * small)
        return jnp.any(changes) & jnp.all(state[0] < limit)

    return jax.lax.while_loop(unfinished, both, (primals[0], tangents[0]))


@_log_quantile.defjvp
@jax.jit
def _log_quantile_jvp(primals, tangents):
    """Implicit: log tail(a, y) = log Phi(-|z|), differentiated."""
    a, z = primals
    y = _log_quantile(a, z)
    x, lower, log_gamma = jnp.exp(y), z < 0, gammaln(a)

    value, by_a = jax.jvp(lambda a: _log_tail(a, x, y, gammaln(a), lower), (a,), (jnp.ones_like(a),))
    log_density = a * y - x - log_gamma
    by_shape = by_a * jnp.exp(value - log_density) * jnp.where(lower, -1, 1).astype(a.dtype)
    by_score = jnp.exp(-(z**2) / 2 - jnp.log(2 * jnp.pi) / 2 - log_density)
    return y, by_shape * tangents[0] + by_score * tangents[1]
