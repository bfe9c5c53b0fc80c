"""Distributional inverse homogenization as a NumPyro plug-in."""
