"""Writes what is generated in docs/: `python -m tests.docs.generate`. A test compares.

A page is generated whole, or between `<!-- NAME:begin -->` and `<!-- NAME:end -->`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from crossfade.cli.described import described
from crossfade.cli.manual import page as manual_page
from tests.docs import (
    api_reference,
    cli_reference,
    evidence_paths,
    failure_table,
    metrics_table,
    yaml_reference,
)
from tests.docs.blocks import ROOT

WHOLE: dict[str, Callable[[], str]] = {
    "docs/yaml.md": yaml_reference.page,
    "docs/cli.md": cli_reference.page,
    "deploy/man/crossfade.1": lambda: manual_page(described()),
    "docs/pictures/evidence.svg": evidence_paths.evidence,
    "docs/pictures/estimate.svg": evidence_paths.estimates,
    "docs/pictures/looks.svg": evidence_paths.repeated_looks,
}
REGIONS: dict[str, tuple[str, Callable[[], str]]] = {
    "docs/failures.md": ("failures", failure_table.table),
    "docs/verdicts.md": ("caption", evidence_paths.caption),
    "docs/api.md": ("operations", api_reference.reference),
    "docs/metrics.md": ("metrics", metrics_table.table),
}


def contents() -> dict[Path, str]:
    """What each generated file should be."""
    files = {ROOT / name: made() for name, made in WHOLE.items()}
    for name, (region, made) in REGIONS.items():
        text = (ROOT / name).read_text("utf-8")
        begin, end = f"<!-- {region}:begin -->\n", f"<!-- {region}:end -->"
        assert begin in text and end in text, f"{name} has no place for {region}"
        before, _, rest = text.partition(begin)
        files[ROOT / name] = f"{before}{begin}\n{made()}\n\n{end}{rest.partition(end)[2]}"
    return files


if __name__ == "__main__":
    for path, content in contents().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, "utf-8")
        print(path.relative_to(ROOT))
