"""Takes back: backups, rollback, the emergency stop.

Belongs here: what undoes a migration or protects it, by connection and plan. It reads the journal that
`backfill` writes and works with its lease, states and batches. Which tables and tenants, in which order, and
what is recorded of it: `workflow`.
"""
