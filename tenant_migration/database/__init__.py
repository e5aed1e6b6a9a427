"""Connections and their settings, installing `sql/`, and the audit log.

Belongs here: how we reach the database, what is installed in it, how an operation is written down. Must stay
out: what a tenant, a table or a plan is; those ask this folder for a connection.
"""
