"""``benchmarks/gpu.sh``: its parts run at toy size on the CPU, write what they find at once, keep to their limits."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from benchmarks.gpu import profile
from benchmarks.gpu.__main__ import IN_ALL, LIMITS, limit_of, main, run
from benchmarks.gpu.parts import PARTS, peak_memory, without_pytorch
from benchmarks.gpu.record import Record
from benchmarks.gpu.sizes import TOY
from benchmarks.timing import Times
from rgcn_jax.models.build import POSE_ENCODERS

REPOSITORY = Path(__file__).parents[1]


def rehearse(out, *arguments):
    """The command as a user gives it, at toy size."""
    return subprocess.run(
        ["bash", "benchmarks/gpu.sh", "--rehearse", f"--out={out}", *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_runs_a_part_and_writes_its_results(tmp_path):
    process = rehearse(tmp_path, "--parts=ranking")
    assert process.returncode == 0, process.stdout + process.stderr
    found = json.loads((tmp_path / "ranking.json").read_text(encoding="utf-8"))
    assert found["complete"]
    assert all(0 < of_size["mAP"] <= 1 for name, of_size in found.items() if "dimensions" in name)
    summary = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert "| ranking | 20 x 200, 24 dimensions | seconds " in summary
    assert summary.rstrip() in process.stdout


def test_sigterm_ends_the_part_that_runs_and_writes_the_table(tmp_path):
    """As a scheduler, or ``timeout``, ends it: else the part would go on and hold the GPU."""
    command = ["bash", "benchmarks/gpu.sh", "--rehearse", "--parts=pose", f"--out={tmp_path}"]
    environment = os.environ | {"PYTHON": sys.executable}
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + 60
        while not commands_with("benchmarks.gpu.parts", str(tmp_path)) and time.monotonic() < end:
            time.sleep(0.05)
        assert commands_with("benchmarks.gpu.parts", str(tmp_path))
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "| pose | | not started |" in (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert not commands_with("benchmarks.gpu.parts", str(tmp_path))


def commands_with(*words):
    """The command lines of running processes in which all words are."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(file.read_text(encoding="utf-8", errors="replace"))
        except OSError:  # it has ended meanwhile
            continue
    return [line for line in found if all(word in line for word in words)]


@pytest.mark.jit
@pytest.mark.slow
def test_every_part_finds_something(tmp_path):
    """All in this process, beside eager PyTorch where it is installed: ``--rehearse`` itself adds torch.compile."""
    tiny = replace(TOY.step, height=16, width=8, model={**TOY.step.model, "stage_sizes": (1,)})
    scale = replace(TOY, step=tiny, kinds=("PyTorch",) if find_spec("torch") else (), features=4)
    for name, part in PARTS.items():
        record = Record(tmp_path / f"{name}.json")
        part(scale, record)
        found = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
        assert found, name
        assert not [key for key in found if "failed" in key], found
    both = json.loads((tmp_path / "pose.json").read_text(encoding="utf-8"))
    assert {name.split(":")[0] for name in both} == set(POSE_ENCODERS) - {"STGCN-compat"}
    assert "LGCN: product in the scan, unrolled" in both


def test_each_part_has_a_limit_which_grows_with_the_time_that_there_is():
    assert list(PARTS) == list(LIMITS)
    assert limit_of("ranking", 60) == limit_of("ranking", IN_ALL) == LIMITS["ranking"]
    assert limit_of("ranking", 2 * IN_ALL) == 2 * LIMITS["ranking"]


def test_a_part_that_takes_too_long_ends_and_keeps_what_it_has_found(tmp_path):
    assert run("ranking", tmp_path, 0.3, rehearse=True).startswith("cut off after 0 s")
    # The next part begins with no time left, and is named.
    assert main(["--parts=pose", "--seconds=0", f"--out={tmp_path}", "--rehearse"]) == 1
    assert "| pose | | not started: the time is up |" in (tmp_path / "summary.md").read_text(encoding="utf-8")


def test_a_part_that_fails_is_named_with_its_error(tmp_path):
    (tmp_path / "ranking.new").mkdir()  # in the way of the results
    state = run("ranking", tmp_path, 60, rehearse=True)
    assert state.startswith("failed with status 1: ")
    assert "IsADirectoryError" in state


def test_an_unknown_part_is_named(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--parts=step-LGCN,stepp"])
    assert ended.value.code == 2
    assert "unknown stepp" in capsys.readouterr().err


def test_results_are_complete_after_each_measurement(tmp_path):
    record = Record(tmp_path / "part.json")
    record.add_times("step", Times([0.5, 0.25, 1.0], [1.0, 1.0, 1.0]), images=10)
    assert json.loads((tmp_path / "part.json").read_text(encoding="utf-8")) == {
        "step": {"ms": 250.0, "median_ms": 500.0, "calls": 3, "per_second": 40.0}
    }
    record.add_ratios({"JAX": Times([1.0, 2.0, 3.0], []), "PyTorch": Times([2.0, 3.0, 4.0], [])})
    ratios = json.loads((tmp_path / "part.json").read_text(encoding="utf-8"))["speed of JAX / PyTorch"]
    assert ratios == {"of_minima": 2.0, "of_medians": 1.5}


@pytest.mark.jit
def test_a_profile_names_the_kernels_and_the_lines_that_they_come_from():
    def product(x, y):
        with jax.named_scope("classifier"):
            return x @ y

    x = jnp.ones((256, 256))
    compiled = jax.jit(product).lower(x, x).compile()
    found = profile.of_calls(lambda: jax.block_until_ready(compiled(x, x)), 3, compiled.as_text())
    assert found["ms of kernels a call"] > 0
    assert found["share by kind"]["matrix products"] > 0.5
    assert "classifier" in found["longest kernels"][0]["line"]


def encoded(*fields):
    """A Protocol Buffers message of (number, value): an int as a varint, else as bytes with their length."""

    def varint(value):
        found = bytearray()
        while value > 127:
            found.append(value & 127 | 128)
            value >>= 7
        return bytes([*found, value])

    message = b""
    for number, value in fields:
        if isinstance(value, int):
            message += varint(number << 3) + varint(value)
        else:
            value = value.encode() if isinstance(value, str) else value
            message += varint(number << 3 | 2) + varint(len(value)) + value
    return message


def gpu_profile(events, streams=("Stream #14(Compute)", "XLA Ops")):
    """A profile as the GPU plug-in writes it (tsl's xplane.proto): the device's plane, whose streams have the kernels
    with the instruction of each as a reference to a name, and the host's plane beside it. ``events``: (kernel,
    instruction or "", microseconds).
    """
    names = {name: 10 + i for i, name in enumerate(dict.fromkeys(kernel for kernel, _, _ in events))}
    instructions = {name: 50 + i for i, name in enumerate(dict.fromkeys(of for _, of, _ in events))}
    spans = []
    for kernel, instruction, microseconds in events:
        stats = [(4, encoded((1, 1), (7, instructions[instruction])))] if instruction else []
        spans.append((4, encoded((1, names[kernel]), (2, 0), (3, 1_000_000 * microseconds), *stats)))
    lines = [(3, encoded((1, 14 + i), (2, name), *spans)) for i, name in enumerate(streams)]
    kernels = [(4, encoded((1, i), (2, encoded((1, i), (2, name))))) for name, i in names.items()]
    known = {"hlo_op": 1, **instructions}
    stats = [(5, encoded((1, i), (2, encoded((1, i), (2, name))))) for name, i in known.items()]
    device = encoded((1, 1), (2, "/device:GPU:0"), *lines, *kernels, *stats)
    host_line = encoded((1, 1), (2, "python"), (4, encoded((1, 10), (3, 10**12))))
    host = encoded((1, 2), (2, "/host:CPU"), (3, host_line), *kernels)
    return jax.profiler.ProfileData.from_serialized_xspace(encoded((1, host), (1, device)))


def test_the_kernels_of_a_gpu_are_those_of_its_streams():
    """Once each, though other lines of the device repeat them, and none of the host's. A kernel of a CUDA graph names
    no instruction: its own name is the instruction's.
    """
    lines = profile.op_names(
        '  %loop_add_fusion.3 = f32[8]{0} fusion(%p), metadata={op_name="jit(step)/trunk/layer1_0/bn1/add"}\n'
        '  ROOT %cudnn-conv.1 = bf16[8]{0} custom-call(%p), metadata={op_name="jit(step)/trunk/conv1/conv"}\n'
    )
    data = gpu_profile(
        [
            ("sm90_xmma_fprop_implicit_gemm", "cudnn-conv.1", 30),
            ("loop_add_fusion_3", "", 10),
            ("MemcpyD2D", "", 5),
        ]
    )
    found = [(kernel, lines.get(instruction, ""), ns) for kernel, instruction, ns in profile.kernels(data, lines)]
    assert found == [
        ("sm90_xmma_fprop_implicit_gemm", "jit(step)/trunk/conv1/conv", 30_000),
        ("loop_add_fusion_3", "jit(step)/trunk/layer1_0/bn1/add", 10_000),
        ("MemcpyD2D", "", 5_000),
    ]


def test_peak_memory_is_what_the_device_says():
    """The dictionary is of the kind that JAX's allocator on a GPU returns (``Device.memory_stats``)."""
    statistics = {"num_allocs": 12, "bytes_in_use": 2**29, "peak_bytes_in_use": 3 * 2**30, "bytes_limit": 2**37}
    assert peak_memory(statistics) == 3.0
    assert peak_memory(None) is None
    assert peak_memory({"bytes_in_use": 2**29}) is None


def test_full_sizes_want_a_gpu(tmp_path):
    state = run("ranking", tmp_path, 120, rehearse=False)
    assert state.startswith("failed with status 1: ")
    assert "--rehearse" in state


def test_pytorch_for_another_device_is_left_out():
    """Then JAX is measured alone, instead of nothing."""
    assert without_pytorch("gpu")
    if find_spec("torch"):
        assert without_pytorch("cpu") == ""


@pytest.mark.parametrize(
    ("name", "line", "kind"),
    [
        ("sm90_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_nhwckrsc_nhwc_tilesize128x128x64", "", "convolutions"),
        ("nvjet_hsh_128x256_64x4_1x2_h_bz_coopA_NNT", "jit(step)/lgcn/dot_general", "matrix products"),
        ("input_transpose_fusion_3", "", "layout transposes and copies"),
        ("nchwToNhwcKernel", "", "layout transposes and copies"),
        ("MemcpyD2D", "", "copies between host and device"),
        ("input_reduce_fusion_12", "", "normalisation, ReLU, addition"),
        ("loop_fusion.7", "jit(step)/trunk/layer1_0/bn1/mul", "normalisation, ReLU, addition"),
        ("fusion.3", "jit(step)/transpose(jvp())/trunk/layer1_0/conv1/conv_general_dilated", "convolutions"),
        ("something", "", "other"),
    ],
)
def test_kinds_of_kernels(name, line, kind):
    assert profile.kind_of(name, line) == kind


def test_shares_of_a_profile_by_hand():
    spans = Counter({("fusion.1", "a/bn1/mul"): 3_000_000, ("gemm", "dot"): 1_000_000})
    found = profile.summary(spans, 2)
    assert found["ms of kernels a call"] == 2.0
    assert found["share by kind"] == {"normalisation, ReLU, addition": 0.75, "matrix products": 0.25}
    assert found["longest kernels"][0] == {"kernel": "fusion.1", "line": "a/bn1/mul", "ms": 1.5, "share": 0.75}


def test_the_parts_need_little():
    """jax, flax, optax, NumPy and PyTorch."""
    code = """
import sys
import time
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("beartype", "ml_collections", "tensorflow", "cv2", "tqdm", "orbax"):
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocker())
import benchmarks.gpu.parts
assert "rgcn_jax.data" not in sys.modules
"""
    process = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
