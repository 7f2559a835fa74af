import json
from collections import defaultdict

import pytest
from npuvp._core import trace as t

from npuvp.traces import TraceOptions


def load(path):
    return json.loads(path.read_text())


@pytest.fixture
def records(machine, tmp_path):
    tracing = machine.open(
        TraceOptions(timeline=tmp_path / "a.json", power=tmp_path / "a.csv", power_window="20ns")
    )
    machine.run()
    found = load(tmp_path / "a.json")
    assert tracing.timeline.records == sum(r["ph"] != "M" for r in found)
    return found


def tracks(records):
    """{(process name, track name): [records]}."""
    processes = {r["pid"]: r["args"]["name"] for r in records if r.get("name") == "process_name"}
    names = {
        (r["pid"], r["tid"]): r["args"]["name"] for r in records if r.get("name") == "thread_name"
    }
    found = defaultdict(list)
    for r in records:
        if r["ph"] in "XBEi":
            found[processes[r["pid"]], names[r["pid"], r["tid"]]].append(r)
    return dict(found)


def test_every_track_has_its_slices(records):
    found = tracks(records)
    assert {place: len(slices) for place, slices in found.items()} == {
        ("core0", "program"): 6,
        ("core0", "vector"): 3,
        ("core0", "scalar"): 3,
        ("core0", "stall"): 3,
        ("core0", "dma"): 3,
        ("hbm", "ch0"): 3,
        ("host", "host"): 3,
    }
    first = found["core0", "stall"][0]
    assert (first["name"], first["ts"], first["dur"], first["args"]) == (
        "unit",
        0.002,
        0.018,
        {"pc": 2},
    )
    dma = found["core0", "dma"][2]
    assert (dma["name"], dma["ts"], dma["dur"]) == ("load", 0.1, 0.015)
    assert dma["args"] == {"bytes": 4096, "tag": 2}
    assert [r["name"] for r in found["host", "host"]] == ["doorbell", "launch", "done"]


def test_marks_nest_and_close(records):
    program = tracks(records)["core0", "program"]
    assert [(r["ph"], r["ts"], r.get("name")) for r in program] == [
        ("B", 0, "argmax"),
        ("E", 0.04, None),
        ("B", 0.04, "softmax"),
        ("E", 0.08, None),
        ("B", 0.08, "transfer"),
        ("E", 0.12, None),
    ]


def test_marks_of_different_kinds_nest_by_their_meaning(tmp_path):
    hub = t.Hub()
    core = hub.add_source("core0", "core")
    session = t.Session(hub)
    session.add_timeline(str(tmp_path / "a.json"), t.Names([], [], [[]] * 6))
    layer, block, step, op = 0, 1, 2, 4
    marks = [(block, 0), (step, 0), (layer, 0), (op, 1), (op, 2), (layer, 1), (op, 1), (step, 1)]
    for at, (kind, value) in enumerate(marks):
        hub.emit(t.Kind.mark, core, 1000 * at, 1000 * at, kind, value)
    hub.finish(10_000)
    depth, seen = [], []
    for r in load(tmp_path / "a.json"):
        if r["ph"] == "B":
            depth.append(r["name"])
            seen.append(" > ".join(depth))
        elif r["ph"] == "E":
            depth.pop()
    assert depth == []
    assert seen == [
        "block 0",
        "block 0 > step 0",
        "block 0 > step 0 > layer 0",
        "block 0 > step 0 > layer 0 > op 1",
        "block 0 > step 0 > layer 0 > op 2",
        "block 0 > step 0 > layer 1",
        "block 0 > step 0 > layer 1 > op 1",
        "block 0 > step 1",
    ]


@pytest.mark.parametrize("lookback", [0, 1500])
def test_a_timeline_that_begins_late_shows_the_marks_that_hold(tmp_path, lookback):
    """By time, and by a mark with a stretch before it: the slices around it begin with it."""
    hub = t.Hub()
    core, unit = hub.add_source("core0", "core"), hub.add_source("core0.vector", "unit")
    session = t.Session(hub)
    layer, block, step, op = 0, 1, 2, 4
    names = t.Names([], [], [[]] * 6)
    path = tmp_path / "a.json"
    if lookback:
        on = t.Trigger(t.Kind.mark, [core], a=op, b=9)
        session.add_timeline(str(path), names, on=on, lookback=lookback)
    else:
        session.add_timeline(str(path), names, start=5500)
    marks = [(block, 0), (step, 3), (layer, 1), (op, 1), (layer, 2), (op, 7), (step, 4), (op, 9)]
    for at, (kind, value) in enumerate(marks):
        hub.emit(t.Kind.mark, core, 1000 * at, 1000 * at, kind, value)
        hub.emit(t.Kind.unit_busy, unit, 1000 * at, 1000 * at + 10, at, 0)
    hub.finish(10_000)
    program = tracks(load(path))["core0", "program"]
    assert [(r["ph"], r["ts"] * 1e6, r.get("name")) for r in program] == [
        ("B", 5500, "block 0"),
        ("B", 5500, "step 3"),
        ("B", 5500, "layer 2"),
        ("B", 5500, "op 7"),
        ("E", 6000, None),
        ("E", 6000, None),
        ("E", 6000, None),
        ("B", 6000, "step 4"),
        ("B", 7000, "op 9"),
        ("E", 10000, None),
        ("E", 10000, None),
        ("E", 10000, None),
    ]
    assert [r["ts"] for r in tracks(load(path))["core0", "vector"]] == [0.006, 0.007]


def test_a_mark_that_opens_the_timeline_is_its_first_slice(tmp_path):
    hub = t.Hub()
    core = hub.add_source("core0", "core")
    session = t.Session(hub)
    on = t.Trigger(t.Kind.mark, [core], a=2, b=4)
    session.add_timeline(str(tmp_path / "a.json"), t.Names([], [], [[]] * 6), on=on)
    for at, (kind, value) in enumerate([(1, 0), (2, 3), (0, 1), (2, 4), (0, 2)]):
        hub.emit(t.Kind.mark, core, 1000 * at, 1000 * at, kind, value)
    hub.finish(5000)
    program = tracks(load(tmp_path / "a.json"))["core0", "program"]
    assert [(r["ph"], r["ts"] * 1e6, r.get("name")) for r in program] == [
        ("B", 3000, "block 0"),
        ("B", 3000, "step 4"),
        ("B", 4000, "layer 2"),
        ("E", 5000, None),
        ("E", 5000, None),
        ("E", 5000, None),
    ]


def test_overlapping_slices_get_tracks_of_their_own(tmp_path):
    hub = t.Hub()
    dma = hub.add_source("core0.dma", "dma")
    session = t.Session(hub)
    session.add_timeline(str(tmp_path / "a.json"), t.Names([], [], [[]] * 6))
    for tag, (begin, end) in enumerate([(0, 10), (5, 15), (10, 20), (12, 13), (15, 16)]):
        hub.emit(t.Kind.dma, dma, begin, end, tag, 64, 0)
    hub.finish(20)
    found = {
        name: [r["args"]["tag"] for r in rs]
        for (_, name), rs in tracks(load(tmp_path / "a.json")).items()
    }
    assert found == {"dma": [0, 2], "dma 2": [1, 4], "dma 3": [3]}


def test_counters_of_power_and_bandwidth(records, tmp_path):
    power = [r for r in records if r["ph"] == "C" and r["name"] == "power total"]
    rows = [line.split(",") for line in (tmp_path / "a.csv").read_text().splitlines()[1:]]
    assert [(r["ts"], r["args"]["W"]) for r in power] == [
        (float(row[0]) / 1000, float(row[-1])) for row in rows
    ]
    (bandwidth,) = [r for r in records if r.get("name") == "GB/s"]
    # three transfers of 4096 B in a window of 1 us
    assert bandwidth["args"] == {"read": 12.288, "write": 0}


def test_bandwidth_windows_add_up_to_the_bytes(tmp_path):
    hub = t.Hub()
    channel = hub.add_source("hbm.ch0", "memory")
    session = t.Session(hub)
    session.add_timeline(
        str(tmp_path / "a.json"), t.Names([], [], [[]] * 6), bandwidth_window=100_000
    )
    for i in range(50):
        hub.emit(t.Kind.memory, channel, 7000 * i, 7000 * i + 6500, 0, 1000, i % 2)
        hub.advance(7000 * i)
    hub.finish(350_000)
    counters = [r["args"] for r in load(tmp_path / "a.json") if r["ph"] == "C"]
    assert len(counters) == 4
    for kind in ("read", "write"):
        assert sum(c[kind] for c in counters) * 100 == pytest.approx(25_000, abs=1)


def test_a_cut_file_can_still_be_read(machine, tmp_path):
    machine.open(TraceOptions(timeline=tmp_path / "a.json"))
    machine.run()
    text = (tmp_path / "a.json").read_text()
    lines = text.splitlines()
    cut = "\n".join(lines[:-5]).rstrip(",") + "\n]"
    assert len(json.loads(cut)) == len(json.loads(text)) - 4


def test_the_window_holds_at_both_ends(machine, tmp_path):
    machine.open(TraceOptions(timeline=tmp_path / "a.json", start="41ns", stop="80ns"))
    machine.run()
    slices = [r for r in load(tmp_path / "a.json") if r["ph"] == "X"]
    assert sorted(r["ts"] for r in slices) == [0.041, 0.042, 0.06, 0.062, 0.08]
