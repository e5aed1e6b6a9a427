"""Tests of the checks: the healthy database passes, each planted defect is caught by its own check."""
