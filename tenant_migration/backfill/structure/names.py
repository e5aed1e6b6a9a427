"""Names of what we create: at most 63 bytes, readable, and different for different things."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable

_NAME_BYTES_MOST = 63
_HASH_CHARACTERS = 8


def object_name(*parts: str) -> str:
    """Join the parts with `_`; a name over 63 bytes, which PostgreSQL would cut, gets a hash."""
    name = "_".join(parts)
    if len(name.encode()) <= _NAME_BYTES_MOST:
        return name
    suffix = parts[-1]
    digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH_CHARACTERS]
    room = _NAME_BYTES_MOST - len(f"_{digest}_{suffix}".encode())
    return f"{name.encode()[:room].decode(errors='ignore')}_{digest}_{suffix}"


def free_name(is_taken: Callable[[str], bool], *parts: str) -> str:
    """Return the first of `a_idx`, `a_idx1`, `a_idx2`, ... that nobody has: as PostgreSQL itself does."""
    names = (object_name(*parts[:-1], f"{parts[-1]}{number or ''}") for number in itertools.count())
    return next(name for name in names if not is_taken(name))
