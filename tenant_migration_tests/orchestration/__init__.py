"""Tests of the Dagster side: real instances on real PostgreSQL storage."""
