"""Which starts ended where."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .._table import Table
from ._levenberg_marquardt import FAILED, Descent


class Basin(NamedTuple):
    """Starts that ended at the same point.

    Attributes:
        starts: indices of the starts, the one with the least loss first.
        loss: divergence at the end of the first of them.
        num_specimens: number of simulated specimens on which the loss was evaluated.
        params: constrained values there, by name.
        status: how the descent ended: "converged", "stalled", "max_steps", "failed", or "abandoned" when it had
            no prospect of reaching the best.
    """

    starts: tuple[int, ...]
    loss: float
    num_specimens: int
    params: dict[str, np.ndarray]
    status: str


class BasinTable(tuple[Basin, ...]):
    """The basins that a fit has found, best first; prints as a table."""

    def __repr__(self) -> str:
        return self.table().to_text()

    def _repr_html_(self) -> str:
        return self.table().to_html()

    def table(self) -> Table:
        """The table."""
        rows = [("basin", "starts", "loss", "specimens", "ended", "parameters")]
        for number, basin in enumerate(self):
            values = "  ".join(f"{name}={_format(value)}" for name, value in basin.params.items())
            starts = ", ".join(map(str, basin.starts))
            rows.append(
                (str(number), starts, f"{basin.loss:.4g}", str(basin.num_specimens), basin.status, values or "-")
            )
        return Table("Basins", rows)


def is_same_basin(end: Descent, position: np.ndarray, tolerance: float) -> bool:
    """Whether the quadratic model at an end sees no difference to a position.

    Args:
        end: the end.
        position: unconstrained.
        tolerance: divergence between the clouds there and here that counts as none.
    """
    apart = position.astype(float) - end.position
    return bool(apart @ end.evaluation.curvature @ apart <= tolerance)


def group_by_basin(descents: Sequence[Descent], tolerance: float) -> list[list[int]]:
    """Group descents that ended in the same basin; least loss first.

    Their ends predict clouds with a divergence below `tolerance`, as the quadratic model at the better one says. Failed
    descents are in no group.

    Args:
        descents: their ends.
        tolerance: as of `is_same_basin`.
    """
    alive = [i for i, descent in enumerate(descents) if descent.status != FAILED]
    alive.sort(key=lambda i: float(descents[i].evaluation.value))
    groups: list[list[int]] = []
    for i in alive:
        for group in groups:
            if is_same_basin(descents[group[0]], descents[i].position, tolerance):
                group.append(i)
                break
        else:
            groups.append([i])
    return groups


def _format(value: np.ndarray) -> str:
    return np.array2string(np.asarray(value), precision=4, separator=", ", max_line_width=10_000)
