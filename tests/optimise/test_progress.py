"""The bar that goes along with a fit."""

import pytest

from numpyro_homog.optimise import Progress


def test_the_bar_has_a_total_and_the_least_loss_of_the_largest_population(capsys):
    with Progress(show=True) as bar:
        bar.expect(3)
        for loss in (0.5, 0.001, 0.7):
            bar.report("scout 0", loss, 64)
        bar.advance()
        for loss in (0.4, 0.2, 0.3):  # more specimens, less noise: the losses before do not compare
            bar.report("start 0", loss, 500)
        bar.advance(2)
        bar.expect(1)
        bar.report("polish 0", float("nan"), 500)
        bar.advance()
    last = capsys.readouterr().err.rstrip("\n").split("\r")[-1]
    assert last.startswith("polish 0: 100%|")
    assert "| 4/4 descents [00:0" in last
    assert last.rstrip().endswith(", best loss 0.2 with 500 specimens]")


def test_a_bar_that_is_not_asked_for_writes_nothing(capsys):
    with Progress(show=False) as bar:
        bar.expect(3)
        bar.report("scout 0", 0.5, 64)
        bar.advance()
    assert capsys.readouterr() == ("", "")


def test_a_bar_of_a_fit_that_fails_is_closed(capsys):
    bar = Progress(show=True)
    bar.expect(3)
    with pytest.raises(RuntimeError, match="no start"), bar:
        raise RuntimeError("no start")
    assert capsys.readouterr().err.endswith("\n")
