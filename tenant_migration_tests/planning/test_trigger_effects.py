"""What a trigger's source is read as: dangerous when in doubt, harmless only when it can be seen."""

from __future__ import annotations

import pytest

from tenant_migration.catalog.model import Trigger
from tenant_migration.planning.trigger_effects import Effects, Firing, effects, firing, guard_statement


def trigger(body: str = "RETURN NEW;", **facts: object) -> Trigger:
    given: dict[str, object] = {
        "name": "t",
        "timing": "before",
        "level": "row",
        "events": ("update",),
        "update_columns": (),
        "enabled": "origin",
        "function": "public.f",
        "function_source": f"BEGIN {body} END",
        "has_when": False,
        "definition": "CREATE TRIGGER t BEFORE UPDATE ON public.x FOR EACH ROW EXECUTE FUNCTION public.f()",
    }
    return Trigger(**{**given, **facts})  # type: ignore[arg-type]


def with_condition(condition: str) -> Trigger:
    return trigger(
        has_when=True,
        definition=f"CREATE TRIGGER t BEFORE UPDATE ON public.x FOR EACH ROW WHEN ({condition})"
        " EXECUTE FUNCTION public.f()",
    )


@pytest.mark.parametrize(
    ("body", "columns"),
    [
        ("NEW.updated_at := now(); RETURN NEW;", ("updated_at",)),
        ("NEW.updated_at = now(); RETURN NEW;", ("updated_at",)),
        ('new."updatedAt" := now(); RETURN NEW;', ("updatedAt",)),
        ("IF NEW.a = NEW.b THEN NEW.version := OLD.version + 1; END IF; RETURN NEW;", ("version",)),
        ("SELECT max(n) INTO NEW.position FROM t; RETURN NEW;", ("position",)),
        ("NEW.tags[1] := 'x'; RETURN NEW;", ("tags",)),
        ("NEW := jsonb_populate_record(NEW, '{}'); RETURN NEW;", ("the whole row",)),
        ("SELECT * INTO NEW FROM other; RETURN NEW;", ("the whole row",)),
        ("IF NEW.a = 1 THEN RETURN NEW; END IF; RETURN NEW;", ()),
        ("-- NEW.updated_at := now();\nRETURN NEW;", ()),
        ("RAISE NOTICE 'NEW.updated_at := now()'; RETURN NEW;", ()),
    ],
)
def test_columns_that_a_before_trigger_sets(body: str, columns: tuple[str, ...]) -> None:
    assert effects(trigger(body), {"now", "max", "jsonb_populate_record"}).sets_columns == columns


def test_an_after_trigger_cannot_set_columns_or_skip_rows() -> None:
    found = effects(trigger("NEW.updated_at := now(); RETURN NULL;", timing="after"), {"now"})
    assert (found.sets_columns, found.skips_rows) == ((), False)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ("INSERT INTO audit VALUES (1);", "insert"),
        ("insert\n into public.audit (what, at) SELECT 1, 2;", "insert"),
        ("UPDATE public.totals SET n = n + 1;", "update"),
        ('UPDATE ONLY "Totals" AS t SET n = n + 1;', "update"),
        ("WITH gone AS (DELETE FROM x RETURNING 1) SELECT 1;", "delete"),
        ("MERGE INTO t USING u ON true WHEN MATCHED THEN DO NOTHING;", "merge"),
        ("TRUNCATE cache;", "truncate"),
        ("CALL refresh();", "call"),
        ("NOTIFY changes;", "notify"),
        ("IF true THEN NOTIFY changes; END IF;", "notify"),
        ("PERFORM pg_notify('a', 'b');", "pg_notify()"),
        ("PERFORM public.reindex(NEW.id);", "reindex()"),
        ("x := dblink('...', '...');", "dblink()"),
        ("EXECUTE format('SELECT %s', 1);", "dynamic SQL"),
        ("CREATE TEMP TABLE t (x int);", "DDL"),
        ("PERFORM set_config('a.b', 'c', false);", "set_config()"),
    ],
)
def test_what_writes_elsewhere(body: str, word: str) -> None:
    assert word in effects(trigger(f"{body} RETURN NEW;"), {"format"}).writes


@pytest.mark.parametrize(
    "body",
    [
        "IF TG_OP = 'UPDATE' THEN NULL; END IF;",
        "SELECT 1 FROM t FOR UPDATE;",
        "PERFORM 1 FROM t WHERE id = NEW.id;",
        "x := coalesce(lower(NEW.a), 'insert into t');",
        "x := (NEW.a)::numeric(10, 2); y := gen_random_uuid(); z := clock_timestamp();",
        "RAISE NOTICE 'delete from t'; RAISE WARNING 'x'; RAISE LOG 'y';",
        "IF (NEW.a IN ('x', 'y')) AND NOT (NEW.b = ANY (ARRAY[1])) THEN NULL; END IF;",
    ],
)
def test_what_is_seen_to_be_harmless(body: str) -> None:
    assert effects(trigger(f"{body} RETURN NEW;"), {"lower"}) == Effects()


@pytest.mark.parametrize(
    ("body", "raises"),
    [
        ("RAISE EXCEPTION 'no';", True),
        ("RAISE 'no';", True),
        ("RAISE unique_violation;", True),
        ("RAISE USING message = 'no';", True),
        ("ASSERT NEW.a > 0;", True),
        ("RAISE INFO 'fine'; RAISE DEBUG 'fine';", False),
    ],
)
def test_what_raises(body: str, raises: bool) -> None:
    assert effects(trigger(f"{body} RETURN NEW;"), set()).raises is raises


@pytest.mark.parametrize(
    ("body", "skips"),
    [
        ("IF NEW.a THEN RETURN NULL; END IF; RETURN NEW;", True),
        ("RETURN OLD;", True),
        ("IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW;", False),
        ("RETURN NEW;", False),
    ],
)
def test_what_skips_rows(body: str, skips: bool) -> None:
    assert effects(trigger(body), set()).skips_rows is skips


@pytest.mark.parametrize("language", ["c", "plpython3u", "internal"])
def test_what_cannot_be_read_counts_as_writing(language: str) -> None:
    assert "cannot be read" in effects(trigger(language=language), set()).writes[0]


def test_functions_of_postgresql_in_c_are_known() -> None:
    harmless = trigger(language="internal", function="pg_catalog.suppress_redundant_updates_trigger")
    assert effects(harmless, set()).harmless
    assert effects(trigger(language="c", function="public.moddatetime"), set()).sets_columns


@pytest.mark.parametrize(
    "facts",
    [
        {"events": ("insert", "delete")},
        {"enabled": "disabled"},
        {"enabled": "replica"},
        {"update_columns": ("title", "tenant_id")},
    ],
)
def test_triggers_that_the_backfill_does_not_fire(facts: dict[str, object]) -> None:
    assert firing(trigger(**facts), "organization_id") is Firing.SILENT


@pytest.mark.parametrize(
    "facts",
    [{}, {"enabled": "always"}, {"update_columns": ("title", "organization_id")}, {"level": "statement"}],
)
def test_triggers_that_the_backfill_fires(facts: dict[str, object]) -> None:
    assert firing(trigger(**facts), "organization_id") is Firing.FIRES


GUARD = "(current_setting('tenant_migration.backfill'::text, true) IS DISTINCT FROM 'on'::text)"


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (GUARD, Firing.GUARDED),
        (f"((new.id > 1) AND {GUARD})", Firing.GUARDED),
        (
            "(COALESCE(current_setting('tenant_migration.backfill'::text, true), ''::text) <> 'on'::text)",
            Firing.GUARDED,
        ),
        (f"((new.id > 1) OR {GUARD})", Firing.FIRES),
        (f"(((new.id > 1) OR (new.id < 0)) AND {GUARD})", Firing.GUARDED),
        (f"(((new.id > 1) AND {GUARD}) OR (new.id < 0))", Firing.FIRES),
        (f"((new.a = ') AND ('::text) OR {GUARD})", Firing.FIRES),
        ("((old.title IS DISTINCT FROM new.title) AND (new.id > 1))", Firing.SILENT),
        (f"(NOT {GUARD})", Firing.FIRES),
        ("(current_setting('tenant_migration.backfill'::text, true) = 'on'::text)", Firing.FIRES),
        ("(current_setting('other.backfill'::text, true) IS DISTINCT FROM 'on'::text)", Firing.FIRES),
        ("(old.title IS DISTINCT FROM new.title)", Firing.SILENT),
        ("((old.title IS DISTINCT FROM new.title) OR (old.a IS DISTINCT FROM new.a))", Firing.SILENT),
        ("(old.organization_id IS DISTINCT FROM new.organization_id)", Firing.FIRES),
        ("((old.title IS DISTINCT FROM new.title) OR (new.id > 1))", Firing.FIRES),
        ("(old.* IS DISTINCT FROM new.*)", Firing.FIRES),
        ("(old.title IS DISTINCT FROM new.other)", Firing.FIRES),
    ],
)
def test_conditions(condition: str, expected: Firing) -> None:
    assert firing(with_condition(condition), "organization_id") is expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            "IF current_setting('tenant_migration.backfill', true) = 'on' THEN RETURN NEW; END IF; x;",
            Firing.GUARDED,
        ),
        (
            "if (current_setting('tenant_migration.backfill',true)='on') then return null; end if; x;",
            Firing.GUARDED,
        ),
        (
            "IF coalesce(current_setting('tenant_migration.backfill', true), '') = 'on'"
            " THEN RETURN NEW; END IF;",
            Firing.GUARDED,
        ),
        (
            "x; IF current_setting('tenant_migration.backfill', true) = 'on' THEN RETURN NEW; END IF;",
            Firing.FIRES,
        ),
        (
            "-- IF current_setting('tenant_migration.backfill', true) = 'on' THEN RETURN NEW; END IF;\nx;",
            Firing.FIRES,
        ),
        (
            "IF current_setting('tenant_migration.backfill', true) = 'off' THEN RETURN NEW; END IF;",
            Firing.FIRES,
        ),
    ],
)
def test_guards_in_the_body(body: str, expected: Firing) -> None:
    assert firing(trigger(body), "organization_id") is expected


def test_a_guard_is_added_to_the_condition_that_is_there() -> None:
    assert guard_statement(with_condition("(new.id > 1)")) == (
        "CREATE OR REPLACE TRIGGER t BEFORE UPDATE ON public.x FOR EACH ROW WHEN (((new.id > 1)) AND "
        "current_setting('tenant_migration.backfill', true) IS DISTINCT FROM 'on')"
        " EXECUTE FUNCTION public.f()"
    )
    assert guard_statement(trigger(definition="CREATE CONSTRAINT TRIGGER t AFTER UPDATE ...")) is None
