"""The organizations: one congress, federations in it, unions in those, locals in those."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from uuid import NAMESPACE_DNS, UUID, uuid5

_NAMESPACE = uuid5(NAMESPACE_DNS, "union-claims.example")
_REGIONS = ("Atlantic", "Prairie", "Pacific", "Lakeshore", "Northern", "Capital", "Mountain", "Harbour")
_TRADES = (
    "Transit Workers",
    "Nurses and Carers",
    "Dockers",
    "Electrical Workers",
    "Teachers",
    "Steel and Foundry",
    "Postal Workers",
    "Bakery and Grain",
    "Carpenters",
    "Stage and Screen",
    "Miners",
    "Rail Operators",
)
_TENANTS_PER_UNION = 3
_UNIONS_PER_FEDERATION = 2


@dataclass(frozen=True)
class Organization:
    """One of them."""

    id: UUID
    parent_id: UUID | None
    kind: str
    slug: str
    name: str


@dataclass(frozen=True)
class Hierarchy:
    """All of them, by level."""

    congress: Organization
    federations: tuple[Organization, ...]
    unions: tuple[Organization, ...]
    locals: tuple[Organization, ...]

    @property
    def organizations(self) -> tuple[Organization, ...]:
        """Every organization, parents before children."""
        return (self.congress, *self.federations, *self.unions, *self.locals)


def build_hierarchy(tenants: int, seed: int) -> Hierarchy:
    """Build the four levels, with one local for each tenant."""
    unions_wanted = max(3, -(-tenants // _TENANTS_PER_UNION))
    federations_wanted = max(2, -(-unions_wanted // _UNIONS_PER_FEDERATION))
    congress = _organization(seed, None, "congress", "Northern Lights Labour Congress")
    federations = tuple(
        _organization(
            seed, congress, "federation", f"{_named(_REGIONS, number, 'Region')} Federation of Labour"
        )
        for number in range(federations_wanted)
    )
    unions = tuple(
        _organization(
            seed,
            federations[number % federations_wanted],
            "union",
            f"{_named(_TRADES, number, 'Section')} Union",
        )
        for number in range(unions_wanted)
    )
    charter_numbers = Random(seed).sample(range(100, 100 + 20 * tenants), tenants)  # noqa: S311 - sample data
    locals_ = tuple(
        _organization(
            seed,
            unions[number % unions_wanted],
            "local",
            f"{_TRADES[number % unions_wanted % len(_TRADES)]} Local {charter_number}",
        )
        for number, charter_number in enumerate(charter_numbers)
    )
    return Hierarchy(congress, federations, unions, locals_)


def _named(names: tuple[str, ...], number: int, noun: str) -> str:
    """Return the number's name; past the last name they start again with a number behind."""
    turn, index = divmod(number, len(names))
    return names[index] if turn == 0 else f"{names[index]} {noun} {turn + 1}"


def _organization(seed: int, parent: Organization | None, kind: str, name: str) -> Organization:
    slug = name.lower().replace(" ", "-")
    return Organization(uuid5(_NAMESPACE, f"{seed}/{slug}"), parent.id if parent else None, kind, slug, name)
