"""Tests of planning: mirror the package."""
