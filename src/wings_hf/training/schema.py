# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Dataclasses from what a YAML file or a command line says: every name and type is checked, with "did you mean"."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar, Union

T = TypeVar("T")


def help_for(text: str, default: Any = dataclasses.MISSING, factory: Any = dataclasses.MISSING) -> Any:
    """A dataclass field with its documentation in `metadata["help"]`."""
    if factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=factory, metadata={"help": text})
    return dataclasses.field(default=default, metadata={"help": text})


def build(cls: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """
    An instance of the dataclass `cls` from plain values.

    Args:
        values: of its fields, as YAML or JSON has them; nested dataclasses as mappings.
        where: path of the values, for messages.

    Raises:
        ValueError: for an unknown field, a missing one, or a value of another type; with its path.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{where or cls.__name__}: expected fields with values, got {values!r}.")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name in values:
        if name not in fields:
            raise ValueError(f"{_path(where, str(name))}: {did_you_mean(str(name), fields)}")
    hints = typing.get_type_hints(cls)
    given = {name: convert(hints[name], value, _path(where, name)) for name, value in values.items()}
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in given:
            raise ValueError(f"{_path(where, name)} is missing: {field.metadata.get('help', 'expected a value')}.")
    return cls(**given)


def convert(kind: Any, value: Any, where: str) -> Any:
    """`value` as the annotated type `kind`; numbers may come as text (YAML reads 1e-5 as text).

    Raises:
        ValueError: it is none; the message names `where`.
    """
    if kind is Any:
        return value
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return build(kind, value, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return _convert_union(arguments, value, where)
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"{where}={value!r}: {did_you_mean(str(value), map(str, arguments))}")
        return value
    if origin is not None and issubclass(origin, Mapping):
        return _convert_mapping(arguments, value, where)
    if origin is not None and issubclass(origin, Sequence):
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ValueError(f"{where}={value!r}: expected a list.")
        return tuple(convert(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    return _convert_scalar(kind, value, where)


def _convert_union(kinds: Sequence[Any], value: Any, where: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    errors = []
    for kind in (kind for kind in kinds if kind is not type(None)):
        try:
            return convert(kind, value, where)
        except ValueError as error:
            errors.append(error)
    raise errors[-1]


def _convert_mapping(arguments: tuple, value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}={value!r}: expected names with values.")
    kind = arguments[1] if arguments else Any
    return {str(name): convert(kind, item, _path(where, str(name))) for name, item in value.items()}


def _convert_scalar(kind: type, value: Any, where: str) -> Any:
    if kind is bool and isinstance(value, bool):
        return value
    if kind in (int, float) and not isinstance(value, bool):
        try:
            number = float(value)
            if kind is float or number == int(number):
                return kind(number)
        except (TypeError, ValueError, OverflowError):
            pass
    if kind is str and isinstance(value, str):
        return value
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    raise ValueError(f"{where}={value!r}: expected {names.get(kind, kind.__name__)}.")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about a name that is not among the `known`."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"unknown; did you mean {close[0]!r}?" if close else f"unknown; expected one of {', '.join(known)}."


def _path(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
