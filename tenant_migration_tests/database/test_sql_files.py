"""Our reading of `sql/` is psql's: variables are filled in where psql fills them in, and nowhere else."""

from __future__ import annotations

import re

import pytest

from tenant_migration.database import sql_files
from tenant_migration.resources import resource_path

VARIABLES = {"name": 'we"ird', "text": "it's \\ here"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('CREATE TABLE :"name".t', 'CREATE TABLE "we""ird".t'),
        ("SELECT :'text'", r"SELECT  E'it''s \\ here'"),
        ("SELECT 1::\"char\", ARRAY[':'name]", "SELECT 1::\"char\", ARRAY[':'name]"),
        ("SELECT ':\"name\"'", "SELECT ':\"name\"'"),
        ("SELECT 'a''b' || :'text'", r"SELECT 'a''b' ||  E'it''s \\ here'"),
        ('-- :"name" isn\'t\nSELECT :"name"', '-- :"name" isn\'t\nSELECT "we""ird"'),
        ("DO $$ SELECT :'text' $$", "DO $$ SELECT :'text' $$"),
        ("DO $a$ $$ :'text' $a$; SELECT :\"name\"", 'DO $a$ $$ :\'text\' $a$; SELECT "we""ird"'),
        ('SELECT "a:""b", :"name"', 'SELECT "a:""b", "we""ird"'),
    ],
)
def test_variables_are_filled_in_as_psql_does(text: str, expected: str) -> None:
    assert sql_files.fill_in(text, VARIABLES) == expected


def test_an_unknown_variable_is_an_error() -> None:
    with pytest.raises(KeyError, match="other"):
        sql_files.fill_in("SELECT :'other'", VARIABLES)


def test_every_numbered_file_is_installed_once_in_its_order() -> None:
    installed = [file.name for file in sql_files.installation_files()]
    numbered = sorted(file.name for file in resource_path("sql").glob("[0-9]*.sql"))
    assert installed == numbered


def test_only_the_install_file_has_meta_commands_and_all_files_are_plain_text() -> None:
    for file in sql_files.installation_files():
        text = file.read_text(encoding="utf-8")
        assert text.isascii(), file.name
        assert not re.search(r"^\\", text, re.MULTILINE), file.name
        without_bodies = re.sub(r"\$(\w*)\$.*?\$\1\$", "", text, flags=re.DOTALL)
        assert not re.search(r"^(BEGIN|COMMIT|ROLLBACK)\b\s*;", without_bodies, re.MULTILINE), file.name


def test_every_function_pins_its_search_path() -> None:
    for file in sql_files.installation_files():
        text = file.read_text(encoding="utf-8")
        for function in re.split(r"(?=CREATE OR REPLACE FUNCTION)", text)[1:]:
            head = re.split(r"\$\$|\nRETURN\b", function)[0]
            assert "SET search_path = pg_catalog, pg_temp" in head, (file.name, head)


def test_the_schema_version_is_a_number() -> None:
    assert sql_files.schema_version() >= 1
