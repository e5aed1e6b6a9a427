"""No password in any text, wherever the text came from."""

from __future__ import annotations

import pytest

from tenant_migration.cli.secrets import without_secrets


@pytest.mark.parametrize(
    "text",
    [
        "cannot connect to postgresql://app:hunter22@db:5432/claims",
        "invalid dsn: host=db password=hunter22 user=app",
        "invalid dsn: host=db password='hunter22 and more' user=app",
        "PASSWORD = hunter22",
        "postgresql+psycopg2://app:hunter22@db/dagster",
        "two: postgresql://a:hunter22@b/c postgresql://d:hunter22@e/f",
    ],
)
def test_what_stands_where_a_password_stands_is_hidden(text: str) -> None:
    assert "hunter22" not in without_secrets(text)
    assert "***" in without_secrets(text)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TENANT_MIGRATION_DATABASE_URL", "postgresql://app:hunter%2F22@db/claims"),
        ("TENANT_MIGRATION_DATABASE_URL", "host=db password=hunter/22"),
        ("TENANT_MIGRATION_DAGSTER_URL", "postgresql+psycopg2://app:hunter%2F22@db/dagster"),
        ("PGPASSWORD", "hunter/22"),
    ],
)
@pytest.mark.parametrize("spelling", ["hunter/22", "hunter%2F22"])
def test_the_passwords_of_the_environment_are_hidden_wherever_they_stand(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, spelling: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert without_secrets(f"it is {spelling}, you see") == "it is ***, you see"


def test_other_text_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANT_MIGRATION_DATABASE_URL", "postgresql://app:app@db/app")
    text = "table app.claims, tenant 'a:b@c', host db, see https://example.org/a@b"
    assert without_secrets(text) == text
