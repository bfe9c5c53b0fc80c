"""What is known while JAX traces a program, and what is not."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import PyTree


def is_traced(tree: PyTree) -> bool:
    """Whether any leaf is being traced by a JAX transformation."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def at_trace_time(function: Callable, *args: Any) -> Any:
    """`function(*args)`, computed once while tracing if no argument is traced, instead of at every call."""
    if is_traced(args):
        return function(*args)
    with jax.ensure_compile_time_eval():
        return function(*args)
