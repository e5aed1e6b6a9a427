"""One text for each value of a tenant key: casting it never fails, and different tenants never meet."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenant_migration_tests.database.scene import Scene

UUID_TEXT = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"


@pytest.fixture
def types(scene: Scene) -> Scene:
    scene.execute('CREATE SCHEMA "Odd ""types"')
    scene.execute("CREATE TYPE \"Odd \"\"types\".\"Plan\" AS ENUM ('gold', 'it''s')")
    scene.execute('CREATE DOMAIN "Odd ""types".short AS varchar(5) NOT NULL')
    scene.execute("CREATE DOMAIN even AS integer CHECK (VALUE % 2 = 0)")
    scene.execute("CREATE DOMAIN nested AS even CHECK (VALUE < 100)")
    scene.execute("CREATE DOMAIN code AS char(4)")
    return scene


FORMS = [
    ('"pg_catalog"."text"', "ACME ", "ACME "),
    ('"pg_catalog"."text"', "", ""),
    ('"pg_catalog"."varchar"', "café 東京", "café 東京"),
    ('"pg_catalog"."bpchar"', "acme    ", "acme"),
    ('"pg_catalog"."bpchar"', "a much longer one", "a much longer one"),  # not char(1)
    ('"pg_catalog"."uuid"', UUID_TEXT.upper(), UUID_TEXT),
    ('"pg_catalog"."uuid"', "{A0EEBC999C0B4EF8BB6D6BB9BD380A11}", UUID_TEXT),
    ('"pg_catalog"."uuid"', "acme", None),
    ('"pg_catalog"."int4"', "007", "7"),
    ('"pg_catalog"."int4"', " 7 ", "7"),
    ('"pg_catalog"."int4"', "seven", None),
    ('"pg_catalog"."int4"', "99999999999", None),
    ('"pg_catalog"."int8"', "99999999999", "99999999999"),
    ('"pg_catalog"."numeric"', "1.500", "1.5"),
    ('"pg_catalog"."name"', "x" * 64, None),  # cut at 63 bytes: that is another tenant
    ('"pg_catalog"."name"', "acme", "acme"),
    ('"Odd ""types"."Plan"', "gold", "gold"),
    ('"Odd ""types"."Plan"', "it's", "it's"),
    ('"Odd ""types"."Plan"', "lead", None),
    ('"Odd ""types"."short"', "abcde", "abcde"),
    ('"Odd ""types"."short"', "abcdef", None),  # the cast would cut it without an error
    ('"public"."even"', "4", "4"),
    ('"public"."even"', "5", None),
    ('"public"."nested"', "98", "98"),
    ('"public"."nested"', "198", None),
    ('"public"."code"', "ab  ", "ab"),
    ('"public"."code"', "abcdef", None),
]
"""(type, value, its canonical text or None)"""


def test_each_type_has_its_form(types: Scene) -> None:
    found = [
        (key_type, value, types.value("SELECT tenant_migration.canonical_key(%s, %s)", value, key_type))
        for key_type, value, _ in FORMS
    ]
    assert found == FORMS
    for key_type, _, canonical in FORMS:
        if canonical is not None:
            assert types.value(f"SELECT ((%s)::{key_type})::text", canonical) == canonical


def test_no_value_has_no_key(types: Scene) -> None:
    assert types.value('SELECT tenant_migration.canonical_key(NULL, \'"public"."even"\')') is None


@pytest.mark.parametrize("key_type", ['"public"."gone"', '"public"."x"; DROP TABLE organizations; --'])
def test_a_type_that_is_not_there_is_an_error(types: Scene, key_type: str) -> None:
    with pytest.raises((psycopg.errors.UndefinedObject, psycopg.errors.SyntaxError)):
        types.value("SELECT tenant_migration.canonical_key('a', %s)", key_type)
    assert types.value("SELECT count(*) FROM organizations") == 0


def test_forty_thousand_mappings_take_seconds(types: Scene) -> None:
    types.execute("SET statement_timeout = '10s'")
    assert (
        types.value(
            'SELECT count(tenant_migration.canonical_key(md5(g::text), \'"pg_catalog"."uuid"\')) '
            "FROM generate_series(1, 40000) g"
        )
        == 40_000
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=70),
    key_type=st.sampled_from(
        [
            '"pg_catalog"."text"', '"pg_catalog"."bpchar"', '"pg_catalog"."uuid"', '"pg_catalog"."int4"',
            '"pg_catalog"."int8"', '"pg_catalog"."numeric"', '"pg_catalog"."name"', '"public"."nested"',
            '"Odd ""types"."short"', '"Odd ""types"."Plan"', '"public"."code"',
        ]
    ),
)  # fmt: skip
def test_any_text_has_a_stable_form_or_none(types: Scene, value: str, key_type: str) -> None:
    canonical = types.value("SELECT tenant_migration.canonical_key(%s, %s)", value, key_type)
    if canonical is not None:
        assert types.value("SELECT tenant_migration.canonical_key(%s, %s)", canonical, key_type) == canonical
        assert types.value(f"SELECT (%s)::{key_type} IS NOT NULL", canonical) is True
