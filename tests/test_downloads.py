"""Hubs that do not answer: a message within seconds, and what is cached still loads."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants, is_offline_mode

from file_server import served
from messages import prints, refuses
from texthead import downloads
from texthead.apps.hub_datasets.source import read
from texthead.encoders.load import load_encoder
from texthead.errors import DataError, EncoderError, RunError
from texthead.runs.hub import local_run


@pytest.fixture(params=["refuses", "silent"])
def endpoint(request, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve a hub that refuses connections, or takes them and never answers."""
    monkeypatch.setattr(downloads, "PATIENCE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        if request.param == "refuses":
            server.close()
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
        else:
            port = server.getsockname()[1]
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
        yield f"127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("load", "error"),
    [
        (lambda: load_encoder("hf:org/not-here"), EncoderError),
        (lambda: load_encoder("openclip:ViT-B-16/openai"), EncoderError),
        (lambda: load_encoder("openclip:hf-hub:org/not-here"), EncoderError),
        (lambda: load_encoder("timm:resnet18"), EncoderError),
        (lambda: load_encoder("mini", text="text:org/not-here"), EncoderError),
        (lambda: local_run("hub:org/not-here"), RunError),
        (lambda: read("datasets:org/not-here"), DataError),
    ],
    ids=["hf", "openclip", "openclip hub", "timm", "text", "run", "datasets"],
)
def test_a_hub_that_does_not_answer_is_named_at_once(load, error, endpoint: str, monkeypatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail(f"waited {seconds} s to try again"))
    with refuses(error, endpoint, "cannot be reached"):
        load()
    assert not is_offline_mode()


def test_a_server_that_answers_with_an_error_is_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(tmp_path / "none") as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        with downloads.cache_without_network() as problem:
            assert problem == ""
            assert not is_offline_mode()


def test_nothing_is_asked_for_files_and_the_built_in_encoder(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "_problem", lambda server: pytest.fail(f"{server} was asked"))
    load_encoder("mini")
    with refuses(EncoderError, tmp_path):
        load_encoder(f"hf:{tmp_path}")


def test_offline_mode_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderError) as caught:
        load_encoder("hf:org/not-here")
    prints(str(caught.value), "hf:org/not-here", "not on this machine", "offline")
