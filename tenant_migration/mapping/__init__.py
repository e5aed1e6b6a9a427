"""Tenants and the organizations they go to: lookups with a cache, import, export, suggestions.

Belongs here: everything that reads or writes `tenant_org_mappings` as a mapping. What must stay out: the
migration status that follows from the tables' states (the database derives it), and the engine, which never
reads a mapping through the cache.
"""
