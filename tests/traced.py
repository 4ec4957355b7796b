"""What a program asks of the network and writes, as strace records it, native threads and child processes included."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

_CALLS = (
    "connect,bind,sendto,sendmsg,sendmmsg,open,openat,creat,mkdir,mkdirat,truncate,"
    "link,linkat,symlink,symlinkat,rename,renameat,renameat2,unlink,unlinkat,rmdir"
)

_NETWORK = ("connect", "bind", "sendto", "sendmsg", "sendmmsg")

# An address of this machine itself, as strace prints it.
LOOPBACK = re.compile(r'"(::ffff:)?127\.|"::1"')

# A call's name and its arguments, and what it returned.
_LINE = re.compile(r"(\w+)\((.*)\) = (-?\d+)(?:<(.*)>)?")

_PATH = re.compile(r'(?:<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')


class Call(NamedTuple):
    """A system call, its arguments as strace prints them, and the path of the file that it opened."""

    name: str
    arguments: str
    opened: str


class Trace(NamedTuple):
    """The calls of a program and all it started: network addresses, and files outside the allowed folders.

    Attributes:
        contacts: calls with an internet address other than to listen on this machine alone, and reads of the resolver's
            settings, with which a name look-up begins.
        writes: paths that it created, changed or removed.
    """

    contacts: list[Call]
    writes: set[Path]

    def outside(self, *folders: Path) -> list[Path]:
        """Return the written paths that are in none of the folders, no parent of one, and no device."""
        allowed = (*folders, Path("/dev"), Path("/proc"))
        inside = {path for path in self.writes for each in allowed if path.is_relative_to(each) or path in each.parents}
        return sorted(self.writes - inside)


def strace(folder: Path) -> list[str]:
    """Return the words before a command that record its calls in a folder; skip the test if they do not work here."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    folder.mkdir()
    words = ["strace", "-ff", "-qq", "-y", "-s", "4096", "--seccomp-bpf", "-e", f"trace={_CALLS}", "-o"]
    if subprocess.run([*words, str(folder / "probe"), "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to trace processes (ptrace)")
    return [*words, str(folder / "calls")]


def trace_of(folder: Path, start: Path) -> Trace:
    """Return what strace recorded in a folder, of a program started in the folder `start`."""
    calls = [call for file in sorted(folder.iterdir()) for call in _calls(file)]
    return Trace([*filter(_is_contact, calls)], {path for call in calls for path in _written(call, start)})


def _is_contact(call: Call) -> bool:
    if call.name == "bind" and LOOPBACK.search(call.arguments):
        return False
    internet = call.name in _NETWORK and "sa_family=AF_INET" in call.arguments
    return internet or call.opened == "/etc/resolv.conf"


def _calls(file: Path) -> Iterator[Call]:
    for line in file.read_text(errors="replace").splitlines():
        if (match := _LINE.match(line)) and (match[1] in _NETWORK or int(match[3]) >= 0):
            yield Call(match[1], match[2], (match[4] or "").removesuffix(" (deleted)"))


def _written(call: Call, start: Path) -> Iterator[Path]:
    if call.name in _NETWORK:
        return
    if call.name in ("open", "openat"):
        if re.search(r"O_(WRONLY|RDWR|CREAT|TMPFILE)", call.arguments) and call.opened.startswith("/"):
            yield Path(call.opened)
        return
    for within, name in _PATH.findall(call.arguments):
        yield Path(os.path.normpath(start / within / name))


# By these an interpreter seems to run in CI, where onnxruntime sends nothing by itself.
_CI = "^CI$|TF_BUILD|_ACTIONS$|_CI$|CIRCLECI|TRAVIS|JENKINS|CODEBUILD|BUILDKITE|TEAMCITY|APPVEYOR|BITBUCKET"


def environment(folder: Path, **more: str) -> Mapping[str, str]:
    """Return an environment whose home, cache and scratch folders are in a folder, and which says nothing of telemetry or CI."""
    silencers = re.compile(f"TELEMETRY|DO_NOT_TRACK|OFFLINE|USAGE_STATS|^HF_|^XDG_|^MPL|^TORCH|^TEXTHEAD_|{_CI}")
    own = {name: value for name, value in os.environ.items() if not silencers.search(name)}
    for name in ("home", "cache", "scratch", "work"):
        (folder / name).mkdir(exist_ok=True)
    own |= {"HOME": str(folder / "home"), "TEXTHEAD_CACHE": str(folder / "cache"), "TMPDIR": str(folder / "scratch")}
    return own | {"PYTHONDONTWRITEBYTECODE": "1"} | more


def traced(command: Sequence[object], folder: Path, **more: str) -> Trace:
    """Run a program in `folder/work` to its end, and return what it did; its exit code must be 0."""
    own = environment(folder, **more)
    words = [*strace(folder / "calls"), *map(str, command)]
    done = subprocess.run(words, env=own, cwd=folder / "work", capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stderr[-3000:]
    return trace_of(folder / "calls", folder / "work")
