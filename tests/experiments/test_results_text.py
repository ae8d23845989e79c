"""Tables on disk give back what was written, whatever a text holds, and no spreadsheet takes a text for a formula."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus_imitation.core._escaping import csv_cell, csv_value
from consensus_imitation.experiments import read_csv, write_csv
from consensus_imitation.experiments.results import CsvLog

#: Texts that something would take for something else.
AWKWARD = (
    *(
        "",
        "'",
        "''",
        "'=1",
        "=1+1",
        "+1",
        "-1",
        "@sum",
        "\t=1",
        "\r=1",
        "\n=1",
        " =1",
        "\uff1d1",
        "12",
        " 12 ",
        "1_0",
        "1e5",
    ),
    *("nan", "inf", "-Infinity", "True", "False", "None", "a,b", 'say "so"', "two\nlines", "two\r\nlines", "a\rb", '"'),
    *(
        "\u2028",
        "\x85",
        "\x0b",
        "\x0c",
        "\x1c",
        "\x00",
        "\ufeff",
        "é",
        "🦜",
        "\uff11\uff12",
        "0x10",
        "1,5",
        "=cmd|' /C calc'!A0",
    ),
)
FORMULA = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
VALUES = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text()


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return np.float64(one).tobytes() == np.float64(other).tobytes() or (one != one and other != other)
    return type(one) is type(other) and one == other


@given(VALUES | st.sampled_from(AWKWARD))
def test_a_cell_gives_back_its_value_and_no_text_is_a_formula(value: Any) -> None:
    try:
        cell = csv_cell(value)
    except ValueError:
        assert isinstance(value, str)
        assert any(0xD800 <= ord(one) < 0xE000 for one in value)
        return
    assert same(csv_value(cell), value)
    if isinstance(value, str):
        assert cell.lstrip(" ")[:1] not in FORMULA or not cell.strip(" ")


@pytest.mark.parametrize("value", AWKWARD)
def test_a_formula_is_marked_as_text(value: str) -> None:
    cell = csv_cell(value)
    assert cell in (value, "'" + value)
    if value.lstrip(" ")[:1] in FORMULA:
        assert cell == "'" + value


@pytest.mark.parametrize("value", [np.float32(0.1), np.float64(1 / 3), np.int8(-3), np.bool_(True), np.str_("=x")])
def test_numpys_values_come_back_as_pythons(value: Any) -> None:
    assert same(csv_value(csv_cell(value)), value.item())


@pytest.mark.parametrize("value", ["\ud800", [1], (1, 2), {"a": 1}, b"x", object(), np.zeros(2)])
def test_what_a_cell_cannot_hold_is_refused_and_nothing_is_left(value: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"half a character|a cell of a table holds"):
        write_csv(tmp_path / "t.csv", [{"a": 1}, {"a": value}], ("a",))
    assert list(tmp_path.iterdir()) == []
    with CsvLog(tmp_path / "log.csv", ("a",)) as log:
        log.append({"a": 1})
        with pytest.raises(ValueError, match=r"half a character|a cell of a table holds"):
            log.append({"a": value})
    assert read_csv(tmp_path / "log.csv") == [{"a": 1}]


def test_a_text_that_could_not_be_read_back_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too long"):
        write_csv(tmp_path / "t.csv", [{"a": "x" * csv.field_size_limit()}], ("a",))


@pytest.mark.parametrize("way", ["write_csv", "CsvLog", "CsvLog that goes on"])
def test_every_way_to_write_a_table_gives_back_what_was_written(way: str, tmp_path: Path) -> None:
    path, columns = tmp_path / "t.csv", ("n", "text", "x")
    rows = [{"n": i, "text": text, "x": 1 / (i + 3)} for i, text in enumerate(AWKWARD)]
    if way == "write_csv":
        write_csv(path, rows, columns)
    else:
        half = len(rows) // 2 if way != "CsvLog" else len(rows)
        with CsvLog(path, columns) as log:
            for row in rows[:half]:
                log.append(row)
        with CsvLog(path, columns, lambda _: True) as log:
            assert log.kept == rows[:half]
            for row in rows[half:]:
                log.append(row)
    assert read_csv(path) == rows


def test_a_row_cut_off_anywhere_is_dropped_and_no_other(tmp_path: Path) -> None:
    path, columns = tmp_path / "t.csv", ("n", "text")
    rows = [{"n": 0, "text": "one\r\ntwo"}, {"n": 1, "text": 'é\n"\r\n"\n,\n'}]
    ends = []
    with CsvLog(path, columns) as log:
        for row in rows:
            log.flush()
            ends.append(path.stat().st_size)
            log.append(row)
    whole = path.read_bytes()
    ends.append(len(whole))
    for size in range(ends[0], len(whole) + 1):
        path.write_bytes(whole[:size])
        with CsvLog(path, columns, lambda _: True) as log:
            assert log.kept == rows[: sum(end <= size for end in ends[1:])], size
        assert read_csv(path) == log.kept


@pytest.mark.parametrize(
    "body", ["a,b\r\n1,2\r\n1\r\n", "a,b\r\n1,2,3\r\n", 'a,b\r\n"1"x,2\r\n1,2\r\n', 'a,b\r\n1,"2\r\n']
)
def test_a_damaged_table_is_refused(body: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(body.encode())
    with pytest.raises(ValueError, match="is damaged"):
        read_csv(tmp_path / "t.csv")
    if not body.endswith('"2\r\n'):
        with pytest.raises(ValueError, match="is damaged"):
            CsvLog(tmp_path / "t.csv", ("a", "b"), lambda _: True)
        assert (tmp_path / "t.csv").read_bytes() == body.encode(), "and stays as it was"
