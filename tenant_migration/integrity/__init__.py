"""Whether the data is fit to be migrated, and whether the migration did what it recorded; the reports.

Belongs here: the registry of checks (`checks/`, one file a check), what they read together (`sources/`),
their execution in one read-only snapshot, the JSON report. A new check is one file and one line in
`registry.py`. What must stay out: anything that writes to the application's tables, decisions about what a
run does next (`workflow`), and trust in the engine: the checks read its tables, never its code.
"""
