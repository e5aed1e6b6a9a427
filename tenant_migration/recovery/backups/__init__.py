"""Backups: full rows of chosen tables and tenants, typed, in the private schema, with a manifest.

Belongs here: how a backup is made, checked, listed, kept, exported and dropped. Which tables and tenants, and
the audit record: `workflow.backup`. Bringing values back from one: `recovery.rollback`.
"""
