"""Options of a page: its address and password."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from texthead.cli import NonNegativeInt, console, option
from texthead.extras import check_extra

if TYPE_CHECKING:
    from starlette.types import ASGIApp


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

    def password(self, command: str) -> str | None:
        """Return the password of the file, else a new one if other machines can reach the page, else None.

        Args:
            command: whose page it is, for messages.

        Raises:
            DataError: the file cannot be read, or its password is too short.
            RunError: a package that serves the page is not installed.
        """
        check_extra("ui", f"texthead {command}")
        from texthead.apps.serving.password import new_password, read_password
        from texthead.apps.serving.server import LOCAL

        if self.password_file is not None:
            return read_password(Path(self.password_file))
        return None if self.host in LOCAL else new_password()

    @contextmanager
    def listening(self, password: str | None) -> "Iterator[Callable[[ASGIApp], None]]":
        """Listen at the address, and yield a function that serves an application until it is interrupted.

        Prints the password if other machines can reach the page, and the address when the page can be opened.

        Raises:
            RunError: the port is taken, or the host is not one of this machine.
        """
        from texthead.apps.serving.server import LOCAL, listening_socket, serve

        def run(app: "ASGIApp") -> None:
            with suppress(KeyboardInterrupt):
                serve(listening, app, self.host, _show_address)

        with listening_socket(self.host, self.port) as listening:
            if self.host not in LOCAL:
                source = password if self.password_file is None else "that of --password-file"
                console.problems().print(
                    f"note: with --host {self.host} other machines can reach the page, unencrypted; password: {source}"
                )
            yield run


def _show_address(address: str) -> None:
    """Print the address of the page."""
    console.hide_progress()
    console.flush_notes()
    console.results().print(f"page: {address}  (Ctrl-C ends it)")
    sys.stdout.flush()
