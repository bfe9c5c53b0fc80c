"""Boundary conditions of a cell problem."""

import abc

import equinox as eqx


class AbstractBoundary(eqx.Module):
    """What is known of the corrector on the boundary of the cell.

    To write one, say whether the corrector is periodic; the operator wraps nodes accordingly.
    """

    @property
    @abc.abstractmethod
    def periodic(self) -> bool:
        """Whether opposite faces carry the same values of the corrector."""


class Periodic(AbstractBoundary):
    """Periodic corrector of zero mean: the cell is the unit of a lattice."""

    @property
    def periodic(self) -> bool:
        return True
