"""Every stored row is one that an experiment asks for."""

import json
import shutil

import pytest

from messages import prints
from paper.__main__ import main
from paper.results import FOLDER


@pytest.mark.nightly("paper")
def test_unused_stored_rows_are_found_and_can_be_removed(tmp_path, capsys):
    shutil.copytree(FOLDER / "mini", tmp_path / "mini")
    file = tmp_path / "mini" / "table4.jsonl"
    before = file.read_text()
    file.write_text(before + json.dumps({**json.loads(before.splitlines()[0]), "key": "none", "title": "old"}) + "\n")
    words = ["unused", "--results", str(tmp_path), "--remove"]
    assert main(words) == 0
    out = capsys.readouterr().out
    prints(out, "old: 1")
    prints(out, "1 of", "removed")
    assert file.read_text() == before
    (tmp_path / "mini" / "data.json").unlink()
    assert main(words) == 2
    prints(capsys.readouterr().err, "digest")
    assert file.read_text() == before, "without digests no row is found"
