"""Handlers that split a model into its parameters and its simulated specimens; private to the package."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array

from .._compat import Messenger, is_settled, unwrap


class InnerOnly(Messenger):
    """Stop every message but "homogenize", so that outer handlers can answer the cells and see nothing else.

    `num_bytes` adds up the sizes of the inputs of the cells, `effective` their sites.
    """

    def __init__(self, fn: Callable | None = None):
        super().__init__(fn)
        self.num_bytes = 0
        self.effective: set[str] = set()

    def process_message(self, msg: dict) -> None:
        if msg["type"] != "homogenize":
            msg["stop"] = True
        else:
            self.effective.add(msg["site"])
            leaves = (leaf for leaf in jax.tree.leaves(msg["inputs"]) if hasattr(leaf, "dtype"))
            self.num_bytes += sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


class GivenSites(Messenger):
    """Record the latent sites that handlers inside have given a value (`fixed`) or a key (`seeded`) already.

    Also those outside of all plates that have no density (`without_density`).
    """

    def __init__(self, fn: Callable):
        super().__init__(fn)
        self.fixed: set[str] = set()
        self.seeded: set[str] = set()
        self.without_density: set[str] = set()

    def process_message(self, msg: dict) -> None:
        if msg["type"] == "sample" and not msg["is_observed"]:
            is_point = isinstance(unwrap(msg["fn"]), dist.Delta) and not msg["cond_indep_stack"]
            if is_settled(msg) or is_point:
                self.fixed.add(msg["name"])
            elif msg["value"] is None and msg["kwargs"]["rng_key"] is not None:
                self.seeded.add(msg["name"])

    def postprocess_message(self, msg: dict) -> None:
        if msg["type"] == "sample" and not msg["is_observed"] and not msg["cond_indep_stack"]:
            try:
                msg["fn"].log_prob(msg["value"])
            except NotImplementedError:
                self.without_density.add(msg["name"])


class Chunk(Messenger):
    """Run the plate `plate` on `indices` only, and let failed members of "homogenize" raise only if `throw`."""

    def __init__(self, fn: Callable, plate: str, indices: jax.Array, throw: bool):
        super().__init__(fn)
        self.plate, self.indices, self.throw = plate, indices, throw

    def process_message(self, msg: dict) -> None:
        if msg["type"] == "homogenize":
            msg["kwargs"]["throw"] = self.throw
        elif msg["type"] == "plate" and msg["name"] == self.plate:
            msg["value"] = self.indices
            msg["args"] = (msg["args"][0], self.indices.shape[0])
        elif msg["type"] == "control_flow":
            enter_body(msg, lambda body: Chunk(body, self.plate, self.indices, self.throw))


class StandIn(Messenger):
    """Answer "homogenize" by a tensor of the right shape without a solve, and seed the sites of the plate.

    The tensor is s.p.d. when the inputs are positive, and depends on whatever the true one depends on.
    """

    def __init__(self, fn: Callable, plate: str, rng_key: jax.Array):
        super().__init__(fn)
        self.plate, self.rng_key, self.num_keys = plate, rng_key, 0

    def process_message(self, msg: dict) -> None:
        if msg["type"] == "homogenize":
            if msg["value"] is not None:
                return
            shape = msg["request"].shape
            scale = 1 + sum(jnp.mean(leaf).astype(shape.dtype) for leaf in jax.tree.leaves(msg["inputs"]))
            msg["value"] = jnp.broadcast_to(scale * jnp.eye(shape.shape[-1], dtype=shape.dtype), shape.shape)
        elif msg["type"] == "control_flow":
            enter_body(msg, lambda body: StandIn(body, self.plate, self.rng_key))
        elif (msg["type"] == "prng_key" or (msg["type"] == "sample" and in_plate(msg, self.plate))) and (
            msg["value"] is None and msg["kwargs"]["rng_key"] is None
        ):
            # A counter, not a chain of splits: nothing traced may stay on a handler that a scan body re-enters.
            self.num_keys += 1
            msg["kwargs"]["rng_key"] = jax.random.fold_in(self.rng_key, self.num_keys)


class Requests(Messenger):
    """Record the `Request` of each "homogenize" by site in `requests`; `answers` stand for its value by site."""

    def __init__(self, fn: Callable, answers: dict[str, Array]):
        super().__init__(fn)
        self.answers = answers
        self.requests: dict = {}

    def process_message(self, msg: dict) -> None:
        if msg["type"] == "homogenize":
            self.requests[msg["site"]] = msg["request"]
            msg["value"] = self.answers.get(msg["site"])


class HideSpecimens(Messenger):
    """Hide plate, sites and cells of the specimens from outer handlers; record other sites.

    Args:
        fn: the model.
        plate: name of the specimen plate.

    After a call, `values` and `distributions` hold the value and the distribution (None for a `param`) of every such
    site by the name that the model gives it.
    """

    def __init__(self, fn: Callable, plate: str):
        super().__init__(fn)
        self.plate = plate
        self.values: dict = {}
        self.distributions: dict = {}
        self._names: dict[int, str] = {}

    def process_message(self, msg: dict) -> None:
        hidden = msg["type"] in ("homogenize", "prng_key") or in_plate(msg, self.plate)
        if hidden or (msg["type"] == "plate" and msg["name"] == self.plate):
            msg["stop"] = True
        elif msg["type"] == "sample" and not msg["is_observed"] and is_settled(msg):
            # A handler inside has fixed it: for those outside it is no latent site.
            msg["is_observed"] = True
        elif msg["type"] == "param" or (msg["type"] == "sample" and not msg["is_observed"]):
            # Outer handlers may rename the message (scope) or strip it (reparam) before it comes back.
            self._names[id(msg)] = msg["name"]
            self.distributions[msg["name"]] = msg["fn"] if msg["type"] == "sample" else None

    def postprocess_message(self, msg: dict) -> None:
        if id(msg) in self._names:
            self.values[self._names.pop(id(msg))] = msg["value"]


def hide_specimens(model: Callable, plate: str, rng_key: Array) -> HideSpecimens:
    """The model without its specimens; its sites outside the plate behave as ever.

    No cell is solved.

    Args:
        model: a NumPyro model.
        plate: name of the specimen plate; one specimen of it is simulated and thrown away.
        rng_key: key for that specimen.

    Returns:
        A callable with the arguments of `model`; after a call its `values` hold the latent sites outside the plate.
    """
    return HideSpecimens(StandIn(Chunk(model, plate, jnp.zeros(1, int), False), plate, rng_key), plate)


def in_plate(msg: dict, plate: str) -> bool:
    """Whether the site of this message stands inside the plate."""
    return any(frame.name == plate for frame in msg.get("cond_indep_stack") or ())


def enter_body(msg: dict, wrap: Callable[[Callable], Messenger]) -> None:
    """Let a handler see the messages of the body of a scan, which runs behind a block.

    Args:
        msg: the message of the scan.
        wrap: what puts the handler around the body.
    """
    body, *rest = msg["args"]
    msg["args"] = (wrap(body), *rest)
