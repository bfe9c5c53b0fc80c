"""Cells whose effective tensor is known in closed form."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._results import VOIDS
from ._effective import AbstractCell, reject

_ADVICE = f"A coefficient is zero, negative or not finite; closed-form cells need positive coefficients. {VOIDS}"


class LaminateCell(AbstractCell):
    """One-dimensional cell of layers: the harmonic mean K = 1 / sum_j fractions_j / kappa_j.

    The field is a pair `(fractions, kappa)`, each of shape (*batch, J): volume fractions >= 0 that sum to one, and
    conductivities > 0. Their batch shapes broadcast. Costs no solve; exact in both derivative modes.

    Example:
        >>> effective_tensor(LaminateCell(), (jnp.array([0.5, 0.5]), jnp.array([1.0, 3.0])))
        Array([[1.5]], dtype=float32)
    """

    def compute_effective(
        self,
        field: tuple[Float[Array, "*#batch J"], Float[Array, "*#batch J"]],
        *,
        throw: bool = True,
        progress: bool = False,
    ) -> Float[Array, "*batch 1 1"]:
        if not isinstance(field, tuple) or len(field) != 2 or not all(map(eqx.is_array_like, field)):
            raise ValueError(
                "LaminateCell expects the pair (fractions, kappa), each an array of shape (*batch, J); for the"
                " stiffness across elastic layers kappa is lame_lambda + 2 shear_modulus."
            )
        fractions, kappa = (jnp.asarray(part) for part in field)
        if fractions.shape[-1:] != kappa.shape[-1:] or fractions.ndim == 0:
            raise ValueError(
                f"fractions has shape {fractions.shape} and kappa {kappa.shape}; the last axis of both must be the"
                " number of phases."
            )
        num_batch = max(fractions.ndim, kappa.ndim) - 1
        fractions, kappa = (x.reshape((1,) * (num_batch + 1 - x.ndim) + x.shape) for x in (fractions, kappa))
        bad = ~((kappa > 0) & jnp.isfinite(kappa) & (fractions >= 0))
        effective = 1 / jnp.sum(fractions / kappa, axis=-1)
        return reject(effective[..., None, None], jnp.any(bad, axis=-1), throw, _ADVICE)


class CheckerboardCell(AbstractCell):
    """Four-phase 2 x 2 checkerboard on the unit torus, in closed form.

    The field is the conductivity s of the quadrants, shape (*batch, 4), in the order s1 = (x0, y0), s2 = (x1, y0),
    s3 = (x1, y1), s4 = (x0, y1), each > 0. With E3 = s1 s2 s3 + s1 s2 s4 + s1 s3 s4 + s2 s3 s4,

        K11 = sqrt( E3 / (s1 + s2 + s3 + s4) * (s1 + s4) (s2 + s3) / ((s1 + s2) (s3 + s4)) ),

    and K22 has the last factor inverted; K12 = 0. Costs no solve: the exact 2D map to test inference with.

    References:
        Mortola and Steffe 1985 (conjecture); Craster and Obnosov, SIAM J. Appl. Math. 61 (2001); Milton, J. Math.
        Phys. 42 (2001).
    """

    def compute_effective(
        self, field: Float[Array, "*batch 4"], *, throw: bool = True, progress: bool = False
    ) -> Float[Array, "*batch 2 2"]:
        s = jnp.asarray(field)
        if s.shape[-1:] != (4,):
            raise ValueError(f"CheckerboardCell expects conductivities of shape (*batch, 4); got shape {s.shape}.")
        s1, s2, s3, s4 = (s[..., i] for i in range(4))
        triples = s1 * s2 * (s3 + s4) + s3 * s4 * (s1 + s2)
        isotropic = jnp.sqrt(triples / (s1 + s2 + s3 + s4))
        anisotropy = jnp.sqrt((s1 + s4) * (s2 + s3) / ((s1 + s2) * (s3 + s4)))
        zero = jnp.zeros_like(isotropic)
        rows = [jnp.stack([isotropic * anisotropy, zero], -1), jnp.stack([zero, isotropic / anisotropy], -1)]
        bad = jnp.any(~((s > 0) & jnp.isfinite(s)), axis=-1)
        return reject(jnp.stack(rows, axis=-2), bad, throw, _ADVICE)
