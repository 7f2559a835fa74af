"""The timeline of a real run of four cores, by the rules of Chrome's trace event format."""

import json
from collections import Counter, defaultdict
from fractions import Fraction

import pytest

import npuvp as vp
from npuvp.sampling import sample, seeded_logits, workload

#: Fields that an event of each phase must have, beside ph, pid and tid.
FIELDS = {
    "M": {"name", "args"},
    "X": {"name", "ts", "dur", "args"},
    "B": {"name", "ts", "args"},
    "E": {"ts"},
    "i": {"name", "ts", "s", "args"},
    "C": {"name", "ts", "args"},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("timeline") / "t.json"
    platform = vp.Platform.load("platform/quad.yaml")
    work = workload(seeded_logits(1, 4, 9000), mask_id=8999)
    with platform.trace(timeline=path, timeline_commands=True):
        result = sample(platform, work)
    events = json.loads(path.read_text(), parse_float=Fraction)
    names = {
        (e["pid"], e["tid"]): e["args"]["name"] for e in events if e.get("name") == "thread_name"
    }
    processes = {e["pid"]: e["args"]["name"] for e in events if e.get("name") == "process_name"}
    return events, names, processes, result


def test_every_event_is_well_formed(run):
    events, names, processes, _ = run
    assert len(events) > 1000
    last = 0
    for event in events:
        fields = set(event) - {"ph", "pid", "tid"}
        assert fields == FIELDS[event["ph"]], event
        assert event["pid"] in processes
        if event["ph"] in "XBEi":
            assert (event["pid"], event["tid"]) in names
        if event["ph"] not in "MC":  # a counter follows when its window is over
            assert event["ts"] >= last
            last = event["ts"]
        if event["ph"] == "i":
            assert event["s"] in ("t", "p", "g")


def test_slices_of_a_track_nest(run):
    events, _, _, result = run
    ends = defaultdict(int)
    stack = defaultdict(list)
    end_us = Fraction(result.time_ps, 10**6)
    for event in events:
        track = event["pid"], event.get("tid")
        if event["ph"] == "X":
            assert event["ts"] >= ends[track], "two slices of a track overlap"
            ends[track] = event["ts"] + event["dur"]
        elif event["ph"] == "B":
            stack[track].append(event["args"]["kind"])
            order = ["block", "step", "call", "layer", "op", "phase"]
            kinds = [order.index(kind) for kind in stack[track]]
            assert kinds == sorted(set(kinds))
        elif event["ph"] == "E":
            stack[track].pop()
            assert event["ts"] <= end_us
    assert stack and not any(stack.values())


def test_dram_commands_are_those_that_were_counted(run):
    events, names, processes, result = run
    seen = Counter(
        event["name"]
        for event in events
        if event["ph"] == "i" and names[event["pid"], event["tid"]].endswith(" commands")
    )
    counts = result.stats["hbm"]["counts"]
    for name, counted in (("ACT", "activates"), ("RD", "reads"), ("WR", "writes")):
        assert seen[name] == counts[counted] > 0
    tracks = {name for (pid, _), name in names.items() if processes[pid] == "hbm"}
    assert {"ch0", "ch0 commands"} <= tracks


def test_links_and_counters(run):
    events, names, processes, result = run
    noc = next(pid for pid, name in processes.items() if name == "noc")
    flits = Counter()
    for event in events:
        if event["ph"] == "X" and event["pid"] == noc:
            flits[names[noc, event["tid"]].split(" ")[0]] += event["args"]["flits"]
    for name, link in result.stats["noc"]["links"].items():
        assert flits[name] == link["request_flits"] + link["response_flits"]
    assert sum(flits.values()) > 0
    read = sum(
        event["args"]["read"]
        for event in events
        if event["ph"] == "C" and event["name"] == "GB/s" and processes[event["pid"]] == "hbm"
    )
    # Windows of 1 us: 1 GB/s is 1000 bytes, printed to the byte.
    assert read * 1000 == result.stats["hbm"]["bytes_read"] > 0


def test_commands_need_a_timeline():
    platform = vp.Platform.load("platform/quad.yaml")
    with (
        pytest.raises(ValueError, match="there is no timeline"),
        platform.trace(timeline_commands=True),
    ):
        sample(platform, workload(seeded_logits(1, 4, 3000), mask_id=2999))


@pytest.mark.parametrize("backend", ["ideal", "builtin"])
def test_a_channel_shows_what_was_asked_of_it(tmp_path, backend):
    """Short accesses are short on the bus of an ideal memory; a DRAM moves whole bursts."""
    platform = vp.Platform.load(
        "platform/edge.yaml",
        hbm={"backend": backend, **({"preset": "HBM2E"} if backend == "builtin" else {})},
    )
    with platform.trace(timeline=tmp_path / "t.json"):
        result = sample(platform, workload(seeded_logits(1, 2, 1001), mask_id=1000))
    events = json.loads((tmp_path / "t.json").read_text(), parse_float=Fraction)
    channels = {
        (e["pid"], e["tid"])
        for e in events
        if e.get("name") == "thread_name" and e["args"]["name"].startswith("ch")
    }
    slices = [e for e in events if e["ph"] == "X" and (e["pid"], e["tid"]) in channels]
    read = [e for e in slices if e["name"] == "read"]
    assert sum(e["args"]["bytes"] for e in read) == result.stats["hbm"]["bytes_read"] > 0
    if backend == "ideal":  # 25.6 bytes per nanosecond, to the picosecond
        for e in read:
            assert abs(e["dur"] * 25600 - e["args"]["bytes"]) < 2 * Fraction(256, 10000)
        assert len({e["args"]["bytes"] for e in read}) > 1
