"""The sample's `migration.yaml`: made as a user would begin it, and changed where everybody can see it."""

from __future__ import annotations

from tenant_migration.config import load_config
from tenant_migration.quickstart.folders import sample_config_file

_BEGINNING = """\
# The settings of the sample: `--quickstart` reads them. What else can be said here is in the README.
tenant_key_columns: [tenant_id]
organization_column: organization_id
"""

ALLOWANCE = """\

validation:
  # Owns templates and service accounts, and belongs to no organization: its rows stay as they are.
  allowed_unmapped_tenants: [{tenant}]
"""


def ensure_sample_config() -> None:
    """Write the file as one would begin it; one that is there stays as it is."""
    file = sample_config_file()
    if not file.exists():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_text(_BEGINNING, encoding="utf-8")


def is_allowed(tenant: str) -> bool:
    """Say whether the file lets this tenant stay without a mapping."""
    return tenant in load_config(sample_config_file()).validation.allowed_unmapped_tenants


def allow(tenant: str) -> str:
    """Let a tenant stay without a mapping; return the lines that were added.

    Raises:
        ConfigurationError: the file has been changed so that the lines do not fit at its end.
    """
    added = ALLOWANCE.format(tenant=tenant)
    file = sample_config_file()
    file.write_text(file.read_text(encoding="utf-8") + added, encoding="utf-8")
    load_config(file)
    return added.strip("\n")
