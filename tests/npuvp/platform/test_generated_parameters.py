"""What derives from the declaration is fresh, and the declaration agrees with its neighbours."""

import subprocess
import sys
from pathlib import Path

import yaml

import npuvp
from npuvp.parameter_texts import cpp_from_dict_header, cpp_header, python_types, reference_page
from npuvp.parameters import declaration

PACKAGE = Path(npuvp.__file__).parent
ROOT = PACKAGE.parents[1]


def test_files_in_the_tree_are_fresh() -> None:
    hint = "run tools/generate_parameters.py --python"
    assert (ROOT / "docs/parameters.md").read_text() == reference_page(), hint
    assert (PACKAGE / "parameter_types.py").read_text() == python_types(), hint


def test_the_generator_writes_the_headers_and_leaves_unchanged_files_alone(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "tools/generate_parameters.py", "--cpp", tmp_path]
    subprocess.run(command, check=True)
    header = tmp_path / "parameters.h"
    assert header.read_text() == cpp_header()
    assert (tmp_path / "parameters_from_dict.h").read_text() == cpp_from_dict_header()
    before = header.stat().st_mtime_ns
    subprocess.run(command, check=True)
    assert header.stat().st_mtime_ns == before


def test_the_header_has_every_parameter_with_the_default_of_the_machine() -> None:
    header = cpp_header()
    for component in declaration().components.values():
        for name in component.parameters:
            assert f" {name} = " in header or f" {name};" in header, name
    assert "    std::int64_t vlen = 2048;\n" in header
    assert "    std::int64_t mlen = 2048;\n" in header
    assert "    std::int64_t quantum = 1000000;\n" in header
    assert "    Issue issue = Issue::scoreboard;\n" in header
    assert "    bool check_uninitialised = false;\n" in header
    assert '    std::string name = "npu";\n' in header


def test_timing_classes_are_those_of_the_isa() -> None:
    isa = yaml.safe_load((PACKAGE / "isa/isa.yaml").read_text())
    assert list(declaration().tables["Timing"].classes) == list(isa["timing_classes"])


def test_every_parameter_is_documented() -> None:
    page = reference_page()
    count = 0
    for component in declaration().components.values():
        for parameter in component.parameters.values():
            assert f"\n| `{parameter.name}` | " in page
            assert parameter.description.endswith(".") or parameter.enum is not None
            count += 1
    assert count >= 60
