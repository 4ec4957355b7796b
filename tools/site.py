"""Pages of the site that are made when it is built: commands, API, modules, dependencies, and texts for assistants.

mkdocs loads this file by its path (`hooks` in mkdocs.yml) and calls `on_files`.
"""

import re
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT))

from tools import api, commands, licences, tree  # noqa: E402

_ASSISTANTS = """# For assistants

What a program that writes commands or code for texthead needs: the usage and the JSON keys of each command, and the
formats of files. `texthead COMMAND --help` prints the options. In Python, `import texthead as th` has `th.train`,
`th.load_run`, `th.compare`, `th.read_dataset` and the other names of the API; `th.load_run("run").predict("clip.mp4")`
returns predictions with `path` and `top`.

Results go to standard output, notes and progress to standard error. `--json` prints one JSON document. A mistake is one
line on standard error with exit code 2.

## Commands
"""


def assistants() -> str:
    """Return the page for assistants: usage and JSON keys of each command, then the formats of files without links."""
    lines = [_ASSISTANTS, *map(commands.summary, commands.COMMANDS), ""]
    formats = (ROOT / "docs" / "reference" / "files.md").read_text(encoding="utf-8").partition("\n")[2]
    return "\n".join(lines) + re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", formats)


def links(nav: list[Any], folders: str = "") -> Iterator[str]:
    """Yield a line for each page of the navigation."""
    for title, page in (entry for each in nav if isinstance(each, dict) for entry in each.items()):
        if isinstance(page, list):
            yield from links(page, f"{folders}{title}: ")
        else:
            yield f"- [{folders}{title}]({page.removesuffix('.md')}.html)"


def index(config: MkDocsConfig) -> str:
    """Return llms.txt: what the site is about, and its pages."""
    full = "- [All commands, JSON keys and file formats in one text](llms-full.txt)"
    head = [f"# {config.site_name}", "", f"> {config.site_description}", "", "## Pages", ""]
    return "\n".join([*head, full, *links(config.nav or []), ""])


def pages() -> dict[str, str]:
    """Return the text of each generated page by its path."""
    return {
        "reference/commands.md": commands.page(),
        "reference/assistants.md": assistants(),
        "explanation/modules.md": tree.page(),
        "reference/dependencies.md": licences.page(licences.closure("texthead")),
        **{f"reference/api/{name.rpartition('.')[2]}.md": api.page(name) for name in api.PAGES},
    }


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages and texts."""
    plain = unescape(re.sub(r"\\([\[|])", r"\1", assistants()))
    texts = {**pages(), "llms.txt": index(config), "llms-full.txt": plain}
    for path, text in texts.items():
        files.append(File.generated(config, path, content=text))
    return files
