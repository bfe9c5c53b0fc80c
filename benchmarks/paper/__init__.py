"""The five experiments of "Distributional Inverse Homogenization" (arXiv 2604.14083) as tables."""
