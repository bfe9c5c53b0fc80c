"""A model run on a part of its specimen plate."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree
from numpyro import handlers

from .._pickling import ByValue
from ._messengers import Chunk, InnerOnly


class Part(NamedTuple):
    """Which specimens: number of their chunk, place in it (None: all of it), and indices in the plate, shape (num,)."""

    number: Int[Array, "*parts"]
    place: Int[Array, "*parts"] | None
    indices: Int[Array, "*parts num"]


class SpecimenModel:
    """The compared values of some specimens, as a function of parameters and a key.

    `axes` has the axis of the specimens in each compared site, `scored` the sites whose parameters act by score.
    """

    def __init__(self, model: Callable, plate: str, plate_size: int, axes: Mapping[str, int], scored: tuple[str, ...]):
        self.model, self.plate, self.plate_size, self.axes, self.scored = model, plate, plate_size, axes, scored

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"model": ByValue(self.model)}

    def parts(self, number: int | Array, size: int, *, is_single: bool) -> Part:
        """A chunk of so many specimens, or if `is_single` each of them by itself, along the first axes."""
        number, places = jnp.asarray(number), jnp.arange(size)
        indices = (number * size + places) % self.plate_size
        if is_single:
            return Part(jnp.broadcast_to(number, places.shape), places, indices[:, None])
        return Part(number, None, indices)

    def run(
        self, params: Mapping[str, Array], rng_key: Array, part: Part, drawn_at: Mapping[str, Array] | None, throw: bool
    ) -> tuple[dict[str, Array], PyTree]:
        """Values of the compared sites, specimens first, and with `drawn_at` the log weights of the scored sites.

        A chunk and each place in it have their own keys. The value of a single specimen has no axis of specimens.
        """
        rng_key = jax.random.fold_in(rng_key, part.number)
        rng_key = rng_key if part.place is None else jax.random.fold_in(rng_key, part.place)
        density = None
        if drawn_at is None:
            sites = self._trace(params, rng_key, part.indices, throw)
        else:
            drawn = self._trace(jax.lax.stop_gradient(drawn_at), rng_key, part.indices, False)
            values = {name: drawn[name]["value"] for name in self.scored}
            # A site takes its key before it is given its value: what follows the held ones draws as ever.
            sites = self._trace({**params, **values}, rng_key, part.indices, throw)
            density = self._density_change(drawn, sites, len(part.indices))
        compared = {key: jnp.moveaxis(sites[key]["value"], axis, 0) for key, axis in self.axes.items()}
        compared = {key: x.astype(jnp.result_type(x.dtype, float)) for key, x in compared.items()}
        return (compared, density) if part.place is None else jax.tree.map(lambda x: x[0], (compared, density))

    def _density_change(self, before: dict, after: dict, num: int) -> Float[Array, " num"]:
        """Change of the log density of each specimen at the values of the scored sites, from one trace to another."""
        total = jnp.zeros(num)
        for site, moved in ((before[name], after[name]) for name in self.scored):
            change = moved["fn"].log_prob(site["value"]) - site["fn"].log_prob(site["value"])
            axis = next(frame.dim for frame in site["cond_indep_stack"] if frame.name == self.plate)
            total = total + jnp.moveaxis(change, axis, 0).reshape(num, -1).sum(1)
        return total

    def _trace(self, values: Mapping[str, Array], rng_key: Array, indices: Int[Array, " num"], throw: bool) -> dict:
        model = Chunk(handlers.seed(self.model, rng_key), self.plate, indices, throw)
        with InnerOnly():
            return handlers.trace(handlers.substitute(model, data=values)).get_trace()
