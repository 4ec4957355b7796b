"""What a wheel has that pyproject.toml cannot say: links to the repository, and its bill of materials."""

import os
import re
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

# Written by `make dist`.
BILL = "build/texthead.cdx.json"


def absolute(text: str, address: str, ref: str) -> str:
    """Return Markdown whose relative links and pictures lead to the repository at `address`, in its state `ref`."""
    text = re.sub(r"(!\[[^]]*\]\()(?!https?:)", rf"\1{address}/raw/{ref}/", text)
    return re.sub(r"((?<!!)\[[^]]*\]\()(?!https?:|#)", rf"\1{address}/blob/{ref}/", text)


class Metadata(MetadataHookInterface):
    """The README, with links that work on a package index, and the addresses of the project.

    The address of the repository comes from the variables of a GitHub workflow. Without them links stay relative.
    """

    def update(self, metadata: dict[str, Any]) -> None:
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        server, name = (os.environ.get(f"GITHUB_{key}") for key in ("SERVER_URL", "REPOSITORY"))
        if server and name:
            address = f"{server}/{name}"
            text = absolute(text, address, os.environ.get("GITHUB_REF_NAME", "HEAD"))
            pages = {"Documentation": "docs/index.md", "Changelog": "CHANGELOG.md"}
            metadata["urls"] = {"Source": address, "Issues": f"{address}/issues"} | {
                title: f"{address}/blob/HEAD/{path}" for title, path in pages.items()
            }
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


class Bill(BuildHookInterface):
    """The bill of materials in the wheel (PEP 770), if it was written."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if (Path(self.root) / BILL).is_file():
            build_data["sbom_files"].append(BILL)
