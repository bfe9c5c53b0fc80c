"""Tables of stiffnesses, in the notations of Voigt and Mandel."""

import jax.numpy as jnp
import numpy as np
import pytest

from numpyro_homog.homogenization import isotropic_stiffness, voigt_to_mandel
from numpyro_homog.io import load_specimens, save_specimens


@pytest.fixture
def load(tmp_path):
    def load(content, **options):
        (tmp_path / "specimens.csv").write_text(content)
        return load_specimens(tmp_path / "specimens.csv", **options)

    return load


def random_spd(num, d, scale):
    factor = np.random.default_rng(5).normal(size=(num, d, d))
    tensors = factor @ factor.swapaxes(1, 2) + np.eye(d)
    return scale * (tensors + tensors.swapaxes(1, 2)) / 2


def isotropic(ndim, shear):
    """Voigt matrix of an isotropic material, lambda = 1.5."""
    matrix = np.diag([2 * shear] * ndim + [shear] * (1 if ndim == 2 else 3)).astype(float)
    matrix[:ndim, :ndim] += 1.5
    return matrix


@pytest.mark.x32
@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("symbol", ["C", "M"])
def test_stiffnesses_of_either_notation_are_those_of_the_law(load, ndim, symbol):
    """Voigt: C44 = mu. Mandel, which the package has: 2 mu. Compared as they came, the shear modulus was halved."""
    size = 3 if ndim == 2 else 6
    indices = range(1, size + 1) if ndim == 3 or symbol == "M" else (1, 2, 6)
    names = [f"{symbol}{i}{j}" for k, i in enumerate(indices) for j in list(indices)[k:]]
    weights = np.where(np.arange(size) < ndim, 1, np.sqrt(2))
    rows = []
    for shear in (0.7, 2.5):
        matrix = isotropic(ndim, shear) * (np.outer(weights, weights) if symbol == "M" else 1)
        rows.append(",".join(map(repr, matrix[np.triu_indices(size)].tolist())))
    tensors = load("\n".join([",".join(names), *rows]))
    assert tensors.shape == (2, size, size)
    for tensor, shear in zip(tensors, (0.7, 2.5), strict=True):
        expected = isotropic_stiffness(1.5, shear, ndim)
        np.testing.assert_allclose(tensor, expected, rtol=1e-6)  # the law in 32 bits


def test_a_plane_stiffness_may_call_its_shear_3_or_6(load):
    three = load("C11,C12,C13,C22,C23,C33\n4,1,.5,5,.25,2\n4,1,0,5,0,2\n")
    np.testing.assert_array_equal(three, load("C11,C12,C16,C22,C26,C66\n4,1,.5,5,.25,2\n4,1,0,5,0,2\n"))
    np.testing.assert_allclose(
        three[0], voigt_to_mandel(jnp.asarray([[4, 1, 0.5], [1, 5, 0.25], [0.5, 0.25, 2]])), rtol=1e-6
    )


def test_an_unsymmetric_stiffness_is_refused(load):
    header = ",".join(f"C{i}{j}" for i in (1, 2, 6) for j in (1, 2, 6))
    with pytest.raises(ValueError, match=r"line 2: not symmetric: .* differ by 0.08 of the largest"):
        load(f"{header}\n4,1,0,1.4,5,0,0,0,2\n4,1,0,1,5,0,0,0,2\n")
    with pytest.raises(ValueError, match="line 3: not positive definite"):
        load(f"{header}\n4,1,0,1,5,0,0,0,2\n4,1,0,1,5,0,0,0,-2\n")


def test_joint_measurements_are_read_by_their_letter(load):
    content = "K11,K12,K22,C11,C12,C16,C22,C26,C66,M12\n2,.1,3,4,1,.5,5,.25,2,\n1,.1,3,4,1,.5,5,.25,2,\n"
    with pytest.raises(ValueError, match=r"names several tensors; choose one by symbol=..., there are 'K', 'C'"):
        load(content)
    np.testing.assert_array_equal(load(content, symbol="K")[0], [[2, 0.1], [0.1, 3]])
    assert load(content, symbol="C").shape == (2, 3, 3)
    with pytest.raises(ValueError, match=r"expected M11, M12, M13, M22, M23, M33 .2D.; missing M11, M13"):
        load(content, symbol="M")
    with pytest.raises(ValueError, match="symbol must be one of 'K', 'C', 'M'; got 'S'"):
        load(content, symbol="S")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("C11,C12,C13,C22,C23,C33,C44,C55,C66", r"expected C11, C12, .*C66 .3D.; missing C14, C15, C16, C24"),
        ("C11,C12,C22,C66", r"expected C11, C12, C16, C22, C26, C66 .2D.; missing C16, C26"),
        ("M11,M12,M22,M33,M77", r"missing M13, M23; not a component in 2D: M77\. Accepted are K11,.*Mandel notation"),
    ],
)
def test_columns_that_make_no_stiffness_are_named(load, header, message):
    with pytest.raises(ValueError, match=message):
        load(f"{header}\n1\n")


@pytest.mark.parametrize("size", [3, 6])
@pytest.mark.parametrize("symbol", ["C", "M"])
def test_stiffnesses_come_back(tmp_path, size, symbol):
    stiffnesses = random_spd(5, size, scale=1e9 / 3)
    save_specimens(tmp_path / "a.csv", stiffnesses, symbol=symbol)
    found = load_specimens(tmp_path / "a.csv")
    np.testing.assert_allclose(found, stiffnesses, rtol=0 if symbol == "M" else 4e-16)
    shears = {"C": {3: "C66", 6: "C66"}, "M": {3: "M33", 6: "M66"}}
    header, row = (tmp_path / "a.csv").read_text().splitlines()[:2]
    assert header.split(",")[-1] == shears[symbol][size]
    shear = stiffnesses[0, -1, -1] / (2 if symbol == "C" else 1)
    np.testing.assert_allclose(float(row.split(",")[-1]), shear, rtol=1e-15)


@pytest.mark.parametrize(
    ("shape", "symbol", "message"),
    [
        ((5, 6, 6), "K", r"d = 2 or 3 for symbol='K' .* got shape \(5, 6, 6\)\. Stiffnesses have symbol='M'"),
        (
            (5, 3),
            "K",
            r"got shape \(5, 3\)\. Rows of unique components become tensors by tensors.from_unique_components",
        ),
        ((5, 2, 2), "C", r"d = 3 or 6 for symbol='C'"),
        ((5, 2, 2), "k", "symbol must be one of"),
    ],
)
def test_arrays_of_another_shape_are_not_written(tmp_path, shape, symbol, message):
    with pytest.raises(ValueError, match=message):
        save_specimens(tmp_path / "a.csv", np.ones(shape), symbol=symbol)
