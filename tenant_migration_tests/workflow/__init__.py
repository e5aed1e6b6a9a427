"""Tests of whole operations, on a small application of our own."""
