"""Tests of `tenant_migration.cli`."""
