"""Teach a search by hits and misses: a CSV of marks, the head fitted to them, windows to mark next, and a run."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from texthead.apps.search.index import Index
from texthead.data import manifest_rows, row_path
from texthead.errors import DataError
from texthead.evaluation import Calibration
from texthead.files import new_folder, write_csv, write_json
from texthead.media import MediaPath
from texthead.models import MeanPool, Recognizer, heads
from texthead.parallel import silent
from texthead.recipes import Recipe
from texthead.runs import CALIBRATION, Run, rows_digest, write_run
from texthead.transfer import text_probe_head

OTHER, CALIBRATED = "other", "calibrated"

# Unmarked windows that stand for the rest of the folder, and what a mark counts beside one of them in the fit, and what
# one of them counts beside a mark in the calibration. LOG.md, 2026-11-30, has the experiments behind these constants.
UNMARKED, COUNT, RARELY = 100, 3, 0.1

# Before the first hit, what the mean of the misses counts beside the query.
AWAY = 0.2

# Fewest groups of hits, and of misses, for a probability; and the folds of its cross-validation. A group is a file, or
# up to so many neighbouring windows of it, which may look alike.
FEWEST, FOLDS, NEIGHBOURS = 4, 10, 10

# A head may not reverse the order of its scores.
LEAST_SLOPE = 0.01

Note = Callable[[str], None]

_COLUMNS = ("path", "label", "start", "end")


class Marks:
    """Hits and misses among the windows of an index, kept in a CSV that `texthead train` reads.

    Its labels are `name` and "other"; a window with another label is a miss. Rows of files or parts that are not in the
    index stay in the CSV.

    Args:
        name: the class name of the hits.
        row: the query, a vector of at most length 1 in the space of the features. It is shorter the less the text
            encoder knows it (`known_rows`); zero if there is no text.
        csv: the CSV, which is read if it exists; None keeps no file.
        note: gets a line on rows that are not in the index.

    Attributes:
        hit: for each marked window whether it is a hit.
    """

    def __init__(self, index: Index, name: str, row: Tensor, csv: Path | None = None, note: Note = silent):
        if name == OTHER:
            raise DataError(f"a class cannot be called {OTHER!r}, the class of the misses; choose another name")
        self.index, self.name, self.row, self.csv = index, name, row.float(), csv
        self.hit, self._rows = dict[int, bool](), dict[MediaPath, dict[str, str]]()
        if csv is not None and csv.exists():
            number_of = {MediaPath(path).resolved(): number for number, path in enumerate(index.paths)}
            for line, cells in manifest_rows(csv, _COLUMNS[:2]):
                media = MediaPath(row_path(cells, csv, line)).resolved()
                number = number_of.get(media, number_of.get(MediaPath(media.file), -1))
                same = (index.file_of == number) & (index.spans == torch.tensor(media.span)).all(1)
                self._rows[media] = cells
                self.hit |= dict.fromkeys(same.nonzero()[:, 0].tolist(), cells["label"].strip() == name)
            if others := len(self._rows) - len(self.hit):
                note(f"{csv}: {others} of {len(self._rows)} marks are not in {index.data}; they stay in the file")

    def put(self, window: int, hit: bool | None) -> None:
        """Mark a window as a hit or a miss, or remove its mark if `hit` is None, and write the CSV.

        Raises:
            RunError: the CSV cannot be written.
        """
        media = self.index.media(window).resolved()
        cells = self._rows.pop(media, {})
        self.hit.pop(window, None)
        if hit is not None:
            self.hit[window] = hit
            path = MediaPath(self.index.media(window).file).text_below(self.csv.parent if self.csv else Path())
            new = zip(_COLUMNS, (path, self.name if hit else OTHER, *media.span.cells()), strict=True)
            self._rows[media] = {**cells, **dict(new)}
        if self.csv is not None:
            columns = [*dict.fromkeys([*_COLUMNS, *(column for row in self._rows.values() for column in row)])]
            write_csv(self.csv, columns, [[row.get(column, "") for column in columns] for row in self._rows.values()])

    def head(self) -> heads.ProbeHead:
        """Return the head of the classes `name` and "other", fitted to the query and the marks.

        Unmarked windows stand for the rest of the folder, though some may be hits: so hits alone suffice, and rankings
        do not depend on a few marks alone. Before the first hit the ranking is that of the query, away from the misses.

        With FEWEST groups of hits and of misses, probabilities are calibrated and "calibrated" is part of the head's
        kind. They are a logistic regression on the scores of marks and of unmarked windows, which count RARELY, each
        when its group is left out of the fit. (Marks are mostly of high scores, so alone they tell little about low
        ones.)
        """
        size, marks = len(self.index), len(self.hit)
        drawn = np.random.default_rng(0).choice(size, min(size, UNMARKED + marks), replace=False)
        windows = np.array([*dict.fromkeys([*self.hit, *drawn.tolist()])][: UNMARKED + marks])
        head, hit = self._fit(windows), np.array([self.hit.get(window, False) for window in windows])
        pairs = np.stack([self.index.file_of[windows], windows // NEIGHBOURS])
        group = np.unique(pairs, axis=1, return_inverse=True)[1].ravel()
        if min(len({*group[hit]}), len({*group[:marks][~hit[:marks]]})) < FEWEST:
            return head
        from sklearn.linear_model import LogisticRegression

        # Hits first, so that each fold has about as many.
        fold_of = {each: at % FOLDS for at, each in enumerate(dict.fromkeys([*group[hit], *group]))}
        fold, scores = np.array([fold_of[each] for each in group]), np.zeros(len(windows))
        for own in (fold == each for each in range(FOLDS)):
            scores[own] = self._log_odds(self._fit(windows[~own]), windows[own])
        fit = LogisticRegression().fit(scores[:, None], hit, np.where(np.arange(len(windows)) < marks, 1, RARELY))
        with torch.no_grad():
            for numbers in (head.weight, head.bias):
                numbers *= max(float(fit.coef_[0, 0]), LEAST_SLOPE)
            head.bias[0] += float(fit.intercept_[0])
        head.kind += f", {CALIBRATED}"
        return head

    def _fit(self, windows: np.ndarray) -> heads.ProbeHead:
        features, names = self.index.features[windows].float(), (self.name, OTHER)
        hit, marked = torch.tensor([(self.hit.get(each, False), each in self.hit) for each in windows]).T
        if not hit.any():
            center = self.index.center
            row = self.row - AWAY * normalize(features[marked] - center, dim=-1).sum(0) / max(int(marked.sum()), 1)
            return heads.ProbeHead(torch.stack([row, -row]), bias=torch.zeros(2), center=center, names=names)
        features, hit = (each.repeat_interleave(1 + (COUNT - 1) * marked, 0) for each in (features, hit))
        return text_probe_head(torch.stack([self.row, -self.row]), features, (~hit).long(), names=names)

    def _log_odds(self, head: heads.ProbeHead, windows: Sequence[int] | np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return (head(self.index.features[list(windows)].float()) @ torch.tensor([1.0, -1.0])).numpy()

    def next_to_mark(self, head: heads.ProbeHead, windows: Sequence[int], count: int = 10) -> tuple[list, list]:
        """Return unmarked windows to mark next: the likeliest hits, and as many that are the least sure.

        The least sure are those whose scores are nearest to the middle between the marked hits and the marked misses.
        Before the first mark all are likeliest hits.

        Args:
            head: as from `head`.
            windows: the best ones by this head, the best first, as `search` returns them.
        """
        free, hits = [window for window in windows if window not in self.hit], np.array([*self.hit.values()], bool)
        sure = free[: count - (count // 2 if self.hit else 0)]
        rest = free[len(sure) :]
        scores, marked = self._log_odds(head, rest), self._log_odds(head, [*self.hit])
        both = 0 < hits.sum() < len(hits)
        middle = (marked[hits].mean() + marked[~hits].mean()) / 2 if both else scores[:count].min(initial=np.inf)
        return sure, [rest[at] for at in np.abs(scores - middle).argsort()[: count - len(sure)]]

    def save_run(self, out: str | Path) -> None:
        """Write a run of the classes `name` and "other" for `predict`, `timeline`, `label`, `eval` and `export`.

        It has the encoder of the index, or visual encoder and temporal module of the index's run. If the head is
        calibrated, so is the run, at temperature 1.

        Raises:
            DataError: no window is marked as a hit.
            RunError: `out` exists, or cannot be written.
        """
        if not any(self.hit.values()):
            raise DataError(f"no window is marked as {self.name!r}, which a run needs; mark one")
        head, known = self.head(), self.index.model
        source = known.head if isinstance(known, Run) else known
        head.text_source, head.text_map = source.text_source, source.text_map
        if isinstance(known, Run):
            model, recipe, own = known.model.with_head(head), known.recipe, known.protocol
        else:
            model = Recognizer(known.visual, MeanPool(), head)
            own, fixed = model.protocol, {"tune": "none", "freeze_encoder": True}
            recipe = Recipe("find", own.frames, origin=own.views.origin, stride=own.views.stride, **fixed)
        split = {
            "source": str(self.csv or self.index.data),
            "train": [str(self.index.media(window).resolved()) for window in self.hit],
            "train_labels": [self.name if hit else OTHER for hit in self.hit.values()],
        }
        with new_folder(Path(out)) as folder:
            if CALIBRATED in head.kind:
                digest, about = rows_digest(head.weight), str(self.csv or "marks")
                made = Calibration(1.0, len(self.hit), classes=digest, protocol=own.to_json(), source=about)
                write_json(folder / CALIBRATION, made.to_json())
            write_run(folder, model, recipe, own.sizes, head.names, split)
