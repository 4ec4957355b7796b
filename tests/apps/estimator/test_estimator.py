"""TextHeadClassifier in scikit-learn's own tools, on lists and arrays of paths of real files."""

import warnings
from pathlib import Path
from typing import get_args

import joblib
import numpy as np
import pytest
from sklearn.model_selection import cross_val_predict

from made import COLOURS, write_broken, write_image, write_video
from messages import refuses
from texthead import TextHeadClassifier
from texthead.errors import DataError, MediaError, RunError
from texthead.media.paths import MediaPath
from texthead.recipes import MethodName
from training_runs import assert_same_weights

METHODS = get_args(MethodName)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[str]]:
    """Six files of each of three colours, images and videos."""
    root, labels = tmp_path_factory.mktemp("files"), [colour for colour in COLOURS for _ in range(6)]
    paths = [
        write_image(root / f"{i}.png", colour, seed=i) if i % 3 else write_video(root / f"{i}.mp4", colour, seed=i)
        for i, colour in enumerate(labels)
    ]
    return [*map(str, paths)], labels


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features")


def classifier(cache: Path, method: str = "text-probe", **changes) -> TextHeadClassifier:
    return TextHeadClassifier(method, size=32, frames=2, cache=cache, **changes)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("method", METHODS)
def test_fit_and_predict_and_fit_the_same_again(files, cache, method):
    paths, labels = files
    made = classifier(cache, method)
    assert made.fit(paths, labels) is made
    assert made.classes_.tolist() == ["blue", "green", "red"]
    names, sure, scores = made.predict(paths), made.predict_proba(paths), made.decision_function(paths)
    assert sure.shape == scores.shape == (18, 3)
    assert np.allclose(sure.sum(1), 1, atol=1e-5)
    assert (names == made.classes_[sure.argmax(1)]).all()
    assert (names == made.classes_[scores.argmax(1)]).all()
    if not method.startswith("zero-shot"):
        assert made.score(paths, labels) == 1.0
    again = classifier(cache, method).fit(paths, labels)
    assert_same_weights(again.head_.state_dict(), made.head_.state_dict())


def test_two_classes_have_one_score_and_labels_of_any_kind(files, cache):
    paths, labels = files[0][:12], np.array([7] * 6 + [3] * 6)
    made = classifier(cache, class_names={7: "a red picture", 3: ["something green", "a lawn"]}).fit(
        np.array(paths), labels
    )
    assert made.prompts_ == [("something green", "a lawn"), "a red picture"]
    assert made.decision_function(paths).shape == (12,)
    assert (made.predict(paths) == np.where(made.decision_function(paths) > 0, 7, 3)).all()
    assert made.score(paths, labels) == 1.0


def test_labels_that_scikit_learn_has_numbered_are_no_names(files, cache):
    paths, labels = files
    with pytest.warns(UserWarning, match="pass `class_names` .cross_val_predict numbers"):
        cross_val_predict(classifier(cache, "zero-shot"), paths, labels, cv=2, method="predict_proba")
    with warnings.catch_warnings(action="error"):
        cross_val_predict(classifier(cache, "zero-shot"), paths, labels, cv=2)
        classifier(cache, "probe").fit(paths, [*map(len, labels)])


def test_it_is_kept_without_its_encoder(files, cache, tmp_path):
    made = classifier(cache).fit(*files)
    joblib.dump(made, tmp_path / "made.joblib")
    assert (tmp_path / "made.joblib").stat().st_size < 200_000
    again = joblib.load(tmp_path / "made.joblib")
    assert np.array_equal(again.predict_proba(files[0]), made.predict_proba(files[0]))


@pytest.mark.parametrize("changes", [{"frames": 3}, {"size": 48}])
def test_files_are_seen_as_in_fit(files, cache, changes):
    made = classifier(cache, "probe").fit(*files).set_params(**changes)
    with refuses(RunError, "fit again"):
        made.predict(files[0])


def test_rows_are_of_the_template_and_no_file_is_opened_twice(files, cache, monkeypatch):
    made = classifier(cache, template="a {} picture").fit(*files)
    assert made.prompts_ == [f"a {name} picture" for name in ("blue", "green", "red")]
    monkeypatch.setattr(MediaPath, "open", lambda *_, **__: pytest.fail("a file is opened again"))
    assert made.score(*files) == 1.0


def test_tables_and_columns(files, cache):
    column = np.array(files[0], dtype=object)[:, None]
    made = classifier(cache, "probe").fit(column, files[1])
    assert made.score(column, files[1]) == 1.0
    assert [made.predict(one).tolist() for one in (files[0][0], Path(files[0][0]))] == [files[1][:1]] * 2


def test_wrong_arguments(files, cache, tmp_path):
    paths, labels = files
    for bad_paths, bad_labels, *parts in (
        (paths, labels[:-1], 18, "(17,)"),
        (paths, ["a"] * 18, "labels", "'a'", 2),
        (paths, [None, *labels[1:]], "1 of 18"),
        (paths, [*labels[:17], float("nan")], "18 of 18"),
        (paths, [*([1.0] * 17), float("nan")], "18 of 18"),
    ):
        with refuses(DataError, *parts):
            classifier(cache).fit(bad_paths, bad_labels)
    for name, value, part in (("method", "x", "'x'"), ("class_names", {"red": "a", "green": "b"}, "'blue'")):
        with refuses(DataError, name, part):
            classifier(cache).set_params(**{name: value}).fit(paths, labels)
    broken = write_broken(tmp_path / "a.mp4")
    with refuses(MediaError, broken):
        classifier(cache).fit([*paths, str(broken)], [*labels, "red"])
