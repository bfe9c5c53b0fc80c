"""One cell and the accuracy asked of it, for the files that compare tensors of small random cells."""

import pytest
from random_cells import LENGTHS, SHAPE, make_cell


@pytest.fixture
def tolerance(x64):
    """Tolerance of the cell problem, close to what the precision can hold at contrast 10."""
    return 1e-13 if x64 else 1e-6


@pytest.fixture
def cell(tolerance):
    return make_cell(SHAPE, LENGTHS, tolerance=tolerance)


@pytest.fixture
def rtol(x64):
    """Agreement of two tensors found by different floating-point operations."""
    return 1e-10 if x64 else 2e-5
