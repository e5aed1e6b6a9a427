"""Backups: full rows in the private schema, with a manifest; created, listed, kept, exported, cleaned up."""
