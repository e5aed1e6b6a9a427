"""What in a table, or in the database, can hurt: one function a hazard, each with its way out.

Belongs here: functions from what is known of a table (`context`) to hazards, one subject a file, listed in
`registry`. Must stay out: reading the database, except the one grouped scan of `planning.tenant_values`.
"""
