"""The engine: moves a table's rows to their organizations, in short batches with an exact undo.

Belongs here: everything that writes to a managed table while it is migrated, and what keeps that safe: the
frozen mapping, leases, batches, journal, cursors, pace, sweep, quarantine, structure, dry run. SQL builders
(`*_sql.py`) are pure and apart from what executes them. What must stay out: Dagster, printing, checks
(`integrity`), rollback (`recovery`).

Where to begin reading: `engine.backfill_table`, then `batch_sql.batch_statement`.
"""
