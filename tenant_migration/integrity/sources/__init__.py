"""SQL that checks share: names and keys of a table, and what several checks read in one scan.

Belongs here: pure builders of common table expressions and expressions. Must stay out: what is wrong and how
bad it is (`checks/`). Values are put in as literals by psycopg, not as parameters: a finished statement is
also what a person gets to run again, and a `%` in a column's name is not taken for a placeholder.
"""
