"""Tests of the engine: one file for each promise."""
