"""Findings of a data set check: a summary line and the full list of affected names."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rgcn_jax.errors import InputError, as_input_error, listed
from rgcn_jax.runtime.files import atomic_file

SHOWN = 20
"""Names that a sentence has at most."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a data set, or only odd. ``text``: a sentence, without its names or with the first
    few of them; ``names``: all frames, files, persons or tracklets that it is about.
    """

    text: str
    names: tuple[str, ...] = ()
    problem: bool = False

    @property
    def line(self) -> str:
        """For the terminal."""
        return f"{'problem' if self.problem else 'remark'}: {self.text}"


def odd(text: str, names: Sequence[str]) -> Finding:
    """A remark on something of which there are several; the first names follow the text."""
    return Finding(f"{text}: {listed(names, SHOWN)}", tuple(names))


def wrong(error: InputError) -> Finding:
    """The finding of an error."""
    return Finding(str(error), error.names, problem=True)


def write_report(path: Path, findings: Iterable[Finding]) -> None:
    """A text file: each finding's line, and below it all its names, a line each after two blanks; a name that is no
    text has backslashes.

    Raises:
      InputError: it cannot be written.
    """
    cannot = as_input_error(f"the report {path} cannot be written", "choose another --report")
    with cannot, atomic_file(path) as file:
        for finding in findings:
            lines = (finding.line, *(f"  {name}" for name in finding.names))
            file.writelines(f"{line}\n".encode("utf-8", "backslashreplace") for line in lines)
