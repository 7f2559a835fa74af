from pathlib import Path

import pytest
import yaml

from npuvp.energy import ClassEnergy, EnergyError, load_energy

CORE = {
    "vlen": 2048,
    "mlen": 2048,
    "blen": 128,
    "matrix_rows": 1,
    "imem_words": 65536,
    "vector_sram_bytes": 8 << 20,
    "matrix_sram_bytes": 16 << 20,
    "fp_sram_words": 1024,
    "int_sram_words": 2048,
    "vector_format": "bf16",
    "matrix_format": "bf16",
    "fp_format": "fp32",
    "weight_format": "mxint8",
}
SHIPPED = load_energy().path


def test_published_full_activity_power_and_area():
    table = load_energy()
    assert table.full_activity_power(2048, 1e9) == pytest.approx(1.52453, rel=1e-6)
    assert table.full_activity_power(1024, 1e9) == pytest.approx(1.52453 / 2, rel=1e-6)
    assert table.full_activity_power(2048, 5e8) == pytest.approx(1.52453 / 2, rel=1e-6)
    core = table.core(CORE, 1e9)
    assert core.area_mm2["vector"] == pytest.approx(2.931, rel=1e-4)
    assert core.area_mm2["scalar"] == pytest.approx(661e-6)
    assert core.area_mm2["matrix"] == pytest.approx(2048 * 128 * 51.2e-6)
    assert core.area_mm2["vector_sram"] == pytest.approx((8 << 20) * 8 * 0.036e-6)


def test_operations_cost_what_the_sources_say():
    core = load_energy().core(CORE, 1e9)
    assert core.issue_fj == 4320
    assert core.classes["scalar_int"] == ClassEnergy(67, 0)
    assert core.classes["scalar_fp_exp"] == ClassEnergy(3000, 0)
    assert core.classes["vector_add"] == ClassEnergy(2260 * 2048, 0)
    assert core.classes["vector_exp"] == ClassEnergy(2140 * 2048, 0)
    assert core.classes["vector_sum"] == ClassEnergy(24 * 2048 * 11, 0)
    assert core.classes["vector_topk"] == ClassEnergy(0, 2100)
    assert core.classes["vector_colmax"] == ClassEnergy(0, 264 * 2048)
    assert core.classes["mark"] == ClassEnergy(0, 0)
    assert core.mac_fj["mxint4"] == 53
    assert core.mac_fj["mxint8"] == 105
    assert core.mac_fj["mxfp8_e4m3"] == 850


def test_sram_law_goes_through_the_published_points():
    table = load_energy()
    assert table.sram_byte_fj(8 * 1024) == 940
    assert table.sram_byte_fj(32 * 1024) == 1060
    assert table.sram_byte_fj(1024 * 1024) == 1750
    assert 940 < table.sram_byte_fj(16 * 1024) < 1060 < table.sram_byte_fj(256 * 1024) < 1750
    assert table.sram_byte_fj(4 * 1024) < 940
    assert table.sram_byte_fj(8 << 20) > 1750
    # 8 MiB in rows of 4096 B are 512 slices of 16 KiB
    assert table.sram_byte_fj(8 << 20, 4096) == table.sram_byte_fj(16 * 1024)
    core = table.core(CORE, 1e9)
    assert core.sram_access_fj["vector"] == 4096 * table.sram_byte_fj(16 * 1024)
    assert core.sram_access_fj["int"] == 4 * table.sram_byte_fj(8 * 1024)


def test_static_power_and_clock_gating():
    table = load_energy()
    core = table.core(CORE, 1e9)
    assert core.static_watts["vector"] == pytest.approx(0.93e-3 * 2.931, rel=1e-4)
    assert core.static_watts["vector_sram"] == pytest.approx(8 * 30e-3)
    ungated = table.core(CORE, 1e9, clock_gating=False)
    extra = ungated.static_watts["vector"] - core.static_watts["vector"]
    assert extra == pytest.approx(0.152453, rel=1e-5)
    assert ungated.static_watts["scalar"] - core.static_watts["scalar"] == pytest.approx(0.3e-3)
    macs = CORE["mlen"] * CORE["blen"] * CORE["matrix_rows"]
    extra = ungated.static_watts["matrix"] - core.static_watts["matrix"]
    assert extra == pytest.approx(0.1 * macs * 0.105e-3, rel=1e-6)
    assert ungated.static_watts["dma"] == core.static_watts["dma"]


def test_memory_and_noc():
    table = load_energy()
    hbm2 = table.memory("HBM2_2400")
    assert hbm2.read_byte_fj == 31200
    assert hbm2.activate_fj == 828_000
    assert hbm2.refresh_fj == 60_800_000
    assert hbm2.read_array_byte_fj == 12560
    assert hbm2.background_watts == pytest.approx(0.057)
    assert table.memory("HBM2E_V80").read_byte_fj == 34400
    # The two ways of counting agree at an activate per 256 bytes, for every generation.
    for generation in table.memories:
        m = table.memory(generation)
        commands = m.read_array_byte_fj + m.interface_byte_fj + m.activate_fj / 256
        assert commands == pytest.approx(m.read_byte_fj, rel=0.01), generation
    assert table.noc(flit_bytes=64, hop_mm=1.0).hop_fj == 64 * (150 + 480)
    with pytest.raises(EnergyError, match="no memory 'DDR4'; there are HBM2, HBM2E, HBM3, HBM3E"):
        table.memory("DDR4")


def test_every_coefficient_has_a_source_and_ours_have_a_basis():
    table = load_energy()
    everything = list(table.coefficients.items())
    for memory in table.memories.values():
        everything += memory.items()
    assert len(everything) > 70
    for name, coefficient in everything:
        assert coefficient.source, name
        if coefficient.source.startswith("ours"):
            assert coefficient.basis, name


def test_bad_settings_are_named_together():
    bad = {**CORE, "vlen": 100, "fp_format": "fp16", "imem_words": -1}
    with pytest.raises(EnergyError) as caught:
        load_energy().core(bad, 1e9)
    message = str(caught.value)
    assert "core.vlen = 100: a power of two is needed" in message
    assert "core.fp_format = 'fp16': one of bf16, fp32 needed" in message
    assert "core.imem_words = -1: a positive integer is needed" in message
    with pytest.raises(EnergyError, match="vlen = 3"):
        load_energy().full_activity_power(3)
    with pytest.raises(EnergyError, match="clock_hz = 0"):
        load_energy().full_activity_power(64, 0)


def test_bad_tables_are_named_together(tmp_path: Path):
    data = yaml.safe_load(SHIPPED.read_text())
    data["coefficients"]["issue"]["value"] = -1
    data["coefficients"]["lane_add"]["unit"] = "nJ"
    data["coefficients"]["lane_mul"]["source"] = "hearsay"
    data["coefficients"]["lane_div"] = {"value": 1, "unit": "pJ", "source": "plena"}
    del data["coefficients"]["tree"]
    data["timing_classes"]["vector_add"] = {"row": "lane_add"}
    data["memory"]["HBM2"]["read"] = 3.9
    file = tmp_path / "bad.yaml"
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    with pytest.raises(EnergyError) as caught:
        load_energy(file)
    message = str(caught.value)
    assert len(message.splitlines()) == 7
    assert f"{file}: coefficients.issue.value = -1: a number of at least 0 is needed" in message
    assert "coefficients.lane_add.unit = 'nJ': pJ is needed" in message
    assert "coefficients.lane_mul.source = 'hearsay': one of plena, " in message
    assert "coefficients.lane_div = " in message
    assert "coefficients.tree = None: is missing" in message
    assert "timing_classes.vector_add.row = 'lane_add': one of once, lane," in message
    assert "memory.HBM2.read = 3.9: value, unit and source are needed" in message


def test_missing_table_lists_the_shipped_ones():
    with pytest.raises(EnergyError, match="'5nm' does not exist; shipped are 7nm"):
        load_energy("5nm")
