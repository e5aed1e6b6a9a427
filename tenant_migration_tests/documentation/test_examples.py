"""The examples of the pages that can be run: SQL against an installed database, Python up to its imports."""

from __future__ import annotations

import ast
from importlib import import_module

import psycopg
import pytest

from tenant_migration.config import MigrationConfig
from tenant_migration.database.install import install
from tenant_migration_tests.documentation import reading

pytestmark = pytest.mark.newest_server_by_default


def test_every_sql_block_runs(connection: psycopg.Connection):
    connection.execute(
        "CREATE TABLE organizations (id uuid PRIMARY KEY, parent_id uuid, slug text, name text)"
    )
    install(connection, MigrationConfig())
    blocks = [(page.name, block) for page in reading.pages() for block in page.blocks("sql")]
    assert blocks
    for name, block in blocks:
        try:
            connection.execute(block.encode())
        except psycopg.Error as error:
            pytest.fail(f"{name}: {error}\n{block}")


def test_every_python_block_that_imports_is_right():
    blocks = [
        block
        for page in reading.pages()
        if "reference" not in page.path.parts
        for block in page.blocks("python")
    ]
    assert blocks
    for block in blocks:
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module:
                module = import_module(node.module)
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
