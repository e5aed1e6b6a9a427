"""No page says what the code does not: reference, links, command lines, YAML, pictures, numbers."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from tenant_migration.cli.main import cli
from tenant_migration.config import load_config
from tenant_migration_tests.benchmarks import from_the_original
from tenant_migration_tests.documentation import COMMAND, DOCS, REFERENCE, ROOT, reading, reference, sources

PICTURE_BYTES_MOST = 150_000


def test_the_reference_is_what_the_code_says():
    differing = [
        name
        for name, text in reference.pages().items()
        if not (REFERENCE / name).exists() or (REFERENCE / name).read_text(encoding="utf-8") != text
    ]
    assert differing == [], f"run `{COMMAND}` and commit what it writes"


def test_every_link_leads_somewhere():
    broken = []
    for page in reading.pages():
        for link in page.links():
            place, _, anchor = link.partition("#")
            target = (page.path.parent / place).resolve() if place else page.path
            is_page = target.suffix == ".md" and target.is_file()
            if not target.exists() or (anchor and is_page and anchor not in reading.Page(target).anchors()):
                broken.append(f"{page.name}: {link}")
    assert broken == []


def test_every_page_is_reached_from_the_readme():
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen:
            continue
        seen.add(page)
        links = (link.partition("#")[0] for link in reading.Page(page).links())
        targets = ((page.parent / link).resolve() for link in links if link)
        waiting += [target for target in targets if target.suffix == ".md" and target.is_file()]
    assert {page.path.resolve() for page in reading.pages()} - seen == set()


def test_every_command_line_parses(monkeypatch: pytest.MonkeyPatch):
    refused, parsed = [], 0
    for page in reading.pages():
        for line in page.command_lines():
            parsed += 1
            try:
                _parse(reading.arguments_of(line), monkeypatch)
            except click.ClickException as error:
                refused.append(f"{page.name}: {line}: {error.format_message()}")
    assert refused == []
    assert parsed > 100


def _parse(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if not arguments:
        return
    context = click.Context(cli, info_name="tenant-migration")
    try:
        name, command, rest = cli.resolve_command(context, arguments)
        assert command is not None
        for parameter in command.params:
            if isinstance(parameter.type, click.Path):
                monkeypatch.setattr(parameter.type, "exists", False)  # files of the reader's, not of ours
        command.make_context(name, rest, parent=context)
    except click.exceptions.Exit:
        pass  # --help


def test_a_wrong_command_line_would_be_found(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(click.ClickException):
        _parse(["migrate", "--no-such-option"], monkeypatch)


def test_every_yaml_block_is_a_configuration(tmp_path: Path):
    """A block ```yaml is a migration.yaml; other YAML is marked ```yml."""
    count = 0
    for page in reading.pages():
        for block in page.blocks("yaml"):
            count += 1
            file = tmp_path / f"{count}_of_{page.path.name}.yaml"
            file.write_text(block, encoding="utf-8")
            load_config(file)
    assert count > 0


def test_every_picture_is_shown_and_small():
    shown = {
        (page.path.parent / link).resolve()
        for page in reading.pages()
        for link in page.links()
        if link.endswith(".png")
    }
    pictures = {path.resolve() for path in (DOCS / "pictures").glob("*")}
    assert pictures == shown
    assert {path.name for path in pictures if path.stat().st_size > PICTURE_BYTES_MOST} == set()


def test_the_benchmarks_table_is_of_the_committed_numbers():
    page = from_the_original.PAGE.read_text(encoding="utf-8")
    assert from_the_original.with_table(page) == page, "run the script with --docs"


def test_every_message_is_one_of_the_code():
    texts = list(sources.texts())
    troubleshooting = reading.Page(DOCS / "troubleshooting.md")
    wrong = [
        message
        for message in troubleshooting.messages()
        if not any(sources.has_in_order(text, message.split("...")) for text in texts)
    ]
    assert wrong == []


def test_a_wrong_message_would_be_found():
    assert not any(sources.has_in_order(text, ["no such message ", " anywhere"]) for text in sources.texts())
