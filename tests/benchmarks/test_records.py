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
    "docs/archive/log.md",
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


def test_every_section_of_the_log_is_in_its_index() -> None:
    text = (ROOT / "LOG.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    archived = set(re.findall(r"^### (.+)$", (ROOT / "docs/archive/log.md").read_text(encoding="utf-8"), re.MULTILINE))
    index = set(re.findall(r"^\| [\d-]{10} \| \[(.+?)\]\(", text, re.MULTILINE))
    assert len(sections) > 50
    assert index == sections | archived
