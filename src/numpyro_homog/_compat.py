"""The only file that touches internals of NumPyro (see test_numpyro_contract.py) and tells releases of ArviZ apart."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import numpyro.distributions as dist
from numpyro import handlers
from numpyro.ops.provenance import eval_provenance
from numpyro.primitives import _PYRO_STACK, apply_stack
from numpyro.primitives import Messenger as Messenger


def active_handlers() -> tuple[Messenger, ...]:
    """The NumPyro effect handlers that are active, outermost first."""
    return tuple(_PYRO_STACK)


def send_message(message: dict) -> dict:
    """Pass `message` through the stack of active handlers; return it with its value set."""
    return apply_stack(message)


def is_settled(message: dict) -> bool:
    """Whether a handler has decided the value of a latent sample site that is still on its way: `substitute`, `do`."""
    return "_intervener_id" in message or (message["value"] is not None and "_control_flow_done" not in message)


def sites_given_outside() -> frozenset[str]:
    """Names of the sites to which the active handlers would give a value, by dictionary or trace."""
    given: set[str] = set()
    for handler in _PYRO_STACK:
        if isinstance(handler, (handlers.substitute, handlers.condition, handlers.do)):
            given.update(handler.data or ())
        elif isinstance(handler, handlers.replay):
            given.update(handler.trace or ())
    return frozenset(given)


def dependencies(fn: Callable, params: dict) -> dict[Any, frozenset[str]]:
    """Names of the entries of `params` on which each entry of the dictionary `fn(**params)` depends; no computation."""
    found = eval_provenance(fn, **params)
    leaves = {
        name: jax.tree.leaves(part, is_leaf=lambda node: isinstance(node, frozenset)) for name, part in found.items()
    }
    return {name: frozenset().union(*sets) for name, sets in leaves.items()}


def unwrap(distribution: dist.Distribution) -> dist.Distribution:
    """The distribution inside the wrappers that `expand`, `to_event` and `mask` put around it."""
    while isinstance(distribution, (dist.ExpandedDistribution, dist.Independent, dist.MaskedDistribution)):
        distribution = distribution.base_dist
    return distribution


def is_masked(distribution: dist.Distribution) -> bool:
    """Whether one of the wrappers around a distribution is a mask, which hides its density."""
    while isinstance(distribution, (dist.ExpandedDistribution, dist.Independent)):
        distribution = distribution.base_dist
    return isinstance(distribution, dist.MaskedDistribution)


def arviz_groups(**groups: Any) -> Any:
    """Xarray datasets in what `arviz.from_numpyro` returns: an `InferenceData` before ArviZ 1.0, a `DataTree` since."""
    import arviz
    import xarray

    if "posterior" in inspect.signature(arviz.from_dict).parameters:
        return arviz.InferenceData(**groups)
    return xarray.DataTree.from_dict(groups)
