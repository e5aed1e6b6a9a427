"""The embedded PostgreSQL and the Union Claims sample.

Belongs here: where our files live on this machine, the embedded server (quickstart, tests, Dagster's default
storage), and the sample data. Must stay out: anything that a migrated database needs, since none of this is
there when the tool is pointed at a database of one's own.
"""

from tenant_migration.quickstart.databases import dagster_storage_url, sample_url
from tenant_migration.quickstart.folders import dagster_home, sample_config_file

__all__ = ["dagster_home", "dagster_storage_url", "sample_config_file", "sample_url"]
