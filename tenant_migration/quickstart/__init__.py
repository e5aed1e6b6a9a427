"""The embedded PostgreSQL and the Union Claims sample.

Belongs here: where our files live on this machine, the embedded server (quickstart, tests, Dagster's default
storage), and the sample data. Must stay out: anything that a migrated database needs, since none of this is
there when the tool is pointed at a database of one's own.
"""
