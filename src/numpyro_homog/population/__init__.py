"""Populations of specimens, simulated from a NumPyro model."""

from ._bijection import describe_support as describe_support
from ._checks import check_names as check_names
from ._messengers import hide_specimens as hide_specimens
from ._population import Population as Population
from ._whitening import Whitening as Whitening
