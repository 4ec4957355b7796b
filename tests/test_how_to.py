"""Recipes of docs/how-to: what goes to a tracker, a server around an exported folder, and its Dockerfile."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import texthead as th
from made import write_image, write_video
from training_runs import free_port

ROOT = Path(__file__).parents[1]
HOW_TO = ROOT / "docs" / "how-to"
CARD = ROOT / "src" / "texthead" / "apps" / "export" / "model_card.md"


def blocks(name: str, language: str) -> list[str]:
    """Return the blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (HOW_TO / name).read_text(encoding="utf-8"), re.M | re.S)


def docker_lines() -> list[tuple[str, str]]:
    """Return (instruction, its words) of the Dockerfile; it has no continued lines."""
    (text,) = blocks("serve-http.md", "dockerfile")
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in text.splitlines()]


def installed_by(command: str) -> set[str]:
    """Return the packages of a `pip install`."""
    words = shlex.split(command)
    return {word for word in words[words.index("install") + 1 :] if not word.startswith("-")}


def test_the_dockerfile_installs_what_card_and_server_need() -> None:
    lines = docker_lines()
    assert {name for name, _ in lines} <= {"FROM", "RUN", "WORKDIR", "COPY", "USER", "EXPOSE", "CMD"}
    assert lines[0] == ("FROM", "python:3.11-slim")
    (command,) = [words for name, words in lines if name == "RUN"]
    (card,) = re.findall("pip install .* av ", CARD.read_text(encoding="utf-8"))
    (page,) = re.findall(r"\$ (pip install .*)", (HOW_TO / "serve-http.md").read_text(encoding="utf-8"))
    assert installed_by(f"{card} onnxruntime") < installed_by(page) == installed_by(command)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the container's command, which sees only the files that the Dockerfile copies."""
    pytest.importorskip("fastapi", reason="fastapi serves the recipe; texthead does not need it")
    pytest.importorskip("python_multipart", reason="fastapi reads uploads with python-multipart")
    folder, image = tmp_path_factory.mktemp("page"), tmp_path_factory.mktemp("image")
    for label, colour in (("a kite", "red"), ("a bird", "green")):
        for seed in range(4):
            write_image(folder / "photos" / label / f"{seed}.png", colour, seed=seed)
    data, reading = th.read_dataset(folder / "photos"), th.ReadOptions(workers=0)
    th.train(data, folder / "run", reading=reading)
    th.export(th.load_run(folder / "run"), folder / "carried")
    (source,) = blocks("serve-http.md", "python")
    (folder / "serve.py").write_text(source, encoding="utf-8")
    for source, place in (words.split() for name, words in docker_lines() if name == "COPY"):
        copy = shutil.copytree if (folder / source).is_dir() else shutil.copy
        copy(folder / source, image / place)
    (command,) = [json.loads(words) for name, words in docker_lines() if name == "CMD"]
    port = free_port()
    words: list[str] = [{"0.0.0.0": "127.0.0.1", "8000": port}.get(word, word) for word in map(str, command)]
    with subprocess.Popen([sys.executable, "-m", *words], cwd=image, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            lines = iter(server.stderr.readline, "")
            assert any("Application startup complete" in line for line in lines)
            time.sleep(0.2)  # The port is opened after that line.
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def ask(address: str, path: Path) -> tuple[int, dict]:
    """Upload a file as curl -F does; return the status and the answer."""
    mark = uuid.uuid4().hex
    head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{path.name}"\r\n\r\n'
    body = head.encode() + path.read_bytes() + f"\r\n--{mark}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={mark}"}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"{address}/predict?top=1", body, kind), timeout=60
        ) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.slow
def test_the_server_answers_with_classes_or_the_reason(address: str, tmp_path: Path) -> None:
    status, answer = ask(address, write_image(tmp_path / "new.png", "red", seed=9))
    assert (status, answer["path"], answer["top"][0]["name"], len(answer["top"])) == (200, "new.png", "a kite", 1)
    status, answer = ask(address, write_video(tmp_path / "clip.mp4", "green", seed=9))
    assert (status, answer["top"][0]["name"]) == (200, "a bird")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    status, answer = ask(address, tmp_path / "broken.png")
    assert (status, "cannot be read" in answer["detail"]) == (422, True)
