"""Surrogates: conditional densities of the tensor of one specimen, learned from cells that were solved."""

from ._fit import SurrogateFit as SurrogateFit
from ._fit import fit_surrogate as fit_surrogate
from ._fraction_surrogate import FractionSurrogate as FractionSurrogate
from ._laws import AbstractTensorLaw as AbstractTensorLaw
from ._laws import LogEuclideanLaw as LogEuclideanLaw
from ._laws import MixtureLaw as MixtureLaw
from ._surrogate import AbstractSurrogate as AbstractSurrogate
from ._surrogate import Ensemble as Ensemble
