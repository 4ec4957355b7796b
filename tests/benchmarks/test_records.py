"""Links between the records (BENCHMARKS, LOG and their archive) resolve."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECORDS = (
    "BENCHMARKS.md",
    "CHANGELOG.md",
    "LOG.md",
    "SECURITY.md",
    "docs/archive/benchmarks.md",
    "docs/decisions.md",
)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", RECORDS)
def test_links_lead_to_a_heading(name: str) -> None:
    page = ROOT / name
    links = re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8"))
    for path, anchor in links:
        if path.startswith("http"):
            continue
        target = page.parent / path if path else page
        assert target.is_file(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


def test_every_section_of_the_log_is_among_the_decisions() -> None:
    sections = re.findall(r"^### (.+)$", (ROOT / "LOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    decisions = (ROOT / "docs/decisions.md").read_text(encoding="utf-8")
    assert len(sections) > 30
    assert sections == re.findall(r"^\| [\d-]{10} \| \*(.+?)\* \|", decisions, re.MULTILINE)
