"""Area of a platform, from published figures of its blocks. Every figure is an estimate."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from npuvp.energy import EnergyError, load_energy
from npuvp.kept import KeptFiles

__all__ = ["Area", "AreaError", "area_of"]

_FOLDER = Path(__file__).resolve().parents[2] / "platform" / "area"
_COEFFICIENTS = ("router_share", "placement_overhead")


class AreaError(EnergyError):
    """A table that cannot be used; the message holds every fault."""


@dataclass(frozen=True)
class Area:
    """mm2 of a platform (an estimate).

    Attributes:
        core: Blocks of the first core: ``control``, ``scalar``, ``vector``, ``matrix``, ``dma`` and
            the SRAMs.
        cores: All cores.
        mesh: Routers and network interfaces.
        overhead: What placement adds.
        not_counted: What is left out.
    """

    core: Mapping[str, float]
    cores: float
    mesh: float
    overhead: float
    not_counted: str

    @property
    def total(self) -> float:
        """All of it."""
        return self.cores + self.mesh + self.overhead

    def summary(self) -> dict[str, Any]:
        """Plain data for JSON, in mm2."""
        return {
            "core": dict(self.core),
            "cores": self.cores,
            "mesh": self.mesh,
            "overhead": self.overhead,
            "total": self.total,
            "not_counted": self.not_counted,
            "note": "an estimate",
        }


_tables: KeptFiles[str, tuple[dict[str, float], str]] = KeptFiles()


def _table(name: str) -> tuple[dict[str, float], str]:
    """Coefficients, and what they leave out.

    Raises:
        AreaError: No such table, or its faults.
    """
    return _tables.get(name, lambda: [_file(name)], lambda: _load(_file(name)))


def _file(name: str) -> Path:
    path = Path(name) if Path(name).suffix else _FOLDER / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in _FOLDER.glob("*.yaml")))
        raise AreaError(f"area table {name!r} does not exist; shipped are {known}")
    return path


def _load(path: Path) -> tuple[dict[str, float], str]:
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    faults = []
    found = {}
    sources = data.get("sources") or {}
    entries = data.get("coefficients") or {}
    faults += [
        f"{path}: coefficients.{key}: unknown" for key in entries if key not in _COEFFICIENTS
    ]
    for key in _COEFFICIENTS:
        entry = entries.get(key)
        entry = entry if isinstance(entry, dict) else {}
        value = entry.get("value")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 10:
            faults.append(f"{path}: coefficients.{key}.value = {value!r}: 0 to 10 is needed")
            continue
        if entry.get("source") not in sources:
            faults.append(
                f"{path}: coefficients.{key}.source = {entry.get('source')!r}: one of "
                f"{', '.join(sources)} is needed"
            )
        found[key] = float(value)
    if faults:
        raise AreaError("\n".join(faults))
    return found, str(data.get("not_counted", ""))


def area_of(description: Mapping[str, Any]) -> Area:
    """Area of a platform.

    Args:
        description: `Platform.description()`.

    Raises:
        EnergyError: No such table, or its faults.
    """
    platform = description["platform"]
    table = load_energy(platform["energy"])
    shares, left_out = _table(platform["process"])
    clock = platform["clock"]
    each = [table.core(core["parameters"], clock).area_mm2 for core in description["cores"]]
    cores = sum(sum(area.values()) for area in each)
    mesh = 0.0
    if description["noc"] is not None:
        p = description["noc"]["parameters"]
        largest = max(sum(area.values()) for area in each)
        mesh = shares["router_share"] * largest * p["columns"] * p["rows"]
    overhead = shares["placement_overhead"] * (cores + mesh)
    return Area(dict(each[0]), cores, mesh, overhead, left_out)
