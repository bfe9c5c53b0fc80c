"""Simulation of the specimens of a NumPyro model, chunk by chunk of its plate."""

import functools
import math
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Float, PyTree

from .._compat import active_handlers
from .._keys import single_key
from .._platform import map_everywhere
from .._programs import Programs
from ._checks import check_arguments, checked_values
from ._chunks import Specimens, checked_chunk_size, map_chunks, value_and_jacobian
from ._inspection import inspect_model
from ._parameter_space import ParameterSpace
from ._specimen_model import Part, SpecimenModel

_MANY = 8  # times as many parameters as outputs of a specimen: from here on derivatives are taken in reverse


class Simulator:
    """The specimens that a model simulates, as a function of the model's parameters.

    The specimen plate is the innermost plate of the compared sites. Latent sites outside of it are the parameters;
    sample sites inside are simulated. A site that a handler of the model has fixed (`condition`, `substitute`, `do`) is
    neither. Construction traces the model abstractly: it costs no solve and no memory. Handlers around a call see the
    "homogenize" messages of the model and nothing else.

    Args:
        model: a NumPyro model. What varies from specimen to specimen stands in the plate; per-specimen data are
            indexed by what it yields (`with numpyro.plate("specimens", n) as index: ... temperature[index]`).
        keys: names of the compared sites: deterministic or sample sites of the plate.
        args: positional arguments of the model.
        kwargs: keyword arguments of the model.
        plate: name of the specimen plate, if not the innermost one of the compared sites.
        chunk_size: number of specimens simulated at a time; peak memory grows with it and not with the population.
            Default: as many as make 4 MiB of simulated values and fields.
        score: names of simulated sites whose score is to be used although they have a path derivative.

    Attributes:
        parameters: the `ParameterSpace`, a mapping from names to shapes and dtypes.
        compared: name -> event shape of each compared site.
        simulated: names of the sample sites inside the plate.
        effective: names of the compared sites that `homogenize` records: their values are positive definite.
        non_reparametrized: simulated site -> parameters whose action on it derivatives of `simulate` miss.
        scored: simulated site -> parameters whose action is differentiated by its score: the sites of `score`, and
            those that take the place of a missing path, at the draw without one or before it.
        without_derivative: simulated site -> parameters that act on the compared sites through it without a derivative.
        derivatives: parameter -> the ways in which it acts on the compared sites: "path", "score", both, or none.
        programs: what has been compiled for it.

    Raises:
        TypeError: if the model does not take these arguments, or the size of its plate is no integer.
        ValueError: if a key is not a site, is in no plate or varies with neither specimen nor parameter; if keys stand
            in different plates; if there is no parameter, a discrete one, or one without a density (a microstructure
            outside the plate); if a site of the plate is observed, or the model is seeded.

    First derivatives cost no further solve. With up to eight times as many parameters as a specimen has compared
    numbers they are taken forward, a tangent for each parameter; with more in reverse, a cotangent for each number.

    Example:
        >>> simulator = Simulator(model, ["K_eff"], (1000,))
        >>> params = simulator.parameters.sample(jax.random.key(0))
        >>> simulator.simulate(params, jax.random.key(1))["K_eff"].shape
        (1000, 2, 2)
    """

    def __init__(
        self,
        model: Callable,
        keys: Sequence[str],
        args: tuple = (),
        kwargs: dict | None = None,
        *,
        plate: str | None = None,
        chunk_size: int | None = None,
        score: Sequence[str] = (),
    ):
        kwargs = {} if kwargs is None else kwargs
        self.keys = tuple(keys)
        check_arguments(model, args, kwargs)
        bound = functools.partial(model, *args, **kwargs)
        facts = inspect_model(bound, self.keys, plate, tuple(score))
        self.plate, self.num_specimens = facts.plate, facts.num_specimens
        self.parameters = ParameterSpace(bound, facts.plate, facts.parameters)
        self.compared, self.simulated, self.effective = facts.compared, facts.simulated, facts.effective
        self.non_reparametrized, self.scored, self.without_derivative, self.derivatives = facts.derivatives
        self.specimens = SpecimenModel(bound, facts.plate, facts.num_specimens, facts.axes, tuple(self.scored))
        self.chunk_size = checked_chunk_size(chunk_size, self.num_specimens, facts.bytes_per_specimen)
        num_outputs = sum(map(math.prod, self.compared.values()))
        self._is_single = len(self.parameters.labels) > _MANY * num_outputs
        self.programs = Programs()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"programs": Programs()}

    def __getattr__(self, name: str) -> Any:
        if name in _OF_PARAMETERS:
            warnings.warn(f"`{name}` is now `parameters.{_OF_PARAMETERS[name]}`.", DeprecationWarning, stacklevel=2)
            return getattr(self.parameters, _OF_PARAMETERS[name])
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def resize(self, num_specimens: int) -> "Simulator":
        """The first `num_specimens` of these specimens, with the same chunks: nested common random numbers.

        Args:
            num_specimens: fewer or more than in the plate; beyond its end, what the model takes by index comes again.
                Multiples of `chunk_size` waste nothing.

        Raises:
            ValueError: if `num_specimens` is not a positive integer.
        """
        if isinstance(num_specimens, bool) or int(num_specimens) != num_specimens or num_specimens < 1:
            raise ValueError(f"num_specimens must be a positive integer; got {num_specimens!r}.")
        other = object.__new__(Simulator)
        other.__dict__.update(self.__dict__, num_specimens=int(num_specimens))
        return other

    def simulate(
        self, params: Mapping[str, Any], rng_key: ArrayLike, *, throw: bool = False
    ) -> dict[str, Float[Array, "specimens *event"]]:
        """Simulate the compared sites of all specimens; traceable.

        The same key gives the same noise whatever the parameters (common random numbers), and the same first
        specimens whatever the size of the population. Chunk i uses `fold_in(rng_key, i)`.

        Args:
            params: constrained value of every parameter.
            rng_key: key of the simulated sites.
            throw: raise if a cell fails. With False its tensor is NaN, and its derivative zero.

        Returns:
            Key -> values, shape (num_specimens, *event), floating point.

        Raises:
            ValueError: at call or trace time, if a parameter is missing or has the wrong shape.

        First derivatives need memory for the values and their Jacobian, and one chunk. Values behind a discrete draw
        have derivative zero (see `non_reparametrized`). `sample` is the same for a script, on all cores.
        """
        rng_key = single_key(rng_key)
        flat, unravel = ravel_pytree(checked_values(params, self.parameters))
        chunks = jax.vmap(self._parts)(jnp.arange(self.num_chunks))

        def run(flat, rng_key, part):
            return self.specimens.run(unravel(flat), rng_key, part, None, throw)[0]

        # What the model closes over may be traced: as leaves of a pytree it can enter a custom derivative.
        first = jax.tree.map(lambda x: x[(0, 0) if self._is_single else 0], chunks)
        run = eqx.filter_closure_convert(run, flat, rng_key, first)
        values = map_chunks(flat, (run, rng_key, chunks, self._is_single))
        return {key: x.reshape(-1, *x.shape[2:])[: self.num_specimens] for key, x in values.items()}

    def simulate_chunk_scored(
        self,
        params: Mapping[str, Any],
        rng_key: ArrayLike,
        number: int | Array,
        *,
        drawn_at: Mapping[str, Any] | None = None,
        throw: bool = False,
    ) -> tuple[dict[str, Float[Array, "specimens *event"]], Float[Array, " specimens"]]:
        """Simulate one chunk, specimens number * chunk_size and following, with the `scored` sites held.

        Their parameters act on a density instead. One program serves all chunks; beyond the last specimen is padding.

        The scored sites have the values that they draw at `drawn_at`, through which no derivative passes. With w_i the
        log density there of specimen i at `params`, less that at `drawn_at`, the mean of any f over the specimens is
        E[exp(w) f], and its derivative E[exp(w) (df/dtheta + f dw/dtheta)].

        Args:
            params: as of `simulate`.
            rng_key: as of `simulate`.
            throw: as of `simulate`.
            number: index of the chunk, which may be traced.
            drawn_at: constrained value of every parameter where the scored sites are drawn; default: `params`, and the
                values are those of `simulate`.

        Returns:
            Key -> values, shape (chunk_size, *event), and w, shape (chunk_size,).
        """
        params, rng_key = checked_values(params, self.parameters), single_key(rng_key)
        drawn_at = params if drawn_at is None else checked_values(drawn_at, self.parameters)
        return self._of_chunk(number, lambda part: self.specimens.run(params, rng_key, part, drawn_at, throw))

    def linearize_chunk(
        self, vector: Float[Array, "unconstrained"], rng_key: Array, number: Array, points_fn: Callable
    ) -> Specimens:
        """One chunk with its derivatives in the unconstrained parameters; traceable, one pass over the cells.

        Args:
            vector: unconstrained values of all parameters.
            rng_key: key of the simulated sites.
            number: index of the chunk.
            points_fn: function from the values of M specimens, by key, to points (M, p).
        """

        def run(vector, part):
            params = self.parameters.from_vector(vector)
            values, density = self.specimens.run(params, rng_key, part, params if self.scored else None, False)
            if self._is_single:
                return points_fn({key: value[None] for key, value in values.items()})[0], density
            return points_fn(values), density

        (points, _), derivatives = value_and_jacobian(run, vector, self._parts(number), is_single=self._is_single)
        return Specimens(points, *derivatives)

    def log_weights(
        self, vector: Float[Array, "unconstrained"], drawn_at: Float[Array, "unconstrained"], rng_key: Array
    ) -> tuple[Float[Array, "padded unconstrained"], Float[Array, " padded"]]:
        """Log weights at one vector of the specimens whose scored sites are drawn at another, derivative first.

        Costs no solve; traceable. Whole chunks: the last entries may be padding.
        """

        def run(vector, part):
            params, there = map(self.parameters.from_vector, (vector, drawn_at))
            return self.specimens.run(params, rng_key, part, there, False)[1]

        def of_chunk(number):
            return value_and_jacobian(run, vector, self._parts(number), is_single=self._is_single)

        weights, scores = jax.lax.map(of_chunk, jnp.arange(self.num_chunks))
        return scores.reshape(-1, len(vector)), weights.reshape(-1)

    def sample(
        self, params: Mapping[str, Any], rng_key: ArrayLike, *, throw: bool = True
    ) -> dict[str, Float[np.ndarray, "specimens *event"]]:
        """Simulate all specimens on all cores, at one value of the parameters or at one for each specimen.

        Args:
            params: constrained value of every parameter, or num_specimens of them along a first axis: shape
                (num_specimens, *shape of the parameter) for all.
            rng_key: as of `simulate`.
            throw: as of `simulate`.

        Returns:
            Key -> values, shape (num_specimens, *event). With one value of the parameters they are those of `simulate`.

        Raises:
            RuntimeError: if a cell fails.

        Costs one simulation, and the compilation of one chunk. Joined processes (`jax.distributed`) share the chunks.
        """
        rng_key, num, size = single_key(rng_key), self.num_specimens, self.chunk_size
        if any(np.shape(params.get(name, ())) != (num, *shape.shape) for name, shape in self.parameters.items()):

            def fn(number, params, rng_key):
                return self._of_chunk(number, lambda part: self.specimens.run(params, rng_key, part, None, throw)[0])

            return self.map_chunks(("sample", throw), fn, checked_values(params, self.parameters), rng_key)

        def each(number, params, rng_key):
            def one(params, part):
                return self.specimens.run(checked_values(params, self.parameters), rng_key, part, None, throw)[0]

            rows = jnp.minimum(number * size + jnp.arange(size), num - 1)
            parts = self.specimens.parts(number, size, is_single=True)
            return jax.vmap(one)(jax.tree.map(lambda x: x[rows], params), parts)

        return self.map_chunks(("each", throw), each, {name: jnp.asarray(params[name]) for name in params}, rng_key)

    def map_chunks(self, name: Hashable, fn: Callable, *args: PyTree) -> PyTree:
        """`fn(number, *args)` of each chunk on all cores and joined processes: arrays of all specimens on the host.

        `fn` is traceable, compiled once for each name and kind of arguments, and its values have specimens first.
        """
        # Handlers around this call may answer the cells: such a program is theirs.
        program = self.programs.compiled((name, active_handlers()), fn, jnp.asarray(0), *args)

        def run(number):
            return jax.tree.map(np.asarray, program(jnp.asarray(number), *args))

        parts = map_everywhere("simulate", run, range(self.num_chunks), self.programs.num_threads(program))
        return jax.tree.map(lambda *arrays: np.concatenate(arrays)[: self.num_specimens], *parts)

    @property
    def num_chunks(self) -> int:
        """Number of chunks."""
        return math.ceil(self.num_specimens / self.chunk_size)

    def _parts(self, number: int | Array) -> Part:
        return self.specimens.parts(number, self.chunk_size, is_single=self._is_single)

    def _of_chunk(self, number: int | Array, run: Callable[[Part], PyTree]) -> PyTree:
        return (jax.vmap(run) if self._is_single else run)(self._parts(number))


# Methods of before.
_OF_PARAMETERS = {name: name for name in ("constrain", "unconstrain", "to_vector", "from_vector", "split", "positive")}
_OF_PARAMETERS |= {"priors": "priors", "prior_sample": "sample"}
