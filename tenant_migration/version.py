"""The release, in one place: what reports, plans, runs and the audit log are signed with."""

VERSION = "0.1.0"
