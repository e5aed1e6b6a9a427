"""The command line `tenant-migration`: one file a command.

Belongs here: options, what is printed, exit codes. What must stay out: SQL and decisions; a command calls the
function that Dagster and the Python API call too. Heavy modules (Dagster, the engine) are imported inside the
command that needs them, so that `--help` answers at once.

Exit codes: 2, the input is wrong before any database is asked; 1, the database says no; 0 only when what was
printed is true; 130 after Ctrl-C.
"""
