"""Rank the windows of an index by a query, and say whether the best one stands out against chance."""

import hashlib
import math
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from texthead import Calibration, ReadOptions
from texthead.apps.search.index import Index, open_index
from texthead.apps.search.marks import CALIBRATED
from texthead.apps.search.windows import encode_windows
from texthead.errors import DataError, MediaError, PositiveInt, RunError
from texthead.files import cache_dir, replacing, write_csv
from texthead.media import MediaPath
from texthead.models import Head

# The best hit stands out if a smaller share of words for things that are not there fits as well (docs/decisions.md).
CHANCE = 0.07

# Log-odds of a class that every window has, or none.
_SURE = 1e4

# Words whose row is shorter are unknown to the text encoder.
KNOWN = 0.5

# With fewer windows, chance is not estimated.
MIN_WINDOWS = 5

# Fraction of the positive cosine with words to avoid that is subtracted. 0.5 removes 40 % of the avoided class from the
# first 20 hits and costs a point of mean average precision; 1 removes 85 % and costs 7.
AVOID = 0.5

# Windows are near copies if their features minus the mean of the LOCAL best ones have a higher cosine. That merges
# re-saved photos (100 %), mirrored (98 %), cropped by 3 % (87 %) and reduced ones (81 %).
COPY, LOCAL = 0.9, 200

# A window next to a hit belongs to it if its score is at least so large a part of the hit's, and if it looks alike:
# windows are cut where frames change, so the next one is mostly another scene.
NEIGHBOUR, ALIKE = 0.5, 0.5


# Words that are compared at once.
_BLOCK = 16


class Hit(NamedTuple):
    """A moment of a video, or an image.

    Attributes:
        path: the file.
        start, end: in seconds; `end` is infinite at the end of the file.
        score: how far its best window is above the mean of all windows, in their standard deviations.
        probability: calibrated (0-1), if the query is a head or a class that is calibrated; else None.
        window: the number of its best window.
        copies: near copies elsewhere, as paths; windows of videos as parts, film.mp4#t=3,7.5.
    """

    path: Path
    start: float
    end: float
    score: float
    probability: float | None
    window: int
    copies: tuple[str, ...]


class Results(NamedTuple):
    """The results of a search.

    Attributes:
        hits: the best first.
        fits: whether the best one stands out.
        note: a sentence on that, or "" if it is not known.
    """

    hits: list[Hit]
    fits: bool
    note: str

    def __repr__(self) -> str:
        return f"Results({len(self.hits)} hits{f', {self.note}' if self.note else ''})"


def search(
    index: Index | str | Path,
    query: str | Sequence[str] | Path | Head,
    *,
    avoid: str | Path | Sequence[str | Path] = (),
    top: PositiveInt = 20,
) -> Results:
    """Return the windows that fit a query best, and whether the best one fits better than chance.

    Neighbouring windows of a video and near copies are one hit.

    Args:
        index: what `open_index` returns; or a folder or manifest, whose index for `mini` is opened.
        query: words; several prompts, whose rows are averaged; the path of an image or a clip as an example; the name
            of a class if a run encoded the index; or a head for the features of the index, whose first class is wanted.
        avoid: words, or paths of examples, that hits should not resemble.
        top: the number of hits.

    Raises:
        DataError: there is no such data, `top` is below 1, the query is empty, or `avoid` is given with a head or a
            class.
        EncoderError: the encoder has no text encoder.
        MediaError: an example cannot be read.
    """
    index = index if isinstance(index, Index) else open_index(index)
    run, head, column = index.run, query if isinstance(query, Head) else None, 0
    if run and isinstance(query, str) and query in run.labels:
        head, column = run.head, run.labels.index(query)
    if head is not None:
        if avoid:
            raise DataError(f"`avoid` {avoid!r} is for words and examples, not for a head or a class: remove `avoid`")
        calibration = run.calibration_for(run.protocol)[0] if run and head is not query else None
        return _by_head(index, head, column, calibration, top)
    assert not isinstance(query, Head)
    avoid = [avoid] if isinstance(avoid, str | Path) else avoid
    rows = torch.stack([query_row(index, each) for each in (query, *avoid)])
    scores, *others = index.cosines(rows)
    if others:
        scores -= AVOID * torch.stack(others).amax(0).clamp(min=0)
    if isinstance(query, Path):
        # The windows that the example itself shows. To resolve all paths would take seconds.
        own, (start, end) = MediaPath(query).resolved(), index.spans.T
        named = [number for number, path in enumerate(index.paths) if own.file.name in path or Path(path).is_symlink()]
        same = [number for number in named if MediaPath(index.paths[number]).resolved().file == own.file]
        shown = torch.isin(index.file_of, torch.tensor(same)) & (start < own.span.end) & (end > own.span.start)
        scores[shown] = scores.min()
        return Results(_hits(index, scores, None, top), True, "")
    hits = _hits(index, scores, None, top)
    if len(index) < MIN_WINDOWS:
        return Results(hits, True, f"chance is not estimated: that needs {MIN_WINDOWS} photos or moments")
    share = common_words(index).share_as_good(F.normalize(rows[0], dim=-1), index.features[hits[0].window])
    note = f"{max(round(100 * share), 1)} of 100 words for things that are not there would fit as well"
    if rows[0].norm() < KNOWN:
        note += "; these words are unknown to the text encoder"
    if share > CHANCE:
        return Results(hits, False, f"nothing in this folder fits clearly better than chance: {note}")
    return Results(hits, True, f"the best hit stands out: {note}")


def query_name(query: str | Path) -> str:
    """Return what a query is called: its words, or the name of its example without the suffix."""
    return query if isinstance(query, str) else MediaPath(query).file.stem


def query_row(index: Index, query: str | Sequence[str] | Path) -> Float[Tensor, " dim"]:
    """Return the direction of a query; for a class of the index's run, that of its row.

    The direction of words is shorter than 1 if the text encoder does not know them.
    """
    run = index.run
    if isinstance(query, Path):
        model, protocol = (run.model, run.protocol) if run else (index.encoder, None)
        windows = encode_windows(model, [query], protocol, ReadOptions(cache=True, engine="auto"))
        for problem in windows.problems.values():
            raise MediaError(query, problem)
        return F.normalize(windows.features.float().mean(0) - index.center, dim=-1)
    if run and query in run.labels and isinstance(run.head.weight, Tensor):
        return F.normalize(run.head.weight[run.labels.index(str(query))].detach().float().cpu(), dim=-1)
    prompts = [query] if isinstance(query, str) else list(query)
    if not all(prompt.strip() for prompt in (prompts or [""])):
        raise DataError("the query is empty: pass words, the path of an example, or a head")
    row = index.encoder.familiarity_scaled_rows(prompts[:1], [tuple(prompts)])[0]
    if len(row) != index.features.shape[1]:
        raise DataError("this run's features cannot be compared with words: search by an example or by a class")
    return row


def _by_head(index: Index, head: Head, column: int, calibration: Calibration | None, top: int) -> Results:
    """Return the hits of a class of a head."""
    device = next(head.parameters()).device
    with torch.inference_mode():
        logits = torch.cat([head(block.to(device).float()).cpu() for block in index.features.split(LOCAL)])
    known = calibration is not None or head.multilabel or CALIBRATED in head.kind
    if head.multilabel:
        odds, probabilities = logits[:, column], logits.sigmoid()[:, column]
    else:
        # A class that is never predicted has minus infinity.
        others = logits[:, torch.arange(logits.shape[1]) != column].logsumexp(-1)
        odds = (logits[:, column] - others).clamp(-_SURE, _SURE)
        probabilities = (calibration.apply(logits) if calibration else logits).softmax(-1)[:, column]
    hits = _hits(index, odds, probabilities if known else None, top)
    fits = hits[0].probability is None or hits[0].probability >= 0.5
    return Results(hits, fits, "" if fits else f"nothing in this folder is likely to be {head.names[column]!r}")


def _hits(
    index: Index, scores: Float[Tensor, " windows"], probabilities: Float[Tensor, " windows"] | None, top: int
) -> list[Hit]:
    """Return the best windows, each with its neighbours and near copies."""
    scores = (scores - scores.mean()) / scores.std(correction=0).clamp(min=1e-6)
    best = scores.topk(min(len(scores), LOCAL + 10 * top))
    features = index.features[best.indices].float()
    units = F.normalize(features - features[:LOCAL].mean(0), dim=-1)
    hits: list[Hit] = []
    hits_of: dict[str, list[int]] = {}  # The hits of each file.
    cosines: list[list[float]] = []  # Of each hit with all candidates, by their rank.
    copied: dict[int, int] = {}  # The hit that a window is a near copy of, by its rank.
    columns = (best.indices, best.values, index.file_of[best.indices], index.spans[best.indices])
    for rank, (window, score, file, (start, end)) in enumerate(zip(*map(Tensor.tolist, columns), strict=True)):
        path = index.paths[file]
        path = str(MediaPath(path).file) if "#t=" in path else path  # Windows and parts of one video are neighbours.
        of_file = hits_of.setdefault(path, [])
        near = (position for position in of_file if start <= hits[position].end and end >= hits[position].start)
        alike = (position for position in near if cosines[position][rank] > ALIKE)
        position = next((position for position in alike if score >= NEIGHBOUR * hits[position].score), None)
        if position is not None:
            hit = hits[position]
            hits[position] = hit._replace(start=min(start, hit.start), end=max(end, hit.end))
        elif rank in copied:
            hit = hits[copied[rank]]
            hits[copied[rank]] = hit._replace(copies=(*hit.copies, str(index.media(window))))
        elif len(hits) < top:
            of_file.append(len(hits))
            cosines.append((units @ units[rank]).tolist())
            copies = (at for at, cosine in enumerate(cosines[-1]) if cosine > COPY)
            copied = {**dict.fromkeys(copies, len(hits)), **copied}
            probability = None if probabilities is None else float(probabilities[window])
            hits.append(Hit(Path(path), start, end, score, probability, window, ()))
    return hits


# ---- chance

# A cosine means nothing to a person, and its height depends on the encoder and the folder. But most words name things
# that are not in a folder, so the best hits of a few hundred common words show how well words fit by chance.


class CommonWords(NamedTuple):
    """Common words of an index.

    Attributes:
        rows: their text rows.
        center: subtracted from features; the encoder's own, if it has one, because the mean of a small folder shows
            mostly what is in it.
        fits: how well the best window of each word fits it, as `fit`.
    """

    rows: Float[Tensor, "words dim"]
    center: Float[Tensor, " dim"]
    fits: Float[Tensor, " words"]

    def share_as_good(self, row: Float[Tensor, " dim"], feature: Float[Tensor, " dim"]) -> float:
        """Return the fraction (0-1) of words for things not in the folder that fit as well as a query by chance.

        The largest of many values has a Gumbel distribution, whose quartile and median give its scale and location.
        Words for things that are in the folder are mostly in the upper half, which is not used.

        Args:
            row: the query, of length 1.
            feature: of its best window.

        Source: comparing with other texts is querybank normalisation (Bogolin et al., CVPR 2022); the rest is ours.
        """
        unit = F.normalize(feature.float() - self.center, dim=-1)
        value = float(z_score(row @ unit, self.rows @ unit))
        quartile, median = self.fits.quantile(torch.tensor([0.25, 0.5])).tolist()
        # With a share of exp(-exp(-(x - location) / scale)) below x, median - quartile is log(2) x scale.
        scale = max(median - quartile, 1e-6) / math.log(2)
        location = median + math.log(math.log(2)) * scale
        return -math.expm1(-math.exp(min((location - value) / scale, 700)))


def z_score(cosine: Float[Tensor, "*queries"], others: Float[Tensor, "*queries words"]) -> Float[Tensor, "*queries"]:
    """Return how far a cosine with a window is above those of all common words, in their standard deviations."""
    return (cosine - others.mean(-1)) / others.std(-1).clamp(min=1e-6)


@lru_cache(maxsize=2)
def common_words(index: Index) -> CommonWords:
    """Return the common words (words.txt) of an index, from the user's cache folder if neither has changed.

    Raises:
        EncoderError: the encoder has no text encoder.
    """
    encoder = index.encoder
    words = Path(__file__).with_name("words.txt").read_text("utf-8").splitlines()
    name = repr((str(index.data.resolve()), encoder.source, encoder.text_source))
    file = cache_dir() / "words" / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.safetensors"
    # Features of a run are centered otherwise, even where they are those of its encoder.
    center = index.center if index.run or encoder.center is None else encoder.center
    counts = torch.tensor([len(words), len(index)])
    state = torch.cat([encoder.text_rows(words[:1])[0], index.center, center, counts])
    with suppress(OSError, SafetensorError, KeyError):
        saved = load_file(file)
        if saved["state"].shape == state.shape and torch.allclose(saved["state"], state, 1e-4, 1e-6):
            return CommonWords(saved["rows"], saved["center"], saved["fits"])
    rows = encoder.text_rows(words)
    common = common_words_of(index, rows, center)
    with suppress(OSError, RunError), replacing(file) as temporary:
        save_file({"state": state, **common._asdict()}, temporary)
    return common


def common_words_of(index: Index, rows: Float[Tensor, "words dim"], center: Float[Tensor, " dim"]) -> CommonWords:
    """Return the common words with these rows, compared with the windows of an index."""
    best = torch.cat([index.cosines(block).argmax(1) for block in rows.split(_BLOCK)])
    units = F.normalize(index.features[best].float() - center, dim=-1)
    return CommonWords(rows, center, z_score((units * rows).sum(-1), units @ rows.T))


def write_hits(hits: Sequence[Hit], out: Path) -> None:
    """Write hits as a CSV.

    Raises:
        RunError: it cannot be written.
    """
    rows = []
    for hit in hits:
        path, end = MediaPath(hit.path).relative_to(out.parent), None if math.isinf(hit.end) else hit.end
        rows.append((path, hit.start, end, hit.score, hit.probability, "; ".join(hit.copies)))
    write_csv(out, ("path", "start", "end", "score", "probability", "copies"), rows)
