"""Tests of `tenant_migration.recovery`."""
