"""Tenant ids as partition keys: reversible, injective, and nothing that Dagster trips over."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenant_migration.errors import Refused, UnknownTenant
from tenant_migration.orchestration.partition_keys import KEY_BYTES_MAX, partition_key, tenant_id

awkward = st.text(alphabet=st.sampled_from(list("a.%,*[]\"\\' \t\n2E5\u00a0\u2028é\x00")), max_size=12)
any_id = st.one_of(awkward, st.text(max_size=40))


@pytest.mark.parametrize(
    ("tenant", "key"),
    [
        ("local-7", "local-7"),
        ("O'Brien Local", "O'Brien Local"),
        ("", "%"),
        ("%", "%25"),
        ("a,b", "a%2Cb"),
        ("a...b", "a.%2E%2Eb"),
        ("v1.2", "v1.2"),
        (" padded ", "%20padded%20"),
        ("tab\there", "tab%09here"),
        ("Größe", "Größe"),
        ("[x]*", "%5Bx%5D%2A"),
    ],
)
def test_an_id_is_written_as_documented(tenant: str, key: str) -> None:
    assert partition_key(tenant) == key
    assert tenant_id(key) == tenant


@given(any_id)
def test_every_id_comes_back(tenant: str) -> None:
    assert tenant_id(partition_key(tenant)) == tenant


@given(any_id, any_id)
def test_two_ids_never_share_a_key(one: str, other: str) -> None:
    assert (partition_key(one) == partition_key(other)) == (one == other)


@given(any_id)
def test_no_key_holds_what_dagster_cannot_carry(tenant: str) -> None:
    key = partition_key(tenant)
    assert key
    assert key == key.strip()
    assert "..." not in key
    assert not set(key) & set(',*[]"\\')
    assert key.isprintable()


@given(any_id)
def test_a_text_is_a_key_only_when_its_tenant_has_it(text: str) -> None:
    try:
        found = tenant_id(text)
    except UnknownTenant:
        found = None
    assert found is None or partition_key(found) == text


@pytest.mark.parametrize("key", ["", "a,b", "%2c", "%2", "%FF", "%41", "a...b"])
def test_a_key_that_no_tenant_has_is_refused(key: str) -> None:
    with pytest.raises(UnknownTenant):
        tenant_id(key)


def test_an_id_too_long_for_dagsters_indexes_is_refused() -> None:
    with pytest.raises(Refused, match="cannot be a Dagster partition"):
        partition_key("x" * (KEY_BYTES_MAX + 1))
    assert partition_key("x" * KEY_BYTES_MAX) == "x" * KEY_BYTES_MAX
