"""Load tests: answers lost or wrong under many clients while processes are killed again and again.

    python -m benchmarks.load page --minutes 30 --clients 5
    python -m benchmarks.load label --kills 10

page     clients of one `texthead ui` each send their own files; its model process is killed every minute.
label    a client labels files on a page of `texthead label`, which is killed and started again.

Models and files are made here. The last line is JSON; exit code 1 if something was lost, wrong or duplicated.
"""

import argparse
import csv
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import HTTPCookieProcessor

import numpy as np
import PIL.Image
import torch

import texthead as th
from texthead.apps.demo import drawn_videos
from texthead.cli.signals import ended_by_signals
from texthead.data.protocol import Pixels
from texthead.encoders.encoder import build_visual
from texthead.encoders.spec import VisualSpec
from texthead.models.temporal import MeanPool
from texthead.recipes import Recipe
from texthead.runs.folder import write_run

PICTURES, CLASSES = 40, ("red", "green", "blue", "other")
SECONDS = 120.0
MEGABYTES = 100  # Allowed growth of the server.


# ---- made-up inputs


def small_run(out: Path) -> Path:
    """Write an untrained run of four classes with timm's network for tests."""
    torch.manual_seed(0)
    grey = (0.5, 0.5, 0.5)
    spec = VisualSpec("tiny", "timm:test_efficientnet", 256, 32, 0.875, "bilinear", grey, grey, "silu", False, True)
    visual = build_visual(spec).train()
    with torch.no_grad():  # With timm's initial batch norms all features are alike.
        for _ in range(20):
            visual(
                torch.randint(0, 256, (32, 3, 4, 4), dtype=torch.uint8)
                .repeat_interleave(8, -1)
                .repeat_interleave(8, -2)
            )
    head = th.FrozenHead(torch.randn(len(CLASSES), spec.dim), names=CLASSES)
    recipe = Recipe(name="load", frames=2, size=32, resize=36)
    write_run(out, th.Recognizer(visual.eval(), MeanPool(), head), recipe, Pixels(32, 36, "bilinear"), CLASSES)
    return out


def pictures(folder: Path, files: int) -> list[Path]:
    """Write small files of 40 different pictures, in folders of a thousand."""
    rng, paths, kinds = np.random.default_rng(0), [], []
    for _ in range(PICTURES):
        data = io.BytesIO()
        PIL.Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize((48, 48)).save(data, "PNG")
        kinds.append(data.getvalue())
    for index in range(files):
        path = folder / f"{index // 1000:04d}" / f"{index:07d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(kinds[index % PICTURES])
        paths.append(path)
    return paths


def start(log: Path, *words: object, **options: Any) -> subprocess.Popen[str]:
    """Start `texthead` with one thread, so that probabilities are equal to the last digit."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NO_PROXY": "127.0.0.1"}
    environment["TEXTHEAD_CACHE"] = str(log.with_name("cache"))
    with log.open("a") as file:
        command = [sys.executable, "-m", "texthead", *map(str, words)]
        return subprocess.Popen(command, stderr=file, text=True, env=environment, **options)


class Tab:
    """A client of a page that has opened its link.

    Args:
        link: the address with the token.
    """

    def __init__(self, link: str):
        self._address, self._opener = link.partition("/?")[0], urllib.request.build_opener(HTTPCookieProcessor())
        with self._opener.open(link, timeout=SECONDS) as page:
            start = re.search('data-start="([^"]+)"', page.read().decode())
        self._headers = {"x-start": start[1] if start else ""}

    def post(self, path: str, body: bytes) -> list[Any]:
        """Send a request; return the JSON of each line of its answer."""
        request = urllib.request.Request(f"{self._address}{path}", body, self._headers)
        with self._opener.open(request, timeout=SECONDS) as response:
            return [json.loads(line) for line in response]


def start_page(log: Path, *words: object) -> tuple[subprocess.Popen[str], str]:
    """Start a page; return its process and its link."""
    process = start(log, *words, "--port", 0, stdout=subprocess.PIPE)
    assert process.stdout is not None
    address_match = re.search(r"http://\S+", process.stdout.readline())
    assert address_match, log.read_text()
    return process, address_match[0]


@contextmanager
def ended(processes: Sequence[subprocess.Popen[str]]) -> Iterator[None]:
    """End the processes after the block."""
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
            process.wait()


def together(calls: Sequence[Callable[[], object]]) -> None:
    """Call all at once, each in its own thread."""
    threads = [threading.Thread(target=call, daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def megabytes(pid: int) -> float:
    """Return the memory of a process in MB, without its children."""
    (line,) = (x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


# ---- the page of `texthead ui`


def answer_of(tab: Tab, path: Path) -> str | list[tuple[str, float]]:
    """Return the classes of the page's answer and their percentages, or its one-line error.

    Raises:
        OSError, ValueError: there is no answer.
    """
    (uploaded,) = tab.post(f"/upload?name={path.name}", path.read_bytes())
    question = {"file": uploaded["file"], "names": "", "parts": ["when"]}
    try:
        steps = tab.post("/ask", json.dumps(question).encode())
    except urllib.error.HTTPError as error:
        return json.load(error)["error"]
    if "error" in steps[-1]:
        return steps[-1]["error"]
    named = next(step["named"] for step in steps if "named" in step)
    return [
        (name, float(percent)) for name, percent in re.findall(r"<td>([^<]+)<svg.*?<td>([\d.]+) %", named, re.DOTALL)
    ]


def page(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return counts of answers, and the server's memory."""
    run, paths = small_run(folder / "run"), pictures(folder / "files", PICTURES)
    for index in range(4):
        frames = np.stack([np.asarray(PIL.Image.open(path)) for path in paths[index : index + 20]])
        paths.append(folder / f"{index}.mp4")
        drawn_videos.write_video(paths[-1], frames)
    with start(folder / "log.txt", "predict", run, *paths, "--json", stdout=subprocess.PIPE) as process:
        answers = [entry["top"] for entry in json.loads(process.communicate()[0])]
    expected = [[(each["name"], 100 * each["probability"]) for each in top] for top in answers]
    counts, reasons, memory = Counter[str](), Counter[str](), list[float]()
    server, link = start_page(folder / "log.txt", "ui", run)
    until = time.monotonic() + 60 * options.minutes

    def is_right(top: list[tuple[str, float]], expected: list[tuple[str, float]]) -> bool:
        pairs = zip(top, expected, strict=True)  # The page rounds to 0.1 %.
        return all(one == other and abs(percent - exact) < 0.06 for (one, percent), (other, exact) in pairs)

    def client(number: int) -> None:
        tab = Tab(link)
        for turn in range(10**9):
            if time.monotonic() > until:
                return
            index = (turn * options.clients + number) % len(paths)
            try:
                answer = answer_of(tab, paths[index])
                if isinstance(answer, str):
                    outcome = "refused"
                    reasons[re.sub(r"\S+\.(png|mp4)", "FILE", answer)] += 1
                else:
                    outcome = "right" if is_right(answer, expected[index]) else "wrong"
            except (OSError, ValueError) as error:
                outcome = "lost"
                reasons[repr(error)] += 1
            counts[outcome] += 1

    def killer() -> None:
        while time.monotonic() < until:
            time.sleep(min(options.every, max(0.0, until - time.monotonic())))
            memory.append(megabytes(server.pid))
            tasks = Path(f"/proc/{server.pid}/task").glob("*/children")
            for child in " ".join(task.read_text() for task in tasks).split():
                if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                    os.kill(int(child), signal.SIGKILL)
                    counts["kills"] += 1
            print(f"{time.strftime('%H:%M:%S')} {dict(counts)}, {memory[-1]:.0f} MB", flush=True)

    with ended([server]):
        together([killer, *(lambda number=number: client(number) for number in range(options.clients))])
    log = (folder / "log.txt").read_text()
    traces = log.count("Traceback")
    if traces:
        reasons[log[log.index("Traceback") :][:2000]] += traces
    bad = counts["wrong"] + counts["lost"] + traces + (memory[-1] > memory[0] + MEGABYTES)
    return {**counts, "MB": [round(memory[0]), round(memory[-1])], "tracebacks": traces, "reasons": reasons, "bad": bad}


# ---- labels


def label(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return counts of labels that were acknowledged, and of those missing on disk."""
    paths, labels_csv = pictures(folder / "files", 1200), folder / "labels.csv"
    names = [f"class {number}" for number in range(10)]

    def begin() -> tuple[subprocess.Popen[str], str]:
        words = ("--classes", ", ".join(names), "--out", labels_csv)
        return start_page(folder / "log.txt", "label", folder / "files", *words)

    page, over, counts = begin(), threading.Event(), Counter[str]()
    # For each file: the last acknowledged label, and any label sent after it without acknowledgement.
    allowed = {str(path): {""} for path in paths}

    def act(tab: Tab, action: str, **body: object) -> dict[str, Any] | None:
        """Return the file to label next; None if each one has a label."""
        (answer,) = tab.post(f"/api/{action}", json.dumps(body).encode())
        return answer["item"]

    def write() -> None:
        link, file, turn = page[1], None, 0
        tab = Tab(link)
        while not over.is_set():
            try:
                if link != page[1]:
                    link, file = page[1], None
                    tab = Tab(link)
                file = file or act(tab, "next")
                if file is None:
                    time.sleep(0.2)
                    continue
                turn, path = turn + 1, file["path"]
                name = names[turn % 10]
                allowed[path].add(name)
                file = act(tab, "label", key=file["key"], label=name)
                allowed[path] = {name}
                counts["acknowledged"] += 1
            except urllib.error.HTTPError as error:
                counts["refused"] += 1
                print(error.read().decode(), flush=True)
            except (OSError, ValueError):
                counts["unanswered"] += 1
                link = ""
                time.sleep(0.2)

    def killer() -> None:
        nonlocal page
        for _ in range(options.kills):
            time.sleep(random.uniform(0, 2 * options.every))
            page[0].kill()
            page[0].wait()
            page = begin()
            print(f"{time.strftime('%H:%M:%S')} {dict(counts)}, page killed", flush=True)
        over.set()

    try:
        together([killer, write])
    finally:
        with ended([page[0]]):
            pass
    labels = {row["path"]: row["label"] for row in csv.DictReader(labels_csv.open(newline=""))}
    lost = sum(labels.get(str(path.relative_to(folder)), "") not in allowed[str(path)] for path in paths)
    traces = (folder / "log.txt").read_text().count("Traceback")
    return {
        **counts,
        "kills": options.kills,
        "lost": lost,
        "tracebacks": traces,
        "bad": lost + traces + counts["refused"],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one load test; return 1 if something is bad."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    for name, numbers in (
        ("page", {"minutes": 30.0, "clients": 5, "every": 60.0}),
        ("label", {"kills": 10, "every": 10.0}),
    ):
        kind = kinds.add_parser(name)
        for option, number in numbers.items():
            kind.add_argument(f"--{option}", type=type(number), default=number)
    options = parser.parse_args(arguments)
    with ended_by_signals(lambda: "interrupted"), tempfile.TemporaryDirectory() as folder:
        result = {"page": page, "label": label}[options.kind](Path(folder), options)
    print(json.dumps(result))
    return int(result["bad"] > 0)


if __name__ == "__main__":
    sys.exit(main())
