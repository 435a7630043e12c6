"""Output that cannot be written ends no command, and names in it cannot steer a terminal; real processes."""

import io
import subprocess
import sys

import pytest

from rgcn_jax.runtime.output import RobustStream

COMMAND = """
import sys, warnings
from pathlib import Path
from rgcn_jax.command import run_command

def main(arguments):
    for number in range(3):
        print("line", number, flush=True)
        print("reported", number, file=sys.stderr, flush=True)
    Path(arguments[0]).write_text("done")

run_command(main)
"""


def run(tmp_path, redirections):
    """Status, stdout, stderr of a command of three lines on each stream, and whether it came to its end."""
    script = f'"$0" -c "$1" "$2" {redirections}'
    command = ["bash", "-c", script, sys.executable, COMMAND, tmp_path / "end"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    return process.returncode, process.stdout, process.stderr, (tmp_path / "end").exists()


def test_a_log_on_a_full_disk_ends_nothing_and_is_reported(tmp_path):
    status, _, err, ended = run(tmp_path, "> /dev/full")
    assert (status, ended) == (0, True)
    assert "reported 2\n" in err
    assert "lines of stdout could not be written (No space left on device)" in err
    assert "Traceback" not in err
    assert "Exception" not in err


@pytest.mark.parametrize("redirections", ["> /dev/full 2>&1", ">&- 2>&-", "2>&-", "< /dev/null > /dev/full 2>&-"])
def test_nor_do_both_streams_together_full_or_closed(tmp_path, redirections):
    status, _, err, ended = run(tmp_path, redirections)
    assert (status, err, ended) == (0, "", True)


def test_a_reader_that_is_gone_ends_nothing(tmp_path):
    status, out, err, ended = run(tmp_path, '2>&1 | (exec <&-; sleep 1); echo "status ${PIPESTATUS[0]}"')
    assert (status, out, err, ended) == (0, "status 0\n", "", True)


def test_a_file_is_never_opened_under_the_number_of_a_closed_stream(tmp_path):
    """Else what a library writes to stderr would land in a checkpoint."""
    code = COMMAND.replace('"done")', 'str(__import__("os").open(arguments[0], 0)))').replace(
        "Path(arguments[0])", 'Path(arguments[0] + ".number")'
    )
    (tmp_path / "file").write_text("")
    subprocess.run(
        ["bash", "-c", '"$0" -c "$1" "$2" 0<&- >&- 2>&-', sys.executable, code, tmp_path / "file"], check=True
    )
    assert int((tmp_path / "file.number").read_text()) > 2


NAME = "evil\x1b]0;owned\x07\u202egpj.exe\r\x9b\udce9 größe 李"
ESCAPED = r"evil\x1b]0;owned\x07\u202egpj.exe\r\x9b\udce9 größe 李"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_names_are_escaped_wherever_they_are_printed(kind):
    inner = kind()
    stream = RobustStream(inner)
    print(NAME, file=stream)
    assert inner.getvalue() == ESCAPED + "\n"


def test_a_bar_may_move_the_cursor_of_a_terminal_and_nothing_else():
    inner = Terminal()
    stream = RobustStream(inner)
    for text in ("\r 1/2 \x1b[31m", "\n", "\x1b[A"):
        stream.write(text)
    assert inner.getvalue() == "\r 1/2 \\x1b[31m\n\x1b[A"


def test_warnings_are_escaped_too():
    code = f"""
import sys, warnings
from rgcn_jax.command import run_command
run_command(lambda arguments: warnings.warn({NAME!r}))
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ESCAPED in process.stderr
    assert "\x1b" not in process.stderr


def test_what_a_terminal_has_no_letter_for_is_written_as_its_number():
    inner = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    stream = RobustStream(inner)
    print("größe", file=stream, flush=True)
    assert inner.buffer.getvalue() == b"gr\\xf6\\xdfe\n"  # pyright: ignore[reportAttributeAccessIssue]
