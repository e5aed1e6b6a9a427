"""Everything Dagster: what its UI shows and starts, and the command line's way to run the same jobs.

Belongs here: definitions, partitions, assets, checks, jobs, sensors, resources, Dagster's instance and its
storage; one concept a file. What must stay out: SQL, rules of the migration, anything that decides: an op
calls one function of `workflow` and translates its result. The truth about what is migrated is in the
database; Dagster shows it. Only this package imports dagster, and only `compat` imports what Dagster does not
document.
"""
