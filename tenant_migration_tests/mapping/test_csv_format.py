"""The file of mappings as text: what is read, what is refused with which reason, and the round trip."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tenant_migration.mapping.csv_format import BadLine, ParsedFile, parse_mappings, render_mappings
from tenant_migration.mapping.model import TENANT_ID_BYTES_MAX
from tenant_migration_tests.mapping.organizations import organization

ONE = str(organization(1))
TWO = str(organization(2))
HEADER = "tenant_id,organization_id\n"


def parse(text: str) -> ParsedFile:
    return parse_mappings(text.encode())


def tenants(parsed: ParsedFile) -> list[str]:
    return [line.tenant_id for line in parsed.lines]


def test_a_good_file_is_read_with_its_line_numbers() -> None:
    parsed = parse(f"{HEADER}local-1,{ONE}\nlocal-2,{TWO}\n")
    assert parsed.bad_lines == ()
    assert [(line.line, line.tenant_id, line.organization_id) for line in parsed.lines] == [
        (2, "local-1", organization(1)),
        (3, "local-2", organization(2)),
    ]


def test_byte_order_mark_carriage_returns_and_empty_lines_are_accepted() -> None:
    content = (
        b"\xef\xbb\xbf" + f"tenant_id,organization_id\r\n\r\nlocal-1,{ONE}\r\nlocal-2,{TWO}\r\n\r\n".encode()
    )
    parsed = parse_mappings(content)
    assert parsed.bad_lines == ()
    assert tenants(parsed) == ["local-1", "local-2"]
    assert [line.line for line in parsed.lines] == [3, 4]


@pytest.mark.parametrize(
    ("written", "tenant"),
    [
        ('"O\'Brien, Local 12"', "O'Brien, Local 12"),
        ('"say ""union"""', 'say "union"'),
        (" padded ", " padded "),
        (' "quoted later"', ' "quoted later"'),
        ("'; DROP TABLE claims; --", "'; DROP TABLE claims; --"),
        ('"two\nlines"', "two\nlines"),
        ("Größe 日本", "Größe 日本"),
        ("NULL", "NULL"),
    ],
)
def test_ids_are_kept_exactly(written: str, tenant: str) -> None:
    parsed = parse(f"{HEADER}{written},{ONE}\n")
    assert parsed.bad_lines == ()
    assert tenants(parsed) == [tenant]


@pytest.mark.parametrize(
    "spelling",
    [
        "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
        "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
        "a0eebc999c0b4ef8bb6d6bb9bd380a11",
    ],
)
def test_a_uuid_may_be_spelt_as_postgresql_takes_it(spelling: str) -> None:
    parsed = parse(f"{HEADER}local-1,{spelling}\n")
    assert str(parsed.lines[0].organization_id) == "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("local-1", "2 columns expected, found 1"),
        (f"local-1,{ONE},extra", "2 columns expected, found 3"),
        ("  ", "2 columns expected, found 1"),
        (f",{ONE}", "tenant_id is empty"),
        (f"has\0nul,{ONE}", "has a NUL character, which PostgreSQL cannot hold"),
        ("local-1,", "organization_id of tenant 'local-1' is empty"),
        ("local-1,org-7", "organization_id 'org-7' of tenant 'local-1' is not a uuid"),
        (f"local-1, {ONE}", f"organization_id ' {ONE}' of tenant 'local-1' is not a uuid"),
        ("local-1,0-" + "0" * 31, f"organization_id '0-{'0' * 31}' of tenant 'local-1' is not a uuid"),
        (f'"a"b,{ONE}', "not CSV: ',' expected after '\"'"),
        (f'"local-1,{ONE}', "a quote is opened and never closed"),
        (
            "x" * (TENANT_ID_BYTES_MAX + 1) + f",{ONE}",
            "tenant_id has 2,601 bytes, more than the 2,600 that fit",
        ),
    ],
)
def test_a_bad_line_is_named_with_its_reason(line: str, reason: str) -> None:
    assert parse(f"{HEADER}good,{TWO}\n").bad_lines == ()
    parsed = parse(f"{HEADER}good,{TWO}\n{line}\n")
    assert parsed.bad_lines == (BadLine(3, reason),)
    assert tenants(parsed) == ["good"]


def test_a_tenant_that_is_there_twice_names_the_first_line() -> None:
    parsed = parse(f"{HEADER}local-1,{ONE}\nlocal-2,{ONE}\nlocal-1,{TWO}\nlocal-1,{ONE}\n")
    assert parsed.bad_lines == (
        BadLine(4, "tenant 'local-1' is on line 2 already"),
        BadLine(5, "tenant 'local-1' is on line 2 already"),
    )


def test_every_bad_line_is_reported_at_once() -> None:
    parsed = parse_mappings(
        f"{HEADER}a\nb,x\nc,{ONE}\n".encode() + b"\xff,x\n" + f"d\0,{ONE}\nc,{TWO}\n".encode()
    )
    assert [bad.line for bad in parsed.bad_lines] == [2, 3, 5, 6, 7]


def test_the_line_number_is_the_first_of_a_record_over_several_lines() -> None:
    parsed = parse(f'{HEADER}"two\nlines",{ONE}\nlocal-1,x\n')
    assert [bad.line for bad in parsed.bad_lines] == [4]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty; it begins with the header tenant_id,organization_id"),
        (b"\n\n", "the file is empty; it begins with the header tenant_id,organization_id"),
        (
            b"tenant,organization\n",
            "the header must be tenant_id,organization_id, not tenant,organization",
        ),
        (
            b"tenant_id;organization_id\n",
            "the header must be tenant_id,organization_id, not tenant_id;organization_id",
        ),
        (f"local-1,{ONE}\n".encode(), f"the header must be tenant_id,organization_id, not local-1,{ONE}"),
        (HEADER.encode("utf-16"), "the file is UTF-16; save it as UTF-8"),
    ],
)
def test_a_file_without_the_header_is_refused(content: bytes, reason: str) -> None:
    assert [bad.reason for bad in parse_mappings(content).bad_lines] == [reason]


def test_a_header_alone_is_a_file_without_mappings() -> None:
    assert parse(HEADER) == ParsedFile((), ())


TENANT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)


@given(st.dictionaries(TENANT, st.uuids(), max_size=20))
@example(
    {"\r": organization(1), "\n": organization(2), "\r\n": organization(3), "\x85\u2028": organization(4)}
)
@example({'"': organization(1), '""': organization(2), ",": organization(3), " ": organization(4)})
@example({"\ufeff": organization(1), "\ufffd": organization(2)})
def test_what_is_written_is_read_back_equal(mapping: dict[str, object]) -> None:
    text = render_mappings(mapping.items())  # type: ignore[arg-type]
    parsed = parse_mappings(text.encode())
    assert parsed.bad_lines == ()
    assert {line.tenant_id: line.organization_id for line in parsed.lines} == mapping
    other_reader = list(csv.reader(io.StringIO(text, newline="")))
    assert other_reader[1:] == [[tenant, str(value)] for tenant, value in mapping.items()]
