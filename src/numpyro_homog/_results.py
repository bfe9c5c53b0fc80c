"""What can go wrong, and what to do about it."""

import equinox as eqx

VOIDS = (
    "A void needs a small coefficient in place of zero, a millionth of that of the other phases, with 64 bits and"
    ' `Multigrid()`: see "Voids" in the documentation, page "How to choose".'
)


class RESULTS(eqx.Enumeration):
    """Outcome of a solve or a fit; each value but `successful` is advice."""

    successful = ""
    bad_coefficient = (
        "A coefficient is not finite, not positive, or (as a tensor) not symmetric positive definite. Likely causes: a"
        " property sampled without a positive constraint, an overflowing transform, or a tensor field that was not"
        f" symmetrised. A stiffness in Voigt notation is refused: use voigt_to_mandel. {VOIDS}"
    )
    not_converged = (
        "The cell solver used up its iterations before the error of the effective tensor was certified. Likely cause: a"
        " contrast of coefficients beyond 1e6, or a tolerance below what the precision can hold. Build the"
        " CellProblem with `preconditioner=Multigrid()`, raise its `max_iterations` or `tolerance`, or use 64-bit"
        " precision."
    )
    fit_not_converged = (
        "The best descent ended before its divergence stopped falling: the estimate can still move. Raise `max_steps`"
        " of LevenbergMarquardt (or `num_steps` with an optax optimizer), and look at `losses`."
    )
    misfit = (
        "The divergence is more than three times what sampling noise makes: no start has found the right basin, or the"
        " model cannot make these data (another microstructure, other units, another order of phases, Voigt for"
        " Mandel, too coarse cells, no measurement noise, a phase too few, a prior whose support excludes the truth)."
        " Standard errors mean nothing then. Try more starts (`num_starts`, or `LevenbergMarquardt(max_rounds=...)`),"
        " and more steps if the descent was cut; if the best basin stays, compare the clouds."
    )
    outside_prior = (
        "The estimate lies outside of what its prior draws, or at the edge of it. Likely cause: data and prior in"
        " different units, or a prior that excludes the truth. The prior plays no part in this fit, but a posterior of"
        " the same model would be at its edge: look at the units, then widen the prior."
    )
    undetermined = (
        "The data do not tell all parameters: along what `undetermined` lists the divergence does not change, or so"
        " little that the prior is the narrower one. Standard errors are infinite there, and the estimate is where the"
        " start left it or ran away. Fix a parameter (`handlers.condition`), write the model with fewer, measure"
        " another quantity, or simulate more specimens if the effect is drowned in simulation noise."
    )
    at_edge = (
        "Parameters that `at_edge` lists are at an edge of the support of their prior: the data would have them beyond,"
        " or cannot tell them from the edge. Their standard errors are infinite; those of the others hold if the edge"
        " is real. Otherwise widen the prior, and look at the units of the data."
    )
