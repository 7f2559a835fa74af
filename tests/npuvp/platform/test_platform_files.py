"""Platform files: the shipped ones, overrides, round trip."""

from pathlib import Path
from typing import Any

import pytest

import npuvp as vp
from npuvp.paths import platform_dir


def load(name: str, **overrides: Any) -> vp.Platform:
    return vp.Platform.load(platform_dir() / f"{name}.yaml", **overrides)


def cost(core: dict[str, Any], name: str) -> tuple[int, int, int]:
    entry = core["timing"][name]
    return entry["interval"], entry["latency"], entry["per_element"]


def test_paper_is_the_published_machine() -> None:
    description = load("paper").description()
    (core,) = (core["parameters"] for core in description["cores"])
    (hbm,) = (hbm["parameters"] for hbm in description["hbms"])
    assert description["name"] == "paper"
    assert description["period_ps"] == 1000
    assert (core["vlen"], core["mlen"], core["blen"], core["hlen"]) == (2048, 2048, 128, 128)
    assert core["vector_sram_bytes"] == 8 << 20
    assert core["int_sram_words"] * 4 == 8 << 10
    assert (core["fp_format"], core["fp_sram_words"] * 4) == ("fp32", 4 << 10)
    assert (core["act_format"], core["act_block"]) == ("mxfp8_e4m3", 32)
    assert (core["dma_ports"], core["dma_port_bits"], core["dma_burst_beats"]) == (16, 256, 128)
    assert core["dma_port_bits"] // 8 * core["dma_burst_beats"] == 4096
    assert (core["dma_outstanding_reads"], core["dma_outstanding_writes"]) == (4, 3)
    assert core["issue"] == "scoreboard"
    # Per chunk of VLEN logits: max with index, subtract, exp, sum.
    chunk = ["vector_max_idx", "vector_add", "vector_exp", "vector_sum"]
    assert [cost(core, name) for name in chunk] == [(4, 4, 0), (2, 2, 0), (1, 1, 0), (8, 8, 0)]
    assert cost(core, "vector_mul") == (1, 1, 0)
    assert cost(core, "vector_reci") == (2, 2, 0)
    for name in ("vector_topk", "vector_map", "vector_select_int"):
        assert cost(core, name) == (0, 0, 1)
    for name in ("scalar_int", "scalar_fp", "scalar_fp_exp", "scalar_fp_reci", "control"):
        assert cost(core, name) == (1, 1, 0)
    assert (hbm["backend"], hbm["latency"], hbm["bandwidth"]) == ("ideal", 110_000, 409_600_000_000)


def test_an_ideal_memory_has_the_latency_of_its_preset_unless_another_is_given() -> None:
    def latency(**hbm: object) -> int:
        values = load("quad", hbm={"backend": "ideal", **hbm}).description()["hbms"][0]
        return int(values["parameters"]["latency"])

    assert latency() == 15_000
    assert latency(preset="HBM3_6400") == 12_800
    assert latency(latency="100ns") == 100_000
    assert latency(latency="0ns") == 0
    assert latency(preset="", size="1GiB", bandwidth="400GB/s") == 100_000


def test_what_only_the_preset_can_say_comes_from_it_unless_it_is_given() -> None:
    def controller(**hbm: object) -> tuple[int, str, str]:
        memory = load("quad", hbm=hbm)
        found = memory.description()["hbms"][0]["config"]["controller"]
        (part,) = memory.memories
        assert (part.queue, part.refresh, part.row_policy) == (
            found["queue_depth"], found["refresh"], found["row_policy"],
        )  # fmt: skip
        return part.queue, part.refresh, part.row_policy

    assert controller() == (32, "all_bank", "open")
    assert controller(preset="HBM3E") == (48, "all_bank", "open")
    assert controller(preset="HBM3E", queue=32) == (32, "all_bank", "open")
    given = {"refresh": "none", "row_policy": "capped", "queue": 1}
    assert controller(preset="HBM3E", **given) == (1, "none", "capped")


def test_a_memory_reads_as_the_machine_sees_it() -> None:
    (memory,) = load("quad").memories
    assert (memory.stacks, memory.channels, memory.size) == (2, 8, 32 << 30)
    assert (memory.bandwidth, memory.latency) == (819_200_000_000, 15_000)
    nowhere = vp.Platform("p").hbm("hbm", preset="HBM9")
    with pytest.raises(vp.PlatformError, match=r"hbm.preset = .HBM9.: is unknown.*HBM2_2400"):
        print(nowhere.size)


def test_plena_is_the_machine_of_the_fact_sheet() -> None:
    description = load("plena").description()
    core = description["cores"][0]["parameters"]
    assert (core["vlen"], core["mlen"], core["blen"], core["hlen"]) == (64, 64, 4, 16)
    assert core["issue"] == "blocking"
    assert {core[f"{tensor}_format"] for tensor in ("act", "weight", "kv")} == {"plena_e4m3"}
    assert {core[f"{tensor}_block"] for tensor in ("act", "weight", "kv")} == {8}
    assert (core["vector_format"], core["fp_format"]) == ("bf16", "bf16")
    assert core["vector_sram_bytes"] == 4194304 * 64 * 2
    assert core["matrix_sram_bytes"] == 4096 * 64 * 2
    rows = [core[name] for name in ("prefetch_m_rows", "prefetch_v_rows", "writeback_v_rows")]
    assert rows == [64, 4, 4]
    assert core["max_loop_instructions"] == 100_000
    assert cost(core, "vector_add") == (1, 1, 0)
    assert cost(core, "vector_sum") == (8, 8, 0)
    assert cost(core, "matrix_mm") == (64, 64, 0)
    assert cost(core, "vector_map") == (0, 0, 2)
    assert description["hbms"][0]["parameters"]["bandwidth"] == 128 * 10**9


def test_edge_is_small() -> None:
    core = load("edge").description()["cores"][0]["parameters"]
    assert core["vlen"] == 64
    assert core["vector_sram_bytes"] == 64 << 10


@pytest.mark.parametrize("vlen", [64, 128, 256, 512, 1024, 2048, 4096])
def test_paper_at_every_width(vlen: int) -> None:
    core = load("paper", core={"vlen": vlen}).cores[0]
    assert (core.vlen, core.mlen) == (vlen, vlen)
    assert core.blen == core.hlen == min(vlen, 128)
    assert core.matrix_sram_bytes == 2 * vlen * vlen * 2


def test_overrides_win_in_order_and_leave_the_rest() -> None:
    platform = load(
        "paper",
        clock="2GHz",
        core={"vlen": 1024, "timing": {"vector_sum": {"latency": 20}}},
        hbm={"latency": "50ns"},
        host={"fifo_words": 16},
        set=["core.vlen=512", "core.timing.vector_add.interval=3", "hbm.size=1GiB", "name=mine"],
    )
    description = platform.description()
    core = description["cores"][0]["parameters"]
    assert platform.name == "mine"
    assert description["period_ps"] == 500
    assert core["vlen"] == 512
    assert cost(core, "vector_sum") == (8, 20, 0)
    assert cost(core, "vector_add") == (3, 2, 0)
    assert cost(core, "vector_exp") == (1, 1, 0)
    assert description["hbms"][0]["parameters"]["latency"] == 50_000
    assert description["hbms"][0]["parameters"]["size"] == 1 << 30
    assert description["host"]["parameters"]["fifo_words"] == 16


def test_one_option_may_stand_alone() -> None:
    assert load("paper", set="core.vlen=512").cores[0].vlen == 512


QUAD = """\
core: {vlen: 512}
cores:
  core0: {vlen: 256}
  core1:
  core2: {dma_ports: 2}
hbm: {backend: ideal, size: 1GiB, bandwidth: 100GB/s}
hbms: 2
noc:
  columns: 3
  rows: 2
  nodes:
    core2: [0, 1]
    hbm0: [2, 0]
    hbm1: [[2, 1], [1, 1]]
"""


@pytest.fixture
def quad(tmp_path: Path) -> Path:
    path = tmp_path / "quad.yaml"
    path.write_text(QUAD)
    return path


def test_several_cores_and_memories_on_a_mesh(quad: Path) -> None:
    description = vp.Platform.load(quad).description()
    cores = description["cores"]
    assert description["name"] == "quad"
    assert [core["name"] for core in cores] == ["core0", "core1", "core2"]
    assert [core["parameters"]["vlen"] for core in cores] == [256, 512, 512]
    assert [core["parameters"]["dma_ports"] for core in cores] == [16, 16, 2]
    # core2 has its node; the others take the free ones, row by row.
    assert [core["nodes"] for core in cores] == [[[0, 0]], [[1, 0]], [[0, 1]]]
    assert [core["base"] for core in cores] == [(1 << 40) + (i << 32) for i in range(3)]
    hbms = description["hbms"]
    assert [hbm["nodes"] for hbm in hbms] == [[[2, 0]], [[2, 1], [1, 1]]]
    assert [hbm["parameters"]["base"] for hbm in hbms] == [0, 1 << 30]
    assert description["noc"]["name"] == "noc"
    assert description["noc"]["parameters"]["columns"] == 3
    assert description["host"]["nodes"] == [[0, 0]]
    assert description["host"]["base"] == 2 << 40


def test_an_override_of_all_cores_beats_the_own_values_of_one(quad: Path) -> None:
    platform = vp.Platform.load(quad, core={"vlen": 128}, core1={"vlen": 64})
    assert [core.vlen for core in platform.cores] == [128, 64, 128]
    platform = vp.Platform.load(quad, set=["core2.dma_ports=4", "noc.nodes.core2=[1, 0]"])
    assert [core.dma_ports for core in platform.cores] == [16, 16, 4]
    nodes = [core["nodes"] for core in platform.description()["cores"]]
    assert nodes == [[[0, 0]], [[0, 1]], [[1, 0]]]


@pytest.mark.parametrize("name", ["paper", "edge", "plena", "quad"])
def test_round_trip(name: str, quad: Path, tmp_path: Path) -> None:
    platform = vp.Platform.load(quad) if name == "quad" else load(name)
    path = tmp_path / "again.yaml"
    path.write_text(platform.to_yaml())
    again = vp.Platform.load(path)
    assert again.description() == platform.description()
    assert again.to_yaml() == platform.to_yaml()


def test_a_round_trip_keeps_units_and_names_what_all_share(tmp_path: Path) -> None:
    p = vp.Platform("mine", clock="1.3GHz")
    for i in range(4):
        p.core(f"core{i}", vlen=512, quantum="2.5us", timing={"mark": {"latency": 1}})
    p.hbm("main", backend="ideal", size="1GiB", bandwidth="409.6GB/s")
    assert p.to_yaml() == (
        "name: mine\n"
        "clock: 1.3GHz\n"
        "core:\n"
        "  vlen: 512\n"
        "  quantum: 2.5us\n"
        "  timing:\n"
        "    mark: {latency: 1}\n"
        "cores: 4\n"
        "hbms:\n"
        "  main: {backend: ideal, size: 1GiB, bandwidth: 409.6GB/s}\n"
    )
    path = tmp_path / "mine.yaml"
    path.write_text(p.to_yaml())
    assert vp.Platform.load(path).description() == p.description()


def test_every_shipped_platform_file_is_sound() -> None:
    names = sorted(path.stem for path in platform_dir().glob("*.yaml"))
    assert {"edge", "paper", "plena"} <= set(names)
    for name in names:
        assert load(name).name == name
