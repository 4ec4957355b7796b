"""Templates find all their files in numeric order, or the error names what is wrong with the folder."""

import os
from pathlib import Path

import pytest

from messages import refuses
from texthead.errors import MediaError
from texthead.media.frame_folder import frame_files
from texthead.media.paths import MediaPath


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")
    return folder


def test_a_template_has_one_place_for_a_number():
    templates = ["img_{:05d}.jpg", "a/b/{:d}.png", "v/{:010d}x.bmp", "v/{:04d}.JPG", "v1/*"]
    others = ["a.jpg", "{}.jpg", "{:05d}/a.jpg", "v/{:05d}_{:05d}.jpg", "%05d.jpg", "", "*.jpg", "*/a.jpg"]
    others += ["v/{:5d}.jpg", "v/{:0d}.jpg", "v/{:05f}.jpg"]
    assert all(MediaPath(name).is_template for name in templates)
    assert not any(MediaPath(name).is_template for name in others)


@pytest.mark.parametrize("first", [0, 1])
def test_files_sorted_by_number(tmp_path, first):
    names = [f"img_{number:02d}.jpg" for number in range(first, 112)]
    others = ["img_1.jpg", "img_003.jpg", "img_05.JPG", "img_-1.jpg", "ximg_01.jpg", "img_٠١.jpg", "notes.txt"]
    touch(tmp_path, *names, *others)
    assert frame_files(tmp_path / "img_{:02d}.jpg") == [tmp_path / name for name in names]


def test_unpadded_numbers_and_regex_characters(tmp_path):
    touch(tmp_path, *(f"{number}.png" for number in range(12)), "01.png", "00.png")
    assert [file.name for file in frame_files(Path(f"{tmp_path}/{{:d}}.png"))] == [
        f"{number}.png" for number in range(12)
    ]
    touch(tmp_path, "a.(b)[1]+_01.png", "aX(b)[1]+_02.png")
    assert [file.name for file in frame_files(tmp_path / "a.(b)[1]+_{:02d}.png")] == ["a.(b)[1]+_01.png"]


def test_every_image_of_a_folder_comes_in_natural_order(tmp_path):
    names = ["3.PNG", "a9b10.png", "a10b2.png", "a10b10.png", "img01.png", "img1.png", "img2.png", "img10.png"]
    touch(tmp_path, *reversed(names), "notes.txt", ".img3.png")
    assert [file.name for file in frame_files(tmp_path / "*")] == names
    touch(tmp_path, "mask.jpg")
    with refuses(MediaError, tmp_path, ".jpg, .png"):
        frame_files(tmp_path / "*")


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        ([], ["0 files"]),
        (["a.jpg", "img_1.jpg"], ["2 files"]),
        (["img_02.jpg", "img_03.jpg"], ["img_01.jpg", "img_03.jpg"]),
        (["img_01.jpg", "img_02.jpg", "img_05.jpg"], ["img_03.jpg", "img_05.jpg"]),
        (["img_00.jpg", "img_02.jpg"], ["img_01.jpg"]),
    ],
)
def test_a_folder_that_does_not_fit(tmp_path, names, parts):
    path = touch(tmp_path, *names) / "img_{:02d}.jpg"
    with refuses(MediaError, path, *parts) as caught:
        frame_files(path)
    assert caught.value.path == path


def test_no_folder(tmp_path):
    for path in (Path(f"{tmp_path}/gone/{{:05d}}.jpg"), Path(f"{touch(tmp_path, 'file')}/file/{{:05d}}.jpg")):
        with refuses(MediaError, path, "cannot be listed"):
            frame_files(path)


def test_a_folder_is_listed_once_and_no_file_is_looked_at(tmp_path, monkeypatch):
    touch(tmp_path, *(f"{number:05d}.jpg" for number in range(50)))
    listed, real = [], os.scandir

    def scandir(path):
        listed.append(path)
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        patch.setattr(Path, "stat", lambda *_, **__: pytest.fail("a file was looked at"))
        assert len(frame_files(Path(f"{tmp_path}/{{:05d}}.jpg"))) == 50
    assert listed == [tmp_path]
