"""Tests of `tenant_migration.mapping`."""
