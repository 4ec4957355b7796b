"""Search a folder, learn from marks, write the hits as a CSV and save a run, in one call."""

import math
from collections.abc import Sequence
from pathlib import Path

from texthead import Reporter
from texthead.apps.search.index import Index, open_index
from texthead.apps.search.marks import Marks
from texthead.apps.search.search import Hit, Results, query_name, query_row, search
from texthead.cli import check_out_file
from texthead.errors import DataError, PositiveInt
from texthead.files import write_csv
from texthead.media import MediaPath


def find_moments(
    query: str | Path,
    data: str | Path | Index,
    *,
    avoid: Sequence[str] = (),
    top: PositiveInt = 20,
    marks: str | Path | None = None,
    save: str | Path | None = None,
    out: str | Path | None = None,
    reporter: Reporter = Reporter(),
) -> Results:
    """Search a folder of videos and images, as `texthead find` does.

    Args:
        query: words, or the path of an image or a clip as an example.
        data: a folder of videos and images, a manifest, or an index, which says the encoder or the run.
        avoid: words that hits should not resemble; without marks only.
        top: the number of hits.
        marks: CSV file of hits and misses (path, label), whose labels are the words and "other"; if it has hits or
            misses in `data`, results are ranked by what they teach.
        save: folder of a run to write, learned from the marks; its classes are the words and "other".
        out: CSV file to write the hits to.
        reporter: gets progress, notes and unreadable files.

    Raises:
        DataError: there is no such data, no file in it can be read, the marks have another label, `save` without
            `marks`, or an `out` of another ending, or that is an input.
        EncoderError: the encoder has no text encoder.
        MediaError: the example cannot be read.
        RunError: a file cannot be written.
    """
    if save and not marks:
        raise DataError(f"`save` {save} learns from marks: give `marks`")
    folder = data.data if isinstance(data, Index) else data
    if out:
        check_out_file(f"`out` {out}", Path(out), ".csv")
        inputs = [folder, marks, query if isinstance(query, Path) else None]
        if Path(out).resolve() in {MediaPath(MediaPath(each).file).resolved().path for each in inputs if each}:
            raise DataError(f"`out` {out}: is an input; name another file")
    if marks and not save and not Path(marks).exists():
        reporter.note(f"`marks` {marks} does not exist: the hits are ranked by the query alone; check the path")
    index = data if isinstance(data, Index) else open_index(data, reporter=reporter)
    taught = Marks(index, query_name(query), query_row(index, query), Path(marks), reporter) if marks else None
    results = search(index, taught.head() if taught and taught.hit else query, avoid=avoid, top=top)
    if out:
        write_hits(results.hits, Path(out))
    if save and taught:
        taught.save_run(save)
    return results


def write_hits(hits: Sequence[Hit], out: Path, base: Path | None = None) -> None:
    """Write hits as a CSV.

    Args:
        hits: the score of one that was marked but not searched for is NaN, and not written.
        base: the folder that files are named from; that of `out` if None.

    Raises:
        RunError: it cannot be written.
    """
    rows = []
    for hit in hits:
        path, end = MediaPath(hit.path).relative_to(base or out.parent), None if math.isinf(hit.end) else hit.end
        score = None if math.isnan(hit.score) else hit.score
        rows.append((path, hit.start, end, score, hit.probability, "; ".join(hit.copies)))
    write_csv(out, ("path", "start", "end", "score", "probability", "copies"), rows)
