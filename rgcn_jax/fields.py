"""Validated dataclass fields: each declares its meaning, range or choices, and is checked against them.

``WalkersSpec`` and all sections of ``config.py`` are declared with ``setting``. Imports no module of the package.
"""

import difflib
import reprlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import MISSING, Field, field, fields, is_dataclass
from math import inf, isfinite
from typing import Any, get_args, get_origin, get_type_hints


def setting(
    default: Any,
    meaning: str,
    *,
    minimum: int | float = -inf,
    maximum: int | float = inf,
    choices: tuple[str, ...] = (),
    plugin: bool = False,
    may_change: bool = False,
) -> Any:
    """Declare a dataclass field with its documentation and validation rules.

    Args:
      default: default value.
      meaning: description for tables and the command-line help.
      minimum: smallest allowed number.
      maximum: largest allowed number; infinity itself is never allowed.
      choices: allowed texts, not case-sensitive, stored as spelled here; (): any text.
      plugin: whether "module:name" is allowed in addition to the choices.
      may_change: whether a run may be resumed with another value, since the field does not affect the training result.
    """
    metadata = {
        "help": meaning,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "plugin": plugin,
        "may_change": may_change,
    }
    return field(default=default, metadata=metadata)


def expected(declared: Field, kind: Any) -> str:
    """Describe the allowed values of a field: "one of AP, AA, RA", "a whole number of 1 or more", ..."""
    kinds, rules = _kinds(kind), declared.metadata
    if tuple in kinds:
        return "whole numbers of 1 or more, such as (3, 4, 6, 3)"
    if bool in kinds:
        return "true or false"
    words = []
    if rules["choices"]:
        words.append(("one of " if len(rules["choices"]) > 1 else "") + ", ".join(rules["choices"]))
    elif str in kinds:
        words.append("a text")
    if rules["plugin"]:
        words.append('"module:name"')
    if float in kinds or int in kinds:
        words.append(("a number" if float in kinds else "a whole number") + _bounds(rules["minimum"], rules["maximum"]))
    return " or ".join(words)


def _kinds(kind: Any) -> set[type]:
    """The types in an annotation: {int, float} for int | float, {tuple} for tuple[int, ...]."""
    return {tuple} if get_origin(kind) is tuple else set(get_args(kind)) or {kind}


def _bounds(least: int | float, most: int | float) -> str:
    if least == -inf:
        return ""
    return f" of {least:g} or more" if most == inf else f" from {least:.10g} to {most:.10g}"


def leaves(values: Any, prefix: str = "") -> Iterator[tuple[str, Field, Any]]:
    """Yield (dotted name, field, value) of every field of a dataclass and of nested dataclasses, in order."""
    for declared in fields(values):
        value = getattr(values, declared.name)
        if is_dataclass(value):
            yield from leaves(value, f"{prefix}{declared.name}.")
        else:
            yield f"{prefix}{declared.name}", declared, value


def out_of_range(values: Any) -> list[str]:
    """List invalid values of one dataclass, such as "cameras must be a whole number from 2 to 8: found 1"."""
    types = get_type_hints(type(values))
    wrong = []
    for declared in fields(values):
        value = getattr(values, declared.name)
        if not is_dataclass(value) and not _fits(declared, types[declared.name], value):
            wrong.append(f"{declared.name} must be {expected(declared, types[declared.name])}: found {value}")
    return wrong


def build(kind: type, given: Mapping[str, Any], prefix: str, problems: list[str], missing: list[str]) -> Any:
    """Build a dataclass from nested dicts of plain values.

    Lists are converted to tuples, and whole numbers to floats where the field is a float. A field that is missing or
    has an error keeps its default; its name, or the error, is appended to ``missing`` or ``problems``. ``prefix``: that
    of field names in messages.
    """
    types, values = get_type_hints(kind), {}
    declared = {f.name: f for f in fields(kind)}
    for name in sorted(given.keys() - declared.keys(), key=str):
        near = difflib.get_close_matches(name, declared, n=3, cutoff=0.5)
        problems.append(f"{prefix}{name} is not a field" + (f": did you mean {', '.join(near)}?" if near else ""))
    for name, f in declared.items():
        section = f.default is MISSING
        if name not in given:
            if section:
                values[name] = build(types[name], {}, f"{prefix}{name}.", problems, missing)
            else:
                missing.append(f"{prefix}{name}")
        elif section and not isinstance(given[name], Mapping):
            problems.append(f"{prefix}{name} is {reprlib.repr(given[name])}: expected a section with its own fields")
            values[name] = types[name]()
        elif section:
            values[name] = build(types[name], given[name], f"{prefix}{name}.", problems, missing)
        else:
            try:
                values[name] = _parsed(f, types[name], given[name])
            except ValueError as error:
                problems.append(f"{prefix}{name} is {reprlib.repr(given[name])}: expected {error}")
    try:
        return kind(**values)
    except ValueError as error:  # raised by the dataclass's own check, such as that of WalkersSpec
        problems.append(f"{prefix.rstrip('.')}: {error}")
        return kind()


def _parsed(declared: Field, kind: Any, value: Any) -> Any:
    """Convert a value to the field's type and spelling. Raises ValueError that states what was expected."""
    kinds = _kinds(kind)
    if tuple in kinds and isinstance(value, list):
        value = tuple(value)
    elif isinstance(value, str):
        value = {choice.lower(): choice for choice in declared.metadata["choices"]}.get(value.lower(), value)
        if float in kinds and value not in declared.metadata["choices"]:  # a choice or a number, as text
            with suppress(ValueError):
                value = float(value)
    elif isinstance(value, int) and not isinstance(value, bool) and int not in kinds and float in kinds:
        with suppress(OverflowError):  # too large for a float: reported as out of range
            value = float(value)
    if not _fits(declared, kind, value):
        raise ValueError(expected(declared, kind))
    return value


def _fits(declared: Field, kind: Any, value: Any) -> bool:
    rules = declared.metadata
    if type(value) not in _kinds(kind):
        return False
    if isinstance(value, str):
        return not rules["choices"] or value in rules["choices"] or (rules["plugin"] and ":" in value)
    if isinstance(value, tuple):
        return bool(value) and all(type(number) is int and number >= 1 for number in value)
    finite = isinstance(value, int) or isfinite(value)
    return finite and rules["minimum"] <= value <= rules["maximum"]
