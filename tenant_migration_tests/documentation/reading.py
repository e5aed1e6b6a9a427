"""What is read out of the pages: links, headings, blocks of code, command lines."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tenant_migration_tests.documentation import DOCS, ROOT

_FENCE = re.compile(r"^( *)(```+)([^\n`]*)\n(.*?)^\1\2 *$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_INLINE = re.compile(r"`(tenant-migration(?: [^`]*)?)`")
_HEADING = re.compile(r"^#+ +(.*?) *$", re.MULTILINE)
_ENDS_COMMAND = {"|", "||", "&&", ";", ">", ">>", "2>", "&"}


@dataclass(frozen=True)
class Page:
    """One page."""

    path: Path

    @property
    def name(self) -> str:
        """Its path in the repository."""
        return str(self.path.relative_to(ROOT))

    @property
    def text(self) -> str:
        """All of it."""
        return self.path.read_text(encoding="utf-8")

    @property
    def prose(self) -> str:
        """It without its blocks of code."""
        return _FENCE.sub("", self.text)

    def blocks(self, *languages: str) -> Iterator[str]:
        """Yield the blocks of code in a language."""
        for _, _, language, body in _FENCE.findall(self.text):
            if language.strip() in languages:
                yield body

    def links(self) -> Iterator[str]:
        """Yield where its links and pictures lead, if not out of the repository."""
        return (link for link in _LINK.findall(self.prose) if not re.match(r"[a-z]+:", link))

    def anchors(self) -> set[str]:
        """Return the anchors of its headings."""
        return {_anchor(heading) for heading in _HEADING.findall(self.prose)}

    def command_lines(self) -> Iterator[str]:
        """Yield every `tenant-migration ...`, in blocks and in sentences."""
        for body in self.blocks("bash", "console"):
            for line in re.sub(r"\\\n *", " ", body).splitlines():
                found = re.match(r" *(?:\$ )?(?:[A-Z_]+=\S+ )*(tenant-migration\b.*)", line)
                if found:
                    yield found[1]
        yield from _INLINE.findall(self.prose)

    def messages(self) -> Iterator[str]:
        """Yield what stands in backquotes in the first column of tables of messages."""
        for head, body in re.findall(r"^\|([^|\n]+)\|.*\n\|[- |]+\n((?:\|.*\n)+)", self.prose, re.MULTILINE):
            if head.strip() in {"message", "exception"}:
                for line in body.splitlines():
                    quoted = re.findall(r"`([^`]+)`", line.split("|")[1])
                    yield from (message for message in quoted if " " in message)


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def pages() -> list[Page]:
    """Return every page that people read."""
    return [Page(ROOT / "README.md"), *(Page(path) for path in sorted(DOCS.rglob("*.md")))]


def arguments_of(line: str) -> list[str]:
    """Return the arguments of a command line, without what the shell takes for itself."""
    words = shlex.split(line, comments=True)[1:]
    end = next((place for place, word in enumerate(words) if word in _ENDS_COMMAND), len(words))
    return words[:end]
