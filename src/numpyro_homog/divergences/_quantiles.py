"""The union of the steps of two empirical quantile functions; private to the package."""

import jax.numpy as jnp
import numpy as np

_ROUNDING = 64  # of a sum of masses, in units of the precision


class EqualSteps:
    """All points of a cloud have the same mass: exact in integers, static.

    Attributes:
        widths: lengths of the intervals of the union, shape (K,).
        index_x: rank of the point of x on each, shape (K,).
        index_y: rank of the point of y on each, shape (K,).
        mass: mass of each sorted point of x, shape (M,).
    """

    def __init__(self, num_x: int, num_y: int):
        ends = np.union1d(np.arange(1, num_x + 1) * num_y, np.arange(1, num_y + 1) * num_x)
        starts = np.concatenate([[0], ends[:-1]])
        self.widths = (ends - starts) / (num_x * num_y)
        self.index_x, self.index_y = starts // num_y, starts // num_x
        self.mass = np.full(num_x, 1 / num_x)
        self._equal = num_x == num_y

    def differences(self, sorted_x, sorted_y):
        """Quantiles of x less those of y on each interval."""
        if self._equal:
            return sorted_x - sorted_y
        return sorted_x[self.index_x] - sorted_y[self.index_y]

    def mean_square(self, sorted_x, sorted_y):
        """The integral of their square."""
        differences = self.differences(sorted_x, sorted_y)
        return jnp.sum(jnp.asarray(self.widths, differences.dtype) * differences**2)

    def after(self, sorted_y):
        """Quantile of y where each point of x ends; where one of y ends there too, the middle of both, shape (M,)."""
        num_x, num_y = len(self.mass), sorted_y.shape[0]
        level = np.arange(1, num_x + 1) * num_y
        return 0.5 * (sorted_y[-(-level // num_x) - 1] + sorted_y[np.minimum(level // num_x, num_y - 1)])


class WeightedSteps:
    """The points of x have masses of their own, those of y the same; traceable.

    Args:
        mass: masses of the sorted points of x, of sum one, shape (M,).
        num_y: number N of points of y.

    Attributes: as of `EqualSteps`.
    """

    def __init__(self, mass, num_y: int):
        num_x = mass.shape[0]
        ends_x = jnp.cumsum(mass)
        self._ends_x = ends_x / ends_x[-1]
        both = jnp.concatenate([self._ends_x, jnp.arange(1, num_y + 1, dtype=mass.dtype) / num_y])
        order = jnp.argsort(both)
        ends = both[order]
        of_x = (order < num_x).astype(order.dtype)
        before_x = jnp.cumsum(of_x) - of_x
        self.widths = ends - jnp.concatenate([jnp.zeros_like(ends[:1]), ends[:-1]])
        self.index_x = jnp.minimum(before_x, num_x - 1)
        self.index_y = jnp.minimum(jnp.arange(num_x + num_y, dtype=order.dtype) - before_x, num_y - 1)
        self.mass = mass

    def differences(self, sorted_x, sorted_y):
        """As of `EqualSteps`."""
        return sorted_x[self.index_x] - sorted_y[self.index_y]

    def after(self, sorted_y):
        """As of `EqualSteps`, up to rounding."""
        num_y = sorted_y.shape[0]
        level = self._ends_x * num_y
        same = min(_ROUNDING * float(jnp.finfo(level.dtype).eps) * num_y, 0.05)
        first, last = jnp.ceil(level - same) - 1, jnp.floor(level + same)
        first, last = (jnp.clip(rank, 0, num_y - 1).astype(int) for rank in (first, last))
        return 0.5 * (sorted_y[first] + sorted_y[last])
