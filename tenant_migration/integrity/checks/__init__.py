"""The checks, one file each: what is wrong, how bad it is, what to do, and the one SQL that finds it.

Belongs here: pure functions from a scope to SQL. Must stay out: execution, and SQL that several checks share
(`sources/`).
"""
