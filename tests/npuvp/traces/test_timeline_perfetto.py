"""Perfetto's own trace processor reads the timeline of a run: every slice, counter and instant.

Needs node, and NPUVP_PERFETTO as the directory of the trace processor's WebAssembly build; see
docs/traces.md.
"""

import json
import os
import shutil
import subprocess
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest

import npuvp as vp
from npuvp.sampling import sample, seeded_logits, workload

ASSETS = os.environ.get("NPUVP_PERFETTO", "")
SCRIPT = Path(__file__).resolve().parents[3] / "tools" / "perfetto_query.mjs"

pytestmark = pytest.mark.skipif(
    not ASSETS or shutil.which("node") is None,
    reason="node and NPUVP_PERFETTO (Perfetto's trace processor, docs/traces.md) are needed",
)

SLICES = """
    select process.name as process, thread.name as track, slice.name as name,
           count(*) as n, sum(dur) as ns
    from slice join thread_track on slice.track_id = thread_track.id
               join thread using (utid) join process using (upid)
    where dur > 0 or thread.name != 'program'
    group by 1, 2, 3"""
COUNTERS = """
    select process.name as process, t.name as name, count(*) as n, sum(value) as total
    from counter c join process_counter_track t on c.track_id = t.id join process using (upid)
    group by 1, 2"""
ERRORS = "select name, value from stats where severity != 'info' and value > 0"


def ask(trace: Path, *queries: str) -> list[list[dict[str, object]]]:
    done = subprocess.run(
        ["node", str(SCRIPT), ASSETS, str(trace), *queries],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]


def test_perfetto_reads_what_was_written(tmp_path):
    path = tmp_path / "t.json"
    platform = vp.Platform.load("platform/quad.yaml")
    work = workload(seeded_logits(1, 4, 9000), mask_id=8999)
    with platform.trace(timeline=path, power=tmp_path / "p.csv"):
        sample(platform, work)
    events = json.loads(path.read_text(), parse_float=Fraction)
    tracks = {
        (e["pid"], e["tid"]): e["args"]["name"] for e in events if e.get("name") == "thread_name"
    }
    processes = {e["pid"]: e["args"]["name"] for e in events if e.get("name") == "process_name"}
    written: Counter[tuple[str, str, str]] = Counter()
    for event in events:
        if event["ph"] == "X":
            place = processes[event["pid"]], tracks[event["pid"], event["tid"]]
            written[(*place, event["name"])] += 1
    counters = Counter(
        (processes[e["pid"]], f"{e['name']} {key}")
        for e in events
        if e["ph"] == "C"
        for key in e["args"]
    )
    slices, counted, errors = ask(path, SLICES, COUNTERS, ERRORS)
    assert errors == []
    read = {(s["process"], s["track"], s["name"]): s["n"] for s in slices}
    assert len(written) > 50
    assert {key: n for key, n in read.items() if key[1] != "program"} == written
    marks = sum(e["ph"] == "B" for e in events)
    assert marks > 0
    assert sum(n for key, n in read.items() if key[1] == "program") <= marks
    assert {(c["process"], c["name"]): c["n"] for c in counted} == counters
