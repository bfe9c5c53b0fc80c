"""What a model consists of: its plate, parameters, simulated and compared sites; private to the package."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro import handlers
from numpyro.infer import init_to_uniform

from .._compat import unwrap
from ._checks import guess_name
from ._derivatives import Names, plan_derivatives, trace_graph
from ._messengers import Chunk, GivenSites, InnerOnly, in_plate

Sites = dict[str, dict[str, Any]]


class Facts(NamedTuple):
    """The findings of `inspect_model`."""

    plate: str
    num_specimens: int
    parameters: dict[str, jax.ShapeDtypeStruct]
    compared: dict[str, tuple[int, ...]]
    axes: dict[str, int]
    simulated: tuple[str, ...]
    effective: tuple[str, ...]
    derivatives: tuple[Names, Names, Names, Names]
    bytes_per_specimen: int


def inspect_model(model: Callable, keys: tuple[str, ...], plate: str | None, score: tuple[str, ...] = ()) -> Facts:
    """Trace the model abstractly, twice with different plate sizes, and sort its sites; see `Simulator`."""
    given = GivenSites(model)
    sites, shapes, cells = _abstract_trace(given)
    if given.seeded:
        raise ValueError(
            f"Sites {sorted(given.seeded)} of the model have a random key already: each part of the population would"
            " draw the same. Pass the model bare, without `handlers.seed`, and no rng_key in it."
        )
    plate, num_specimens = _find_plate(sites, keys, plate)
    samples = {name: site for name, site in sites.items() if site["type"] == "sample"}
    latent = {name: site for name, site in samples.items() if not site["is_observed"] and name not in given.fixed}
    parameters = {name: shapes[name] for name in sorted(latent) if not in_plate(latent[name], plate)}
    simulated = tuple(name for name, site in latent.items() if in_plate(site, plate))
    observed = [name for name, site in samples.items() if site["is_observed"] and in_plate(site, plate)]
    if observed:
        raise ValueError(
            f"Sites {observed} in plate '{plate}' are observed. Specimens are simulated here: leave out `obs`, name the"
            " site as a key, and pass the measurements as data[key]."
        )
    if not parameters:
        raise ValueError(
            f"The model has no parameter: no latent sample site outside plate '{plate}'. Sites inside the plate are"
            f" simulated: {list(simulated)}."
            + (f" Handlers inside the model fix {sorted(given.fixed)}." if given.fixed else "")
        )
    without_density = [name for name in parameters if name in given.without_density]
    if without_density:
        raise ValueError(
            f"Sites {without_density} stand outside plate '{plate}', where parameters stand, but have no density. A"
            f" microstructure is sampled inside the plate; there: {list(simulated)}."
        )
    discrete = [name for name in parameters if not jnp.issubdtype(parameters[name].dtype, jnp.floating)]
    if discrete:
        raise ValueError(f"Parameters {discrete} are discrete; only continuous parameters can be inferred here.")

    axes, compared, num_bytes, two = _specimen_axes(model, plate, keys, simulated, tuple(parameters))
    graph = trace_graph(model, plate, keys, tuple(parameters), two | parameters, simulated)
    idle = [key for key in keys if not graph.reach(graph.compared[key])]
    if idle:
        raise ValueError(
            f"Compared sites {idle} depend on none of the parameters {list(parameters)}: no parameter can bring them"
            " nearer to the data. Leave them out of the data, or write into the model how the parameters make them."
        )
    effective = tuple(key for key in keys if key in cells.effective)
    derivatives = plan_derivatives(graph, score)
    return Facts(plate, num_specimens, parameters, compared, axes, simulated, effective, derivatives, num_bytes)


def _find_plate(sites: Sites, keys: tuple[str, ...], plate: str | None) -> tuple[str, int]:
    """Name and size of the specimen plate."""
    if not keys:
        raise ValueError("No site to compare: give at least one key.")
    # A plate in the body of a scan shows in the frames of its sites only.
    sizes = {frame.name: frame.size for site in sites.values() for frame in site.get("cond_indep_stack", ())}
    sizes |= {name: site["args"][0] for name, site in sites.items() if site["type"] == "plate"}
    if plate is not None and plate not in sizes:
        raise ValueError(f"The model has no plate '{plate}'; it has {list(sizes)}.")
    found = {}
    for key in keys:
        site = sites.get(key)
        if site is None or site["type"] not in ("sample", "deterministic"):
            known = [name for name, s in sites.items() if s["type"] in ("sample", "deterministic")]
            raise ValueError(
                f"'{key}' is not a sample or deterministic site of the model; it has {known}.{guess_name(key, known)}"
            )
        frames = [frame.name for frame in site["cond_indep_stack"]]
        if not frames or (plate is not None and plate not in frames):
            where = "any plate" if plate is None else f"plate '{plate}'"
            raise ValueError(
                f"Site '{key}' is not inside {where}. What varies from specimen to specimen stands inside"
                ' `with numpyro.plate("specimens", num_specimens):`.'
            )
        found[key] = frames[0] if plate is None else plate
    if len(set(found.values())) > 1:
        raise ValueError(f"The compared sites stand in different plates: {found}. Choose one by plate=...")
    plate = found[keys[0]]
    size = sizes[plate]
    if not isinstance(size, (int, np.integer)):
        raise TypeError(
            f"The size of plate '{plate}' must be an integer, the number of specimens; got {size!r}"
            f" ({type(size).__name__})."
        )
    return plate, int(size)


def _specimen_axes(
    model: Callable, plate: str, keys: tuple[str, ...], simulated: tuple[str, ...], parameters: tuple[str, ...]
) -> tuple[dict[str, int], dict[str, tuple[int, ...]], int, dict[str, jax.ShapeDtypeStruct]]:
    """Axis of the specimens in each compared site, its event shape, bytes of a specimen, and shapes for two of them."""
    # The axis of the specimens is the one that follows the size of the plate.
    (small, few), (large, more) = (_shapes_at(model, plate, size) for size in (2, 3))
    num_bytes = more.num_bytes - few.num_bytes
    axes, compared = {}, {}
    for key in keys:
        a, b = small[key].shape, large[key].shape
        moving = [axis for axis in range(len(a)) if len(a) == len(b) and a[axis] != b[axis]]
        if len(moving) != 1 or (a[moving[0]], b[moving[0]]) != (2, 3):
            raise ValueError(
                f"Site '{key}' has shape {a} for two specimens and {b} for three in plate '{plate}': it needs exactly"
                f" one axis of specimens. Whatever varies from specimen to specimen, the microstructure first of all,"
                f" is sampled inside the plate; there: {list(simulated)}. Outside, taken for parameters:"
                f" {list(parameters)}."
            )
        axes[key] = moving[0]
        compared[key] = a[: moving[0]] + a[moving[0] + 1 :]
    num_bytes += sum(math.prod(large[name].shape) * large[name].dtype.itemsize // 3 for name in simulated)
    return axes, compared, num_bytes, small


def _shapes_at(model: Callable, plate: str, size: int) -> tuple[dict[str, jax.ShapeDtypeStruct], InnerOnly]:
    try:
        return _abstract_trace(lambda: Chunk(model, plate, jnp.zeros(size, int), False)())[1:]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"The model does not run on a part of plate '{plate}'. Index per-specimen data with what the plate yields"
            f" (`with numpyro.plate(...) as index: data[index]`) and take no shape from its size. It said: {error}"
        ) from error


def _abstract_trace(model: Callable) -> tuple[Sites, dict[str, jax.ShapeDtypeStruct], InnerOnly]:
    """Sites of the model, the shape of the value of each, and what was seen of the cells; nothing is computed."""
    sites = {}
    gate = InnerOnly()

    def run():
        with gate:
            substituted = handlers.substitute(handlers.seed(model, jax.random.key(0)), substitute_fn=_value_of_improper)
            traced = handlers.trace(substituted).get_trace()
        for name, site in traced.items():
            _check_shape(name, site)
            # Only what holds no tracer leaves this function.
            kept = ("type", "is_observed", "cond_indep_stack")
            sites[name] = {k: site[k] for k in kept if k in site}
            if site["type"] == "plate":
                sites[name]["args"] = site["args"]
        return {n: jnp.asarray(s["value"]) for n, s in traced.items() if s["type"] in ("sample", "deterministic")}

    try:
        shapes = jax.eval_shape(run)
    except AssertionError as error:
        raise ValueError(
            f"The model does not run: {error}. The size of the specimen plate is the number of simulated specimens."
        ) from error
    return sites, shapes, gate


def _check_shape(name: str, site: dict) -> None:
    """A transform of the user's own may announce another shape than it has, and nothing else looks."""
    if site["type"] != "sample":
        return
    shape, announced = jnp.shape(site["value"]), site["fn"].shape()
    if shape[len(shape) - len(announced) :] != announced:
        raise ValueError(
            f"Site '{name}' has shape {shape}, but its distribution announces {announced}, batch and event. A NumPyro"
            " transform that changes shapes must define `forward_shape` and `inverse_shape`, and its `domain` and"
            " `codomain` must have as many event axes as its argument and its value;"
            " `nh.distributions.Pushforward(noise, fn)` does all of that."
        )


def _value_of_improper(site: dict) -> jax.Array | None:
    if site["type"] == "sample" and not site["is_observed"] and isinstance(unwrap(site["fn"]), dist.ImproperUniform):
        return init_to_uniform(site)
    return None
