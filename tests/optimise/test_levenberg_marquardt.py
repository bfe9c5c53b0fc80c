"""The descent itself, on functions of NumPy arrays."""

import numpy as np
import pytest

from numpyro_homog.infer import LevenbergMarquardt
from numpyro_homog.optimise import Descent, Evaluation, damped_step, group_by_basin, start_descent, step_descent

pytestmark = pytest.mark.x32


def least_squares(residuals, jacobian):
    """Evaluation of mean(r^2), counting the calls of each position."""
    seen = []

    def evaluate(position):
        seen.append(tuple(position))
        with np.errstate(all="ignore"):
            r, j = residuals(position), jacobian(position)
            size = len(r)
            return Evaluation(np.array(r @ r / size), j.T @ r / size, j.T @ j / size, np.zeros((2, 2)), np.array(1.0))

    evaluate.seen = seen
    return evaluate


def rosenbrock():
    return least_squares(
        lambda p: np.array([10 * (p[1] - p[0] ** 2), 1 - p[0]]),
        lambda p: np.array([[-20 * p[0], 10.0], [-1.0, 0.0]]),
    )


def descend(evaluate, start, settings=None):
    settings = LevenbergMarquardt(max_steps=100) if settings is None else settings
    descent = start_descent(np.array(start), evaluate, settings, np.ones(2))
    while descent.status == "running":
        descent = step_descent(descent, evaluate, settings, np.ones(2), settings.tolerance)
    return descent


def test_rosenbrock():
    descent = descend(rosenbrock(), [-1.2, 1.0])
    np.testing.assert_allclose(descent.position, 1, atol=1e-6)
    assert (np.diff(descent.losses) <= 0).all()


def test_no_point_is_evaluated_twice():
    evaluate = rosenbrock()
    descent = descend(evaluate, [-1.2, 1.0])
    assert len(set(evaluate.seen)) == len(evaluate.seen) == descent.num_evaluations == len(descent.losses)


def test_points_that_are_not_finite_are_rejected():
    """log(p) beyond the edge of its domain: the first steps overshoot to negative p."""
    evaluate = least_squares(
        lambda p: np.array([np.log(p[0]) + 3, p[1] - 1]), lambda p: np.array([[1 / p[0], 0.0], [0.0, 1.0]])
    )
    descent = descend(evaluate, [1.0, 0.0])
    assert min(p[0] for p in evaluate.seen) <= 0
    np.testing.assert_allclose(descent.position, [np.exp(-3), 1], rtol=1e-3)
    assert np.isfinite(descent.losses).all()


def test_a_start_that_is_not_finite_has_failed():
    evaluate = least_squares(lambda p: np.log(p), lambda p: np.diag(1 / p))
    descent = descend(evaluate, [-1.0, 1.0])
    assert descent.status == "failed"
    assert np.isnan(descent.losses).all()


def test_steps_are_bounded_by_the_scale_of_the_prior():
    evaluate = least_squares(lambda p: 1e-6 * (p - 1e3), lambda p: 1e-6 * np.eye(2))
    settings = LevenbergMarquardt()
    before = start_descent(np.zeros(2), evaluate, settings, np.array([0.1, 5.0]))
    after = step_descent(before, evaluate, settings, np.array([0.1, 5.0]), 1e-4)
    assert 0.05 < after.position[0] <= 0.2
    assert after.position[1] <= 10


def test_the_number_of_steps_is_limited():
    descent = descend(rosenbrock(), [-1.2, 1.0], LevenbergMarquardt(max_steps=3))
    assert descent.status == "max_steps"
    assert descent.num_evaluations == 4


def test_a_parameter_without_effect_stays():
    evaluate = least_squares(lambda p: np.array([p[0] - 2, 0.0]), lambda p: np.array([[1.0, 0.0], [0.0, 0.0]]))
    descent = descend(evaluate, [0.0, 7.0])
    np.testing.assert_allclose(descent.position, [2, 7], atol=1e-2)


def test_damped_step_does_not_depend_on_units():
    curvature = np.array([[2.0, 0.5], [0.5, 1.0]])
    gradient = np.array([1.0, -1.0])
    units = np.array([1e3, 1e-4])
    plain = Evaluation(np.array(1.0), gradient, curvature, np.zeros((2, 2)), np.array(1.0))
    scaled = plain._replace(gradient=gradient * units, curvature=curvature * units * units[:, None])
    np.testing.assert_allclose(
        damped_step(scaled, 0.3, 1 / units) * units, damped_step(plain, 0.3, np.ones(2)), rtol=1e-10
    )


def test_state_survives_a_round_trip():
    descent = start_descent(np.array([-1.2, 1.0]), rosenbrock(), LevenbergMarquardt(), np.ones(2))
    again = Descent.from_arrays(descent.to_arrays())
    np.testing.assert_array_equal(again.evaluation.curvature, descent.evaluation.curvature)
    assert again.status == descent.status


def test_ends_are_grouped_by_the_divergence_between_them():
    def end(position, loss, status="converged"):
        evaluation = Evaluation(np.array(loss), np.zeros(1), np.eye(1), np.zeros((1, 1)), np.array(1.0))
        return Descent(np.array([position]), evaluation, *(np.array(0.0),) * 4, status)

    ends = [end(3.0, 2.0), end(0.1, 1.1), end(np.nan, np.nan, "failed"), end(0.0, 1.0), end(3.1, 2.5)]
    assert group_by_basin(ends, 0.05) == [[3, 1], [0, 4]]
    assert group_by_basin(ends, 1e-9) == [[3], [1], [0], [4]]


@pytest.mark.parametrize("name", ["tolerance", "max_steps", "num_screening", "max_polished"])
def test_settings_are_positive(name):
    with pytest.raises(ValueError, match=name):
        LevenbergMarquardt(**{name: 0.0 if name == "tolerance" else 0})
