"""Laws that are functions from gradient to flux, JAX-FEM's own among them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import numpyro_homog as nh
from numpyro_homog.homogenization import TensorMapLaw
from numpyro_homog.homogenization._jax_fem import _quiet_jax_fem


def fourier(gradient, k):
    return k * gradient


def hooke(gradient, young, poisson):
    strain = (gradient + gradient.T) / 2
    shear, lame = young / (2 * (1 + poisson)), young * poisson / ((1 + poisson) * (1 - 2 * poisson))
    return lame * jnp.trace(strain) * jnp.eye(len(gradient)) + 2 * shear * strain


def coupled(gradient, k):
    """Two potentials that drive each other's fluxes."""
    return k * jnp.array([[2.0, 0.5], [0.5, 1.0]]) @ gradient


def field(seed, *shape):
    return jnp.exp(jnp.asarray(np.random.default_rng(seed).normal(size=shape)))


def cell(law, shape=(4, 5), **options):
    return nh.CellProblem(nh.Grid(shape), law, nh.Periodic(), **({"tolerance": 1e-10} | options))


@pytest.mark.slow
@pytest.mark.x64_only
def test_fourier_and_hooke_are_the_laws_of_the_package():
    k, young = field(0, 2, 4, 5), field(1, 2, 4, 5)
    poisson = jnp.full_like(young, 0.3)
    found = nh.effective_tensor(cell(TensorMapLaw(fourier)), (k,))
    np.testing.assert_allclose(found, nh.effective_tensor(cell(nh.Conductivity()), k), rtol=1e-8, atol=1e-9)
    found = nh.effective_tensor(cell(TensorMapLaw(hooke, num_components=2)), (young, poisson))
    expected = nh.effective_tensor(cell(nh.LinearElasticity()), nh.lame_from_young(young, poisson))
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9)


@pytest.mark.slow
@pytest.mark.x64_only
def test_the_law_of_a_jax_fem_problem():
    """The linear elasticity of JAX-FEM's documentation, as its users write it."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"), _quiet_jax_fem() as jax_fem:
        problem_module, mesh_module = jax_fem("problem"), jax_fem("generate_mesh")

        class Elasticity(problem_module.Problem):
            def get_tensor_map(self):
                return hooke

        mesh = mesh_module.Mesh(np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]]), np.array([[0, 1, 2, 3]]), "QUAD4")
        problem = Elasticity(mesh, vec=2, dim=2, ele_type="QUAD4")
        law = TensorMapLaw(problem.get_tensor_map(), num_components=problem.fes[0].vec)
    young = field(1, 4, 5)
    found = nh.effective_tensor(cell(law), (young, jnp.full_like(young, 0.2)))
    expected = nh.effective_tensor(cell(nh.LinearElasticity()), nh.lame_from_young(young, jnp.full_like(young, 0.2)))
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9)


@pytest.mark.slow
@pytest.mark.x64_only
def test_coupled_potentials_separate_into_the_effective_conductivity():
    k = field(2, 4, 5)
    found = nh.effective_tensor(cell(TensorMapLaw(coupled, num_components=2, symmetric=False)), (k,))
    plain = nh.effective_tensor(cell(nh.Conductivity()), k)
    expected = np.einsum("kl,ij->kilj", [[2.0, 0.5], [0.5, 1.0]], plain).reshape(4, 4)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-8)


@pytest.mark.slow
@pytest.mark.x64_only
def test_derivatives_reach_the_properties():
    young, poisson = field(1, 4, 5), jnp.full((4, 5), 0.3)
    law = TensorMapLaw(hooke, num_components=2)
    value = jax.jit(lambda nu: nh.effective_tensor(cell(law), (young, nu))[0, 1])
    direction = field(3, 4, 5)
    step = 1e-5
    central = (value(poisson + step * direction) - value(poisson - step * direction)) / (2 * step)
    np.testing.assert_allclose(jnp.vdot(jax.grad(value)(poisson), direction), central, rtol=1e-4)


def test_a_law_that_is_not_linear_or_not_symmetric_is_flagged():
    def square(gradient, k):
        return k * gradient * (1 + gradient**2)

    def skew(gradient, k):
        return k * gradient @ jnp.array([[1.0, 0.3], [-0.3, 1.0]])

    for law in (square, skew):
        with pytest.raises(RuntimeError):
            nh.effective_tensor(cell(TensorMapLaw(law)), (field(0, 4, 5),))


def test_bad_arguments_are_refused():
    with pytest.raises(TypeError):
        TensorMapLaw("hooke")
    with pytest.raises(ValueError, match="positive"):
        TensorMapLaw(hooke, num_components=0)
    with pytest.raises(ValueError, match="symmetric"):
        TensorMapLaw(fourier, symmetric=True)
    with pytest.raises(ValueError, match="2 components; got 3"):
        nh.effective_tensor(cell(TensorMapLaw(hooke, num_components=3)), (field(0, 4, 5),) * 2)
    with pytest.raises(ValueError, match=r"flux of the shape of the gradient, .* = \(1, 2\)"):
        nh.effective_tensor(cell(TensorMapLaw(lambda gradient, k: k * gradient[0])), (field(0, 4, 5),))
    with pytest.raises(ValueError, match="one shape"):
        nh.effective_tensor(cell(TensorMapLaw(hooke, num_components=2)), (field(0, 4, 5), field(0, 4, 4)))
