"""Check error messages: a test names the type and the values, `golden/messages.txt` holds the full messages.

    with refuses(DataError, "k", "9"):
        dataset.k_shot(9, seed=0)
    prints(err, "flip", "left-hand")

`pytest --rewrite-messages` writes the messages of the tests that ran; read the diff before you commit it. It removes
old messages of those tests only if none failed and none was selected with -k or by name. Slow tests check types and
values only, unless the file already holds messages of theirs.
"""

import re
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden" / "messages.txt"

# Parts that differ from run to run: folders of the test and the checkout, addresses, process IDs.
_VOLATILE = [
    (re.compile(r"/\S*?/pytest-of-[^/\s]+/pytest-\d+(/popen-gw\d+)?/[^/\s:,'\")`]+"), "TMP"),
    (re.compile(re.escape(str(Path(__file__).parents[1]))), "CHECKOUT"),
    (re.compile(r"0x[0-9a-f]{6,}"), "ADDRESS"),
    (re.compile(r"\b(pid|process) \d{2,}"), r"\1 PID"),
]

Messages = dict[str, dict[str, list[str]]]  # test file -> test function -> sentences


class Recorder:
    """The messages of this test run, and those of the golden file."""

    def __init__(self) -> None:
        self.item: pytest.Item | None = None
        self.rewrite = False
        self.golden: Messages = read(GOLDEN)
        self.seen: Messages = {}
        self.partial: set[tuple[str, str]] = set()  # Functions of which some cases are not run, such as slow ones.

    def check(self, sentence: str, volatile: Iterable[object] = ()) -> None:
        """Fail if the golden file does not hold `sentence` for the running test.

        Args:
            volatile: values that differ from run to run, such as a free port; the file has `...` in their place.
        """
        item = self.item
        if item is None:
            return
        file, function = place_of(item)
        if item.get_closest_marker("slow") and function not in self.golden.get(file, {}):
            return
        for value in volatile:
            sentence = sentence.replace(str(value), "...")
        sentence = settled(sentence)
        sentences = self.seen.setdefault(file, {}).setdefault(function, [])
        if sentence not in sentences:
            sentences.append(sentence)
        if self.rewrite or sentence in self.golden.get(file, {}).get(function, []):
            return
        raise AssertionError(
            f"golden/messages.txt does not hold this message of {file}::{function} (pytest --rewrite-messages): {sentence}"
        )


def place_of(item: pytest.Item) -> tuple[str, str]:
    """Return the file and the function of a test."""
    return item.path.relative_to(GOLDEN.parents[1]).as_posix(), item.name.partition("[")[0]


def settled(sentence: str) -> str:
    """Return the sentence on one line, with placeholders for the parts that differ from run to run."""
    for pattern, word in _VOLATILE:
        sentence = pattern.sub(word, sentence)
    return sentence.replace("\n", "\\n")


@contextmanager
def refuses(
    kind: type[Exception], *parts: object, volatile: Iterable[object] = ()
) -> Iterator[pytest.ExceptionInfo[Exception]]:
    """Expect an error of this kind whose message contains the parts, such as the offending value and the parameter."""
    with pytest.raises(kind) as caught:
        yield caught
    message = str(caught.value)
    missing = [str(part) for part in parts if str(part) not in message]
    assert not missing, f"{missing} not in: {message}"
    RECORDER.check(f"{type(caught.value).__name__}: {message}", volatile)


def prints(text: str, *parts: object, volatile: Iterable[object] = ()) -> str:
    """Return the one line of a command's output that contains all the parts, and check it against the golden file.

    The last line, with the next command to type, does not count.
    """
    messages = [line for line in text.splitlines() if not line.startswith("next: ")]
    lines = [line for line in messages if all(str(part) in line for part in parts)]
    assert len(lines) == 1, f"{len(lines)} lines hold {parts}: {text}"
    RECORDER.check(f"prints: {lines[0]}", volatile)
    return lines[0]


def read(path: Path) -> Messages:
    """Return the messages of a golden file."""
    messages: Messages = {}
    file = function = ""
    for line in path.read_text().splitlines() if path.exists() else []:
        if line.startswith("# "):
            file = line.removeprefix("# ")
        elif line.startswith("    "):
            messages.setdefault(file, {}).setdefault(function, []).append(line[4:])
        elif line:
            function = line
    return messages


def write(path: Path, messages: Messages) -> None:
    """Write a golden file, sorted so that two changes to it merge."""
    lines: list[str] = []
    for file in sorted(messages):
        lines += [f"# {file}", ""]
        for function in sorted(messages[file]):
            lines += [function, *(f"    {sentence}" for sentence in sorted(set(messages[file][function]))), ""]
    path.write_text("\n".join(lines))


def merge(
    golden: Messages, seen: Messages, *, whole: bool, partial: AbstractSet[tuple[str, str]] = frozenset()
) -> Messages:
    """Return the golden messages, updated with those of the tests that ran.

    Args:
        whole: whether test functions ran with all their cases; if so, their other messages are removed.
        partial: functions (file, name) that did not.
    """
    merged = {file: dict(functions) for file, functions in golden.items()}
    for file, functions in seen.items():
        own = merged.setdefault(file, {})
        for function, sentences in functions.items():
            kept = [] if whole and (file, function) not in partial else own.get(function, [])
            own[function] = [*kept, *sentences]
    return without_tests_that_are_gone(merged)


def without_tests_that_are_gone(messages: Messages) -> Messages:
    """Return the messages of the test functions that still exist."""
    left: Messages = {}
    for file, functions in messages.items():
        path = GOLDEN.parents[1] / file
        source = path.read_text() if path.exists() else ""
        left[file] = {name: said for name, said in functions.items() if f"def {name}(" in source}
    return {file: functions for file, functions in left.items() if functions}


RECORDER = Recorder()
