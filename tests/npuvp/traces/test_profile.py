"""The profile adds up to the run in every view; report and command line show it."""

import json
import re

import numpy as np
import pytest

import npuvp as vp
from npuvp.cli import main
from npuvp.sampling import sample, seeded_logits, workload
from npuvp.traces.profile import STALLS, VIEWS, read_profile
from npuvp.traces.report import report


def profiled(platform, **more):
    platform = vp.Platform.load(platform, **more)
    work = workload(seeded_logits(2, 4, 3000), mask_id=2999)
    with platform.trace(profile=True):
        return sample(platform, work)


@pytest.fixture(scope="module")
def runs():
    return {
        "scoreboard": profiled("platform/edge.yaml"),
        "blocking": profiled("platform/edge.yaml", core={"issue": "blocking"}),
        "commands": profiled("platform/v80.yaml"),
        "mesh": profiled("platform/quad.yaml"),
    }


@pytest.mark.parametrize("name", ["scoreboard", "blocking", "commands", "mesh"])
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_adds_up_to_the_run_exactly(runs, name, view):
    result = runs[name]
    rows = result.profile.by(view)
    cores = len(result.stats["cores"])
    assert sum(row.time_ps for row in rows) == cores * result.time_ps > 0
    energy = [*result.energy.dynamic_fj.values(), *result.energy.static_fj.values()]
    assert sum(row.energy_fj for row in rows) == sum(energy) > 0
    hbm = result.stats["hbm"]
    assert sum(row.bytes_read for row in rows) == hbm["bytes_read"] > 0
    assert sum(row.bytes_written for row in rows) == hbm["bytes_written"] > 0
    assert sum(row.instructions for row in rows) == sum(
        core["instructions"] for core in result.stats["cores"].values()
    )


def test_stalls_are_those_that_the_cores_account(runs):
    for name in ("scoreboard", "commands"):
        result = runs[name]
        total = result.profile.total
        own = sum(core["instructions"] for core in result.stats["cores"].values())
        marks = sum(
            core["instructions_by_mnemonic"].get("C_MARK", 0)
            for core in result.stats["cores"].values()
        )
        assert total.times["own"] == (own - marks) * 1000  # one issue slot each
        waited = sum(total.times[stall] for stall in STALLS)
        assert waited == total.time_ps - total.times["own"] - total.times["idle"] > 0


def test_causes(tmp_path):
    def times(text, platform="platform/edge.yaml", **inputs):
        p = vp.Platform.load(platform)
        with p.trace(profile=True):
            return p.run(vp.assemble(text), inputs=inputs).profile.total.times

    vector = np.zeros(64)
    tensor = ".tensor x, core0.vector, 0, bf16, 64, in\n"
    operand = times(tensor + "V_RED_SUM f1, gp0\nS_ADD_FP f2, f1, f1\n", x=vector)
    assert operand["operand"] == 7000 and operand["unit"] == 0  # the sum takes 8 cycles
    unit = times(tensor + "V_RED_SUM f1, gp0\nV_RED_SUM f2, gp0\n", x=vector)
    assert unit["unit"] == 7000
    setup = "LI gp1, 1\nLI gp2, 16\nC_CSRW dma_len, gp2\n"
    load = times(setup + "H_LD_INT gp0, gp0, a0, gp1, 0\nC_FENCE 0xFFFF\n")
    assert load["memory"] > 50_000 > load["dma"] + load["operand"]


def test_unit_and_memory_waits_part_on_a_mesh(runs):
    total = runs["mesh"].profile.total
    assert total.times["noc"] > 0 and total.times["memory"] > 0


def test_marks_name_the_rows(runs):
    keys = [row.key for row in runs["scoreboard"].profile.by("operation")]
    assert sorted(keys) == ["(no phase)", "maximum", "sum"]
    blocks = {row.key for row in runs["scoreboard"].profile.by("block")}
    assert {"block 1", "block 2"} <= blocks or {"block 0", "block 1"} <= blocks


def test_a_profile_survives_its_file(runs, tmp_path):
    made = runs["mesh"].profile
    read = read_profile(made.save(tmp_path / "p.json"))
    assert read.total == made.total
    assert [row.key for row in read.by("line")] == [row.key for row in made.by("line")]
    assert read.traffic == made.traffic and read.meta["cycles"] == made.meta["cycles"]


def test_traffic_over_time_adds_up(runs):
    for name in ("scoreboard", "commands", "mesh"):
        result = runs[name]
        _, read, written = result.profile.traffic["hbm"]
        assert sum(read) == result.stats["hbm"]["bytes_read"]
        assert sum(written) == result.stats["hbm"]["bytes_written"]
        spent = sum(sum(sums) for _, sums in result.profile.power.values())
        assert spent == sum(result.energy.dynamic_fj.values())


def test_report_needs_no_network(runs):
    for result in runs.values():
        page = report(result.profile)
        assert not re.search(r"https?://|<script|<link|@import|src=", page)
        assert page.count("<svg") >= 3 and "viewport" in page
        for target in set(re.findall(r"href='#([^']+)'", page)):
            assert f"id='{target}'" in page
    assert "<h2>NoC</h2>" in report(runs["mesh"].profile)
    assert "<h2>NoC</h2>" not in report(runs["scoreboard"].profile)


def test_command_line(tmp_path, capsys):
    record = tmp_path / "run"
    run = ["sample", "--platform", "platform/edge.yaml", "--batch", "1", "--positions", "2"]
    more = ["--vocabulary", "600", "--mask-id", "599", "--record", str(record)]
    assert main([*run, *more]) == 0
    capsys.readouterr()
    assert main(["profile", str(record), "--by", "operation", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    stats = json.loads((record / "stats.json").read_text())
    assert (
        sum(row["core_cycles"] for row in data["rows"]) == stats["cycles"] == data["run"]["cycles"]
    )
    assert main(["profile", str(record), "--top", "3"]) == 0
    text = capsys.readouterr().out
    assert f"{stats['cycles']:,}" in text and "more (--top 0" in text
    assert main(["report", str(record)]) == 0
    assert (record / "report.html").read_text().startswith("<!doctype html>")
    assert main(["profile", str(tmp_path)]) == 1
    assert "no profile.json" in capsys.readouterr().err
    (tmp_path / "x.json").write_text("{}")
    assert main(["report", str(tmp_path / "x.json")]) == 1
    assert "no profile" in capsys.readouterr().err
