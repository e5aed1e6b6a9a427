"""The sample's `migration.yaml`: begun as a user would, and changed where everybody can see it."""

from __future__ import annotations

import yaml

from tenant_migration.config import load_config
from tenant_migration.errors import Refused
from tenant_migration.quickstart.folders import sample_config_file

_BEGINNING = """\
# The settings of the sample: `--quickstart` reads them. What else can be said here is in the README.
tenant_key_columns: [tenant_id]
organization_column: organization_id
"""

_ALLOWANCE = """\

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
    """Say whether the file lets this tenant stay without a mapping.

    Raises:
        ConfigurationError: the file is no configuration.
    """
    return tenant in load_config(sample_config_file()).validation.allowed_unmapped_tenants


def allow(tenant: str) -> str:
    """Let a tenant stay without a mapping; return the lines that were added.

    Raises:
        Refused: somebody began that section of the file; a second one would hide the first.
    """
    file = sample_config_file()
    text = file.read_text(encoding="utf-8")
    if "validation" in (yaml.safe_load(text) or {}):
        raise Refused(f"{file} has a section `validation` already: add {tenant!r} to it yourself")
    added = _ALLOWANCE.format(tenant=tenant)
    file.write_text(text.rstrip("\n") + "\n" + added, encoding="utf-8")
    return added.strip("\n")
