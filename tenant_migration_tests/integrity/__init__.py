"""Tests of the checks: each planted defect is caught by its own check, after the healthy database passed it."""
