"""Sweeps: kills, deaths of workers, traps, and what is left on disk."""

import csv
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from npuvp.sweep import Point, Store, StoreError, load_space, pareto_front, run_sweep
from npuvp.sweep.run import _Groups

ROOT = Path(__file__).parents[3]
TEXT = f"""
model: llada-tiny
platform: {ROOT}/platform/edge.yaml
plan: {{gen_length: 16, block_length: 8, steps: 8, cache: dual}}
space:
  platform.hbm.bandwidth: [10GB/s, 20GB/s, 30GB/s, 40GB/s, 50GB/s]
  platform.core.dma_outstanding_reads: [4, 8, 16, 32]
  batch: [1, 2, 3]
"""


@pytest.fixture
def space_file(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(TEXT)
    return path


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_kills_at_random_moments_lose_and_repeat_nothing(space_file, tmp_path):
    output = tmp_path / "killed.csv"
    # Points of some 20 ms, so that kills fall between and within them.
    program = (
        "import sys, time; import npuvp.sweep.run as r; from npuvp.cli import main; "
        "real = r.evaluate_job; d = r.run_sweep.__kwdefaults__; "
        "d['evaluate'] = lambda job: (time.sleep(0.02), real(job))[1]; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "sweep", str(space_file), "--workers", "0"]
    command += ["--output", str(output)]
    dice = random.Random(5)
    kills = 0
    for _ in range(40):
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            # From before the first row to well behind it.
            process.wait(timeout=dice.uniform(0.6, 1.6) if kills < 4 else 120)
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    assert process.returncode == 0 and kills >= 2
    rows = _rows(output)
    points = load_space(space_file).points()
    assert len(points) == 60
    assert sorted(row["key"] for row in rows) == sorted(point.key for point in points)
    whole = run_sweep(load_space(space_file), tmp_path / "whole.csv", workers=0, progress=False)
    times = {row["key"]: (row["cycles"], row["energy_j"]) for row in whole.rows}
    assert {row["key"]: (row["cycles"], row["energy_j"]) for row in rows} == times


def test_a_row_that_a_kill_cut_short_is_dropped(tmp_path):
    path = tmp_path / "r.csv"
    with Store(path, ["key", "value"]) as store:
        store.append({"key": "a", "value": "1\n2"})
        store.append({"key": "b", "value": 2})
    content = path.read_bytes()
    path.write_bytes(content[:-2])
    with Store(path, ["key", "value"]) as store:
        assert store.rows == {"a": {"key": "a", "value": "1 | 2"}}
        store.append({"key": "b", "value": 3})
    assert path.read_text() == "key,value\na,1 | 2\nb,3\n"


def test_a_file_has_one_writer_and_one_sweep(tmp_path):
    path = tmp_path / "r.csv"
    with Store(path, ["key", "x"]), pytest.raises(StoreError, match="another sweep is writing"):
        Store(path, ["key", "x"])
    assert not path.exists()  # nothing was written
    with Store(path, ["key", "x"]) as store:
        store.append({"key": "a", "x": 1})
    with pytest.raises(StoreError, match="holds the columns key, x; this sweep has key, y"):
        Store(path, ["key", "y"])


def test_a_point_that_fails_is_reported_and_the_others_are_not(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(TEXT.replace("[1, 2, 3]", "[1, 4096]"))
    result = run_sweep(load_space(path), tmp_path / "r.csv", workers=0, progress=False)
    assert len(result.rows) == 40 and len(result.failed) == 20
    assert {row["batch"] for row in result.failed} == {"4096"}
    assert all("CompileError" in row["error"] for row in result.failed)
    assert result.front and all(path.exists() for path in result.files)
    again = run_sweep(load_space(path), tmp_path / "r.csv", workers=0, progress=False)
    assert again.evaluated == 0 and again.rows == result.rows
    retried = run_sweep(
        load_space(path), tmp_path / "r.csv", workers=0, progress=False, retry_failed=True
    )
    assert retried.evaluated == 20


def _deadly(job):
    """Kills its worker at one point, is slow at the others."""
    if job["batch"] == 2 and job["set"]["hbm.bandwidth"] == "30GB/s":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
    seconds = float(job["batch"])
    metrics = ("cycles", "time_s", "energy_j", "area_mm2", "tokens_per_s", "tokens_per_j")
    return dict.fromkeys(metrics, seconds)


def test_death_of_a_worker_costs_one_point(tmp_path):
    pytest.importorskip("distributed")
    path = tmp_path / "space.yaml"
    path.write_text(TEXT.replace("[4, 8, 16, 32]", "[4]"))
    result = run_sweep(
        load_space(path), tmp_path / "r.csv", workers=2, progress=False, evaluate=_deadly
    )
    assert len(result.rows) == 15 and result.evaluated == 15
    assert [row["status"] for row in result.failed] == ["killed"]
    assert result.failed[0]["batch"] == "2"
    good = [row for row in result.rows if row["status"] == "ok"]
    assert [float(row["time_s"]) for row in good] == [float(row["batch"]) for row in good]


def test_unknown_scheduler_and_ending_are_refused(space_file, tmp_path):
    with pytest.raises(ValueError, match=r"allowed: \.csv, \.parquet"):
        run_sweep(load_space(space_file), tmp_path / "r.json", workers=0)


def test_parquet_holds_what_the_csv_holds(space_file, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    result = run_sweep(load_space(space_file), tmp_path / "r.parquet", workers=0, progress=False)
    table = parquet.read_table(tmp_path / "r.parquet")
    assert table.num_rows == 60
    assert table["key"].to_pylist() == [row["key"] for row in _rows(tmp_path / "r.csv")]
    assert len(result.files) == 3


def test_pareto_front():
    costs = np.array([[1, 5, 1], [2, 4, 1], [2, 5, 1], [3, 3, 3], [1, 5, 1]], float)
    assert pareto_front(costs).tolist() == [True, True, False, True, True]


def test_pareto_front_is_what_its_definition_says():
    costs = np.random.default_rng(4).integers(0, 6, (200, 3)).astype(float)
    better = [((costs <= cost).all(axis=1) & (costs < cost).any(axis=1)).any() for cost in costs]
    front = pareto_front(costs)
    assert front.tolist() == [not b for b in better]
    assert 1 < front.sum() < 100


def _points(number: int) -> list[Point]:
    return [Point({}, {}, str(index)) for index in range(number)]


def test_groups_are_as_large_as_points_are_fast():
    groups = _Groups(_points(10_000), adapt=True)
    assert len(groups.following(2)) == 25
    groups.took([{"seconds": 0.0005}] * 25)
    assert len(groups.following(2)) == 500
    groups.took([{"seconds": 0.05}] * 500)
    assert len(groups.following(2)) == 5
    groups.took([{"seconds": 3.0}])
    assert len(groups.following(2)) == 1
    groups.took([{"status": "killed"}])  # says nothing of time
    groups.took([{"seconds": 1e-9}])
    assert len(groups.following(2)) == 1000
    # The end is shared: half of what is left goes out at a time, to two workers a quarter each.
    sizes = [len(groups.following(2)) for _ in range(40)]
    assert sum(sizes) == 10_000 - 25 - 500 - 5 - 1 - 1000
    assert sizes[4:7] == [1000, 867, 650] and sizes[-1] == 0


def test_points_that_take_long_go_one_by_one():
    groups = _Groups(_points(3), adapt=False)
    groups.took([{"seconds": 1e-9}])
    assert [[point.key for point in groups.following(2)] for _ in range(4)] == [
        ["0"],
        ["1"],
        ["2"],
        [],
    ]


def test_rows_are_in_the_file_at_once_and_synchronised_now_and_then(tmp_path, monkeypatch):
    path = tmp_path / "r.csv"
    synchronised = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: synchronised.append(file) or real(file))
    with Store(path, ["key", "value"]) as store:
        for key in range(50):
            store.append({"key": 2 * key}, {"key": 2 * key + 1})
            assert path.read_text().count("\n") == 1 + 2 * (key + 1)
        assert 1 <= len(synchronised) < 25
        before = len(synchronised)
    assert len(synchronised) == before + 1
