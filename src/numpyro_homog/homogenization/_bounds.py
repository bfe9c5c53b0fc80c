"""Guaranteed bounds of the effective tensor of a single cell."""

import dataclasses

from jaxtyping import PyTree

from ._cell import CellProblem, evaluate
from ._primal_dual import Bracket, EffectiveBounds


def effective_bounds(cell: CellProblem, field: PyTree, *, throw: bool = True) -> EffectiveBounds:
    """Lower and upper bound of the effective tensor of each cell, and their geometric mean.

    With k the conductivity of the voxels, all in the Loewner order,

        upper = K_h[k],    lower = D / det D with D = K_h[k / det k],    lower <= K[k] <= upper,

    where K is the tensor of the continuum and K_h the least energy of voxel elements. (k / det k is the inverse of k
    turned by 90 degrees, 1 / k for scalars, and D / det D that of D.) Both are energies of fields that exist, so they
    are bounds for whatever the solver makes of them: a loose `tolerance` widens the bracket by that much, and does not
    break it. What remains is rounding, a few units in the last place.

    Args:
        cell: a `CellProblem` in two dimensions with `Conductivity` and `Periodic`, of any discretisation.
        field: k, shape (*batch, *grid) or (*batch, *grid, 2, 2), as in `effective_tensor`.
        throw: raise if a member fails; with False its bounds are NaN.

    Returns:
        `EffectiveBounds`, the tuple (lower, upper, mean), each of shape (*batch, 2, 2), in the unit of the field.

    Raises:
        TypeError: at call time, if `cell` is no `CellProblem`; closed forms need no bounds.
        ValueError: at call or trace time, if there is no dual problem for this cell, or `field` does not fit.
        RuntimeError: at run time, if a member fails and `throw` is true.

    Costs two batched solves. Differentiable in `field`; the first derivative costs no further solve.

    What it does not do: the bounds are those of the image of voxels. How far the image is from the specimen (cut
    voxels, segmentation, the size of the cell) they cannot know.

    References:
        Prager and Synge, Quart. Appl. Math. 5 (1947) 241; Vondrejc, Zeman and Marek, CMAME 297 (2015) 258, for upper
        and lower bounds of effective tensors on grids. For the duality and the mean see `PrimalDual`.

    Example:
        >>> lower, upper, mean = effective_bounds(cell, field)
    """
    if not isinstance(cell, CellProblem):
        raise TypeError(f"effective_bounds expects a CellProblem; got {type(cell).__name__}.")
    return evaluate(dataclasses.replace(cell, discretization=Bracket()), field, throw=throw)
