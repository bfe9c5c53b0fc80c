"""Populations of specimens, simulated from a NumPyro model."""

from ._population import Population as Population
from ._population import hide_specimens as hide_specimens
