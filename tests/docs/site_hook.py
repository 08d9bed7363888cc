"""For mkdocs: lists the pages of `FOLDER/*.md` in the navigation, and takes along the files outside of docs/ that a page links to, so that every link of the site has a target.

A page links to them as on any server of git: `../proxy/README.md`. In the site they are below `repository/`: pages as
pages, folders as their names, everything else as it is.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
_BELOW = "repository"
_LINK = re.compile(r"(\]\(<?)([^)<>#\s]+)")
_LANGUAGES = {".py": "python", ".sh": "sh", ".yml": "yaml", ".service": "ini", ".socket": "ini"}
_AS_IT_IS = {".json", ".yaml", ".db", ".svg", ".png", ".html"}


def _leaves(source: str, link: str) -> str:
    """The path in the repository that a link of the page `source` (below docs/) leads to, or "" where it is a page or the web."""
    if "://" in link or link.startswith(("/", "mailto:")):
        return ""
    where = posixpath.normpath(posixpath.join("docs", posixpath.dirname(source), link))
    if source.startswith(f"{_BELOW}/"):
        where = posixpath.normpath(posixpath.join(posixpath.dirname(source.removeprefix(f"{_BELOW}/")), link))
    outside = not where.startswith(("docs/", ".."))
    return where if outside and (ROOT / where).is_file() else ""


def _target(where: str) -> str:
    """The place in the site. What is no page becomes one, so that a browser shows it."""
    suffix = Path(where).suffix
    return f"{_BELOW}/{where}" if suffix in _AS_IT_IS | {".md"} else f"{_BELOW}/{where}.md"


def _content(where: str) -> str:
    text = (ROOT / where).read_text("utf-8")
    if Path(where).suffix in _AS_IT_IS | {".md"}:
        return text
    language = _LANGUAGES.get(Path(where).suffix, "text")
    return f"# {where}\n\n`````{language}\n{text.rstrip()}\n`````\n"


def _linked(source: str, text: str) -> set[str]:
    return {where for _, link in _LINK.findall(text) if (where := _leaves(source, link))}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """`runbooks/*.md` in the navigation stands for all pages there but its index."""
    config.nav = _expanded(config.nav)
    return config


def _expanded(entries: Any) -> Any:
    if isinstance(entries, dict):
        return {title: _expanded(below) for title, below in entries.items()}
    if not isinstance(entries, list):
        return entries
    expanded = list[Any]()
    for entry in entries:
        if isinstance(entry, str) and "*" in entry:
            pages = sorted((ROOT / "docs").glob(entry))
            expanded += [str(page.relative_to(ROOT / "docs")) for page in pages if page.name != "index.md"]
        else:
            expanded.append(_expanded(entry))
    return expanded


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the linked files, and those that they link to."""
    waiting = [(file.src_uri, file.content_string) for file in files.documentation_pages()]
    known = set[str]()
    while waiting:
        source, text = waiting.pop()
        for where in sorted(_linked(source, text) - known):
            known.add(where)
            target, content = _target(where), _content(where)
            files.append(File.generated(config, target, content=content, inclusion=InclusionLevel.NOT_IN_NAV))
            if where.endswith(".md"):
                waiting.append((target, content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Bends links that leave docs/ to the copies, and links of the copies into docs/ to the pages."""
    source = page.file.src_uri
    here = posixpath.dirname(source)

    def bent(match: re.Match[str]) -> str:
        before, link = match.groups()
        if where := _leaves(source, link):
            return before + posixpath.relpath(_target(where), here or ".")
        if source.startswith(f"{_BELOW}/") and "://" not in link:
            inside = posixpath.normpath(posixpath.join(here.removeprefix(_BELOW).lstrip("/"), link))
            if inside.startswith("docs/"):
                return before + posixpath.relpath(inside.removeprefix("docs/"), here)
        return before + link

    return _LINK.sub(bent, markdown)
