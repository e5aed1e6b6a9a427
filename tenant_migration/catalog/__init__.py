"""A read-only picture of the database: tables, keys, foreign keys, triggers, policies, indexes.

Belongs here: facts of PostgreSQL's own catalogs and how they are read: one set-based query a subject, all in
one snapshot. Must stay out: judgements (what to migrate, what is dangerous, in which order) and rows of the
application's tables.
"""
