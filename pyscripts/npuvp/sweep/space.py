"""Design spaces: what varies, how it is sampled, which points are allowed."""

import ast
import hashlib
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np
import yaml

from npuvp.compiler.formats import Formats
from npuvp.model.checkpoint import load_model
from npuvp.model.config import FILE as CONFIG
from npuvp.model.spec import ModelError
from npuvp.plan import GenerationPlan

__all__ = ["Point", "Space", "SpaceError", "load_space"]

MODES = ("analytical", "timing")
METHODS = ("grid", "random", "latin_hypercube")
_KEYS = (
    "model",
    "platform",
    "mode",
    "prompt_length",
    "batch",
    "cores",
    "calls_per_block",
    "experts_per_tile",
    "plan",
    "formats",
    "set",
    "sample",
    "space",
    "constraints",
)
#: Keys of the file that may vary as they are.
_SIZES = (
    "platform",
    "model",
    "batch",
    "cores",
    "prompt_length",
    "calls_per_block",
    "experts_per_tile",
)
_PLAN_FIELDS = tuple(f.name for f in fields(GenerationPlan))
_CLASSES = tuple(f.name for f in fields(Formats))
_SCALES = ("linear", "log", "power_of_two")


class SpaceError(ValueError):
    """A design space that cannot be used; the message holds every fault."""

    def __init__(self, path: Path, faults: list[str]):
        super().__init__(f"design space {path}:\n  " + "\n  ".join(faults))
        self.faults = faults


@dataclass(frozen=True)
class Axis:
    """What varies.

    Attributes:
        key: Such as ``platform.core.vlen``, ``plan.block_length``, ``batch``, ``model``.
        values: Choices; empty for a range.
        low, high: Of a range.
        scale: Of a range: linear, log or power_of_two (which makes choices of it).
        integer: Whether values of a range are rounded.
        unit: Text behind the number.
    """

    key: str
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    scale: str = "linear"
    integer: bool = False
    unit: str = ""

    def at(self, share: float) -> Any:
        """The value at a share of the axis, 0 <= share < 1."""
        if self.values:
            return self.values[int(share * len(self.values))]
        if self.scale == "log":
            value = math.exp(
                math.log(self.low) + share * (math.log(self.high) - math.log(self.low))
            )
        else:
            value = self.low + share * (self.high - self.low)
        if self.integer:
            number: Any = round(value)
        else:
            number = float(f"{value:.6g}")
        return f"{number:g}{self.unit}" if self.unit else number


@dataclass(frozen=True)
class Point:
    """A design point, as plain data.

    Attributes:
        values: What varies, by the axes' keys.
        job: The whole of what is evaluated.
        key: Hash of the job, and of the platform file's text.
    """

    values: Mapping[str, Any]
    job: Mapping[str, Any]
    key: str


@dataclass(frozen=True)
class Space:
    """A design space.

    Attributes:
        path: The file.
        axes: What varies.
        method, points, seed: How it is sampled; `points` is not used by a grid.
        constraints: Of the values, as texts.
        limits: Constraints on results: a point beyond them is not taken to the Pareto front.
        base: The job without what varies.
    """

    path: Path
    axes: tuple[Axis, ...]
    method: str
    count: int
    seed: int
    constraints: tuple[str, ...]
    limits: tuple[str, ...]
    base: Mapping[str, Any] = field(repr=False)

    def points(self) -> list[Point]:
        """The points in a fixed order, none of them twice.

        Raises:
            SpaceError: No point satisfies the constraints.
        """
        found: dict[str, Point] = {}
        named = _Named(self.path)
        for values in self._samples():
            if not all(_evaluate(text, values) for text in self.constraints):
                continue
            point = self._point(values, named)
            found.setdefault(point.key, point)
        if not found:
            raise SpaceError(self.path, ["constraints: no point satisfies them"])
        return list(found.values())

    def _samples(self) -> list[dict[str, Any]]:
        keys = [axis.key for axis in self.axes]
        if self.method == "grid":
            return [
                dict(zip(keys, choice, strict=True))
                for choice in itertools.product(*(axis.values for axis in self.axes))
            ]
        rng = np.random.default_rng(self.seed)
        if self.method == "random":
            shares = rng.random((self.count, len(keys)))
        else:
            # Every axis in as many strata as there are points, one point in each.
            strata = np.stack([rng.permutation(self.count) for _ in keys], axis=1)
            shares = (strata + rng.random(strata.shape)) / self.count
        return [
            {axis.key: axis.at(float(share)) for axis, share in zip(self.axes, row, strict=True)}
            for row in shares
        ]

    def _point(self, values: dict[str, Any], files: "_Named") -> Point:
        job: dict[str, Any] = {
            **self.base,
            "plan": dict(self.base["plan"]),
            "formats": dict(self.base["formats"]),
            "set": dict(self.base["set"]),
        }
        for key, value in values.items():
            section, _, name = key.partition(".")
            if section == "platform" and name:
                job["set"][name] = value
            elif section in ("plan", "formats"):
                job[section][name] = value
            else:
                job[key] = value
        # A point is what is evaluated, wherever the tree lies.
        named = dict(job)
        job["platform"], named["platform"] = files.platform(job["platform"])
        job["model"], named["model"] = files.model(job["model"])
        digest = hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()
        return Point(values, job, digest[:16])

    def allows(self, values: Mapping[str, Any], results: Mapping[str, float]) -> bool:
        """Whether a point's results keep the limits."""
        known = dict(values) | {f"result.{name}": value for name, value in results.items()}
        return all(_evaluate(text, known) for text in self.limits)


class _Named:
    """Files that the points of a space name, each read once."""

    def __init__(self, space: Path):
        self._space = space
        self._platforms: dict[str, tuple[str, list[str]]] = {}
        self._models: dict[str, tuple[str, str | list[str]]] = {}

    def platform(self, name: str) -> tuple[str, list[str]]:
        """A platform file's path, and what identifies it."""
        if name not in self._platforms:
            path = (self._space.parent / name).resolve()
            self._platforms[name] = str(path), [path.name, _hash(path)]
        return self._platforms[name]

    def model(self, name: str) -> tuple[str, str | list[str]]:
        """A model's directory or name, and what identifies it."""
        if name not in self._models:
            path = _model_directory(self._space, name)
            self._models[name] = (
                (name, name) if path is None else (str(path), [path.name, _hash(path / CONFIG)])
            )
        return self._models[name]


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _model_directory(space: Path, model: str) -> Path | None:
    """A checkpoint beside the file of the space, else below the working directory; None: a name."""
    for path in (space.parent / model, Path(model)):
        if (path / CONFIG).is_file():
            return path.resolve()
    return None


_ALLOWED = (
    ast.Expression,
    ast.BoolOp,
    ast.And,
    ast.Or,
    ast.UnaryOp,
    ast.Not,
    ast.USub,
    ast.BinOp,
    ast.Add,
    ast.Sub,
    ast.Mult,
    ast.Div,
    ast.FloorDiv,
    ast.Mod,
    ast.Pow,
    ast.Compare,
    ast.Eq,
    ast.NotEq,
    ast.Lt,
    ast.LtE,
    ast.Gt,
    ast.GtE,
    ast.Constant,
    ast.Name,
    ast.Attribute,
    ast.Load,
)


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _names(text: str) -> list[str]:
    """Names that an expression uses.

    Raises:
        ValueError: It is no comparison of names, numbers and texts.
    """
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError as error:
        raise ValueError(f"not an expression: {error.msg}") from None
    names: list[str] = []

    def visit(node: ast.AST) -> None:
        if not isinstance(node, _ALLOWED):
            raise ValueError(
                f"{type(node).__name__} (allowed: names, numbers, texts, + - * / // % **, "
                "comparisons, and, or, not)"
            )
        if isinstance(node, ast.Name | ast.Attribute):
            names.append(_dotted(node))
            return
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return names


class _Lookups(ast.NodeTransformer):
    """Turns names, dotted ones too, into ``values[name]``."""

    def _lookup(self, node: ast.expr) -> ast.expr:
        values = ast.Name("values", ast.Load())
        return ast.copy_location(
            ast.Subscript(values, ast.Constant(_dotted(node)), ast.Load()), node
        )

    visit_Name = visit_Attribute = _lookup


@lru_cache(maxsize=256)
def _compiled(text: str) -> CodeType:
    tree = ast.fix_missing_locations(_Lookups().visit(ast.parse(text, mode="eval")))
    return compile(tree, "<constraint>", "eval")


def _evaluate(text: str, values: Mapping[str, Any]) -> bool:
    """The value of a checked expression."""
    return bool(eval(_compiled(text), {"__builtins__": {}, "values": values}))


class _Reader:
    def __init__(self, path: Path, data: Any):
        self.path = path
        self.data: dict[str, Any] = data if isinstance(data, dict) else {}
        self.faults: list[str] = []
        if not isinstance(data, dict):
            self.faults.append("a mapping is needed")

    def fault(self, key: str, value: Any, allowed: str) -> None:
        self.faults.append(f"{key}: {value!r}, allowed: {allowed}")

    def section(self, key: str) -> dict[str, Any]:
        value = self.data.get(key) or {}
        if not isinstance(value, dict):
            self.fault(key, value, "a mapping")
            return {}
        return value

    def axis(self, key: str, entry: Any) -> Axis | None:
        if not self._known(key):
            return None
        at = f"space.{key}"
        if isinstance(entry, list):
            if not entry or any(not isinstance(v, int | float | str) for v in entry):
                self.fault(at, entry, "a list of numbers and texts, or a range {from, to, scale}")
                return None
            return Axis(key, tuple(entry))
        if not isinstance(entry, dict) or not {"from", "to"} <= set(entry):
            self.fault(at, entry, "a list of values, or a range {from, to, scale}")
            return None
        unknown = sorted(set(entry) - {"from", "to", "scale"})
        if unknown:
            self.fault(f"{at}.{unknown[0]}", entry[unknown[0]], "from, to, scale")
            return None
        scale = entry.get("scale", "linear")
        if scale not in _SCALES:
            self.fault(f"{at}.scale", scale, ", ".join(_SCALES))
            return None
        ends = [_number(entry[name]) for name in ("from", "to")]
        if None in ends:
            self.fault(at, entry, "numbers, or texts of a number and a unit")
            return None
        (low, unit), (high, other) = (end for end in ends if end is not None)
        if unit != other or low >= high or (scale != "linear" and low <= 0):
            self.fault(at, entry, "from below to, in one unit (above 0 unless linear)")
            return None
        if scale == "power_of_two":
            first, last = math.ceil(math.log2(low)), math.floor(math.log2(high))
            values = tuple(f"{2**n}{unit}" if unit else 2**n for n in range(first, last + 1))
            return Axis(key, values)
        integer = all(isinstance(entry[name], int) for name in ("from", "to"))
        return Axis(key, (), low, high, scale, integer, unit)

    def _known(self, key: str) -> bool:
        section, _, name = str(key).partition(".")
        if section == "platform" and name:
            return True
        if section == "plan" and name in _PLAN_FIELDS:
            return True
        if section == "formats" and name in _CLASSES:
            return True
        if key in _SIZES:
            return True
        self.faults.append(
            f"space.{key}: unknown; allowed: platform, platform.<parameter> such as "
            "platform.core.vlen, plan.<field> such as plan.block_length, formats.<class> such as "
            f"formats.weights, {', '.join(_SIZES[1:])}"
        )
        return False

    def space(self) -> Space:
        data = self.data
        for key in data:
            if key not in _KEYS:
                self.faults.append(f"{key}: unknown key; allowed: {', '.join(_KEYS)}")
        axes = [self.axis(str(key), entry) for key, entry in self.section("space").items()]
        if not axes:
            self.faults.append("space: missing; what varies, by its key")
        varied = {axis.key for axis in axes if axis is not None}
        for key in ("model", "platform"):
            if key not in data and key not in varied:
                self.faults.append(f"{key}: missing")
        mode = data.get("mode", "analytical")
        if mode not in MODES:
            self.fault("mode", mode, ", ".join(MODES))
        plan = self.section("plan")
        for key in plan:
            if key not in _PLAN_FIELDS:
                self.faults.append(f"plan.{key}: unknown; allowed: {', '.join(_PLAN_FIELDS)}")
        formats = self.section("formats")
        for key in formats:
            if key not in _CLASSES:
                self.faults.append(f"formats.{key}: unknown; allowed: {', '.join(_CLASSES)}")
        sample = self.section("sample")
        method = sample.get("method", "grid")
        if method not in METHODS:
            self.fault("sample.method", method, ", ".join(METHODS))
        count, seed = sample.get("points", 0), sample.get("seed", 0)
        if method != "grid" and (not isinstance(count, int) or count < 1):
            self.fault("sample.points", count, "an integer of 1 or more")
        if not isinstance(seed, int) or seed < 0:
            self.fault("sample.seed", seed, "an integer of 0 or more")
        for axis in axes:
            if axis is not None and method == "grid" and not axis.values:
                self.faults.append(
                    f"space.{axis.key}: a grid needs a list of values or scale: power_of_two"
                )
        self._check_files(axes)
        constraints, limits = self._constraints(varied)
        base = {
            "model": data.get("model"),
            "platform": data.get("platform"),
            "mode": mode,
            "prompt_length": data.get("prompt_length", 32),
            "batch": data.get("batch", 1),
            "cores": data.get("cores"),
            "calls_per_block": data.get("calls_per_block"),
            "experts_per_tile": data.get("experts_per_tile"),
            "plan": plan,
            "formats": formats,
            "set": self.section("set"),
        }
        for key in ("prompt_length", "batch"):
            if not isinstance(base[key], int) or base[key] < 1:
                self.fault(key, base[key], "an integer of 1 or more")
        named = [("cores", base["cores"])] if base["cores"] is not None else []
        named += [
            ("space.cores", n)
            for axis in axes
            if axis is not None and axis.key == "cores"
            for n in axis.values
        ]
        for at, value in named:
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                self.fault(at, value, "an integer of 1 or more, as many as share the work")
        if self.faults:
            raise SpaceError(self.path, self.faults)
        found = tuple(axis for axis in axes if axis is not None)
        return Space(self.path, found, method, count, seed, constraints, limits, base)

    def _check_files(self, axes: list[Axis | None]) -> None:
        """Platform files and models, those that vary too."""
        for key in ("platform", "model"):
            named: list[tuple[str, Any]] = [(key, self.data[key])] if key in self.data else []
            for axis in axes:
                if axis is not None and axis.key == key:
                    named += [(f"space.{key}", value) for value in axis.values]
            for at, value in named:
                if not isinstance(value, str):
                    self.fault(at, value, "a text")
                elif key == "platform":
                    path = self.path.parent / value
                    if not path.is_file():
                        self.fault(at, value, f"a file; there is no {path}")
                elif _model_directory(self.path, value) is None:
                    try:
                        load_model(value)
                    except ModelError as error:
                        self.faults.append(f"{at}: {error}")

    def _constraints(self, varied: set[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        given = self.data.get("constraints") or []
        if not isinstance(given, list):
            self.fault("constraints", given, "a list of expressions")
            return (), ()
        before: list[str] = []
        after: list[str] = []
        for index, text in enumerate(given):
            at = f"constraints[{index}]"
            try:
                names = _names(str(text))
            except ValueError as error:
                self.faults.append(f"{at}: {text!r}: {error}")
                continue
            results = [name for name in names if name.startswith("result.")]
            for name in names:
                if name in varied:
                    continue
                if name.startswith("result.") and name[7:] in METRICS:
                    continue
                self.faults.append(
                    f"{at}: {name!r} does not vary; allowed: {', '.join(sorted(varied))}, "
                    f"{', '.join('result.' + metric for metric in METRICS)}"
                )
            (after if results else before).append(str(text))
        return tuple(before), tuple(after)


#: What a point results in.
METRICS = (
    "cycles",
    "time_s",
    "energy_j",
    "area_mm2",
    "tokens_per_s",
    "tokens_per_j",
)


def _number(value: Any) -> tuple[float, str] | None:
    """A number and the unit behind it."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value), ""
    if not isinstance(value, str):
        return None
    digits = value.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ/ ")
    try:
        return float(digits), value[len(digits) :].strip()
    except ValueError:
        return None


def load_space(path: str | Path) -> Space:
    """Reads a design space.

    Raises:
        SpaceError: Every fault at once.
        OSError: The file cannot be read.
    """
    path = Path(path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise SpaceError(path, [f"not readable as YAML: {error}"]) from None
    return _Reader(path, data).space()
