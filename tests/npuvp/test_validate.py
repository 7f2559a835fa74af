"""The three paths agree within their limits: the quick form of `npuvp validate`."""

import json

from npuvp.cli import main
from npuvp.validate import GEMM_LIMIT, PHASE_LIMIT, Row


def test_paths_agree(capsys):
    status = main(["validate", "--quick", "--json"])
    data = json.loads(capsys.readouterr().out)
    beyond = [row for row in data["rows"] if not row["holds"]]
    assert not beyond and status == 0 and data["holds"]
    limits = [row["limit"] for row in data["rows"]]
    assert limits.count(GEMM_LIMIT) >= 10 and limits.count(PHASE_LIMIT) >= 30
    values = [row for row in data["rows"] if row["what"].endswith("that differ")]
    assert [row["analytical"] for row in values] == [0, 0]


def test_a_row_beyond_its_limit_is_told():
    assert Row("case", "phase", 110.0, 100.0, 1.0, 0.1001).holds
    assert not Row("case", "phase", 110.2, 100.0, 1.0, 0.1001).holds
    assert not Row("case", "phase", 89.0, 100.0, 1.0, 0.1).holds
    assert Row("case", "phase", 1.0, 100.0, 0.001, None).holds
    assert not Row("case", "values that differ", 1, 0, 1.0, 0.0).holds
