"""`npuvp check`: the bandwidth self-test of memories, and backends side by side."""

import json

import pytest

import npuvp as vp
from npuvp import _core
from npuvp.backend_comparison import compare_backends
from npuvp.cli import main
from npuvp.memory_presets import load_preset, preset_names
from npuvp.memory_self_test import PATTERNS, self_test
from npuvp.platform import Platform

HAS_RAMULATOR = not _core.memory_backend_unavailable("ramulator")


def check(capsys, *arguments):
    status = main(["check", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_the_self_test_streams_every_pattern_without_and_with_refresh(capsys):
    status, out, err = check(capsys, "platform/v80.yaml", "--json")
    assert (status, err) == (0, "")
    (test,) = json.loads(out)["self_test"]
    assert (test["memory"], test["backend"], test["preset"]) == ("hbm", "builtin", "HBM2E_V80")
    assert test["peak_bandwidth"] == 819.2e9
    points = {(p["pattern"], p["refresh"]): p for p in test["points"]}
    assert set(points) == {(p, r) for p in PATTERNS for r in ("none", "all_bank")}
    best = points["sequential read", "none"]
    assert best["fraction_of_peak"] == pytest.approx(1, abs=0.001)
    assert best["bandwidth"] == pytest.approx(819.2e9, rel=0.001)
    for pattern in PATTERNS:
        plain, refreshed = (points[pattern, r]["fraction_of_peak"] for r in ("none", "all_bank"))
        assert 0.87 * plain < refreshed < 0.93 * plain
    # The same stream as vp.memory_stream drives.
    stream = vp.memory_stream(
        preset="HBM2E_V80", pattern="random", reads=1, writes=0, requests=20_000, bytes=64
    )
    assert points["random read 64 B", "all_bank"]["fraction_of_peak"] == stream.fraction_of_peak


def test_every_preset_is_streamed_whatever_the_platform_has(capsys):
    status, out, err = check(capsys, "platform/edge.yaml", "--json")
    assert (status, err) == (0, "")
    tests = {test["preset"]: test for test in json.loads(out)["preset_self_test"]}
    assert list(tests) == preset_names()
    for name, test in tests.items():
        assert len(test["points"]) == 2 * len(PATTERNS)
        stacks = 2 if name == "HBM2E_V80" else 1
        assert test["peak_bandwidth"] == stacks * load_preset(name).stack_bandwidth
        for point in test["points"]:
            assert point["bandwidth"] == point["fraction_of_peak"] * test["peak_bandwidth"]
    # The same as that of a platform which has the preset and says nothing else.
    platform = Platform.load("platform/v80.yaml", set=["hbm.preset=HBM3E", "hbm.stacks=1"])
    (own,) = self_test(platform)
    for point, plain in zip(own.points, tests["HBM3E"]["points"], strict=True):
        assert point.fraction_of_peak == plain["fraction_of_peak"]
    _, out, err = check(capsys, "platform/edge.yaml", "--threshold", 0.893)
    assert "HBM2E_V80" in out and out.count("%!") == 1 == len(err.splitlines())
    assert "warning: HBM3_6400: sequential read (refresh all_bank) reaches 89.2 %" in err


def test_what_this_build_has_is_said(capsys):
    _, out, _ = check(capsys, "platform/edge.yaml", "--no-self-test")
    named = "Memory backends: builtin, ideal" + (", ramulator" if HAS_RAMULATOR else "")
    assert named + "\n" in out
    assert ("RAMULATOR_ROOT" in out) != HAS_RAMULATOR
    _, out, _ = check(capsys, "platform/edge.yaml", "--no-self-test", "--json")
    backends = json.loads(out)["memory_backends"]
    assert list(backends) == ["builtin", "ideal", "ramulator"]
    assert (backends["ramulator"] == "") == HAS_RAMULATOR
    assert backends["builtin"] == backends["ideal"] == ""


def test_a_memory_below_the_threshold_is_warned_about(capsys):
    reached = self_test(Platform.load("platform/v80.yaml"))[0]
    share = next(
        p.fraction_of_peak
        for p in reached.points
        if (p.pattern, p.refresh) == ("sequential write", "all_bank")
    )
    for threshold, warned in ((share + 1e-6, True), (share - 1e-6, False)):
        status, out, err = check(capsys, "platform/v80.yaml", "--threshold", threshold)
        assert status == 0 and "sequential write" in out
        assert ("warning: hbm: sequential write (refresh all_bank) reaches 89." in err) == warned
        assert "refresh none" not in err and "random" not in err
    # Queues of one entry cannot keep the buses busy.
    status, out, err = check(capsys, "platform/v80.yaml", "--set", "hbm.queue=1")
    assert status == 0 and "below the threshold of 85 %" in err and "%!" in out


def test_a_threshold_that_is_no_share(capsys):
    status, out, err = check(capsys, "platform/v80.yaml", "--threshold", 1.5)
    assert (status, out) == (1, "")
    assert "threshold: 1.5, allowed: a share of the peak from 0 to 1" in err


def test_the_self_test_of_a_closed_row_policy_is_another(capsys):
    opened, closed = (
        self_test(Platform.load("platform/v80.yaml", set=[f"hbm.row_policy={policy}"]))[0].points
        for policy in ("open", "closed")
    )
    assert [p.pattern for p in opened] == [p.pattern for p in closed]
    assert any(
        abs(a.fraction_of_peak - b.fraction_of_peak) > 0.02
        for a, b in zip(opened, closed, strict=True)
    )


def test_skipping_it_and_memories_without_it(capsys):
    _, out, _ = check(capsys, "platform/v80.yaml", "--no-self-test")
    assert "self-test" not in out and "Peak figures" in out
    _, out, _ = check(capsys, "platform/v80.yaml", "--no-self-test", "--json")
    assert json.loads(out)["self_test"] == json.loads(out)["preset_self_test"] == []
    _, out, err = check(capsys, "platform/paper.yaml")
    assert "hbm: the ideal backend has a fixed latency and bandwidth" in out and err == ""


def test_backends_give_the_same_results(capsys):
    status, out, err = check(capsys, "platform/quad.yaml", "--compare-backends", "--json")
    assert (status, err) == (0, "")
    data = json.loads(out)
    runs = {run["backend"]: run for run in data["runs"]}
    assert list(runs) == ["builtin", "ideal", "ramulator"] and data["equal"]
    assert runs["builtin"]["differences"] == runs["ideal"]["differences"] == []
    assert runs["ideal"]["cycles"] < runs["builtin"]["cycles"]
    assert runs["builtin"]["bandwidth"] > 0 and runs["builtin"]["missing"] == ""
    assert len(data["self_test"]["builtin"][0]["points"]) == 2 * len(PATTERNS)
    if HAS_RAMULATOR:
        assert runs["ramulator"]["cycles"] > 0 and runs["ramulator"]["differences"] == []
    else:
        assert "RAMULATOR_ROOT" in runs["ramulator"]["missing"]
        assert "ramulator" not in data["self_test"]


def test_backends_side_by_side_as_text(capsys):
    status, out, _ = check(capsys, "platform/quad.yaml", "--compare-backends")
    assert status == 0
    assert "ideal " in out and "  equal" in out and "Streams, % of the peak" in out
    if not HAS_RAMULATOR:
        assert "ramulator   not run: " in out and "RAMULATOR_ROOT" in out


def test_a_memory_without_preset_has_one_backend(capsys):
    status, out, _ = check(capsys, "platform/paper.yaml", "--compare-backends", "--no-self-test")
    assert status == 0
    assert "builtin     not run: hbm names no preset" in out and "--set hbm.preset=HBM2E" in out
    assert "the reference" in out and "Streams" not in out


def test_a_backend_with_other_results_fails(capsys, monkeypatch):
    import npuvp.backend_comparison as comparison

    true_sample = comparison.sample

    def wrong(platform, work, **options):
        result = true_sample(platform, work, **options)
        if platform.description()["hbms"][0]["parameters"]["backend"] == "ideal":
            result.outputs["tokens"][0, 0] += 1
        return result

    monkeypatch.setattr(comparison, "sample", wrong)
    arguments = ("platform/v80.yaml", "--compare-backends", "--no-self-test")
    status, out, err = check(capsys, *arguments)
    assert status == 1
    assert "ideal gave other results than the first backend that ran: tokens" in err
    assert "DIFFER: tokens" in out
    runs = compare_backends(
        lambda backend: Platform.load("platform/v80.yaml", set=[f"hbm.backend={backend}"])
    )
    assert [run.differences for run in runs[:2]] == [(), ("tokens",)]
