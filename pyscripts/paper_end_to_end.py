"""LLaDA-8B at VLEN 2048 with a dual cache: tokens/s, tokens/J, and the share of sampling.

The machine is simulated in timing mode with replay, with what the paper states of it: VLEN = MLEN =
2048, BLEN = HLEN = 128 at 1 GHz, the V80's 819.2 GB/s, weights and KV cache (BAOS) in MXINT4. Batch,
prompt and steps of the published runs are not public; they are options here.

The GPUs are rooflines of their data sheets, never measurements: every product at the dense BF16 peak
or at the peak bandwidth, board power all the time, sampling as the published code does it (float64),
no launch overhead. Real GPUs are slower, so that our ratios are lower bounds; the paper's are against
measured GPUs. The last tables say what is behind the difference: where our time goes, how the ratios
depend on the batch, and which share of its roofline a GPU would have to reach for the published ratio.
Nothing is fitted.

Run it from the top of the tree: .venv/bin/python pyscripts/paper_end_to_end.py
"""

import argparse
from pathlib import Path

import npuvp as vp
from npuvp.analytical import DEVICES, device_time, estimate, estimate_sampling, hardware_of
from npuvp.model.checkpoint import load_model
from npuvp.published import (
    ENERGY_RATIO,
    SAMPLING_SHARE,
    SPEED_RATIO,
    Comparison,
    bars,
    table,
)
from npuvp.replay import time_generation
from npuvp.sampling import sample, seeded_logits, workload

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", default="llada-8b", help="model (llada-8b)")
parser.add_argument("--batch", type=int, default=16, help="B (16)")
parser.add_argument("--prompt-length", type=int, default=128, help="P (128)")
parser.add_argument("--gen-length", type=int, default=256, help="G (256)")
parser.add_argument("--steps", type=int, default=0, help="steps in all (one per token)")
parser.add_argument("--weights", default="mxint4", help="format of weights in memory (mxint4)")
parser.add_argument("--kv-format", default="baos-mxint4", help="of the cache (baos-mxint4)")
parser.add_argument("--output", default="traces/paper", help="folder for the picture")
options = parser.parse_args()

spec = load_model(options.model).spec
plan = vp.GenerationPlan(
    gen_length=options.gen_length,
    block_length=32,
    steps=options.steps or options.gen_length,
    cache="dual",
    kv_format=options.kv_format,
)
sizes = {"prompt_length": options.prompt_length, "batch": options.batch}
formats = {"weights": options.weights, "head": options.weights}
# The V80's bandwidth behind the round trip of the published table: simulating its DRAM command by
# command (backend builtin) takes many minutes at this size.
memory = {"backend": "ideal", "bandwidth": "819.2GB/s", "latency": "110ns", "size": "64GiB"}
# The array of paper.yaml beside the V80's memory.
platform = vp.Platform.load("platform/v80.yaml", hbm=memory, core={"accumulators": 2})
timing = time_generation(options.model, platform, plan, formats=formats, **sizes)
speed, efficiency = timing.tokens / timing.time, timing.tokens / timing.energy
print(
    f"{options.model}, B = {options.batch}, P = {options.prompt_length}, G = {options.gen_length}, "
    f"{plan.steps} steps, dual cache in {options.kv_format}, weights in {options.weights}, 819.2 GB/s: "
    f"{timing.time:.3g} s simulated in {timing.seconds:.0f} s"
)
rows = [Comparison("tokens/s", speed), Comparison("tokens/J (estimate)", efficiency)]
for name, device in DEVICES.items():
    gpu = device_time(device, spec, plan, logit_bytes=8, passes=6, **sizes)
    gpu_speed = timing.tokens / gpu.total
    gpu_efficiency = gpu_speed / device.watts
    rows += [
        Comparison(f"{device.name} (roofline), tokens/s", gpu_speed),
        Comparison(f"{device.name} (roofline), tokens/J", gpu_efficiency),
        Comparison(f"tokens/s over the {name} roofline", speed / gpu_speed, SPEED_RATIO[name]),
        Comparison(
            f"tokens/J over the {name} roofline", efficiency / gpu_efficiency, ENERGY_RATIO[name]
        ),
        Comparison(
            f"share of float64 sampling, {name} roofline, %",
            100 * gpu.sampling / gpu.total,
            100 * SAMPLING_SHARE["gpu"] if name == "a6000" else None,
        ),
    ]
    print(
        f"  {device.name}: {device.flops / 1e12:.1f} TFLOPS, {device.bandwidth / 1e9:.0f} GB/s, "
        f"{device.watts:.0f} W ({device.source}); sampling: 6 passes over float64 logits"
    )

# Sampling as a step of its own behind stored logits, as in the paper. The firmware's head works on
# logits where they are made, so that its own share is within the phase `head`.
work = workload(seeded_logits(options.batch, 32, spec.vocab))
step = sample(platform, work, mode="timing", progress=False)
hardware = hardware_of(platform.description())
calls = sum(call.times for call in timing.calls)
shares = {}
for name, bytes_ in (("MXFP8", 33 / 32), ("BF16", 2.0), ("float32", 4.0), ("float64", 8.0)):
    closed = estimate_sampling(hardware, options.batch, 32, spec.vocab, logit_bytes=bytes_)
    seconds = step.time if name == "MXFP8" else closed.time
    shares[name] = 100 * calls * seconds / (calls * seconds + timing.time)
    published = 100 * SAMPLING_SHARE["npu"] if name == "MXFP8" else None
    how = "simulated" if name == "MXFP8" else "closed form"
    rows.append(Comparison(f"share of {name} sampling ({how}), %", shares[name], published))
print(
    table(rows, "ours beside the paper's headlines (v2; sampling below 10 %, on a GPU up to 71 %)")
)
chosen = [row for row in rows if row.published is not None]
path = bars(chosen, Path(options.output) / "end_to_end.png", "LLaDA-8B, dual cache", "ratio or %")

# Where our time goes: what each phase would take if the array, or the memory, were all that counted.
print(f"{'our time, simulated':<28}{'share':>8}{'array busy':>12}{'memory busy':>13}")
closed = estimate(spec, hardware, plan, formats=formats, **sizes)
peak = hardware.memory.peak_bytes_per_cycle
for name, cycles in timing.phases.items():
    parts = [(call.times, call.phases[name]) for call in closed.calls]
    macs = sum(times * phase.macs for times, phase in parts) / hardware.multipliers
    moved = sum(times * phase.hbm_bytes for times, phase in parts) / peak
    print(
        f"  {name:<26}{cycles / timing.cycles:>8.1%}{macs / cycles:>12.1%}{moved / cycles:>13.1%}"
    )

print("by batch, closed form; a roofline at this share of itself would give the published ratios:")
print("above 100 % the published ratio is less than ours")
header = "".join(
    f"{name + ' tokens/s':>18}{'share':>8}{name + ' tokens/J':>18}" for name in DEVICES
)
print(f"{'B':>4}{'tokens/s':>10}{'tokens/J':>10}{header}")
for batch in (1, 2, 4, 8, 16):
    sizes["batch"] = batch
    found = estimate(spec, hardware, plan, formats=formats, **sizes)
    text = f"{batch:>4}{found.tokens / found.time:>10.1f}{found.tokens / found.energy:>10.2f}"
    for name, device in DEVICES.items():
        gpu = device_time(device, spec, plan, logit_bytes=8, passes=6, **sizes).total
        ratio, joules = gpu / found.time, gpu * device.watts / found.energy
        text += f"{ratio:>17.2f}x{ratio / SPEED_RATIO[name]:>8.0%}{joules:>17.1f}x"
    print(text)
print(f"written: {path}")
