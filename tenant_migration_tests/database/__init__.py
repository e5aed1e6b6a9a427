"""Tests of `sql/` and `tenant_migration.database`, on real servers, as an ordinary owner."""
