"""What the launch scripts call, as small programs that record how they were called: python, srun, scontrol, ssh."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

LAUNCH = Path(__file__).parents[2] / "launch"

# Records its environment and arguments, then does what its argument says: --do=0:2 process 0 ends with status 2,
# --do=1:wait process 1 waits for SIGTERM, --do=1:hang it waits and takes no SIGTERM, --do=1:die it kills itself. Others
# end with status 0.
PYTHON = f"""#!{sys.executable}
import json, os, signal, sys, time
from pathlib import Path
if sys.argv[1] == "-c":
    os.execv(sys.executable, sys.argv)
number, reported = os.environ["JAX_PROCESS_ID"], []
def go(*_):
    reported.append(1)
    record()
def record():
    part = Path(os.environ["RECORDS"], number + ".part")
    part.write_text(json.dumps({{"argv": sys.argv[1:], "environment": dict(os.environ), "reported": len(reported)}}))
    os.replace(part, part.with_suffix(".json"))
signal.signal(signal.SIGTERM, go)
record()
print("out of", number)
todo = dict(a[5:].split(":") for a in sys.argv if a.startswith("--do=")).get(number, "0")
if todo == "die":
    time.sleep(0.5)  # all at about the same time
    os.kill(os.getpid(), signal.SIGKILL)
deadline = time.monotonic() + 60
while todo in ("wait", "hang") and time.monotonic() < deadline:
    if reported and todo == "wait":
        time.sleep(0.3)  # a second signal would be recorded
        sys.exit(75)
    time.sleep(0.01)
sys.exit(int(todo))
"""

# As many tasks as SLURM_NTASKS says, each with its number; srun's options are skipped. Its status is the highest one,
# of a killed task 128 + the signal's number.
SRUN = f"""#!{sys.executable}
import os, subprocess, sys
command = sys.argv[1:]
with open(os.environ["RECORDS"] + "/srun", "w") as file:
    file.write(" ".join(command))
while command[0].startswith("-"):
    command = command[1:]
numbers = map(str, range(int(os.environ["SLURM_NTASKS"])))
tasks = [subprocess.Popen(command, env=os.environ | {{"SLURM_PROCID": number}}) for number in numbers]
codes = [task.wait() for task in tasks]
sys.exit(max(code if code >= 0 else 128 - code for code in codes))
"""

SCONTROL = """#!/usr/bin/env bash
if [ "$1" = show ]; then echo localhost; echo elsewhere; else echo "$@" >>"$RECORDS/scontrol"; fi
"""

# ssh HOST COMMAND: here.
SSH = """#!/usr/bin/env bash
echo "$1" >>"$RECORDS/ssh"; exec sh -c "$2"
"""


class Programs:
    """A folder of stubs that comes first in PATH, and what they record."""

    def __init__(self, folder: Path):
        self.folder, self.records = folder / "bin", folder / "records"
        self.folder.mkdir()
        self.records.mkdir()
        for name, text in (("python", PYTHON), ("srun", SRUN), ("scontrol", SCONTROL), ("ssh", SSH)):
            self.add(name, text)

    def add(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")
        (self.folder / name).chmod(0o755)

    def start(self, script: str, *arguments: str, **environment: str) -> subprocess.Popen:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("CUDA_", "GLIBC_", "JAX_", "SLURM_"))}
        path = f"{self.folder}:{os.environ['PATH']}"
        return subprocess.Popen(
            [LAUNCH / script, *arguments],
            cwd=LAUNCH.parent,
            env=clean | {"PATH": path, "RECORDS": str(self.records)} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, script: str, *arguments: str, seconds: float = 60, **environment: str) -> tuple[int, str, str]:
        process = self.start(script, *arguments, **environment)
        out, err = process.communicate(timeout=seconds)
        return process.returncode, out, err

    def reported(self, count: int) -> list[dict]:
        """What the processes recorded, in the order of their numbers, once all of them have."""
        deadline = time.monotonic() + 30
        files = [self.records / f"{i}.json" for i in range(count)]
        while not all(file.exists() for file in files):
            assert time.monotonic() < deadline, f"only {sorted(self.records.iterdir())} after 30 s"
            time.sleep(0.01)
        return [json.loads(file.read_text(encoding="utf-8")) for file in files]

    def signal_and_wait(self, process: subprocess.Popen, number: signal.Signals) -> tuple[int, str, str]:
        """As a terminal does it: to the whole group of the script."""
        os.killpg(process.pid, number)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err
