"""From a model's specification to the operations of a forward call, and their fusion."""

from npuvp.compiler.ir import Kind, Operation, Phase, Program, Value
from npuvp.model.spec import ModelSpec

__all__ = ["build", "fuse"]


def build(spec: ModelSpec) -> Program:
    """The operations of one forward call."""
    q_columns, kv_columns = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
    x = Value("x", spec.hidden)
    n, m, y = Value("n", spec.hidden), Value("m", spec.hidden), Value("y", spec.hidden)
    q, k, v = Value("q", q_columns), Value("k", kv_columns), Value("v", kv_columns)
    turned_q, turned_k = Value("q_turned", q_columns), Value("k_turned", kv_columns)
    o, a, d = Value("o", q_columns), Value("a", spec.hidden), Value("d", spec.hidden)
    middle = Value("x_middle", spec.hidden)
    operations = [
        Operation("embed", (), x, "embedding", layered=False),
        Operation("rmsnorm", (x,), n, "attn_norm"),
        *_projection(spec, n, q, "q"),
        Operation("rope", (q,), turned_q),
        *_projection(spec, n, k, "k"),
        Operation("rope", (k,), turned_k),
        Operation("keep", (turned_k,)),
        *_projection(spec, n, v, "v"),
        Operation("keep", (v,)),
        Operation("attention", (turned_q, turned_k, v), o),
        Operation("linear", (o,), a, "o"),
        Operation("add", (x, a), middle),
        Operation("rmsnorm", (middle,), m, "mlp_norm"),
        *_mlp(spec, m, d),
        Operation("add", (middle, d), x),
        Operation("rmsnorm", (x,), y, "final_norm", layered=False),
        Operation("head_sample", (y,), None, "head", layered=False),
    ]
    return Program(operations, spec.layers)


def _projection(spec: ModelSpec, n: Value, result: Value, role: str) -> list[Operation]:
    """From the normalised residual stream to queries, keys or values before the rotation."""
    steps: list[tuple[Kind, str]] = [("linear", role)]
    if spec.qkv_bias:
        steps.append(("bias", f"{role}_bias"))
    if spec.qk_norm and role != "v":
        steps.append(("headnorm", f"{role}_norm"))
    operations = []
    source = n
    for index, (kind, weight) in enumerate(steps):
        last = index + 1 == len(steps)
        made = result if last else Value(f"{role}_{index}", result.columns)
        operations.append(Operation(kind, (source,), made, weight))
        source = made
    return operations


def _mlp(spec: ModelSpec, m: Value, d: Value) -> list[Operation]:
    """The MLP, or the experts of which the router chooses some for every token."""
    prefix, width = "", spec.mlp
    inputs: tuple[Value, ...] = (m,)
    operations = []
    if spec.moe is not None:
        prefix, width = "expert_", spec.moe.mlp
        route = Value("route", spec.moe.experts)
        operations.append(Operation("route", (m,), route, "router"))
        inputs = (m, route)
    gate, up, gated = (Value(f"{prefix}{name}", width) for name in ("gate", "up", "gated"))
    return [
        *operations,
        Operation("linear", inputs, gate, f"{prefix}gate"),
        Operation("linear", inputs, up, f"{prefix}up"),
        Operation("silu_mul", (gate, up), gated),
        Operation("linear", (gated, *inputs[1:]), d, f"{prefix}down"),
    ]


def fuse(program: Program) -> Program:
    """Joins what needs no trip through memory: a norm with the products that read it, a product
    with the rotation, gating or addition behind it, the head with the sampling statistics."""
    phases: list[Phase] = []
    names = {"embed": "embed", "attention": "attention", "head_sample": "head"}
    pending: list[Operation] = []
    routed = any(operation.kind == "route" for operation in program.operations)

    def close(name: str) -> None:
        phases.append(Phase(name, tuple(pending)))
        pending.clear()

    for operation in program.operations:
        if operation.kind == "attention" and pending:
            close("qkv")
        pending.append(operation)
        if operation.kind in names:
            close(names[operation.kind])
        elif operation.kind == "silu_mul" and not routed:
            close("gate_up")
        elif operation.kind == "add":
            weights = [op.weight for op in pending if op.weight]
            close("experts" if "router" in weights else "_".join(weights))
    return Program(program.operations, program.layers, phases)
