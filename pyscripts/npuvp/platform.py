"""Platform assembly: from a YAML file, or by hand from Python.

A `Platform` is a description. It holds what was asked for and where; `check()` holds it against the
declaration in `parameters.yaml` and against itself, and `description()` is what the simulator gets.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

import yaml
from numpy.typing import ArrayLike

from npuvp.components import Attachment, Component, Core, Host, Memory, Mesh, Node, Target
from npuvp.firmware import Firmware
from npuvp.memory_map import Region
from npuvp.parameter_texts import call_documentation, call_signature
from npuvp.parameter_types import (
    CoreArguments,
    HbmArguments,
    HostArguments,
    NocArguments,
    PlatformArguments,
)
from npuvp.parameters import (
    Entry,
    Fault,
    PlatformError,
    Settings,
    copied,
    declaration,
    unknown_key,
)
from npuvp.platform_checks import Checked, Parts, check_parts
from npuvp.platform_file import merge, python_entries, python_place, read_file, set_entries

if TYPE_CHECKING:
    # A platform can be described, and run by the golden machine, without the extension module.
    from npuvp.debug import Checkpoint, Debugger
    from npuvp.machine import Machine
    from npuvp.run import Result, TraceRequest

__all__ = ["Platform"]

_Method = TypeVar("_Method")
_SECTIONS = ("core", "cores", "hbm", "hbms", "noc", "host")


class _PlatformParameters(Component):
    kind = "platform"

    def key(self, parameter: str) -> str:
        entry = self.settings.get(parameter)
        return parameter if entry is None else entry.key


def _documented(component: str) -> Callable[[_Method], _Method]:
    """Gives a method the signature and the documentation of a component's parameters."""

    def apply(method: _Method) -> _Method:
        function: Any = method
        function.__signature__ = call_signature(component, function)
        function.__doc__ = inspect.cleandoc(function.__doc__) + "\n" + call_documentation(component)
        return method

    return apply


class Platform:
    """A platform: cores, memories, a mesh, the host interface and targets written in Python.

    Example:
        p = Platform("my_npu", clock="1GHz")
        p.core("core0", vlen=512)
        p.hbm("hbm", preset="HBM2E")
        p.check()
    """

    @_documented("platform")
    def __init__(self, name: str = "npu", /, **parameters: Unpack[PlatformArguments]):
        """An empty platform.

        Faults in the parameters are reported by `check()`, together with all others.

        Args:
            parameters: as follows.
        """
        place = python_place()
        settings = python_entries({"name": name, **parameters}, place)
        self._parts = Parts(_PlatformParameters("platform", settings, place))
        self._faults: list[Fault] = []
        self._last: tuple[list[Any], Checked] | None = None
        self.tracing: TraceRequest | None = None
        self.machine: Machine | None = None

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        set: str | Iterable[str] = (),
        **overrides: Any,
    ) -> Self:
        """Reads a platform file.

        Args:
            path: the YAML file.
            set: overrides as texts, one or several of "core.vlen=512"; they win over `overrides`.
            overrides: parameters of the platform (`clock="2GHz"`), or per component a dict:
                `core` for every core, `hbm` for every memory, `noc`, `host`, or an instance by its
                name (`core1={"vlen": 256}`). They win over what the file says.

        Raises:
            PlatformError: with every fault of the file and the overrides.
            OSError: the file cannot be read.
        """
        path = Path(path)
        faults: list[Fault] = []
        tree = read_file(path, faults)
        over = set_entries([set] if isinstance(set, str) else set, faults)
        if overrides:
            over = merge(python_entries(overrides, python_place()), over)
        platform = cls.__new__(cls)
        settings = {
            "name": Entry(path.stem, str(path), "name"),
            **{k: e for k, e in merge(tree, over).items() if k in _platform_keys()},
        }
        platform._parts = Parts(_PlatformParameters("platform", settings, str(path)))
        platform._faults = faults
        platform._last = None
        platform.tracing = None
        platform.machine = None
        platform._assemble(tree, over, str(path))
        platform.check()
        return platform

    # Assembly by hand

    @_documented("core")
    def core(self, name: str, **parameters: Unpack[CoreArguments]) -> Core:
        """Adds a core.

        Faults in the parameters are reported by `check()`, together with all others.

        Args:
            name: name of the instance, such as "core0".
        """
        place = python_place()
        core = Core(name, python_entries(parameters, place, name), place)
        self._parts.cores.append(core)
        return core

    @_documented("hbm")
    def hbm(self, name: str, **parameters: Unpack[HbmArguments]) -> Memory:
        """Adds a memory.

        Faults in the parameters are reported by `check()`, together with all others.

        Args:
            name: name of the instance, such as "hbm".
        """
        place = python_place()
        memory = Memory(name, python_entries(parameters, place, name), place)
        self._parts.memories.append(memory)
        return memory

    @_documented("noc")
    def mesh(self, name: str, **parameters: Unpack[NocArguments]) -> Mesh:
        """Adds the mesh; connect every core and memory with its `attach`.

        Without a mesh all components share one bus without contention of its own.

        Args:
            name: name of the instance, such as "noc".
        """
        place = python_place()
        mesh = Mesh(name, python_entries(parameters, place, name), place)
        self._parts.meshes.append(mesh)
        return mesh

    @_documented("host")
    def host(self, **parameters: Unpack[HostArguments]) -> Host:
        """Sets parameters of the host interface, which every platform has.

        On a mesh it has a port of its own at the router of node (0, 0), or at the node that it is
        attached to.

        Args:
            parameters: as follows.
        """
        place = python_place()
        if self._parts.host is None:
            self._parts.host = Host("host", {}, place)
        host = self._parts.host
        host.settings = merge(host.settings, python_entries(parameters, place, "host"))
        return host

    def add(self, target: Target) -> Target:
        """Adds a memory-mapped target written in Python, and returns it.

        Raises:
            TypeError: `target` is no instance of a class derived from `vp.Target`.
        """
        if not isinstance(target, Target):
            raise TypeError(f"add: {target!r} is no instance of a class derived from vp.Target")
        self._parts.targets.append(target)
        return target

    # Reading

    @property
    def name(self) -> str:
        """Name of the platform."""
        return str(self._parts.platform.settings["name"].value)

    @property
    def cores(self) -> tuple[Core, ...]:
        """The cores, in the order of their numbers."""
        return tuple(self._parts.cores)

    @property
    def memories(self) -> tuple[Memory, ...]:
        """The memories."""
        return tuple(self._parts.memories)

    @property
    def noc(self) -> Mesh | None:
        """The mesh, or None."""
        return self._parts.meshes[0] if self._parts.meshes else None

    @property
    def targets(self) -> tuple[Target, ...]:
        """The targets written in Python."""
        return tuple(self._parts.targets)

    def check(self) -> None:
        """Checks everything.

        Raises:
            PlatformError: with every fault, each with its place.
        """
        self._checked()

    def memory_map(self) -> list[Region]:
        """The regions of the address space, by address.

        Raises:
            PlatformError: the platform has faults.
        """
        return self._checked().regions

    def description(self) -> dict[str, Any]:
        """The platform as plain data (dicts, lists, numbers, strings), all in base units.

        Nothing in it is left at a 0 that stands for something else, except what only the preset of
        a memory knows.

        Raises:
            PlatformError: the platform has faults.
        """
        checked = self._checked()
        parts = self._parts
        base = {region.name: region.base for region in checked.regions}
        clock = checked.platform["clock"]

        def nodes(name: str) -> list[list[int]]:
            return [list(node) for node in checked.nodes.get(name, [])]

        return {
            "name": checked.platform["name"],
            "period_ps": (2 * 10**12 + clock) // (2 * clock),
            "platform": copied(checked.platform),
            "cores": [
                {
                    "name": core.name,
                    "index": index,
                    "base": base[f"{core.name}.csr"],
                    "nodes": nodes(core.name),
                    "parameters": copied(values),
                }
                for index, (core, values) in enumerate(zip(parts.cores, checked.cores, strict=True))
            ],
            "hbms": [
                {
                    "name": memory.name,
                    "nodes": nodes(memory.name),
                    "parameters": copied(values),
                    "config": copied(config),
                }
                for memory, values, config in zip(
                    parts.memories, checked.memories, checked.configs, strict=True
                )
            ],
            "noc": None
            if checked.mesh is None
            else {"name": parts.meshes[0].name, "parameters": copied(checked.mesh)},
            "host": {
                "name": "host",
                "base": base["host"],
                "nodes": nodes("host") or ([[0, 0]] if checked.mesh is not None else []),
                "parameters": copied(checked.host),
            },
            "targets": [
                {
                    "name": target.name,
                    "base": at,
                    "size": size,
                    "latency": latency,
                    "nodes": nodes(target.name),
                }
                for target, (size, latency, at) in zip(parts.targets, checked.targets, strict=True)
            ],
            "memory_map": [
                {
                    "name": region.name,
                    "owner": region.owner,
                    "space": region.space,
                    "base": region.base,
                    "size": region.size,
                }
                for region in checked.regions
            ],
        }

    def to_yaml(self) -> str:
        """A platform file that describes this platform.

        Raises:
            PlatformError: the platform has faults, or has targets written in Python, which no
                file can hold.
        """
        self._checked()
        parts = self._parts
        faults = [
            Fault(target.place, target.name, None, "a target written in Python fits in no file")
            for target in parts.targets
        ]
        if faults:
            raise PlatformError(self.name, faults)
        tree: dict[str, Any] = _plain(parts.platform)
        tree |= _instances("core", "core0", "core{}", parts.cores)
        tree |= _instances("hbm", "hbm", "hbm{}", parts.memories)
        for mesh in parts.meshes:
            nodes = {
                attachment.component.name: _node_list(attachment) for attachment in mesh.attachments
            }
            tree["noc"] = {"name": mesh.name, **_plain(mesh), "nodes": nodes}
        if parts.host is not None and parts.host.settings:
            tree["host"] = _plain(parts.host)
        return yaml.safe_dump(tree, sort_keys=False, default_flow_style=None, width=100)

    # Running

    def run(
        self,
        firmware: Firmware | str | Path,
        *,
        inputs: Mapping[str, ArrayLike] | None = None,
        outputs: Iterable[str] | None = None,
        mode: str = "functional",
        decisions: Mapping[int, Iterable[tuple[int, int]]] | None = None,
        progress: bool | None = None,
    ) -> "Result":
        """Runs a firmware on a fresh machine of this platform.

        The same run twice gives the same cycles, bytes and traces. The machine stays readable as
        `Platform.machine`, after a trap too, until the next run.

        Args:
            firmware: A `Firmware` or the path of an ELF file.
            inputs: Values of the tensors that the firmware declares as inputs, by name.
            outputs: Tensors to fetch; None: all that are declared as outputs.
            mode: "functional" (bit-exact data and timing) or "timing" (control and time only).
            decisions: For timing mode: per core, what control takes from data, as a functional
                run recorded it (`Result.decisions`).
            progress: Show simulated time; None: where it takes over two seconds on a terminal.

        Raises:
            PlatformError: The platform has faults.
            InputError: Firmware, inputs or outputs do not fit; nothing has run.
            Trap: Firmware did something that the machine cannot carry out.
            DeadlockError: Nothing can happen any more.
        """
        from npuvp.run import run_firmware

        return run_firmware(
            self,
            firmware,
            inputs=inputs,
            outputs=outputs,
            mode=mode,
            decisions=decisions,
            progress=progress,
        )

    def debug(
        self,
        firmware: Firmware | str | Path,
        *,
        inputs: Mapping[str, ArrayLike] | None = None,
        outputs: Iterable[str] | None = None,
        mode: str = "functional",
        decisions: Mapping[int, Iterable[tuple[int, int]]] | None = None,
        checkpoint: "Checkpoint | str | Path | None" = None,
    ) -> "Debugger":
        """A run that stops where it is asked to; see `npuvp.Debugger`."""
        from npuvp.debug import Debugger

        return Debugger(
            self,
            firmware,
            inputs=inputs,
            outputs=outputs,
            mode=mode,
            decisions=decisions,
            checkpoint=checkpoint,
        )

    def trace(
        self,
        vcd: str | Path | None = None,
        *,
        signals: Sequence[str] | None = None,
        power: str | Path | None = None,
        power_window: str | int = "100ns",
        power_by: str = "component",
        timeline: str | Path | None = None,
        timeline_commands: bool = False,
        log: str | Path | None = None,
        cores: Sequence[str] | None = None,
        log_only: Sequence[str] | None = None,
        profile: bool = False,
        start: str | int = 0,
        stop: str | int | None = None,
        limit_bytes: int = 0,
    ) -> "TraceRequest":
        """A context in which one run records traces.

        A waveform whose name ends in ".fst" is converted when the run has ended; that needs
        GTKWave's `vcd2fst`.

        Args:
            vcd: Waveform file.
            signals: Globs of signals, such as "core0.*"; None: a set that fits most uses.
            power: CSV file of the power trace.
            power_window: Length of its windows.
            power_by: Its columns: ``component`` (every unit of every core), ``part`` (one per core,
                memory, ...) or ``kind`` (units of all cores together).
            timeline: JSON file for Perfetto and Chrome's tracing.
            timeline_commands: Whether it shows every DRAM command.
            log: Instruction log, text or (name ending in ".bin") binary.
            cores: Globs of the cores to log; None: all.
            log_only: Globs of the mnemonics to log; None: all.
            profile: Add up time, traffic and energy by instruction and mark: `Result.profile`.
            start: Where waveform, timeline and log begin: a time such as "1us", "pc=0x12",
                "label=row", "step=3" or another mark, "trap", or with a stretch of time before
                that event "trap-2us".
            stop: Where they end, in the same way.
            limit_bytes: Where the waveform stops growing; 0: nowhere.
        """
        from npuvp.run import TraceRequest
        from npuvp.traces.session import TraceOptions

        options = TraceOptions(
            vcd=vcd,
            signals=signals,
            power=power,
            power_window=power_window,
            power_by=power_by,
            timeline=timeline,
            timeline_commands=timeline_commands,
            log=log,
            cores=cores,
            log_only=log_only,
            profile=profile,
            start=start,
            stop=stop,
            limit_bytes=limit_bytes,
        )
        return TraceRequest(self, options)

    def __repr__(self) -> str:
        return f"<Platform {self.name}: {len(self.cores)} cores>"

    # How it works inside

    def _checked(self) -> Checked:
        given = self._given()
        if given is not None and self._last is not None and self._last[0] == given:
            return self._last[1]
        checked = check_parts(self._parts)
        faults = [*self._faults, *checked.faults]
        if faults:
            raise PlatformError(self.name, faults)
        self._last = None if given is None else (given, checked)
        return checked

    def _given(self) -> list[Any] | None:
        """All that checking looks at; None where targets take part, whose attributes are anyone's."""
        parts = self._parts
        if parts.targets:
            return None
        components = [parts.platform, *parts.cores, *parts.memories, *parts.meshes]
        if parts.host is not None:
            components.append(parts.host)
        given: list[Any] = [(part, part.name, dict(part.settings)) for part in components]
        given += [(at.component, at.nodes()) for mesh in parts.meshes for at in mesh.attachments]
        return given

    def _assemble(self, tree: Settings, over: Settings, file: str) -> None:
        """Makes the components that a file names, with overrides on top."""
        faults = self._faults
        parts = self._parts
        known = [*_platform_keys(), *_SECTIONS]
        for name, entry in tree.items():
            if name not in known:
                faults.append(Fault(entry.place, entry.key, entry.text, unknown_key(name, known)))
        sections: dict[str, Settings] = {
            name: self._section(name, tree[name]) for name in ("core", "hbm", "noc", "host")
            if name in tree
        }  # fmt: skip
        over_sections: dict[str, Settings] = {}

        def settings(common: str, name: str, own: Settings) -> Settings:
            result = merge(sections.get(common, {}), own)
            result = merge(result, over_sections.get(common, {}))
            return merge(result, over_sections.get(name, {}) if name != common else {})

        cores = self._instances("cores", "core", "core0", "core{}", tree, file)
        memories = self._instances("hbms", "hbm", "hbm", "hbm{}", tree, file)
        overridable = ["core", "hbm", "noc", "host", *(name for name, _, _ in cores + memories)]
        for name, entry in over.items():
            if name in overridable:
                over_sections[name] = self._section(name, entry)
            elif name not in _platform_keys():
                message = unknown_key(name, [*_platform_keys(), *dict.fromkeys(overridable)])
                faults.append(Fault(entry.place, entry.key, entry.text, message))
        for name, place, own in cores:
            parts.cores.append(Core(name, settings("core", name, own), place))
        for name, place, own in memories:
            parts.memories.append(Memory(name, settings("hbm", name, own), place))
        host = settings("host", "host", {})
        if host:
            parts.host = Host("host", host, file)
        if "noc" in tree or "noc" in over:
            self._mesh_from(settings("noc", "noc", {}), file)

    def _section(self, name: str, entry: Entry) -> Settings:
        if isinstance(entry.value, dict):
            return entry.value
        if entry.value is not None or entry.place.startswith("--set"):
            message = "must be a mapping of parameters"
            self._faults.append(Fault(entry.place, entry.key, entry.text, message))
        return {}

    def _instances(
        self, key: str, section: str, single: str, pattern: str, tree: Settings, file: str
    ) -> list[tuple[str, str, Settings]]:
        """Names, places and own parameters of the instances that a file asks for."""
        entry = tree.get(key)
        if entry is None:
            if section not in tree:
                return []
            return [(single, tree[section].place, {})]
        value = entry.value
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1024:
            names = [single] if value == 1 else [pattern.format(i) for i in range(value)]
            return [(name, entry.place, {}) for name in names]
        if isinstance(value, dict) and value:
            return [
                (name, inner.place, self._section(name, inner)) for name, inner in value.items()
            ]
        message = "must be a number from 1 to 1024, or a mapping of names to parameters"
        self._faults.append(Fault(entry.place, entry.key, entry.text, message))
        return [(single, entry.place, {})]

    def _mesh_from(self, settings: Settings, file: str) -> None:
        settings = dict(settings)
        nodes = settings.pop("nodes", None)
        name = settings.pop("name", Entry("noc", file, "noc.name"))
        mesh = Mesh(name.value, settings, name.place)
        self._parts.meshes.append(mesh)
        parts: dict[str, Core | Memory | Host] = {core.name: core for core in self._parts.cores}
        parts |= {memory.name: memory for memory in self._parts.memories}
        named = {} if nodes is None else self._section("nodes", nodes)
        if "host" in named and self._parts.host is None:
            self._parts.host = Host("host", {}, file)
        if self._parts.host is not None:
            parts["host"] = self._parts.host
        taken: set[Node] = set()
        for key, entry in named.items():
            if key not in parts:
                message = unknown_key(key, parts)
                self._faults.append(Fault(entry.place, entry.key, entry.text, message))
                continue
            attachment = Attachment(parts[key], entry, entry.place, entry.key)
            mesh.attachments.append(attachment)
            if key != "host":
                taken.update(attachment.nodes() or ())
        values = mesh.checked([])
        free = (
            (x, y)
            for y in range(values["rows"])
            for x in range(values["columns"])
            if (x, y) not in taken
        )
        for core in self._parts.cores:
            if core.name in named:
                continue
            node = next(free, None)
            if node is None:
                message = (
                    f"no free node is left for it in {values['columns']} columns x "
                    f"{values['rows']} rows"
                )
                self._faults.append(Fault(core.place, core.name, None, message))
                break
            mesh.attachments.append(
                Attachment(core, node, core.place, f"{mesh.name}.nodes.{core.name}")
            )


@functools.cache
def _platform_keys() -> tuple[str, ...]:
    return tuple(declaration().components["platform"].parameters)


def _unwrap(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _unwrap(entry.value) for name, entry in value.items()}
    return value


def _plain(component: Component) -> dict[str, Any]:
    """What was given for a component, as plain data that a platform file can hold."""
    faults: list[Fault] = []
    checked = component.checked(faults)
    parameters = declaration().components[component.kind].parameters
    result = {}
    for name, entry in component.settings.items():
        parameter = parameters[name]
        if parameter.table is not None:
            result[name] = _unwrap(entry.value)
        elif parameter.type in ("time", "frequency", "bytes", "bandwidth"):
            result[name] = parameter.format(checked[name])
        else:
            result[name] = checked[name]
    return result


def _instances(section: str, single: str, pattern: str, parts: Any) -> dict[str, Any]:
    """One section for all where they are alike and named in the usual way, else by name."""
    own = {part.name: _plain(part) for part in parts}
    names = [single] if len(own) == 1 else [pattern.format(i) for i in range(len(own))]
    first = next(iter(own.values()))
    if list(own) == names and all(settings == first for settings in own.values()):
        return {section: first} if len(own) == 1 else {section: first, section + "s": len(own)}
    return {section + "s": own}


def _node_list(attachment: Attachment) -> Any:
    nodes = [list(node) for node in attachment.nodes() or ()]
    return nodes if isinstance(attachment.component, Memory) else nodes[0]
