"""Teach a search by hits and misses: a CSV of marks, the head fitted to them, windows to mark next, and a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from texthead import Calibration, MeanPool, Recognizer, Reporter
from texthead.apps.search.index import Index
from texthead.apps.serving import MediaTable
from texthead.errors import DataError
from texthead.files import in_turn, new_folder, write_json
from texthead.media import MediaPath
from texthead.models import ProbeHead
from texthead.recipes import Recipe
from texthead.runs import CALIBRATION, rows_digest, write_run

OTHER, CALIBRATED = "other", "calibrated"

# Logit scale of the query that a fit starts from, and its inverse penalty for leaving it, as scikit-learn's C
# (docs/decisions.md, 2026-11-29).
SCALE, STRENGTH = 5.0, 10.0

# Unmarked windows that stand for the rest of the folder, as misses, and what one of them counts beside a mark.
UNMARKED, UNMARKED_WEIGHT = 100, 0.1

# Fewest groups of hits, and of misses, for a probability; and the folds of its cross-validation. A group is a file, or
# up to so many neighbouring windows of it, which may look alike.
MIN_GROUPS, FOLDS, NEIGHBOURS = 4, 5, 10

# Scores are divided by it before the fit of the probabilities, whose penalty then keeps these modest with few marks.
SCORE_TEMPERATURE = 3.0

_COLUMNS = ("path", "label")


class Marks:
    """Hits and misses among the windows of an index, kept in a CSV that `texthead train` reads.

    Its labels are `name` and "other"; its column `words` has `name` for both. Rows of files or parts that are not in
    the index stay in the CSV.

    Args:
        name: the class name of the hits; semicolons become commas.
        row: the query, a vector of at most length 1 in the space of the features. It is shorter the less the text
            encoder knows it (`familiarity_scaled_rows`); zero if there is no text.
        csv: the CSV, which is read if it exists; None keeps no file.
        reporter: gets a note on rows that are not in the index.

    Attributes:
        hit: for each marked window whether it is a hit.

    Raises:
        DataError: the name is "other", or the CSV has another label.
    """

    def __init__(self, index: Index, name: str, row: Tensor, csv: Path | None = None, reporter: Reporter = Reporter()):
        # A semicolon separates several labels.
        self.index, self.name, self.row, self.csv = index, " ".join(name.replace(";", ",").split()), row.float(), csv
        if self.name == OTHER:
            raise DataError(f"a class cannot be called {OTHER!r}, the class of the misses; choose another name")
        self.hit = dict[int, bool]()
        if csv and (rows := MediaTable(csv, _COLUMNS).read()):
            number_of = {MediaPath(path).resolved(): number for number, path in enumerate(index.paths)}
            for media, cells in rows.items():
                if (words := _words_of(cells)) not in (self.name, ""):
                    remedy = "search for these words, or use another file"
                    raise DataError(f"{csv} has marks of {words!r}, not of {self.name!r}: {remedy}")
                number = number_of.get(media, number_of.get(MediaPath(media.file), -1))
                # A path has its times in decimals.
                near = index.spans.isclose(torch.tensor(media.span, dtype=torch.float64), rtol=0, atol=1e-6)
                same = (index.file_of == number) & near.all(1)
                self.hit |= dict.fromkeys(same.nonzero()[:, 0].tolist(), cells["label"].strip() == self.name)
            if others := len(rows) - len(self.hit):
                reporter.note(f"{csv}: {others} of {len(rows)} marks are not in {index.data}; they stay in the file")

    def put(self, window: int, hit: bool | None) -> None:
        """Mark a window as a hit or a miss, or remove its mark if `hit` is None, and write the CSV.

        The CSV is read again under a lock, so that it keeps what others have written.

        Raises:
            DataError: the CSV is no longer a manifest.
            RunError: the CSV cannot be written.
        """
        if self.csv is not None:
            with in_turn(self.csv):
                label = None if hit is None else {"label": self.name if hit else OTHER, "words": self.name}
                MediaTable(self.csv, _COLUMNS).change({self.index.media(window): label})
        self.hit.pop(window, None)
        if hit is not None:
            self.hit[window] = hit

    def head(self) -> ProbeHead:
        """Return the head of the classes `name` and "other", fitted to the query and the marks.

        It is a logistic regression on features minus the index's center, of length 1, that starts from the query: it
        minimises the cross-entropy + |weight - SCALE x row|^2 / (2 STRENGTH). Unmarked windows
        are misses to it with UNMARKED_WEIGHT, so hits alone suffice, and a few marks do not spoil the ranking.

        With MIN_GROUPS groups of hits and of misses, the head is calibrated, which its kind then says: its log-odds
        are a logistic regression on the scores that windows have when their group is left out of the fit.
        """
        most = min(len(self.index), UNMARKED + len(self.hit))
        drawn = np.random.default_rng(0).choice(len(self.index), most, replace=False).tolist()
        windows = [*dict.fromkeys([*self.hit, *drawn])][:most]
        x = normalize(self.index.features[windows].float() - self.index.center, dim=-1).double().numpy()
        hit, counts = np.array(
            [(self.hit.get(each, 0), 1 if each in self.hit else UNMARKED_WEIGHT) for each in windows]
        ).T
        row, kind = SCALE * self.row.double().numpy(), "logistic"
        fit = _logistic(x, hit, counts, row)
        groups = [(int(self.index.file_of[window]), window // NEIGHBOURS) for window in windows]
        hits, misses = ({groups[at] for at in np.flatnonzero((counts == 1) & (hit == each))} for each in (1, 0))
        if min(len(hits), len(misses)) >= MIN_GROUPS:
            # Hits first, so that each fold has about as many.
            order = [*dict.fromkeys([*sorted(hits), *groups])]
            fold, scores = np.array([order.index(group) % FOLDS for group in groups]), hit.copy()
            for own in (fold == each for each in range(FOLDS)):
                fold_fit = _logistic(x[~own], hit[~own], counts[~own], row)
                scores[own] = x[own] @ fold_fit[:-1] + fold_fit[-1]
            slope, shift = _logistic(scores[:, None] / SCORE_TEMPERATURE, hit, counts, np.zeros(1))
            fit, kind = max(slope / SCORE_TEMPERATURE, 0.01) * fit, f"{kind}, {CALIBRATED}"
            fit[-1] += shift
        rows, names = torch.from_numpy(np.stack([fit, 0 * fit])), (self.name, OTHER)
        return ProbeHead(rows[:, :-1], bias=rows[:, -1], center=self.index.center, names=names, kind=kind)

    def next_to_mark(self, head: ProbeHead, windows: Sequence[int], count: int = 10) -> tuple[list, list]:
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
        with torch.inference_mode():
            scores, marked = (head(self.index.features[each].float())[:, 0].numpy() for each in (rest, [*self.hit]))
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
            raise DataError(f"nothing is marked as {self.name!r}, which a run needs; mark a hit")
        head, run = self.head(), self.index.run
        texts = run.head if run else self.index.encoder
        head.text_source, head.text_map = texts.text_source, texts.text_map
        if run:
            model, recipe, own = run.model.with_head(head), run.recipe, run.protocol
        else:
            model = Recognizer(self.index.encoder.visual, MeanPool(), head)
            own = model.protocol
            recipe = Recipe("find", own.frames, origin=own.views.origin, stride=own.views.stride, tune="none")
        train = [str(self.index.media(window).resolved()) for window in self.hit]
        labels = [self.name if hit else OTHER for hit in self.hit.values()]
        source = str(self.csv or self.index.data)
        with new_folder(Path(out)) as folder:
            if CALIBRATED in head.kind:
                made = Calibration(1.0, len(labels), None, None, rows_digest(head.weight), own.to_json(), source)
                write_json(folder / CALIBRATION, made.to_json())
            split = {"source": source, "train": train, "train_labels": labels}
            write_run(folder, model, recipe, own.sizes, head.names, split)


def marked_words(csv: Path) -> str:
    """Return the words that a CSV of marks is for, or "" if there is no such file, or it does not tell."""
    words = {*map(_words_of, MediaTable(csv, _COLUMNS).read().values())} - {""}
    return words.pop() if len(words) == 1 else ""


def _words_of(mark: Mapping[str, str]) -> str:
    """Return the words that a hit or a miss is of: "" for a miss of a CSV that does not tell."""
    return label if (label := mark["label"].strip()) != OTHER else mark.get("words", "").strip()


def _logistic(x: np.ndarray, hit: np.ndarray, counts: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return the weight and, last, the bias of a logistic regression with the penalty |weight - start|^2."""
    from scipy.optimize import minimize
    from scipy.special import expit

    def loss(both: np.ndarray) -> tuple[float, np.ndarray]:
        odds, moved = x @ both[:-1] + both[-1], np.append(both[:-1] - start, 0) / STRENGTH
        value = counts @ (np.logaddexp(0, odds) - hit * odds) + STRENGTH * (moved @ moved) / 2
        error = counts * (expit(odds) - hit)
        return float(value), np.append(error @ x, error.sum()) + moved

    return minimize(loss, np.append(start, 0), jac=True, method="L-BFGS-B").x
