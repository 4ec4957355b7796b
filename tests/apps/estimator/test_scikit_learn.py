"""scikit-learn's own checks of an estimator, on rows of numbers that are drawn as pictures."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import PIL.Image
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from texthead import TextHeadClassifier


def drawn(rows: Any, folder: Path) -> Any:
    """Return paths of pictures of rows of numbers; anything else as it is."""
    table = np.asarray(rows)
    if table.ndim != 2 or table.dtype.kind not in "fiu":
        return rows
    paths = []
    for row in table.astype(float):
        path = folder / f"{hashlib.sha256(row.tobytes()).hexdigest()[:32]}.png"
        if not path.exists():
            values = np.resize(128 + 40 * np.nan_to_num(row), (8, 8, 3)).clip(0, 255).astype(np.uint8)
            PIL.Image.fromarray(values).resize((32, 32), PIL.Image.Resampling.NEAREST).save(path)
        paths.append(path)
    return paths


class OfRows(TextHeadClassifier):
    """The estimator, as one of rows of numbers; `folder` is for their pictures."""

    folder: ClassVar[Path]

    def fit(self, X: Any, y: Any) -> "OfRows":
        super().fit(drawn(X, self.folder), y)
        return self

    def _scores(self, X: Any) -> Any:
        return super()._scores(drawn(X, self.folder))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.one_d_array, tags.input_tags.string = True, False, False
        return tags


_PATHS = "samples are paths, so there are no numbers to check"
_COUNT = "samples are paths, so there is no number of features"
_TYPES = "these tests check the types of arguments when they are passed, not in fit"
_WORDS = "the error is raised, in other words than scikit-learn's"

EXPECTED = {
    **dict.fromkeys(["check_n_features_in", "check_n_features_in_after_fitting", "check_classifiers_train"], _COUNT),
    **dict.fromkeys(["check_complex_data", "check_dtype_object", "check_estimators_nan_inf"], _PATHS),
    **dict.fromkeys(["check_estimator_sparse_tag", "check_estimator_sparse_array"], _PATHS),
    **dict.fromkeys(["check_estimator_sparse_matrix", "check_estimators_empty_data_messages"], _PATHS),
    **dict.fromkeys(["check_do_not_raise_errors_in_init_or_set_params", "check_classifier_data_not_an_array"], _TYPES),
    **dict.fromkeys(["check_fit2d_1sample", "check_fit2d_predict1d", "check_requires_y_none"], _WORDS),
}


@pytest.fixture(autouse=True, scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    OfRows.folder = tmp_path_factory.mktemp("rows")


@pytest.mark.slow
@parametrize_with_checks([OfRows(size=32)], expected_failed_checks=lambda _: EXPECTED, xfail_strict=True)
def test_scikit_learn_s_own_checks(estimator: OfRows, check: Callable[[OfRows], None]) -> None:
    check(estimator)
