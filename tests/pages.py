"""A strict parser of HTML pages, and a check that a page loads nothing."""

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "wbr", "link", "input"}
SCRIPT = "<script>alert('x')</script>\" onload=\"y"


class Page(HTMLParser):
    """A parsed page: tags with attributes, visible text, table rows; fails on mismatched tags."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.strings: list[str] = []
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        # Collapse white space as a browser does.
        data = data if "pre" in self._open else re.sub(r"\s+", " ", data)
        if not {"style", "script"} & {*self._open} and data.strip():
            self.strings.append(data.strip())
        if {"td", "th"} & {*self._open}:
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        """The visible strings, one per line."""
        return "\n".join(self.strings)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def attributes(self, name: str) -> list[str | None]:
        return [attributes[name] for _, attributes in self.tags if name in attributes]


def assert_self_contained(html: str, page: Page) -> None:
    names = {tag for tag, _ in page.tags}
    assert not names & {"link", "iframe", "object", "embed", "base", "form"}
    # Only the page's own script runs.
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert [name for name, _ in page.tags].count("script") == len(scripts) <= 1
    for script in scripts:
        assert f"script-src 'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" in html
    links = page.attributes("src") + page.attributes("href")
    assert all(link is not None and link.startswith(("data:", "#")) for link in links)
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert not re.search(r"https?:|url\(|@import", html)
