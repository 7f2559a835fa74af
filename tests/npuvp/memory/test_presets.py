"""Presets and mappings as data: values, what is derived from them, and every kind of fault."""

from pathlib import Path

import pytest

from npuvp.memory_mappings import load_mapping, mapping_names
from npuvp.memory_presets import (
    TIMINGS,
    MemoryConfigError,
    load_preset,
    memory_config,
    preset_names,
)
from npuvp.paths import platform_dir

PRESET = platform_dir() / "hbm" / "HBM2_2400.yaml"


def write(tmp_path: Path, *changes: tuple[str, str], name: str = "HBM2_2400") -> Path:
    """A copy of HBM2_2400 with texts replaced, each of which must be there once."""
    text = PRESET.read_text()
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = tmp_path / f"{name}.yaml"
    path.write_text(text)
    return path


def faults(path: Path) -> list[str]:
    with pytest.raises(MemoryConfigError) as caught:
        load_preset(path)
    return [f"{fault.key} = {fault.value}: {fault.message}" for fault in caught.value.faults]


def test_the_presets_that_ship() -> None:
    assert preset_names() == ["HBM2E", "HBM2E_V80", "HBM2_2400", "HBM3E", "HBM3_6400"]
    peaks = {name: load_preset(name).stack_bandwidth for name in preset_names()}
    assert peaks == {
        "HBM2_2400": 307_200_000_000,
        "HBM2E": 409_600_000_000,
        "HBM2E_V80": 409_600_000_000,
        "HBM3_6400": 819_200_000_000,
        "HBM3E": 1_228_800_000_000,
    }
    v80 = load_preset("HBM2E_V80")
    assert v80.stacks * v80.stack_bandwidth == 819_200_000_000
    assert v80.values["timing"] == load_preset("HBM2E").values["timing"]
    sizes = {name: load_preset(name).stack_bytes >> 30 for name in preset_names()}
    assert sizes == {"HBM2_2400": 16, "HBM2E": 16, "HBM2E_V80": 16, "HBM3_6400": 16, "HBM3E": 24}


def test_the_reference_presets_hold_the_reference_timings() -> None:
    hbm2 = load_preset("HBM2_2400").values["timing"]
    assert [hbm2[name] for name in TIMINGS] == [
        *(17, 6, 2, 17, 14, 17, 40, 57),
        *(2, 4, 2, 5, 5, 19, 19, 6, 8, 10, 15),
        *(421, 193, 10, 4682, 0),
    ]
    hbm3 = load_preset("HBM3_6400").values["timing"]
    assert [hbm3[name] for name in TIMINGS] == [
        *(20, 10, 2, 31, 15, 26, 45, 72),
        *(2, 4, 3, 4, 5, 24, 33, 9, 7, 10, 20),
        *(560, 320, 8, 6240, 2),
    ]


def test_every_value_of_every_preset_has_a_source() -> None:
    for name in preset_names():
        preset = load_preset(name)
        for section, values in preset.values.items():
            assert set(preset.sources[section]) == set(values), (name, section)
            assert all(len(text) > 5 for text in preset.sources[section].values())


def test_every_mapping_serves_every_preset_but_odd_channel_counts_where_it_hashes() -> None:
    assert "hashed" in mapping_names() and "contiguous" in mapping_names()
    for preset in preset_names():
        for mapping in mapping_names():
            config = memory_config(preset, mapping=mapping)
            products = dict.fromkeys(("channel", "row", "column", "bank"), 1)
            for field, size in config["mapping"]["slices"]:
                if field in products:
                    products[field] *= size
            assert products["channel"] == config["organization"]["channels"]
            assert products["column"] == 32
    assert memory_config("HBM2E", mapping="contiguous", channels=6)
    with pytest.raises(
        MemoryConfigError, match="mapping = 'hashed': hashes the channels, and 6 is no power"
    ):
        memory_config("HBM2E", mapping="hashed", channels=6)


def test_a_memory_has_the_channels_of_the_stacks_it_is_meant_for() -> None:
    assert memory_config("HBM2E_V80")["organization"]["channels"] == 16
    assert memory_config("HBM2E")["organization"]["channels"] == 8
    config = memory_config("HBM2E", channels=2, pseudo_channels=1)
    assert config["ideal"] == {"latency_ns": 15.0, "bandwidth": 2 * 25.6e9}


@pytest.mark.parametrize("name", preset_names())
def test_the_ideal_latency_is_that_of_an_idle_read_of_an_open_row_to_its_first_data(
    name: str,
) -> None:
    preset = load_preset(name)
    per_clock = preset.values["bus"]["ticks_per_clock"]
    # A tick in the queue, which ends on the rising edge that a RD needs where a tick is half a clock.
    ticks = 1 + per_clock * preset.values["timing"]["cl"]
    nanoseconds = ticks / per_clock / preset.clock_khz * 1e6
    latency = preset.values["ideal"]["latency_ns"]
    assert latency == pytest.approx(nanoseconds, abs=0.05) and latency <= nanoseconds


def test_arguments_outside_what_is_allowed_are_reported_together() -> None:
    with pytest.raises(MemoryConfigError) as caught:
        memory_config("HBM2_2400", pseudo_channels=3, queue=0, refresh="often", row_policy="ajar")
    text = str(caught.value)
    assert "pseudo_channels = 3: allowed: 1 to 2" in text
    assert "queue = 0: allowed: 1 to 4096" in text
    assert "refresh = 'often': allowed: none, all_bank, per_bank" in text
    assert "row_policy = 'ajar': allowed: open, closed, capped" in text


def test_a_file_that_is_no_preset_is_a_fault_of_the_preset(tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    for text, fault in (
        ("name: [x\n", "odd.yaml:2: file: is no YAML"),
        ("- 1\n", "odd.yaml: file: must be a mapping"),
        (
            "name: odd\nextends: HBM2E\nsources: {X: me}\ncontroler: {}\n",
            "did you mean controller?",
        ),
        (
            "name: odd\nextends: HBM2E\nsources: {X: me}\n"
            "controller:\n  queue_dept: {value: 3, source: X}\n",
            "odd.yaml:5: controller.queue_dept: is unknown, allowed: queue_depth, write_drain_start",
        ),
    ):
        path.write_text(text)
        with pytest.raises(MemoryConfigError) as caught:
            load_preset(path)
        assert fault in str(caught.value)


def test_unknown_names_come_with_the_known_ones() -> None:
    with pytest.raises(MemoryConfigError, match="did you mean hashed"):
        load_mapping("hashd")
    with pytest.raises(MemoryConfigError, match="'HBM9': is unknown, allowed: HBM2E, HBM2E_V80"):
        load_preset("HBM9")
    with pytest.raises(MemoryConfigError, match="'diagonal': is unknown, allowed: bank_inter"):
        load_mapping("diagonal")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (("  rp:     {value: 17, source: M}", "  # gone"), "timing.rp = None: is missing"),
        (("sources:\n", "voltage: 1.2\nsources:\n"), "voltage = None: is unknown, allowed: name"),
        (("  faw: ", "  trp: {value: 1, source: M}\n  faw: "), "timing.trp = None: is unknown"),
        (("refi:   {value: 4682", "refi:   {value: 0"), "timing.refi = 0: must be an integer"),
        (("ras:    {value: 40", "ras:    {value: -40"), "timing.ras = -40: must be an integer"),
        (("cl:     {value: 17", "cl:     {value: 17.5"), "timing.cl = 17.5: must be an integer"),
        (("rc:     {value: 57", "rc:     {value: 50"), "timing.rc = 50: must be at least"),
        (("ccd_l:  {value: 4", "ccd_l:  {value: 1"), "timing.ccd_s = 2: must not exceed"),
        (("refi:   {value: 4682", "refi:   {value: 400"), "timing.rfc = 421: must be below"),
        (("rfc:    {value: 421", "rfc:    {value: 4682"), "= 4682, or refreshes leave no time"),
        (("queue_depth:        {value: 32", "queue_depth:        {value: 0"), "queue_depth = 0"),
        (
            ("pseudo_channels: {value: 2", "pseudo_channels: {value: 4"),
            "organization.pseudo_channels = 4: must be an integer from 1 to 2",
        ),
        (
            ("write_drain_stop:   {value: 0.2", "write_drain_stop:   {value: 0.9"),
            "controller.write_drain_stop = 0.9: must not exceed controller.write_drain_start = 0.8",
        ),
        (("row_policy:         {value: open", "row_policy:         {value: ajar"), "open, closed"),
        (("pin_rate_mbps: {value: 2400", "pin_rate_mbps: {value: 2000"), "but interface.burst_len"),
        (("data_bits:     {value: 64", "data_bits:     {value: 48"), "must be a power of two"),
        (("banks:           {value: 4,", "banks:           {value: 32,"), "banks per pseudo-chan"),
        (("clock:         {value: 1.2GHz", "clock:         {value: 1.2"), "must be a frequency"),
        (("family: HBM2", "family: DDR5"), "family = 'DDR5': allowed: HBM2, HBM3"),
        (("mapping: bank_interleaved", "mapping: odd"), "mapping = 'odd': is no mapping"),
        (("rows:            {value: 65536, source: M}", "rows: 65536"), "must be {value"),
        (("rows:            {value: 65536, source: M}", "rows: {value: 8, source: Q}"), "undeclar"),
        (("name: HBM2_2400", "name: HBM2_2666"), "name = 'HBM2_2666': must be that of the file"),
    ],
)
def test_each_fault_names_key_value_and_what_is_allowed(
    tmp_path: Path, change: tuple[str, str], fault: str
) -> None:
    found = faults(write(tmp_path, change))
    assert len(found) == 1
    assert fault in found[0]


def test_all_faults_come_at_once_with_their_lines(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        ("rp:     {value: 17", "rp:     {value: 0"),
        ("cwl:    {value: 6", "cwl:    {value: x"),
    )
    with pytest.raises(MemoryConfigError) as caught:
        load_preset(path)
    lines = path.read_text().splitlines()
    assert len(caught.value.faults) == 2
    for fault in caught.value.faults:
        line = int(fault.place.rsplit(":", 1)[1])
        assert lines[line - 1].strip().startswith(fault.key.split(".")[1])


def test_a_preset_may_extend_another_but_not_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "A.yaml").write_text("name: A\nextends: B\n")
    (tmp_path / "B.yaml").write_text("name: B\nextends: A\n")
    assert faults(tmp_path / "A.yaml") == [
        "extends = 'A': is no other preset, allowed: HBM2E, HBM2E_V80, HBM2_2400, HBM3E, HBM3_6400"
    ]
    write(tmp_path)
    (tmp_path / "C.yaml").write_text(
        "name: C\nextends: HBM2_2400\nsources: {T: a test of ours}\n"
        "timing: {rp: {value: 15, source: T}}\n"
    )
    preset = load_preset(tmp_path / "C.yaml")
    assert preset.values["timing"]["rp"] == 15
    assert preset.sources["timing"]["rp"] == "a test of ours"
    assert preset.values["timing"]["ras"] == 40
