"""Tests of the catalog: mirror the package."""
