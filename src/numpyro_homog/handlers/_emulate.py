"""`emulate`: a surrogate answers in place of the cell problem."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._compat import Messenger
from ..population import enter_body
from ..surrogates import AbstractSurrogate


def emulate(
    model: Callable | None, surrogates: Mapping[str, AbstractSurrogate], *, spread: bool = True
) -> "EmulatedCells":
    """Let surrogates answer the cells of a model: no field is drawn and none is solved.

    The model says what a surrogate sees: `homogenize(name, cell, field_fn, inputs=(fractions, kappa),
    num_realizations=1)`. A surrogate is the law of one realisation; where the site is a mean of several, so many are
    drawn from it. It stands inside or outside of other handlers and estimators: `MinimumDistance(emulate(model,
    surrogates), ...)`, or `with emulate(None, surrogates): estimator.run(...)`.

    Args:
        model: a NumPyro model, or None for a handler of whatever runs within `with emulate(None, ...):`.
        surrogates: site of `homogenize` -> surrogate.
        spread: draw tensors, with the key of the realisations, so that the same key gives the same noise whatever the
            parameters. With False the answer is the expected tensor.

    Returns:
        A NumPyro handler, callable with the arguments of `model`.

    Raises:
        ValueError: at trace time, if a surrogate was trained for another cell, or is to draw for a site that has no
            key, because its field is drawn outside of `homogenize`.

    Costs an evaluation of the surrogate for each tensor. The error of the surrogate goes into whatever is done with it.

    Example:
        >>> fit = MinimumDistance(emulate(model, {"K_eff": surrogate}), data, divergence).run(jax.random.key(0), 4000)
    """
    return EmulatedCells(model, surrogates, spread)


class EmulatedCells(Messenger):
    """The handler that `emulate` returns."""

    def __init__(self, fn: Callable | None, surrogates: Mapping[str, AbstractSurrogate], spread: bool):
        super().__init__(fn)
        self.surrogates, self.spread = dict(surrogates), spread

    def process_message(self, msg: dict[str, Any]) -> None:
        """Answer a cell."""
        if msg["type"] == "control_flow":
            enter_body(msg, lambda body: EmulatedCells(body, self.surrogates, self.spread))
        elif msg["type"] == "homogenize" and msg["value"] is None and msg["site"] in self.surrogates:
            surrogate = self.surrogates[msg["site"]]
            surrogate.check_cell(msg["cell"])
            msg["value"] = self._answer(surrogate, msg["site"], msg["request"])

    def _answer(self, surrogate: AbstractSurrogate, site: str, request: Any) -> Array:
        if not self.spread:
            return surrogate.mean(*request.inputs)
        if request.rng_key is None:
            raise ValueError(
                f"The surrogate of '{site}' has no key to draw with: the field is drawn outside of homogenize. Write"
                " homogenize(name, cell, field_fn, inputs=..., num_realizations=1), or ask for the expected tensor:"
                " emulate(..., spread=False)."
            )
        keys = jax.random.split(request.rng_key, request.num_realizations)
        return jnp.mean(jax.vmap(lambda key: surrogate.sample(key, *request.inputs))(keys), axis=0)
