"""Checks of error messages: a test names the type and the values, `golden/messages.txt` holds the sentences.

    with refuses(DataError, "k", "9"):
        dataset.k_shot(9, seed=0)
    prints(err, "flip", "left-hand")

`pytest --rewrite-messages` writes the sentences of the tests that ran; read the diff before you commit it. Old sentences of
those tests go if none of them failed and none was picked by -k or its own name. Slow tests
check types and values alone, so that the file never needs the slow suite.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden" / "messages.txt"

# What differs from run to run: the folders of the test and of the checkout, addresses, process numbers.
_VOLATILE = [
    (re.compile(r"/\S*?/pytest-of-[^/\s]+/pytest-\d+(/popen-gw\d+)?/[^/\s:,'\")`]+"), "TMP"),
    (re.compile(re.escape(str(Path(__file__).parents[1]))), "CHECKOUT"),
    (re.compile(r"0x[0-9a-f]{6,}"), "ADDRESS"),
    (re.compile(r"\b(pid|process) \d{2,}"), r"\1 PID"),
]

Messages = dict[str, dict[str, list[str]]]  # test file -> test function -> sentences


class Recorder:
    """The sentences of this test run, and those of the golden file."""

    def __init__(self) -> None:
        self.item: pytest.Item | None = None
        self.rewrite = False
        self.golden: Messages = read(GOLDEN)
        self.seen: Messages = {}

    def check(self, sentence: str, volatile: Iterable[object] = ()) -> None:
        """Fail if the golden file does not hold the sentence for the running test.

        Args:
            volatile: values that differ from run to run, such as a free port; the file holds `...` in their place.
        """
        item = self.item
        if item is None or item.get_closest_marker("slow"):
            return
        file, function = item.path.relative_to(GOLDEN.parents[1]).as_posix(), item.name.partition("[")[0]
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


def settled(sentence: str) -> str:
    """Return the sentence on one line, without what differs from run to run."""
    for pattern, word in _VOLATILE:
        sentence = pattern.sub(word, sentence)
    return sentence.replace("\n", "\\n")


@contextmanager
def refuses(
    kind: type[Exception], *parts: object, volatile: Iterable[object] = ()
) -> Iterator[pytest.ExceptionInfo[Exception]]:
    """Expect an error of this kind whose message holds the parts: the offending value, the parameter's name."""
    with pytest.raises(kind) as caught:
        yield caught
    message = str(caught.value)
    missing = [str(part) for part in parts if str(part) not in message]
    assert not missing, f"{missing} not in: {message}"
    RECORDER.check(f"{type(caught.value).__name__}: {message}", volatile)


def prints(text: str, *parts: object, volatile: Iterable[object] = ()) -> str:
    """Return the one line of a command's output that holds all the parts; the golden file holds its sentence.

    The last line, with the next command to type, is no message.
    """
    messages = [line for line in text.splitlines() if not line.startswith("next: ")]
    lines = [line for line in messages if all(str(part) in line for part in parts)]
    assert len(lines) == 1, f"{len(lines)} lines hold {parts}: {text}"
    RECORDER.check(f"prints: {lines[0]}", volatile)
    return lines[0]


def read(path: Path) -> Messages:
    """Return the sentences of a golden file."""
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
    """Write a golden file, sorted, so that two changes of it merge."""
    lines: list[str] = []
    for file in sorted(messages):
        lines += [f"# {file}", ""]
        for function in sorted(messages[file]):
            lines += [function, *(f"    {sentence}" for sentence in sorted(set(messages[file][function]))), ""]
    path.write_text("\n".join(lines))


def merge(golden: Messages, seen: Messages, *, whole: bool) -> Messages:
    """Return the golden sentences with those of the tests that ran.

    Args:
        whole: whether test functions ran with all their cases: then other sentences of theirs go.
    """
    merged = {file: dict(functions) for file, functions in golden.items()}
    for file, functions in seen.items():
        own = merged.setdefault(file, {})
        for function, sentences in functions.items():
            own[function] = sentences if whole else [*own.get(function, []), *sentences]
    return without_tests_that_are_gone(merged)


def without_tests_that_are_gone(messages: Messages) -> Messages:
    """Return the sentences of the test functions that the test files still define."""
    left: Messages = {}
    for file, functions in messages.items():
        path = GOLDEN.parents[1] / file
        source = path.read_text() if path.exists() else ""
        left[file] = {name: said for name, said in functions.items() if f"def {name}(" in source}
    return {file: functions for file, functions in left.items() if functions}


RECORDER = Recorder()
