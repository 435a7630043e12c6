"""The words of the project: phrases that nobody would search for appear in no text, message or name."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXTS = sorted(
    path
    for pattern in (
        *("rgcn_jax/**/*.py", "benchmarks/**/*.py", "configs/**/*.py", "scripts/*.py", "tests/**/*.py"),
        *("docs/*.md", "docs/*.py", "*.md", "launch/*", ".ci/*"),
    )
    for path in ROOT.glob(pattern)
    if path.is_file() and path != Path(__file__)
)

INSTEAD = {
    r"\btold\b|\btells\b|_told\b": "is reported, prints, logs, raises",
    r"\blikewise\b": "say it again",
    r"\bas there\b(?! (is|are|was|were)\b)|\bthe rest as\b|\bwhose it is\b": "say it: a docstring stands alone",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"numbers that break": "non-finite values (NaN, Inf)",
    r"\bset[ _-]aside\b|\bth(rown|row|rew)[ _]away\b": "quarantined, discarded",
    r"whole or not": "atomic, complete",
    r"as shares\b|\bshares of (the|its|a) (crop|width|height|square)": "normalised coordinates, in [0, 1]",
    r"\bpictures?\b": "image, frame",
    r"\bhalvings?\b": "split",
    r"\bfilled up\b|\bfills? (it|them) up\b|\bfills? up\b": "padded",
    r"\b(is|are|was|were|has|have) gone\b": "exited, missing, removed",
    r"\bhush|\bin silence\b|\bsilence for\b": "suppress, silently",
    r"\bhalf[ -]prepared\b": "unfinished",
    r"\bgo(es)? on (from|with|where|without|as)\b|give the (same )?command again": "resume, continue",
    r"\bthe door\b|\bone door\b": "the only import, the entry point",
    r"freed memory is kept|keeps? freed memory": "glibc malloc retains freed memory",
    r"\blaid out\b": "formatted, organised",
    r"\bat hand\b": "available",
}
ALLOWED = re.compile(
    r"\btells\b.*\bapart\b|\bapart\b.*\btells\b"  # only the pose tells look-alikes apart
    r"|\btold apart\b"
)


@pytest.fixture(scope="module")
def lines():
    """Every line of the texts, after the file and its number."""
    return [
        (f"{path.relative_to(ROOT)}:{number}", line)
        for path in TEXTS
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if not ALLOWED.search(line)
    ]


@pytest.mark.parametrize("phrase", INSTEAD)
def test_no_text_has_the_phrase(phrase, lines):
    pattern = re.compile(phrase, re.IGNORECASE)
    found = [f"{place}: {line.strip()[:100]}" for place, line in lines if pattern.search(line)]
    assert not found, f"write instead: {INSTEAD[phrase]}\n" + "\n".join(found)


def test_the_texts_are_there(lines):
    assert len(TEXTS) > 500
    assert any(place.startswith("rgcn_jax/runtime/preemption.py") for place, _ in lines)
