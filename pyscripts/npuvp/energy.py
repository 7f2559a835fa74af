"""Energy, static power and area of a machine, from a table of published coefficients.

Every figure is an estimate: the coefficients come from the synthesis of single blocks or from other
chips (``platform/energy/7nm.yaml`` names the source of each). Dynamic energies are whole
femtojoules, so that sums over events are exact on any host.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from npuvp.errors import InputError
from npuvp.kept import Kept, KeptFiles

if TYPE_CHECKING:
    from npuvp.platform import Platform

__all__ = [
    "ClassEnergy",
    "Coefficient",
    "CoreEnergy",
    "EnergyError",
    "EnergyTable",
    "MemoryEnergy",
    "NocEnergy",
    "full_activity_power",
    "load_energy",
]

_FOLDER = Path(__file__).resolve().parents[2] / "platform" / "energy"

#: Units a coefficient may have, with the factor to fJ, W, um2 or 1 of what it is per.
_UNITS = {
    "pJ": 1e3,
    "pJ/B": 1e3,
    "pJ/bit": 1e3,
    "pJ/bit/mm": 1e3,
    "mW": 1e-3,
    "mW/mm2": 1e-3,
    "mW/MB": 1e-3,
    "um2": 1.0,
    "1": 1.0,
}
_COEFFICIENTS = {
    "issue": "pJ",
    "scalar_fp": "pJ",
    "scalar_int": "pJ",
    "lane_add": "pJ",
    "lane_mul": "pJ",
    "lane_exp": "pJ",
    "lane_reciprocal": "pJ",
    "lane_log": "pJ",
    "lane_silu": "pJ",
    "lane_compare": "pJ",
    "lane_select": "pJ",
    "lane_count": "pJ",
    "lane_random": "pJ",
    "tree": "pJ",
    "tree_index": "pJ",
    "topk_element": "pJ",
    "move_element": "pJ",
    "mac_mxint8": "pJ",
    "mac_mxint4": "pJ",
    "mac_mxfp8_e4m3": "pJ",
    "mac_mxfp8_e5m2": "pJ",
    "mac_mxfp6_e3m2": "pJ",
    "mac_mxfp6_e2m3": "pJ",
    "mac_mxfp4_e2m1": "pJ",
    "mac_bf16": "pJ",
    "sram_8k": "pJ/B",
    "sram_32k": "pJ/B",
    "sram_1m": "pJ/B",
    "dma_descriptor": "pJ",
    "dma_byte": "pJ/B",
    "noc_router": "pJ/B",
    "noc_wire": "pJ/bit/mm",
    "logic_leakage": "mW/mm2",
    "sram_leakage": "mW/MB",
    "lane_activity": "pJ",
    "idle_clock": "1",
    "lane_area": "um2",
    "scalar_area": "um2",
    "pe_mxint4": "um2",
    "pe_mxint8": "um2",
    "pe_mxfp8": "um2",
    "pe_bf16": "um2",
    "sram_bit": "um2",
    "control_area": "um2",
    "dma_area": "um2",
}
_MEMORY = {
    "read": "pJ/bit",
    "write": "pJ/bit",
    "activate": "pJ",
    "read_array": "pJ/bit",
    "write_array": "pJ/bit",
    "refresh": "pJ",
    "background": "mW",
    "interface": "pJ/bit",
}
_SCALES = ("once", "lane", "tree", "element", "lane_element")
_FORMAT_BYTES = {"bf16": 2, "fp32": 4}
_SRAM_ACCESS_BYTES = 8


class EnergyError(ValueError):
    """A table or a question to it that cannot be; the message holds every fault."""


@dataclass(frozen=True)
class Coefficient:
    """One figure of the table. Always an estimate.

    Attributes:
        value: In `unit`.
        unit: Such as ``pJ`` or ``mW/mm2``.
        source: Publication, spelt out.
        basis: How it was arrived at where it is not the source's own figure, else "".
    """

    value: float
    unit: str
    source: str
    basis: str = ""

    @property
    def base(self) -> float:
        """The value in fJ, W, um2 or 1, per whatever the unit says it is per."""
        return self.value * _UNITS[self.unit]


@dataclass(frozen=True)
class ClassEnergy:
    """Energy of an operation in fJ, beyond its issue: ``once_fj + n * element_fj``."""

    once_fj: int
    element_fj: int


@dataclass(frozen=True, eq=False)
class CoreEnergy:
    """Coefficients of one core; a table gives the same object for the same core.

    Attributes:
        issue_fj: Fetch, decode and issue of an instruction (marks cost nothing).
        classes: By timing class of the ISA. SRAM accesses, MACs and memory come on top.
        sram_access_fj: One row of ``vector`` and ``matrix``, one word of ``fp`` and ``int``.
        sram_byte_fj: The same per byte.
        mac_fj: One multiply-accumulate, by format of the weights.
        dma_byte_fj: One byte through the DMA engine.
        static_watts: ``control``, ``scalar``, ``vector``, ``matrix``, ``dma`` and the SRAMs
            ``vector_sram``, ``matrix_sram``, ``fp_sram``, ``int_sram``, ``imem``.
        area_mm2: The same components.
    """

    issue_fj: int
    classes: Mapping[str, ClassEnergy]
    sram_access_fj: Mapping[str, int]
    sram_byte_fj: Mapping[str, int]
    mac_fj: Mapping[str, int]
    dma_byte_fj: int
    static_watts: Mapping[str, float]
    area_mm2: Mapping[str, float]


@dataclass(frozen=True)
class MemoryEnergy:
    """Coefficients of a memory generation.

    ``read_byte_fj`` and ``write_byte_fj`` are the whole cost. A backend that reports commands uses
    ``activate_fj`` per ACT, ``read_array_byte_fj`` and ``write_array_byte_fj`` plus
    ``interface_byte_fj`` per byte moved, ``refresh_fj`` per REF of a pseudo-channel, and
    ``background_watts`` per channel.
    """

    read_byte_fj: int
    write_byte_fj: int
    activate_fj: int
    read_array_byte_fj: int
    write_array_byte_fj: int
    interface_byte_fj: int
    refresh_fj: int
    background_watts: float


@dataclass(frozen=True)
class NocEnergy:
    """``hop_fj``: one flit through a router and the link behind it."""

    hop_fj: int


@dataclass(frozen=True)
class EnergyTable:
    """A table of coefficients; see the module's text."""

    name: str
    path: Path
    voltage: float
    coefficients: Mapping[str, Coefficient]
    timing_classes: Mapping[str, Mapping[str, str]]
    memories: Mapping[str, Mapping[str, Coefficient]] = field(repr=False)
    supply: float = 0.0
    _cores: Kept[tuple[Any, ...], "CoreEnergy"] = field(
        default_factory=lambda: Kept(1024), init=False, repr=False, compare=False
    )
    _supplies: Kept[float, "EnergyTable"] = field(
        default_factory=lambda: Kept(64), init=False, repr=False, compare=False
    )

    def at(self, voltage: float) -> "EnergyTable":
        """The same table for another supply of the logic.

        Energy of events grows with the square of the supply (C V^2). So does leakage, near enough:
        its power is V times a current that itself grows about in proportion to V around the nominal
        supply (drain-induced barrier lowering of 7 nm FinFETs, some 40 mV/V). Memories have a supply
        of their own.

        Args:
            voltage: In V; 0 stands for the table's own.

        Raises:
            EnergyError: A voltage that is negative or no number.
        """
        if voltage == 0:
            return self
        _demand_positive("voltage", voltage)
        return self._supplies.get(voltage) or self._supplies.keep(
            voltage, replace(self, supply=float(voltage))
        )

    def full_activity_power(self, vlen: int, clock_hz: float = 1e9) -> float:
        """Power in W of the vector datapath with every lane active in every cycle.

        In proportion to the lanes: each has its registers and arithmetic, and a reduction tree over
        VLEN lanes has VLEN - 1 nodes. The published post-synthesis figure of the sampling engine
        (1524.53 mW at VLEN 2048 and 1 GHz, arXiv 2601.20706) sets the coefficient of a lane; other
        widths are predictions.

        Raises:
            EnergyError: A width that is no power of two, or a clock that is not positive.
        """
        _demand_width("vlen", vlen)
        _demand_positive("clock_hz", clock_hz)
        return self._base("lane_activity") * 1e-15 * vlen * clock_hz

    def sram_byte_fj(self, capacity_bytes: float, row_bytes: int = _SRAM_ACCESS_BYTES) -> int:
        """Energy of one byte of an SRAM access, in fJ.

        The published points are for 64-bit accesses; a longer row is striped over as many slices
        of 64 bit, so each slice holds ``capacity * 8 / row_bytes``. Between the points energy is a
        power of the capacity (a straight line in log-log), continued beyond both ends.

        Args:
            capacity_bytes: The whole SRAM.
            row_bytes: What one access moves.

        Raises:
            EnergyError: A capacity or row that is not positive.
        """
        _demand_positive("capacity_bytes", capacity_bytes)
        _demand_positive("row_bytes", row_bytes)
        slices = max(1.0, row_bytes / _SRAM_ACCESS_BYTES)
        points = [
            (8 * 1024, self._base("sram_8k")),
            (32 * 1024, self._base("sram_32k")),
            (1024 * 1024, self._base("sram_1m")),
        ]
        size = capacity_bytes / slices
        low, high = points[:2] if size < points[1][0] else points[1:]
        slope = math.log(high[1] / low[1]) / math.log(high[0] / low[0])
        return round(low[1] * math.pow(size / low[0], slope))

    def core(
        self, settings: Mapping[str, Any], clock_hz: float, clock_gating: bool = True
    ) -> CoreEnergy:
        """Coefficients of a core.

        Args:
            settings: The core's resolved parameters (``vlen``, ``mlen``, ``blen``, ``matrix_rows``,
                ``imem_words``, ``vector_sram_bytes``, ``matrix_sram_bytes``, ``fp_sram_words``,
                ``int_sram_words``, ``vector_format``, ``matrix_format``, ``fp_format``); others are
                not looked at. Array area is that of MXINT8 elements unless ``weight_format`` says
                otherwise.
            clock_hz: The core's clock.
            clock_gating: Whether the clocks of idle units stop. If not, scalar, vector and matrix
                unit take the clock's share of their full-activity power all the time.

        Raises:
            EnergyError: A missing or impossible parameter.
        """
        key = (*(settings.get(name) for name in _CORE_SETTINGS), clock_hz, clock_gating)
        return self._cores.get(key) or self._cores.keep(
            key, self._core(_CoreSettings(settings), clock_hz, clock_gating)
        )

    def _core(self, s: "_CoreSettings", clock_hz: float, clock_gating: bool) -> "CoreEnergy":
        lanes, log_lanes = s.vlen, s.vlen.bit_length() - 1
        scale = {
            "once": (1, 0),
            "lane": (lanes, 0),
            "tree": (lanes * log_lanes, 0),
            "element": (0, 1),
            "lane_element": (0, lanes),
        }
        classes = {}
        for name, parts in self.timing_classes.items():
            once = sum(self._base(c) * scale[kind][0] for kind, c in parts.items())
            element = sum(self._base(c) * scale[kind][1] for kind, c in parts.items())
            classes[name] = ClassEnergy(round(once), round(element))

        vector_row = s.vlen * _FORMAT_BYTES[s.vector_format]
        matrix_row = s.mlen * _FORMAT_BYTES[s.matrix_format]
        fp_word = _FORMAT_BYTES[s.fp_format]
        srams = {  # capacity, bytes of one access
            "vector": (s.vector_sram_bytes, vector_row),
            "matrix": (s.matrix_sram_bytes, matrix_row),
            "fp": (s.fp_sram_words * fp_word, fp_word),
            "int": (s.int_sram_words * 4, 4),
        }
        per_byte = {name: self.sram_byte_fj(size, row) for name, (size, row) in srams.items()}

        um2 = {
            "control": self._base("control_area"),
            "scalar": self._base("scalar_area"),
            "vector": self._base("lane_area") * s.vlen,
            "matrix": self._pe_area(s.weight_format) * s.mlen * s.blen * s.matrix_rows,
            "dma": self._base("dma_area"),
        }
        capacities = {f"{name}_sram": size for name, (size, _) in srams.items()}
        capacities["imem"] = s.imem_words * 4
        watts = {name: self._base("logic_leakage") * area * 1e-6 for name, area in um2.items()}
        for name, size in capacities.items():
            um2[name] = self._base("sram_bit") * 8 * size
            watts[name] = self._base("sram_leakage") * size / 2**20
        if not clock_gating:
            share, hertz = self._base("idle_clock"), clock_hz * 1e-15
            macs = s.mlen * s.blen * s.matrix_rows
            watts["scalar"] += share * self._base("scalar_fp") * hertz
            watts["vector"] += share * self.full_activity_power(s.vlen, clock_hz)
            watts["matrix"] += share * self._base(f"mac_{s.weight_format}") * macs * hertz
        return CoreEnergy(
            issue_fj=round(self._base("issue")),
            classes=classes,
            sram_access_fj={name: per_byte[name] * row for name, (_, row) in srams.items()},
            sram_byte_fj=per_byte,
            mac_fj={
                name.removeprefix("mac_"): round(c.base)
                for name, c in self.coefficients.items()
                if name.startswith("mac_")
            },
            dma_byte_fj=round(self._base("dma_byte")),
            static_watts=watts,
            area_mm2={name: area * 1e-6 for name, area in um2.items()},
        )

    def memory(self, generation: str) -> MemoryEnergy:
        """Coefficients of a memory, by generation (``HBM2E``) or preset name (``HBM2E_V80``).

        Raises:
            EnergyError: The table does not know it.
        """
        found = self.memories.get(generation.split("_")[0])
        if found is None:
            raise EnergyError(
                f"{self.path}: no memory {generation!r}; there are {', '.join(self.memories)}"
            )

        def byte(name: str) -> int:
            return round(found[name].base * 8)

        return MemoryEnergy(
            read_byte_fj=byte("read"),
            write_byte_fj=byte("write"),
            activate_fj=round(found["activate"].base),
            read_array_byte_fj=byte("read_array"),
            write_array_byte_fj=byte("write_array"),
            interface_byte_fj=byte("interface"),
            refresh_fj=round(found["refresh"].base),
            background_watts=found["background"].base,
        )

    def noc(self, flit_bytes: int, hop_mm: float) -> NocEnergy:
        """Coefficients of a mesh.

        Args:
            flit_bytes: Payload of a flit.
            hop_mm: Length of a link: about the root of a tile's area.

        Raises:
            EnergyError: A figure that is not positive.
        """
        _demand_positive("flit_bytes", flit_bytes)
        _demand_positive("hop_mm", hop_mm)
        byte = self._base("noc_router") + 8 * self._base("noc_wire") * hop_mm
        return NocEnergy(hop_fj=round(byte * flit_bytes))

    def _base(self, name: str) -> float:
        coefficient = self.coefficients[name]
        ratio = self.supply / self.voltage if self.supply else 1.0
        return coefficient.base * ratio**2 if coefficient.unit[0] in "pm" else coefficient.base

    def _pe_area(self, weight_format: str) -> float:
        family = "mxfp8" if weight_format.startswith("mxfp") else weight_format
        return self._base(f"pe_{family}")


#: Formats without coefficients of their own, by the one whose array they take.
_ARRAY_OF = {
    "plena_e4m3": "mxfp8_e4m3",
    "plena_e5m2": "mxfp8_e5m2",
    "plena_e3m4": "mxfp8_e4m3",
    "plena_e2m5": "mxfp8_e4m3",
    "fp16": "bf16",
    "fp32": "bf16",
}


_WIDTHS = ("vlen", "mlen", "blen", "matrix_rows")
_SIZES = (
    "imem_words",
    "vector_sram_bytes",
    "matrix_sram_bytes",
    "fp_sram_words",
    "int_sram_words",
)
_FORMATS = ("vector_format", "matrix_format", "fp_format")
_CORE_SETTINGS = (*_WIDTHS, *_SIZES, *_FORMATS, "weight_format")


class _CoreSettings:
    """The parameters of a core that energy depends on, checked together."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        faults = []
        for name in _WIDTHS + _SIZES:
            value = settings.get(name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                faults.append(f"core.{name} = {value!r}: a positive integer is needed")
            elif name in _WIDTHS and value & (value - 1):
                faults.append(f"core.{name} = {value}: a power of two is needed")
            setattr(self, name, value)
        for name in _FORMATS:
            value = settings.get(name)
            if value not in _FORMAT_BYTES:
                faults.append(f"core.{name} = {value!r}: one of {', '.join(_FORMAT_BYTES)} needed")
            setattr(self, name, value)
        weights = settings.get("weight_format", "mxint8")
        weights = _ARRAY_OF.get(weights, weights)
        if f"mac_{weights}" not in _COEFFICIENTS:
            formats = [name[4:] for name in _COEFFICIENTS if name.startswith("mac_")]
            faults.append(f"core.weight_format = {weights!r}: one of {', '.join(formats)} needed")
        self.weight_format: str = weights
        if faults:
            raise EnergyError("energy: " + "; ".join(faults))

    vlen: int
    mlen: int
    blen: int
    matrix_rows: int
    imem_words: int
    vector_sram_bytes: int
    matrix_sram_bytes: int
    fp_sram_words: int
    int_sram_words: int
    vector_format: str
    matrix_format: str
    fp_format: str


def _demand_width(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1 or value & (value - 1):
        raise EnergyError(f"energy: {name} = {value!r}: a power of two is needed")


def _demand_positive(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise EnergyError(f"energy: {name} = {value!r}: a positive number is needed")


_tables: KeptFiles[tuple[str, bool], EnergyTable] = KeptFiles()


def load_energy(path: str | Path = "7nm") -> EnergyTable:
    """Reads and checks a table.

    Args:
        path: A file, or the name of one in ``platform/energy`` (``"7nm"``).

    Raises:
        EnergyError: The file does not exist or says something that cannot be; every fault is
            listed with its key, value and what was allowed.
    """
    # What a name without an ending stands for depends on whether there is such a file.
    key = str(path), os.path.exists(path)  # noqa: PTH110 (several times per design point)
    return _tables.get(key, lambda: [_file(path)], lambda: _load(_file(path)))


def _file(path: str | Path) -> Path:
    file = Path(path)
    if file.suffix == "" and not file.exists():
        file = _FOLDER / f"{path}.yaml"
    if not file.is_file():
        known = ", ".join(sorted(found.stem for found in _FOLDER.glob("*.yaml")))
        raise EnergyError(f"energy table {str(path)!r} does not exist; shipped are {known}")
    return file


def _load(file: Path) -> EnergyTable:
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise EnergyError(f"{file}: not readable as YAML: {error}") from None
    return _Reader(file, data).table()


class _Reader:
    def __init__(self, file: Path, data: Any) -> None:
        self.file = file
        self.data = data
        self.faults: list[str] = []

    def fault(self, key: str, value: Any, allowed: str) -> None:
        self.faults.append(f"{self.file}: {key} = {value!r}: {allowed}")

    def section(self, data: Any, key: str, known: Mapping[str, Any] | None) -> dict[str, Any]:
        """The mapping `data`; faults for keys missing from or unknown to `known`."""
        if not isinstance(data, dict):
            self.fault(key, data, "a mapping is needed")
            return {}
        if known is not None:
            for name in data:
                if name not in known:
                    self.fault(f"{key}.{name}" if key else str(name), data[name], "unknown key")
            for name in known:
                if name not in data:
                    self.fault(f"{key}.{name}" if key else name, None, "is missing")
        return {str(name): value for name, value in data.items()}

    def coefficients(
        self, data: Any, key: str, units: Mapping[str, str], sources: Mapping[str, str]
    ) -> dict[str, Coefficient]:
        found = {}
        for name, entry in self.section(data, key, units).items():
            if name not in units:
                continue
            at = f"{key}.{name}"
            if not isinstance(entry, dict) or not {"value", "unit", "source"} <= set(entry):
                self.fault(at, entry, "value, unit and source are needed")
                continue
            for extra in set(entry) - {"value", "unit", "source", "basis"}:
                self.fault(f"{at}.{extra}", entry[extra], "unknown key")
            value = entry["value"]
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not 0 <= value < math.inf:
                self.fault(f"{at}.value", value, "a number of at least 0 is needed")
                continue
            if str(entry["unit"]) != units[name]:
                self.fault(f"{at}.unit", entry["unit"], f"{units[name]} is needed")
            if entry["source"] not in sources:
                self.fault(f"{at}.source", entry["source"], f"one of {', '.join(sources)} needed")
                continue
            source = sources[entry["source"]]
            found[name] = Coefficient(
                float(value), units[name], source, str(entry.get("basis", ""))
            )
        return found

    def table(self) -> EnergyTable:
        keys = ("name", "voltage", "sources", "coefficients", "timing_classes", "memory")
        top = self.section(self.data, "", dict.fromkeys(keys))
        sources = {
            name: str(text)
            for name, text in self.section(top.get("sources"), "sources", None).items()
        }
        voltage = top.get("voltage")
        if isinstance(voltage, bool) or not isinstance(voltage, int | float) or voltage <= 0:
            self.fault("voltage", voltage, "volts above 0 are needed")
            voltage = 1.0
        coefficients = self.coefficients(
            top.get("coefficients"), "coefficients", _COEFFICIENTS, sources
        )
        memories = {
            name: self.coefficients(entry, f"memory.{name}", _MEMORY, sources)
            for name, entry in self.section(top.get("memory"), "memory", None).items()
        }
        classes = {}
        for name, parts in self.section(top.get("timing_classes"), "timing_classes", None).items():
            at = f"timing_classes.{name}"
            classes[name] = {str(k): str(c) for k, c in self.section(parts, at, None).items()}
            for scale, coefficient in classes[name].items():
                if scale not in _SCALES:
                    self.fault(f"{at}.{scale}", coefficient, f"one of {', '.join(_SCALES)} needed")
                elif _COEFFICIENTS.get(coefficient) != "pJ":
                    self.fault(f"{at}.{scale}", coefficient, "a coefficient in pJ is needed")
        if self.faults:
            raise EnergyError("\n".join(self.faults))
        return EnergyTable(
            str(top["name"]), self.file, float(voltage), coefficients, classes, memories
        )


def full_activity_power(platform: "Platform", core: str | None = None) -> float:
    """Power of the vector datapaths of a platform with every lane active in every cycle, in W.

    An estimate, and not what a run takes on average: see docs/energy.md.

    Args:
        platform: Whose clock, supply and lanes count.
        core: Of one core; None: of all together.

    Raises:
        InputError: The platform has no such core.
    """
    description = platform.description()
    settings = description["platform"]
    table = load_energy(settings["energy"]).at(settings["voltage"])
    cores = {c["name"]: c["parameters"]["vlen"] for c in description["cores"]}
    if core is not None and core not in cores:
        raise InputError(f"no core {core!r} on this platform (cores: {', '.join(cores)})")
    chosen = cores.values() if core is None else [cores[core]]
    return sum(table.full_activity_power(vlen, settings["clock"]) for vlen in chosen)
