"""Tensors are read from every kind of weights file, and no code is run."""

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from made import noise
from texthead.encoders.weights import read_tensors
from texthead.errors import EncoderError

TENSORS = {"a.weight": noise(3, 4), "b": noise(2, seed=1).half(), "c": torch.arange(5)}


def equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    same = found.keys() == expected.keys()
    return same and all(torch.equal(found[k], v) and found[k].dtype == v.dtype for k, v in expected.items())


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("old", [False, True])
def test_checkpoints_of_training_programs(tmp_path: Path, wrapper: str | None, prefix: str, old: bool) -> None:
    held: object = OrderedDict((prefix + key, value) for key, value in TENSORS.items())
    if wrapper:
        held = {wrapper: held, "epoch": 3, "name": "x"}
    torch.save(held, tmp_path / "a.pt", _use_new_zipfile_serialization=not old)
    save_file({prefix + key: value for key, value in TENSORS.items()}, tmp_path / "a.safetensors")
    for name in ("a.pt", "a.safetensors"):
        assert equal(read_tensors(tmp_path / name), TENSORS)


@pytest.mark.parametrize("content", [b"", b"junk" * 100, b"PK\x03\x04" + b"junk" * 100, b"\x80\x02N."])
def test_what_is_no_weights_is_one_line(tmp_path: Path, content: bytes) -> None:
    for name in ("a.pt", "a.safetensors"):
        (tmp_path / name).write_bytes(content)
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    torch.save({"epoch": 3}, tmp_path / "none.pt")
    for name in ("a.pt", "a.safetensors", "list.pt", "none.pt", "gone.pt"):
        with pytest.raises(EncoderError) as caught:  # The message names torch's error, which differs by version.
            read_tensors(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
