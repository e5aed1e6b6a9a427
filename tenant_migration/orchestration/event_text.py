"""The stored text of very many events that differ in a few values only.

Dagster serializes an event in half a millisecond of Python, and a run over 5,000 tenants and eight tables has
120,000 of them. Events of the same shape are serialized by Dagster once, with marks in place of the values,
and the text is cut at the marks; the others are the pieces with their own values between, as JSON writes
them. What no mark can stand for (a link, a table) is part of the shape.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import dagster as dg

Event = TypeVar("Event")
Slots = Mapping[str, Any]
"""Name -> a text or a number: what differs from event to event."""


class EventText(Generic[Event]):
    """Makes the text of one event after the other."""

    def __init__(
        self,
        shape_of: Callable[[Event], Hashable],
        slots_of: Callable[[Event], Slots],
        with_slots: Callable[[Event, Slots], Event],
        serialize: Callable[[Event], str],
    ) -> None:
        """Take what is known of the kind of event.

        Args:
            shape_of: everything that is not in a slot.
            slots_of: the values; events of one shape have the same slots, of the same types.
            with_slots: the event with other values.
            serialize: Dagster's own way; the text of two events differs in the slots only.
        """
        self._shape_of = shape_of
        self._slots_of = slots_of
        self._with_slots = with_slots
        self._serialize = serialize
        self._templates: dict[Hashable, _Template] = {}

    def of(self, event: Event) -> str:
        """Return the text as Dagster would store it."""
        slots = self._slots_of(event)
        shape = (self._shape_of(event), tuple((name, type(value)) for name, value in slots.items()))
        template = self._templates.get(shape)
        if template is None:
            template = self._templates[shape] = self._template(event, slots)
        return template.filled(slots)

    def _template(self, event: Event, slots: Slots) -> _Template:
        marks = {name: _mark(value) for name, value in slots.items()}
        return _Template(self._serialize(self._with_slots(event, marks)), marks)


class _Template:
    """A text cut at its marks."""

    def __init__(self, text: str, marks: Slots) -> None:
        by_text = {json.dumps(mark): name for name, mark in marks.items()}
        if not by_text:
            self._constants, self._names = [text], []
            return
        pieces = re.split("(" + "|".join(map(re.escape, by_text)) + ")", text)
        self._constants, self._names = pieces[::2], [by_text[mark] for mark in pieces[1::2]]
        if set(self._names) != set(marks):
            raise RuntimeError(f"not in the stored event: {', '.join(sorted(set(marks) - set(self._names)))}")

    def filled(self, slots: Slots) -> str:
        return "".join(self._pieces(slots))

    def _pieces(self, slots: Slots) -> Iterator[str]:
        for constant, name in zip(self._constants, self._names, strict=False):
            yield constant
            yield json.dumps(slots[name])
        yield self._constants[-1]


def _mark(value: object) -> str | int | float:
    """Return a value of the same type that is nowhere else."""
    if isinstance(value, str):
        return secrets.token_hex(16)
    if isinstance(value, int):
        return secrets.randbits(62) | 1 << 62
    if isinstance(value, float):
        return secrets.randbits(52) + 0.5
    raise TypeError(f"no mark can stand for {type(value).__name__}")


def metadata_slots(metadata: Mapping[str, dg.MetadataValue]) -> dict[str, Any]:
    """Return the values of metadata that marks can stand for, by label."""
    return {label: raw for label, value in metadata.items() if (raw := _raw(value)) is not None}


def metadata_shape(metadata: Mapping[str, dg.MetadataValue]) -> Hashable:
    """Return the rest: labels in their order, kinds, and the values that no mark can stand for."""
    return tuple(
        (label, type(value).__name__, None if _raw(value) is not None else repr(value))
        for label, value in metadata.items()
    )


def metadata_with(metadata: Mapping[str, dg.MetadataValue], slots: Slots) -> dict[str, dg.MetadataValue]:
    """Return the metadata with other values."""
    return {
        label: _KINDS[type(value)][1](slots[label]) if label in slots else value
        for label, value in metadata.items()
    }


_KINDS: Mapping[type, tuple[str, Callable[[Any], dg.MetadataValue]]] = {
    dg.TextMetadataValue: ("text", dg.MetadataValue.text),
    dg.MarkdownMetadataValue: ("md_str", dg.MetadataValue.md),
    dg.IntMetadataValue: ("value", dg.MetadataValue.int),
    dg.FloatMetadataValue: ("value", dg.MetadataValue.float),
}


def _raw(value: dg.MetadataValue) -> str | int | float | None:
    kind = _KINDS.get(type(value))
    return None if kind is None else getattr(value, kind[0])
