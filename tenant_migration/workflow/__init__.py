"""What the command line, the Dagster definitions and the Python API call: whole operations.

Belongs here: joining planning, checks and engine into one operation with its audit record, one operation a
file. What must stay out: SQL of the engine or of the checks, anything of Dagster, anything printed.
"""
