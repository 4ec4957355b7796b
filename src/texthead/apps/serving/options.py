"""Options of a page: its address and password."""

import sys
from dataclasses import dataclass
from pathlib import Path

from texthead.cli import NonNegativeInt, console, option
from texthead.extras import check_extra


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """Address of the page.

    Args:
        host: address to serve the page on; if it is not 127.0.0.1, other machines can open the page, with a password
        port: port to serve the page on; 0 takes any free one
        password_file: file with the password on its first line (a new one is printed if other machines have access)
    """

    host: str = "127.0.0.1"
    port: NonNegativeInt = 7860
    password_file: str | None = option(None, "FILE")

    def check_installed(self, command: str) -> None:
        """Raise RunError if a package that serves the page is not installed."""
        check_extra("ui", f"texthead {command}")

    def password(self) -> str | None:
        """Return the password of the file, else a new one if other machines can reach the page, else None.

        Raises:
            DataError: the file cannot be read, or its password is too short.
        """
        from texthead.apps.serving.password import new_password, read_password
        from texthead.apps.serving.server import LOCAL

        if self.password_file is not None:
            return read_password(Path(self.password_file))
        return None if self.host in LOCAL else new_password()

    def say_password(self, password: str | None) -> None:
        """Print the password if other machines can reach the page."""
        from texthead.apps.serving.server import LOCAL

        if self.host not in LOCAL:
            source = password if self.password_file is None else "that of --password-file"
            console.problems().print(
                f"note: with --host {self.host} other machines can reach the page, unencrypted; password: {source}"
            )

    def show_address(self, address: str) -> None:
        """Print the address of the page."""
        console.hide_progress()
        console.flush_notes()
        console.results().print(f"page: {address}  (Ctrl-C ends it)")
        sys.stdout.flush()
