"""A Parquet file of an export: exact decimals, and a fix that is named when pyarrow is missing."""

import csv
import io
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from headrace.cli import parquet
from headrace.economics import focus
from headrace.errors import HeadraceError

ROOT = Path(__file__).parents[2]


def exported() -> str:
    hour_us = 1_700_000_000_000_000 // 3_600_000_000 * 3_600_000_000
    rows = focus.hour_rows(hour_us, [], {"idle/m@v1": 80_000_001, "free/p": 7}, focus.Prices([]))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([focus.COLUMNS, *map(focus.cells, rows)])
    return text.getvalue()


def test_without_pyarrow_the_fix_is_named(monkeypatch, tmp_path: Path):
    """And the file it names is there."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(HeadraceError, match=r"requirements/parquet\.txt") as caught:
        parquet.write(exported(), tmp_path / "x.parquet")
    assert (ROOT / caught.value.message.rpartition(" ")[2]).exists()
    assert not (tmp_path / "x.parquet").exists()


def test_sums_of_the_file_are_the_export_s(tmp_path: Path):
    """Decimals stay decimals, and empty cells are null."""
    read = pytest.importorskip("pyarrow.parquet", reason="pyarrow is optional: requirements/parquet.txt").read_table
    assert parquet.write(exported(), tmp_path / "x.parquet") == 2
    table = read(tmp_path / "x.parquet")
    assert sum(table["EffectiveCost"].to_pylist()) == Decimal("0.080000008")
    assert table["ChargeClass"].null_count == 2
    assert table["ChargePeriodStart"].to_pylist()[0].isoformat() == "2023-11-14T22:00:00+00:00"


def test_every_column_of_an_export_has_its_kind():
    """No amount of money is left to be guessed."""
    from headrace.control.admin.exports import SPEND_HEADS

    money = [column for column in focus.COLUMNS if column.endswith(("Cost", "Price", "Quantity"))]
    assert set(money) == set(parquet.DECIMALS)
    assert {head for head in SPEND_HEADS if head.endswith(("nanousd", "amount", "_us"))} == set(parquet.INTEGERS)
