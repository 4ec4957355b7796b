"""What an encoder sees of names and files; `mini` itself, on names and drawn pictures."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.doctor import known, planted_swaps
from made import PIXELS, write_broken, write_image, write_video
from texthead import doctor_features, likeness, load_encoder, read_dataset
from texthead.datasets import Item
from texthead.towers import Encoder


@pytest.fixture(scope="module")
def mini() -> Encoder:
    encoder = load_encoder("mini", keep_text=True)
    encoder.visual.eval()
    return encoder


def test_prompts_are_of_cleaned_names_and_of_sentences() -> None:
    given = {"push_up": None, "kite": ("a kite", "a kite in the sky"), "_": None}
    assert doctor_features.prompts_of(given, "a {}.", clean=True) == [
        "a push up.",
        ("a kite", "a kite in the sky"),
        "a _.",
    ]
    assert doctor_features.prompts_of({"push_up": None}, "{}", clean=False) == ["push_up"]


def test_cosines_are_of_what_features_have_beside_the_mean_of_the_classes() -> None:
    # The means of the classes are (0, 2) and (0, -2) above (5, 5): three items do not pull the centre.
    seen = np.array([[5.0, 7.0], [5.0, 7.0], [6.0, 7.0], [4.0, 7.0], [5.0, 3.0]])
    rows = np.array([[0.0, 1.0], [1.0, 0.0]])
    cosines = doctor_features.centred_cosines(rows, seen, np.array([0, 0, 0, 0, 1]))
    assert cosines[0] == pytest.approx([1, 0])
    assert cosines[4] == pytest.approx([-1, 0])
    assert cosines[2] == pytest.approx([2 / 5**0.5, 1 / 5**0.5])


def test_features_are_kept_by_place_and_unreadable_files_have_none(mini: Encoder, tmp_path: Path) -> None:
    paths = [write_image(tmp_path / "a.png", "red"), write_broken(tmp_path / "b.mp4")]
    paths.append(write_video(tmp_path / "c.mp4", "red"))
    counted: list[tuple[int, int]] = []
    found = doctor_features.mean_features(
        mini,
        paths,
        frames=2,
        pixels=PIXELS,
        cache=tmp_path / "cache",
        workers=0,
        progress=lambda done, total: counted.append((done, total)),
    )
    assert list(found) == [0, 2]
    assert found[0].shape == found[2].shape == (mini.dim,)
    assert counted[-1] == (3, 3)


def test_rows_have_nothing_in_common_and_length_1(mini: Encoder) -> None:
    rows = doctor_features.rows_of(mini, ["couch", "sofa", "volcano", ("a kite", "a kite in the sky")])
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)
    cosines = rows @ rows.T
    assert cosines[0, 1] > doctor_features.ROWS_ALIKE
    assert cosines[0, 2] < 0.3


def test_names_are_told_by_what_is_wrong_with_them(mini: Encoder) -> None:
    """Features that lie on the text rows of other names, and a name that is too long among them."""
    names = ["dog", "very " * 300 + "long", "airplane", "guitar"]
    rows: dict[str, np.ndarray] = dict(
        zip(("dog", "airplane", "guitar"), doctor_features.rows_of(mini, ["dog", "airplane", "guitar"]), strict=True)
    )
    rng = np.random.default_rng(0)
    shown = {"dog": "guitar", "airplane": "airplane", "guitar": "dog"}
    items, seen = [], []
    for label, looks_like in shown.items():
        for number in range(6):
            items.append(Item(Path(f"{label}{number}"), label))
            seen.append(5 + rows[looks_like] + rng.normal(0, 0.02, mini.dim))
    items.append(Item(Path("x"), names[1]))
    seen.append(np.zeros(mini.dim))
    found = doctor_features.class_findings(mini, dict.fromkeys(names), names, items, seen)
    assert [(finding.fault, finding.about) for finding in found] == [
        ("name too long", names[1]),
        ("names look swapped", "dog"),
    ]
    assert "tokens" in found[0].detail
    assert found[1].detail.startswith("with guitar: ")
    true = [Item(item.path, shown.get(item.label) or item.label) for item in items]
    (only,) = doctor_features.class_findings(mini, dict.fromkeys(names), names, true, seen)
    assert only.fault == "name too long"


def test_where_every_name_is_too_long_nothing_else_is_said(mini: Encoder) -> None:
    name = "very " * 300 + "long"
    (found,) = doctor_features.class_findings(mini, {name: None}, [name], [Item(Path("a"), name)], [np.zeros(mini.dim)])
    assert found.fault == "name too long"


# ---- real sets: what README and LOG say of them


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "pairs", "least", "most"),
    [("image/clothing/images.csv", 45, 36, 4), ("video/airborne/clips.csv", 6, 4, 0)],
)
def test_planted_swaps_and_look_alikes_of_real_sets(
    mini: Encoder, shared: Path, tmp_path: Path, place: str, pairs: int, least: int, most: int
) -> None:
    data = read_dataset(shared / place)
    whole = known(mini, data.items, tmp_path)
    told, right, others = planted_swaps(mini, whole, data.labels)
    assert told == 0
    assert least <= right <= pairs
    assert others <= most
    assert likeness.alike_by_hash(whole.facts) == {}
    alike = likeness.alike_by_feature(whole.facts, dict(enumerate(whole.features)))
    assert [pair for pair in alike if len({data.items[own].split for own in pair}) > 1] == []
