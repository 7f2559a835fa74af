"""Caches between design points: bounded, and never older than what they were made of."""

import os

import pytest

import npuvp as vp
from npuvp.energy import EnergyError, load_energy
from npuvp.kept import Kept, KeptFiles
from npuvp.memory_presets import load_preset
from npuvp.paths import platform_dir


def test_the_older_half_goes_when_there_is_one_more():
    kept = Kept(4)
    for key in range(4):
        assert kept.keep(key, str(key)) == str(key)
    assert list(kept) == [0, 1, 2, 3]
    kept.keep(4, "4")
    assert list(kept) == [3, 4]


def test_a_file_is_read_again_when_it_changes_and_only_then(tmp_path):
    path = tmp_path / "a"
    path.write_text("one")
    kept, reads = KeptFiles(), []

    def read():
        reads.append(path.read_text())
        return reads[-1]

    assert [kept.get("a", lambda: [path], read) for _ in range(3)] == ["one"] * 3
    assert reads == ["one"]
    before = path.stat()
    path.write_text("two")
    # Of the same size, and as old as the first one: the change of the inode tells.
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert kept.get("a", lambda: [path], read) == "two"
    path.unlink()
    with pytest.raises(FileNotFoundError):
        kept.get("a", lambda: [path], read)


def test_a_preset_follows_the_file_that_it_extends(tmp_path):
    base = (platform_dir() / "hbm" / "HBM2_2400.yaml").read_text()
    (tmp_path / "HBM2_2400.yaml").write_text(base)
    path = tmp_path / "C.yaml"
    path.write_text("name: C\nextends: HBM2_2400\n")
    assert load_preset(path) is load_preset(path)
    assert load_preset(path).values["timing"]["rp"] == 17
    changed = base.replace("rp:     {value: 17", "rp:     {value: 15")
    assert changed != base
    (tmp_path / "HBM2_2400.yaml").write_text(changed)
    assert load_preset(path).values["timing"]["rp"] == 15
    # Without one beside it, it is the one that ships; until there is one again.
    (tmp_path / "HBM2_2400.yaml").unlink()
    assert load_preset(path).values["timing"]["rp"] == 17
    (tmp_path / "HBM2_2400.yaml").write_text(changed)
    assert load_preset(path).values["timing"]["rp"] == 15


def test_a_table_of_energy_follows_its_file(tmp_path):
    text = (platform_dir() / "energy" / "7nm.yaml").read_text()
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    first = load_energy(path)
    assert load_energy(path) is first
    path.write_text(text.replace("\nname: ", "\nname: not_"))
    assert load_energy(path).name == f"not_{first.name}"
    path.write_text("name: [")
    with pytest.raises(EnergyError, match="not readable as YAML"):
        load_energy(path)


def test_what_one_platform_hands_out_another_does_not_see():
    path = platform_dir() / "v80.yaml"
    platform = vp.Platform.load(path)
    plain = vp.Platform.load(path).description()
    for _ in range(2):
        found = platform.description()
        assert found == plain
        found["cores"][0]["parameters"]["timing"]["vector_exp"]["latency"] = 99
        found["cores"][0]["parameters"]["vlen"] = 1
        found["hbms"][0]["config"]["timing"]["rp"] = 0
        found["platform"]["clock"] = 1
    core = platform.cores[0]
    core.parameters["timing"]["vector_exp"]["latency"] = 99
    core.parameters["vlen"] = 1
    assert core.vlen == 2048 and core.timing == plain["cores"][0]["parameters"]["timing"]
    assert vp.Platform.load(path).description() == plain


def test_a_platform_that_grows_is_checked_again():
    platform = vp.Platform("p")
    platform.core("core0", vlen=256)
    platform.hbm("hbm", preset="HBM2E_V80")
    assert len(platform.description()["cores"]) == 1
    platform.core("core1", vlen=128)
    assert [c["parameters"]["vlen"] for c in platform.description()["cores"]] == [256, 128]
    platform.host()
    mesh = platform.mesh("noc", columns=2, rows=2)
    with pytest.raises(vp.PlatformError, match="is not connected"):
        platform.check()
    at = [(0, 1)]
    mesh.attach(platform.cores[0], at=(0, 0))
    mesh.attach(platform.cores[1], at=(1, 0))
    mesh.attach(platform.memories[0], at=at)
    assert platform.description()["hbms"][0]["nodes"] == [[0, 1]]
    at.append((1, 1))
    assert platform.description()["hbms"][0]["nodes"] == [[0, 1], [1, 1]]


@pytest.mark.parametrize("value", [1, 1.0, True])
def test_equal_values_of_other_types_are_judged_one_by_one(value):
    """`True == 1 == 1.0`, but only the first one is a number of stacks."""
    platform = vp.Platform("p")
    platform.core("core0")
    platform.hbm("hbm", preset="HBM2E", stacks=1)
    platform.check()
    other = vp.Platform("p")
    other.core("core0")
    other.hbm("hbm", preset="HBM2E", stacks=value)
    if type(value) is int:
        other.check()
    else:
        with pytest.raises(vp.PlatformError, match=r"hbm\.stacks"):
            other.check()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0x10", 16),
        ("010", 8),
        ("1_000", 1000),
        ("1e3", "1e3"),
        ("1.0e+3", 1000.0),
        ("off", False),
        ("null", None),
        ("110ns", "110ns"),
        ("[1, 2]", [1, 2]),
        ("1:30", "1:30"),
        ('"12"', "12"),
    ],
)
def test_texts_of_options_mean_what_they_mean_in_a_file(text, value, tmp_path):
    from npuvp.platform_file import read_file, set_entries

    found = set_entries([f"core.x={text}"], [])["core"].value["x"].value
    (tmp_path / "p.yaml").write_text(f"core: {{x: {text}}}\n")
    in_file = read_file(tmp_path / "p.yaml", [])["core"].value["x"].value
    assert found == in_file == value and type(found) is type(in_file) is type(value)
