"""Tenant id <-> partition key: the same text, but for what Dagster cannot carry.

Dagster accepts every key and then trips over some: a comma splits a selection in the UI, `...` is a range,
`*`, brackets, quotes and the backslash belong to the selection's syntax, blanks at the ends are trimmed,
control characters and the empty key cannot be typed. Such characters are written as `%` and two hexadecimal
digits for each byte of their UTF-8 form:

    O'Brien Local  -> O'Brien Local     Local 7, Ohio -> Local 7%2C Ohio     100% -> 100%25
    a...b          -> a.%2E%2Eb         (empty)       -> %

Every id has one key and every key one id; a key that no id has is refused. An id whose key would be too long
has none: its tenant is migrated as any other and shows on no asset.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache

from tenant_migration.errors import Refused, UnknownTenant

KEY_BYTES_MAX = 2_000
"""Dagster's storage has the key in b-tree indexes, whose rows end at 2,700 bytes."""

_REMEMBERED = 20_000
"""Keys kept: a run needs those of its tenants again for every table."""
_EMPTY = "%"
_SPECIAL = frozenset('%,*[]"\\')
_ESCAPED = re.compile(r"(?:%[0-9A-F]{2})+")


@lru_cache(maxsize=_REMEMBERED)
def partition_key(tenant_id: str) -> str:
    """Return the partition key of a tenant.

    Raises:
        Refused: the key would be too long for Dagster's storage.
    """
    if not tenant_id:
        return _EMPTY
    last = len(tenant_id) - 1
    parts = []
    for index, character in enumerate(tenant_id):
        at_end = index in (0, last)
        repeated_dot = character == "." and index > 0 and tenant_id[index - 1] == "."
        if character in _SPECIAL or repeated_dot or not _is_typable(character, at_end=at_end):
            parts.append("".join(f"%{byte:02X}" for byte in character.encode()))
        else:
            parts.append(character)
    key = "".join(parts)
    if len(key.encode()) > KEY_BYTES_MAX:
        raise Refused(
            f"tenant {tenant_id[:40]!r}... is {len(tenant_id):,} characters long and cannot be a Dagster "
            f"partition (at most {KEY_BYTES_MAX:,} bytes): migrate it with "
            "`tenant-migration migrate --tenant`, or with all others by migrate_all"
        )
    return key


def keys_by_tenant(tenant_ids: Iterable[str]) -> dict[str, str]:
    """Return tenant -> partition key, without the tenants whose key would be too long."""
    keys = {}
    for tenant in tenant_ids:
        with suppress(Refused):
            keys[tenant] = partition_key(tenant)
    return keys


def _is_typable(character: str, *, at_end: bool) -> bool:
    return character == " " and not at_end if character.isspace() else character.isprintable()


def tenant_id(key: str) -> str:
    """Return the tenant of a partition key.

    Raises:
        UnknownTenant: no tenant has this key.
    """
    if key == _EMPTY:
        return ""
    try:
        found = _ESCAPED.sub(lambda escaped: bytes.fromhex(escaped[0].replace("%", "")).decode(), key)
        if partition_key(found) == key:
            return found
    except (UnicodeDecodeError, UnicodeEncodeError):
        pass  # bytes that are no text: the same answer as for any other key without a tenant
    raise UnknownTenant(
        f"no tenant has the partition key {key!r}: special characters are written as %XX, `%` as %25"
    )
