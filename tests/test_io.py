import os
import re

import jax.numpy as jnp
import numpy as np
import pytest

from numpyro_homog.io import load_specimens, save_specimens

PLAIN = "K11,K12,K22\n2,0.1,3\n1.5,-0.25,2.5\n"
EXPECTED = np.array([[[2, 0.1], [0.1, 3]], [[1.5, -0.25], [-0.25, 2.5]]])


@pytest.fixture
def load(tmp_path):
    def load(content, **options):
        path = tmp_path / "specimens.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load_specimens(path, **options)

    return load


def random_spd(num, d, scale=1.0):
    factor = np.random.default_rng(5).normal(size=(num, d, d))
    tensors = factor @ factor.swapaxes(1, 2) + np.eye(d)
    return scale * (tensors + tensors.swapaxes(1, 2)) / 2


# --- what is read ---


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        PLAIN.rstrip("\n"),
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace(",", ", "),
        "\ufeff" + PLAIN,
        PLAIN.lower(),
        PLAIN.replace("K11,K12,K22", '"K11","K12","K22"'),
        "# made by hand; units, W/(m K)\n\n" + PLAIN.replace("\n2,", '\n  # the first, a "good" one\n2,') + "\n\n",
        "K22,K12,K11\n3,.1,2\n2.5,-2.5e-1,1.5\n",
        'id,K11,note; free,K12,K22\n1,2,,0.1,3\nb,1.5,"a, b",-0.25,2.5\n',
        "K11,K12,K22,\n2,0.1,3,\n1.5,-0.25,2.5,,\n",
        "K11,K12,K21,K22\n2,0.1,0.1,3\n1.5,-0.25,-0.25,2.5\n",
        "K21,K22,K11,K12\n0.1,3,2,0.1\n-0.25,2.5,1.5,-0.25\n",
        "K11,K12,K22,T (°C)\n2,0.1,3,20\n1.5,-0.25,2.5,20\n".encode("latin-1"),
    ],
)
def test_every_way_of_writing_the_same_table_is_read(load, content):
    tensors = load(content)
    assert tensors.dtype == np.float64
    np.testing.assert_array_equal(tensors, EXPECTED)


def test_three_dimensions(load):
    upper = load("K11,K12,K13,K22,K23,K33\n4,1,.5,5,.25,6\n4,0,0,5,0,6\n")
    np.testing.assert_array_equal(upper[0], [[4, 1, 0.5], [1, 5, 0.25], [0.5, 0.25, 6]])
    full = load("K11,K12,K13,K21,K22,K23,K31,K32,K33\n4,1,.5,1,5,.25,.5,.25,6\n4,0,0,0,5,0,0,0,6\n")
    np.testing.assert_array_equal(full, upper)


def test_a_full_tensor_is_symmetrised_within_the_tolerance(load):
    content = "K11,K12,K21,K22\n2,0.1,0.1000001,3\n2,0,0,3\n"
    tensors = load(content)
    np.testing.assert_array_equal(tensors, tensors.swapaxes(1, 2))
    np.testing.assert_allclose(tensors[0, 0, 1], 0.10000005, rtol=1e-12)
    with pytest.raises(ValueError, match=r"line 2: not symmetric: .* differ by 3.3e-08 .* tolerated is 1e-09"):
        load(content, symmetry_tolerance=1e-9)
    with pytest.raises(ValueError, match="symmetry_tolerance is a relative difference, >= 0; got -1"):
        load(content, symmetry_tolerance=-1.0)


def test_the_unit_of_the_file_does_not_matter(load):
    for exponent in (-200, 200):
        tensors = load(f"K11,K12,K22\n2e{exponent},1e{exponent},3e{exponent}\n1e{exponent},0,1e{exponent}\n")
        np.testing.assert_allclose(tensors[0], np.array([[2, 1], [1, 3]]) * 10.0**exponent, rtol=1e-15)


# --- what is rejected: one line of the table, and the reason that is given ---

ROWS = [
    ("2,abc,3", "K12 is not a number: 'abc'"),
    ("2,1_0,3", "K12 is not a number: '1_0'"),
    ("2,0x1,3", "K12 is not a number: '0x1'"),
    ("2,nan,3", "K12 is not finite: nan"),
    ("inf,0,3", "K11 is not finite: inf"),
    ("2,0,1e999", "K22 is not finite: 1e999"),
    ("2,,3", "K12 is empty"),
    ("x,,3", "K11 is not a number: 'x'; K12 is empty"),
    ("2,0", "too few fields: 2, but the header has 3"),
    ("2,0,1,3,0", "too many fields: 5, but the header has 3 (a decimal comma?)"),
    ('2,"0,3', "unbalanced quotation marks"),
    ("2,3,3", "not positive definite: the least eigenvalue is -0.5414"),
    ("1,1,1", "not positive definite: the least eigenvalue is "),
    ("0,0,0", "not positive definite: the least eigenvalue is 0"),
    ("-2,0,-3", "not positive definite: the least eigenvalue is -3"),
]


@pytest.mark.parametrize(("row", "reason"), ROWS, ids=[row for row, _ in ROWS])
def test_a_bad_row_is_named_with_its_line(load, row, reason):
    with pytest.raises(ValueError, match=re.escape(f"1 of 3 specimens cannot be used.\n  line 5: {reason}")):
        load(f"# a comment\nK11,K12,K22\n1,0,1\n\n{row}\n2,0,2\n")


def test_an_asymmetric_tensor_is_rejected(load):
    with pytest.raises(ValueError, match=r"line 3: not symmetric: .* differ by 0.1 of the largest component"):
        load("K11,K12,K21,K22\n2,0,0,3\n2,0.1,0.4,3\n2,0,0,3\n")


def test_a_decimal_comma_is_recognised(load):
    with pytest.raises(ValueError, match=re.escape("line 2: K11 is not a number: '1,5' (write a decimal point)")):
        load("K11;K12;K22\n1,5;0;2\n1.5;0;2\n")


def test_all_faults_come_in_one_error_in_the_order_of_the_file(load):
    rows = ["1,0,1", "1,5,1", "1,x,1", "1,5,1", *["nan,0,1"] * 9]
    with pytest.raises(ValueError, match="12 of 13 specimens") as caught:
        load("K11,K12,K22\n" + "\n".join(rows))
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0].strip() for line in lines[1:-1]] == [f"line {n}" for n in range(3, 13)]
    assert "definite" in lines[1]
    assert "number" in lines[2]
    assert "definite" in lines[3]
    assert lines[-1].strip() == "... and 2 more"


def test_an_open_quotation_mark_does_not_swallow_the_rows_below(load):
    with pytest.raises(ValueError, match=r"2 of 4 specimens(?s:.)*line 2: unbal(?s:.)*line 4: unbal"):
        load('K11,K12,K22,note\n1,0,1,"2 inch\n1,0,1,\n1,0,1,"3 inch\n1,0,1,\n')


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty; expected a header such as K11,K12,K22"),
        ("# nothing\n\n , ,\n", "is empty; expected a header"),
        ("1,0,1\n2,0,2\n", r"has no header: its first row \(line 1\) is numeric"),
        ("#\n1;0;1\n2;0;2\n", r"has no header: its first row \(line 2\) is numeric"),
        ('K11,"K12,K22\n', "line 1: unbalanced quotation marks"),
        ("K11,K22\n1,1\n", "line 1: .* names 'K11', 'K22'; expected K11, K12, K22 .2D.; missing K12"),
        ("a,b,c\n1,0,1\n", "names 'a', 'b', 'c'; expected K11, K12, K22 .2D.; missing K11, K12, K22"),
        ("K11,K12,K22,K33\n1,0,1,1\n", "expected K11, K12, K13, K22, K23, K33 .3D.; missing K13, K23"),
        ("K11,K21,K22\n1,0,1\n", "expected K11, K12, K21, K22 .2D.; missing K12"),
        ("K11,K12,K22,K44\n1,0,1,1\n", "expected K11, K12, K22 .2D.; not a component in 2D: K44"),
        ("K11,k11,K12,K22\n1,1,0,1\n", "names K11 more than once"),
        ("K11,K12,K22\n", "too short: it holds 0 specimens below its header, .* at least 2"),
        ("K11,K12,K22\n1,0,1\n", "too short: it holds 1 specimen below its header"),
        (PLAIN.encode("utf-16"), "not a text file in UTF-8; export the table as CSV"),
        (b"PK\x03\x04\x00\x00", "not a text file in UTF-8"),
    ],
)
def test_a_bad_file_is_rejected_with_the_reason(load, content, message):
    with pytest.raises(ValueError, match=message):
        load(content)


def test_a_missing_file_is_the_usual_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_specimens(tmp_path / "none.csv")


# --- what is written ---


@pytest.mark.x32
@pytest.mark.parametrize("d", [2, 3])
def test_round_trip_is_exact(tmp_path, d):
    tensors = random_spd(20, d, scale=1e-3 / 3)
    path = tmp_path / "out.csv"
    save_specimens(path, tensors)
    np.testing.assert_array_equal(load_specimens(str(path)), tensors)
    assert os.listdir(tmp_path) == ["out.csv"]
    assert path.read_text().splitlines()[0] == ("K11,K12,K22" if d == 2 else "K11,K12,K13,K22,K23,K33")


@pytest.mark.x32
def test_fewer_digits_and_jax_arrays(tmp_path):
    tensors = random_spd(20, 2)
    save_specimens(tmp_path / "out.csv", jnp.asarray(tensors), digits=5)
    np.testing.assert_allclose(load_specimens(tmp_path / "out.csv"), tensors, rtol=5e-5)
    assert max(len(field.lstrip("-")) for field in (tmp_path / "out.csv").read_text().split(",")) < 20
    with pytest.raises(ValueError, match="1 to 17 significant digits"):
        save_specimens(tmp_path / "out.csv", tensors, digits=18)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (np.eye(2), r"shape \(specimens, d, d\) with d = 2 or 3 .* got shape \(2, 2\)"),
        (np.ones((5, 1, 1)), r"got shape \(5, 1, 1\)"),
        (np.eye(2)[None], r"got shape \(1, 2, 2\)"),
        (np.array([np.eye(2), -np.eye(2)]), r"1 of 2 specimens(?s:.)*specimen 1: not positive definite"),
        (np.array([np.eye(2), [[1, np.nan], [0, 1]]]), "specimen 1: not finite"),
        (np.array([[[1, 0.1], [0, 1]], np.eye(2)]), "specimen 0: not symmetric"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path, tensors, message):
    with pytest.raises(ValueError, match=message):
        save_specimens(tmp_path / "out.csv", tensors)
    assert not os.listdir(tmp_path)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "out.csv"
    save_specimens(path, EXPECTED)
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_specimens(path, 2 * EXPECTED)
    np.testing.assert_array_equal(load_specimens(path), EXPECTED)
    assert os.listdir(tmp_path) == ["out.csv"]


# --- frames ---


def test_a_frame_is_read_as_its_file_is(tmp_path):
    pandas = pytest.importorskip("pandas")
    (tmp_path / "a.csv").write_text("id,K22,K11,k12,note\nA,.1,2,0.01,x\nB,3,1,.5,\n")
    frame = pandas.read_csv(tmp_path / "a.csv")
    tensors = load_specimens(tmp_path / "a.csv")
    for same in (frame, frame.set_index("id"), frame.astype({"K11": object}), frame.astype({"K11": str})):
        np.testing.assert_array_equal(load_specimens(same), tensors)
    assert load_specimens(frame).dtype == np.float64


def test_rows_of_a_frame_are_named_by_their_labels():
    pandas = pytest.importorskip("pandas")
    rows = [[2, 0.1, 3], [2, np.nan, 3], [2, 5, 3], ["x", 0, None], [2, 0, 3]]
    frame = pandas.DataFrame(rows, index=["A1", "A2", "B1", "B2", "C"], columns=["K11", "K12", "K22"])
    with pytest.raises(ValueError, match="The frame: 3 of 5 specimens cannot be used") as caught:
        load_specimens(frame)
    _, *faults = str(caught.value).splitlines()
    assert faults[0] == "  row 'A2': K12 is not finite: nan"
    assert faults[1].startswith("  row 'B1': not positive definite")
    assert faults[2] == "  row 'B2': K11 is not a number: 'x'; K22 is not finite: nan"
    with pytest.raises(ValueError, match="The frame, columns: the columns do not make a tensor"):
        load_specimens(pandas.DataFrame(np.ones((3, 3))))
    with pytest.raises(ValueError, match="The frame, columns: the header names K11 more than once"):
        load_specimens(pandas.concat([frame, frame[["K11"]]], axis=1))
    with pytest.raises(ValueError, match="The frame is too short: it holds 0 specimens"):
        load_specimens(frame[:0])


@pytest.mark.parametrize("source", [np.ones((5, 3)), np.ones((5, 2, 2)), [[1, 0, 1]], None])
def test_what_is_neither_file_nor_frame_is_told_what_to_do(source):
    with pytest.raises(TypeError, match=r"a file, or a frame of pandas; got .* by\s.*from_unique_components"):
        load_specimens(source)
