"""The Union Claims sample: a labour congress, its federations, unions and locals, and eight tables.

Belongs here: what the sample contains, and making it. It has on purpose what real databases have: five claims
whose member is gone behind a NOT VALID foreign key, a system tenant that nobody mapped, a tenant id with a
quote in it, shared rows without a tenant, and one tenant with a quarter of all rows. The same seed makes the
same data. Must stay out: anything about migrating it.
"""

from tenant_migration.quickstart.sample.creation import (
    SampleParameters,
    SampleSummary,
    create_sample,
    describe_sample,
    find_sample,
)
from tenant_migration.quickstart.sample.independent_check import (
    BY_TENANT_QUERY_FILE,
    QUERY_FILE,
    IndependentCounts,
    TenantCounts,
    count_independently,
    count_tenants_independently,
)
from tenant_migration.quickstart.sample.mappings_file import write_mappings
from tenant_migration.quickstart.sample.tenants import UNMAPPED_TENANT

__all__ = [
    "BY_TENANT_QUERY_FILE",
    "QUERY_FILE",
    "UNMAPPED_TENANT",
    "IndependentCounts",
    "SampleParameters",
    "SampleSummary",
    "TenantCounts",
    "count_independently",
    "count_tenants_independently",
    "create_sample",
    "describe_sample",
    "find_sample",
    "write_mappings",
]
