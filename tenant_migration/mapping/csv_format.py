"""The file of mappings as text: header `tenant_id,organization_id`, one tenant a line. Knows no database.

Read by Python's csv rules: an id with a comma, a quote or a line break is quoted, a quote inside is doubled,
everything else is taken exactly as it stands, spaces too. UTF-8 with or without byte-order mark; lines may
end in LF or CRLF; empty lines are skipped.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from uuid import UUID

from tenant_migration.mapping.model import TENANT_ID_BYTES_MAX

HEADER = ("tenant_id", "organization_id")
_UUID_FORMS = re.compile(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}", re.IGNORECASE)
_REPLACEMENT = "\ufffd"


@dataclass(frozen=True, order=True)
class BadLine:
    """What is wrong with one line, 1 being the header."""

    line: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


@dataclass(frozen=True)
class MappingLine:
    """A good line."""

    line: int
    tenant_id: str
    organization_id: UUID


@dataclass(frozen=True)
class ParsedFile:
    """Every good line and every bad one."""

    lines: tuple[MappingLine, ...]
    bad_lines: tuple[BadLine, ...]


def parse_mappings(content: bytes) -> ParsedFile:
    """Read the file's bytes; nothing is raised for what is wrong in them."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return ParsedFile((), (BadLine(1, "the file is UTF-16; save it as UTF-8"),))
    text = content.decode("utf-8-sig", errors="surrogateescape")
    physical_lines = list(io.StringIO(text, newline=""))
    unreadable = dict(_unreadable_lines(physical_lines))
    records = _records([_readable(line) for line in physical_lines])

    good: list[MappingLine] = []
    bad: list[BadLine] = []
    first_line_of: dict[str, int] = {}
    header_seen = False
    for first, last, record in records:
        reasons = [unreadable[line] for line in range(first, last + 1) if line in unreadable]
        if not record:
            continue
        is_header, header_seen = not header_seen, True
        if reasons:
            bad.append(BadLine(first, reasons[0]))
        elif isinstance(record, str):
            bad.append(BadLine(first, record))
        elif is_header:
            if tuple(record) != HEADER:
                bad.append(BadLine(first, f"the header must be {','.join(HEADER)}, not {','.join(record)}"))
        else:
            line = _check(first, record, first_line_of)
            if isinstance(line, BadLine):
                bad.append(line)
            else:
                good.append(line)
    if not header_seen:
        bad.append(BadLine(1, f"the file is empty; it begins with the header {','.join(HEADER)}"))
    return ParsedFile(tuple(good), tuple(bad))


def render_mappings(mappings: Iterable[tuple[str, UUID]]) -> str:
    """Return the file's text for these tenants; what `parse_mappings` reads back is equal."""
    lines = [",".join(HEADER), *(f"{_field(tenant)},{organization}" for tenant, organization in mappings)]
    return "\n".join(lines) + "\n"


def _field(text: str) -> str:
    # Python's csv.writer leaves a lone carriage return unquoted in some of the supported versions.
    if any(character in text for character in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _check(line: int, record: list[str], first_line_of: dict[str, int]) -> MappingLine | BadLine:
    if len(record) != len(HEADER):
        return BadLine(line, f"{len(HEADER)} columns expected, found {len(record)}")
    tenant_id, organization_id = record
    earlier = first_line_of.setdefault(tenant_id, line)
    organization = _as_uuid(organization_id)
    size = len(tenant_id.encode("utf-8"))
    if not tenant_id:
        reason = "tenant_id is empty"
    elif size > TENANT_ID_BYTES_MAX:
        reason = f"tenant_id has {size:,} bytes, more than the {TENANT_ID_BYTES_MAX:,} that fit"
    elif earlier != line:
        reason = f"tenant {tenant_id!r} is on line {earlier} already"
    elif not organization_id:
        reason = f"organization_id of tenant {tenant_id!r} is empty"
    elif organization is None:
        reason = f"organization_id {organization_id!r} of tenant {tenant_id!r} is not a uuid"
    else:
        return MappingLine(line, tenant_id, organization)
    return BadLine(line, reason)


def _as_uuid(text: str) -> UUID | None:
    bare = text[1:-1] if text[:1] + text[-1:] == "{}" else text
    return UUID(bare) if _UUID_FORMS.fullmatch(bare) else None


def _records(lines: list[str]) -> Iterator[tuple[int, int, list[str] | str]]:
    """Yield first line, last line, and the record or why there is none."""
    reader = csv.reader(iter(lines), strict=True)
    while True:
        first = reader.line_num + 1
        try:
            record: list[str] | str = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            at_the_end = "unexpected end" in str(error)
            record = "a quote is opened and never closed" if at_the_end else f"not CSV: {error}"
        yield first, reader.line_num, record


def _unreadable_lines(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            yield number, "has a NUL character, which PostgreSQL cannot hold"
        elif any("\udc80" <= character <= "\udcff" for character in line):
            yield number, "is not UTF-8"


def _readable(line: str) -> str:
    # Python 3.10's csv refuses NUL; the line is reported anyway, only its columns are still counted.
    return line.replace("\0", _REPLACEMENT)
