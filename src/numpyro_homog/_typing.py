"""Shape aliases used in annotations, checked at run time in the tests."""

from jaxtyping import Array, Float, PRNGKeyArray, Real

Field = Real[Array, "*batch_and_grid"]
Tensors = Float[Array, "*batch d d"]
Cloud = Float[Array, "specimens components"]
Key = PRNGKeyArray
