"""Handlers: from a model to a model that stock inference can work with."""

from ._generalized_bayes import generalized_bayes as generalized_bayes
