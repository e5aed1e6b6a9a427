"""Rollback of one table from its journal: locks first, then compares, resets only what we wrote."""
