"""Columns of the power trace: per unit, per part of the platform, or per kind of unit."""

import csv

import pytest

import npuvp as vp
from npuvp.cli import main
from npuvp.sampling import sample, seeded_logits, workload


def power(tmp_path, by):
    p = vp.Platform.load("platform/quad.yaml")
    path = tmp_path / f"{by}.csv"
    with p.trace(power=str(path), power_by=by):
        sample(p, workload(seeded_logits(1, 2, 4096)))
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return list(rows[0]), rows


def test_every_choice_has_the_same_total(tmp_path):
    found = {by: power(tmp_path, by) for by in ("component", "part", "kind")}
    names = {by: columns[1:-1] for by, (columns, _) in found.items()}
    assert len(names["component"]) > 25 and "core3.vector" in names["component"]
    assert set(names["part"]) == {
        *(f"core{i}" for i in range(4)),
        *("noc", "hbm", "host", "semaphores"),
    }
    assert {"control", "scalar", "vector", "matrix", "dma", "sram", "noc", "hbm"} <= set(
        names["kind"]
    )
    assert not any("core" in name for name in names["kind"])
    rows = {by: rows for by, (_, rows) in found.items()}
    assert len(rows["kind"]) == len(rows["component"]) > 3
    for fine, part, kind in zip(rows["component"], rows["part"], rows["kind"], strict=True):
        total = float(fine["total"])
        # Each column is rounded by itself.
        assert total > 0 and float(part["total"]) == pytest.approx(total, abs=1e-5)
        assert float(kind["total"]) == pytest.approx(total, abs=1e-5)
        core = sum(float(v) for name, v in fine.items() if name.split(".")[0] == "core1")
        assert float(part["core1"]) == pytest.approx(core, abs=1e-5)
        vector = sum(float(fine[f"core{i}.vector"]) for i in range(4))
        assert float(kind["vector"]) == pytest.approx(vector, abs=1e-5)


def test_a_choice_that_does_not_exist(tmp_path):
    p = vp.Platform.load("platform/quad.yaml")
    with (
        pytest.raises(ValueError, match="power_by: 'cores', allowed: component, part, kind"),
        p.trace(power=str(tmp_path / "p.csv"), power_by="cores"),
    ):
        sample(p, workload(seeded_logits(1, 2, 4096)))
    assert not (tmp_path / "p.csv").exists()


def test_the_command_line_chooses_too(tmp_path, capsys):
    path = tmp_path / "p.csv"
    arguments = "sample --platform platform/quad.yaml --batch 1 --positions 2 --vocabulary 4096"
    assert main([*arguments.split(), "--power", str(path), "--power-by", "kind"]) == 0
    assert path.read_text().splitlines()[0].startswith("time_ns,")
    assert ",vector," in path.read_text().splitlines()[0]
