"""Profile of some calls with JAX's profiler: the longest kernels, and the time by kind of work.

A kernel is identified by its name and by the line of the model that it comes from: XLA stores the latter (`op_name`,
such as ``jit(step)/.../trunk/layer1_0/bn1/...``) with each instruction of the compiled program, and the profile has the
instruction's name. Requires neither TensorFlow nor TensorBoard.
"""

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax

LONGEST = 15

KINDS = (
    ("copies between host and device", r"memcpy|memset|infeed|outfeed|d2h|h2d"),
    ("layout transposes and copies", r"transpose|nchwtonhwc|nhwctonchw|^copy|[._]copy|bitcast"),
    ("convolutions", r"conv|xmma|implicit_gemm|fprop|dgrad|wgrad|cudnn.*(engine|kernel)|winograd"),
    ("matrix products", r"gemm|dot|cublas|cutlass|matmul|nvjet"),
    ("normalisation, ReLU, addition", r"bn\d?|norm|reduce|relu|max|fusion|add|mul|sub|select"),
)
"""Patterns of a kernel's name and line of the model, in lower case; the first match applies."""

NO_KERNEL = re.compile(r"^(\d+$|jit_|thunk|.*::|threadpool|execute|while|call|step)", re.IGNORECASE)
"""Spans of the profile that contain other spans, on a CPU."""


def of_calls(call: Callable[[], object], count: int, program: str | None) -> dict[str, Any]:
    """Profile ``count`` calls: milliseconds per call by kind, and of the longest kernels.

    Args:
      call: a compiled task that blocks.
      count: number of calls.
      program: text of the compiled program, ``Compiled.as_text()``.
    """
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(count):
                call()
        files = sorted(Path(folder).rglob("*.xplane.pb"))
        if not files:
            return {"profile": "JAX has written none"}
        data = jax.profiler.ProfileData.from_file(str(files[-1]))
        lines = op_names(program or "")
        spans: Counter[tuple[str, str]] = Counter()
        for name, instruction, nanoseconds in kernels(data, lines):
            spans[name, lines.get(instruction, "")] += round(nanoseconds)
    return summary(spans, count)


def summary(spans: Counter[tuple[str, str]], count: int) -> dict[str, Any]:
    """Summarise nanoseconds by (kernel, line of the model) in ``count`` calls: share by kind, longest kernels."""
    total = sum(spans.values()) or 1
    kinds: Counter[str] = Counter()
    for (name, line), nanoseconds in spans.items():
        kinds[kind_of(name, line)] += nanoseconds
    longest = [
        {"kernel": name[:120], "line": line[-160:], "ms": milliseconds(ns, count), "share": round(ns / total, 4)}
        for (name, line), ns in spans.most_common(LONGEST)
    ]
    shares = {kind: round(ns / total, 4) for kind, ns in kinds.most_common()}
    return {"ms of kernels a call": milliseconds(total, count), "share by kind": shares, "longest kernels": longest}


def milliseconds(nanoseconds: float, count: int) -> float:
    """Milliseconds of one of ``count`` calls."""
    return round(nanoseconds / 1e6 / count, 4)


def kind_of(name: str, line: str) -> str:
    """Kind of work of a kernel, by its own name (transpose_fusion) or, if that is only "fusion", by the line of the
    model.
    """
    own, of_model = name.lower(), "/".join(line.lower().split("/")[-3:])
    if "fusion" in own and not any(re.search(pattern, own) for _, pattern in KINDS[:-1]):
        own = own if "reduce" in own else of_model or own
    return next((kind for kind, pattern in KINDS if re.search(pattern, own)), "other")


def op_names(program: str) -> dict[str, str]:
    """Instruction -> ``op_name`` of its metadata, in the text of a compiled program."""
    found = re.finditer(r"^\s*(?:ROOT )?%?([\w.\-]+) = .*?op_name=\"([^\"]*)\"", program, re.MULTILINE)
    return {match[1]: match[2] for match in found}


def kernels(data: Any, instructions: dict[str, str]) -> Iterable[tuple[str, str, float]]:
    """Yield (kernel, instruction, nanoseconds) of every span that is a kernel.

    On a GPU these are the spans of its streams, with the instruction as an attribute. A kernel launched by a CUDA graph
    may lack it and is identified by its own name, the instruction's with underscores. On a CPU they are spans of host
    threads with the name of an instruction.
    """
    planes = list(data.planes)
    devices = [plane for plane in planes if plane.name.startswith("/device:") and "CUSTOM" not in plane.name]
    by_kernel = {re.sub(r"[.\-]", "_", name): name for name in instructions}
    for plane in devices:
        for line in plane.lines:
            if line.name.startswith("Stream"):
                for event in line.events:
                    stats = {str(key): value for key, value in event.stats}
                    instruction = stats.get("hlo_op") or by_kernel.get(event.name, event.name)
                    yield event.name, str(instruction), event.duration_ns
    if devices:
        return
    for plane in planes:
        for line in plane.lines:
            for event in line.events:
                if not NO_KERNEL.match(event.name) and event.name in instructions:
                    yield event.name, event.name, event.duration_ns
