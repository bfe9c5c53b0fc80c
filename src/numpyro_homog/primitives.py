"""The primitive `homogenize`: an effective tensor as a site of a NumPyro model."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpyro
from jaxtyping import Array, Float, PyTree

from ._compat import active_handlers, send_message
from .homogenization import AbstractCell, effective_tensor


class Request:
    """What a "homogenize" message asks for, which can be computed again at other inputs.

    Args:
        cell: the cell problem.
        evaluate: function `evaluate(inputs, rng_key, *, throw)` to the tensors at inputs of the same event ranks,
            whatever their batch.
        inputs: arrays in any structure.
        rng_key: key of the realisations; None where there are none.
        num_realizations: how many there are; None where there are none.

    Attributes: the same.
    """

    def __init__(
        self,
        cell: AbstractCell,
        evaluate: Callable[..., Array],
        inputs: tuple[PyTree, ...],
        rng_key: Array | None,
        num_realizations: int | None = None,
    ):
        self.cell, self.evaluate, self.inputs, self.rng_key = cell, evaluate, inputs, rng_key
        self.num_realizations = num_realizations

    @functools.cached_property
    def shape(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype of the answer; nothing is solved."""
        return jax.eval_shape(lambda: self.evaluate(self.inputs, self.rng_key, throw=False))

    @functools.cached_property
    def event_ranks(self) -> tuple[PyTree, ...]:
        """How many axes of each input, from the right, belong to one tensor; those before are its batch.

        An input whose first axes are not those of the batch is shared by all tensors: all its axes are counted.
        """
        batch = self.shape.shape[:-2]

        def rank(x):
            shape = jnp.shape(x)
            return len(shape) - (len(batch) if shape[: len(batch)] == batch else 0)

        return jax.tree.map(rank, self.inputs)


def homogenize(
    name: str,
    cell: AbstractCell,
    field: PyTree | Callable[..., PyTree],
    *,
    inputs: tuple[PyTree, ...] | None = None,
    num_realizations: int | None = None,
    throw: bool = True,
) -> Float[Array, "*batch d d"]:
    """Record the effective tensor of `field` on `cell` as the deterministic site `name`.

    Before any finite-element work a message of type "homogenize" travels through the active handlers. It carries
    `site` (the name), `cell`, `inputs` and a `request`; a handler that sets its `value` answers in place of the solver.
    The `Request` knows the shape of the answer and the event ranks of the inputs, and evaluates the cell at inputs of
    the handler's own choice. The value, whoever computed it, is then recorded by `numpyro.deterministic`; hiding that
    site does not hide the message.

    Args:
        name: name of the site.
        cell: the cell problem.
        field: the heterogeneous property, shape (*batch, *grid) or (*batch, *grid, d, d), as `effective_tensor` takes
            it. With `inputs`, a function `field_fn(rng_key, *inputs) -> field` that draws one realisation; it is not
            called when a handler answers.
        inputs: the low-dimensional arguments of `field_fn`, what a surrogate would see.
        num_realizations: number of realisations of `field_fn` over which the tensor is averaged (stochastic
            homogenization); needed exactly when `inputs` is given.
        throw: raise if a member fails. With False its tensor is NaN: for models that a sampler of NumPyro runs on by
            itself, whose trial steps may go anywhere, and which then rejects them. `generalized_bayes` and
            `MinimumDistance` see to it themselves.

    Returns:
        Effective tensors, shape (*batch, d, d), in the unit of the field.

    Raises:
        ValueError: if the field does not fit the cell, or `inputs` and `num_realizations` do not come together with a
            function.
        RuntimeError: at run time, if a member fails and `throw` is true (see `effective_tensor`).

    Costs one batched solve (`num_realizations` of them); derivatives of first order cost none.
    """
    if not isinstance(name, str):
        raise TypeError(
            f"homogenize expects a site name first; got {type(name).__name__}. The pure function is effective_tensor."
        )
    if (inputs is None) != (num_realizations is None) or (inputs is not None) != callable(field):
        raise ValueError(
            "homogenize takes either a field, or a function field_fn(rng_key, *inputs) with both inputs=(...) and"
            " num_realizations=...."
        )
    if inputs is None or num_realizations is None:

        def evaluate(inputs, rng_key, *, throw=True):
            return effective_tensor(cell, inputs[0], throw=throw)

        request = Request(cell, evaluate, (field,), None)
    else:
        rng_key = numpyro.prng_key()
        if rng_key is None:
            raise ValueError(
                f"homogenize('{name}', ...) draws realisations: seed the model with handlers.seed(model, rng_key)."
            )

        def evaluate(inputs, rng_key, *, throw=True):
            keys = jax.random.split(rng_key, num_realizations)
            fields = jax.vmap(lambda key: field(key, *inputs))(keys)
            return jnp.mean(effective_tensor(cell, fields, throw=throw), axis=0)

        request = Request(cell, evaluate, inputs, rng_key, num_realizations)

    # A closure: arrays in `args` would break scan.
    def fn(*, throw=True):
        return request.evaluate(request.inputs, request.rng_key, throw=throw)

    if not active_handlers():
        return fn(throw=throw)
    message = send_message(
        {
            "type": "homogenize",
            "site": name,
            "cell": cell,
            "inputs": request.inputs,
            "request": request,
            "fn": fn,
            "args": (),
            "kwargs": {"throw": throw},
            "value": None,
        }
    )
    return numpyro.deterministic(name, message["value"])
