"""The components that a platform is assembled from, as descriptions: nothing here simulates."""

import abc
import re
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

from npuvp.memory_facts import PresetFacts, preset_facts, resolve_memory
from npuvp.memory_mappings import MemoryConfigError
from npuvp.parameters import (
    Entry,
    Fault,
    Parameter,
    PlatformError,
    Settings,
    Values,
    check_settings,
    copied,
    declaration,
)
from npuvp.platform_file import python_place
from npuvp.resolve import resolve_core

__all__ = ["Attachment", "Component", "Core", "Host", "Memory", "Mesh", "Node", "Target"]

Node = tuple[int, int]
"""A node of the mesh: (x, y) = (column, row)."""

_Attachable = TypeVar("_Attachable", bound="Core | Memory | Host | Target")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAME_RULE = "a name must be a letter or _ and then letters, digits or _"
_PAGE = 4096
_TARGET = {
    "size": Parameter("size", "bytes", _PAGE, "", least=_PAGE, greatest=1 << 40),
    "latency": Parameter("latency", "time", 0, "", least=0, greatest=10**9),
    "base": Parameter("base", "bytes", None, "", least=0, greatest=1 << 62),
}
"""Parameters of a target written in Python, which is no component of a platform file."""


class Component:
    """A named part of a platform with declared parameters.

    A parameter can be read as an attribute (`core.vlen`): its value as the machine sees it, in base
    units, where 0 no longer stands for something else.

    Attributes:
        kind: type of the component in the declaration.
        name: name of the instance, in traces, statistics and messages as well.
        settings: what was given, unchecked.
        place: where the component was made.
    """

    kind: ClassVar[str]

    def __init__(self, name: str, settings: Settings, place: str):
        self.name = name
        self.settings = settings
        self.place = place

    def key(self, parameter: str) -> str:
        """Full path of a parameter, as it was given or would be."""
        entry = self.settings.get(parameter)
        return f"{self.name}.{parameter}" if entry is None else entry.key

    def fault(self, parameter: str, default: str, message: str) -> Fault:
        """A fault of a parameter's value, where it was given; `default` is shown if it was not."""
        entry = self.settings.get(parameter)
        if entry is None:
            return Fault(self.place, self.key(parameter), default, message)
        return Fault(entry.place, entry.key, entry.text, message)

    def checked(self, faults: list[Fault]) -> Values:
        """Values by the declaration alone; cross-checks come on top of it."""
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            faults.append(Fault(self.place, f"{self.kind} name", repr(self.name), _NAME_RULE))
        return check_settings(self.kind, self.settings, faults)

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter's value, as the machine sees it.

        Raises:
            PlatformError: a value given for this component is not allowed.
        """
        faults: list[Fault] = []
        values = self.checked(faults)
        if faults:
            raise PlatformError(self.name, faults)
        return dict(copied(self._machine_values(values)))

    def _machine_values(self, given: Values) -> dict[str, Any]:
        return given.values

    def __getattr__(self, name: str) -> Any:
        if name not in declaration().components[type(self).kind].parameters:
            raise AttributeError(f"{type(self).__name__} has no parameter or attribute {name!r}")
        return self.parameters[name]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class Core(Component):
    """An NPU core."""

    kind = "core"

    def _machine_values(self, given: Values) -> dict[str, Any]:
        return resolve_core(given.values)


class Memory(Component):
    """A memory (HBM or another DRAM)."""

    kind = "hbm"

    def facts(self, given: Values, faults: list[Fault]) -> PresetFacts | None:
        """What its preset says; None without one, or where faults say what is wrong with it."""
        if not given["preset"] or not given.sound("preset"):
            return None
        try:
            return preset_facts(given["preset"])
        except MemoryConfigError as error:
            for fault in error.faults:
                # The preset itself, or a value in its file, which has a place of its own.
                whole = fault.key == "preset"
                faults.append(self.fault("preset", "", fault.message) if whole else fault)
            given.faulty.add("preset")
            return None

    def _machine_values(self, given: Values) -> dict[str, Any]:
        faults: list[Fault] = []
        facts = self.facts(given, faults)
        if faults:
            raise PlatformError(self.name, faults)
        return resolve_memory(given.values, given.entries, facts)


class Host(Component):
    """The host interface."""

    kind = "host"


class Target(abc.ABC):
    """A memory-mapped TLM target written in Python.

    Derive from it, implement `read` and `write`, and hand an instance to `Platform.add`. The
    methods run while simulated time stands still; they may not wait.

    Example:
        class MyTimer(vp.Target):
            size = 4096

            def read(self, offset, length):
                return (42).to_bytes(length, "little")

            def write(self, offset, data):
                print("timer set to", data.hex())

    Args:
        name: name of the instance.
        size: bytes of address space, a multiple of 4096; by default the class's `size`.
        latency: simulated time of an access ("10ns"); by default the class's `latency`.
        base: address; by default the next free one in the window of peripherals.
    """

    name: str = ""
    size: int | str = _PAGE
    latency: str | int = "10ns"
    base: int | str | None = None
    place: str = "Python"

    def __init__(
        self,
        name: str,
        size: int | str | None = None,
        latency: str | int | None = None,
        base: int | str | None = None,
    ):
        self.name = name
        if size is not None:
            self.size = size
        if latency is not None:
            self.latency = latency
        if base is not None:
            self.base = base
        self.place = python_place()

    @abc.abstractmethod
    def read(self, offset: int, length: int) -> bytes:
        """Returns `length` bytes from `offset`, counted from the target's base."""

    @abc.abstractmethod
    def write(self, offset: int, data: bytes) -> None:
        """Takes `data` at `offset`, counted from the target's base."""

    def checked(self, faults: list[Fault]) -> tuple[int, int, int | None]:
        """Size in bytes, latency in picoseconds and base, with faults reported."""
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            faults.append(Fault(self.place, "target name", repr(self.name), _NAME_RULE))
        given = {"size": self.size, "latency": self.latency, "base": self.base}
        result = {name: parameter.default for name, parameter in _TARGET.items()}
        for name, parameter in _TARGET.items():
            value = given[name]
            if value is None and parameter.default is None:
                continue
            try:
                result[name] = parameter.parse(value)
            except ValueError as error:
                faults.append(Fault(self.place, f"{self.name}.{name}", repr(value), str(error)))
                continue
            if parameter.type == "bytes" and result[name] % _PAGE:
                message = f"must be a multiple of {_PAGE} bytes"
                faults.append(Fault(self.place, f"{self.name}.{name}", repr(value), message))
        return result["size"], result["latency"], result["base"]


class Attachment:
    """A component at one or several nodes of a mesh.

    Attributes:
        component: what is attached.
        at: the nodes as they were given.
        place, key: where, for messages.
    """

    def __init__(self, component: Component | Target, at: Any, place: str, key: str):
        self.component = component
        self.at = at
        self.place = place
        self.key = key

    @property
    def text(self) -> str:
        """The nodes as they were given."""
        return self.at.text if isinstance(self.at, Entry) else repr(self.at)

    def nodes(self) -> list[Node] | None:
        """The nodes; None if `at` is neither (x, y) nor a list of such."""
        at = self.at.value if isinstance(self.at, Entry) else self.at
        if not isinstance(at, tuple | list) or not at:
            return None
        pairs: Sequence[Any] = [at] if not isinstance(at[0], tuple | list) else at
        nodes = []
        for pair in pairs:
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                return None
            if any(isinstance(part, bool) or not isinstance(part, int) for part in pair):
                return None
            nodes.append((pair[0], pair[1]))
        return nodes


class Mesh(Component):
    """A 2-D mesh with XY routing."""

    kind = "noc"

    def __init__(self, name: str, settings: Settings, place: str):
        super().__init__(name, settings, place)
        self.attachments: list[Attachment] = []

    def attach(self, component: _Attachable, at: Node | Sequence[Node]) -> _Attachable:
        """Connects a component.

        Args:
            component: a core, a memory, the host interface or a Python target.
            at: node (x, y); for a memory also a list of nodes, over which its channels spread.

        Returns:
            The component.

        Raises:
            TypeError: `component` is nothing that can be attached.
        """
        if not isinstance(component, Core | Memory | Host | Target):
            raise TypeError(
                f"attach: {component!r} is no core, memory, host interface or vp.Target"
            )
        key = f"{self.name}.nodes.{component.name}"
        self.attachments.append(Attachment(component, at, python_place(), key))
        return component
