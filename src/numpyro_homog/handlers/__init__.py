"""Handlers: from a model to a model that stock inference can work with."""

from ._density_likelihood import density_likelihood as density_likelihood
from ._emulate import emulate as emulate
from ._generalized_bayes import generalized_bayes as generalized_bayes
