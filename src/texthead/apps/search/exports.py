"""Export hits: a CSV, JSON lines, a contact sheet, clips cut without decoding, or tasks of a labelling tool."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from texthead.apps.search.contact_sheet import contact_sheet
from texthead.apps.search.copying import copy
from texthead.apps.search.search import Hit
from texthead.cli import check_out_file
from texthead.data import Item
from texthead.errors import DataError, MediaError, RunError, either, listed
from texthead.extensions import find
from texthead.files import new_folder, replacing, write_csv
from texthead.media import MediaPath, Span

# Format -> ending of its file.
HIT_FORMATS = {"csv": ".csv", "jsonl": ".jsonl", "sheet": ".png", "clips": ""}

HIT_COLUMNS = ("path", "start", "end", "score", "probability", "copies")


def export_hits(
    hits: Sequence[Hit], kind: str, out: Path, *, name: str, data: Path, model: str, base: Path | None = None
) -> str:
    """Write hits in a format, and return a line about it.

    Args:
        kind: one of HIT_FORMATS, or a labelling tool such as label-studio, whose tasks have the hits as guesses.
        out: a file; a new folder for clips. A tool gets photos and videos in two files if there are both.
        name: what was searched for, the class of the guesses.
        data: the folder or manifest that was searched.
        model: name of the model that made the guesses.
        base: the folder that a CSV or JSON lines name files from; that of `out` if None.

    Raises:
        TextheadError: the output cannot be written, or no such tool is installed, or it cannot have these files.
    """
    items = [Item(MediaPath(hit.path).part(Span(hit.start, hit.end)).path, "") for hit in hits]
    if kind == "clips":
        return copy_clips(items, out)
    if kind == "sheet":
        with replacing(out) as temporary:
            contact_sheet([item.path for item in items]).save(temporary, "PNG")
    elif kind in HIT_FORMATS:
        rows = []
        for hit in hits:
            path, end = MediaPath(hit.path).text_below(base or out.parent), None if math.isinf(hit.end) else hit.end
            rows.append((path, hit.start, end, hit.score, hit.probability, "; ".join(hit.copies)))
        if kind == "csv":
            write_csv(out, HIT_COLUMNS, rows)
        else:
            with replacing(out) as temporary:
                lines = [json.dumps(dict(zip(HIT_COLUMNS, row, strict=True))) + "\n" for row in rows]
                temporary.write_text("".join(lines))
    else:
        sure = (hit.score if hit.probability is None else hit.probability for hit in hits)
        guesses = {item.path: [(name, value)] for item, value in zip(items, sure, strict=True)}
        photos, videos = ([item for item in items if item.media.is_image is image] for image in (True, False))
        groups = [(photos, out.with_stem(f"{out.stem}-photos") if videos else out), (videos, out)]
        write = find("texthead.tools")[kind].load(("check", "write")).write
        return "; ".join(write(path, own, guesses, [name], data=data, model=model) for own, path in groups if own)
    return f"{out}: {len(hits)} hit{'s' * (len(hits) != 1)}"


def check_exports(export: Sequence[str], inputs: Sequence[str | Path | None]) -> list[tuple[str, Path]]:
    """Return the (kind, path) of each KIND:PATH.

    Raises:
        DataError: there is no such kind, or the file has another ending, cannot be written or is an input.
        RunError: the folder of clips exists.
    """
    kinds, files = [*HIT_FORMATS, *find("texthead.tools")], list[tuple[str, Path]]()
    taken = {MediaPath(MediaPath(each).file).resolved().path for each in inputs if each}
    for each in export:
        kind, _, text = each.partition(":")
        out, flag = Path(text), f"`export` {each}"
        if kind not in kinds:
            raise DataError(f"`export` must be {either(kinds)}, got {kind!r}")
        if not text:
            raise DataError(f"`export` must be KIND:PATH, got {each!r}: name the file or folder to write")
        if kind == "clips" and out.exists():
            raise RunError(f"{flag}: already exists; choose another folder, or remove it")
        if kind != "clips":
            check_out_file(flag, out, HIT_FORMATS.get(kind, ".csv .json .jsonl .xml"))
        replaces = kind == "sheet" and out.exists() and taken & {*out.resolve().parents}
        if replaces or out.resolve() in taken:
            raise DataError(f"{flag}: is an input, or written twice; name another file")
        taken.add(out.resolve())
        files.append((kind, out))
    return files


def copy_clips(items: Sequence[Item], out: Path) -> str:
    """Copy photos, videos and the packets of parts of videos to a new folder; return a line about it.

    Raises:
        RunError: the folder exists, or cannot be written.
    """
    early, skipped = 0.0, list[str]()
    with new_folder(out) as folder:
        for number, item in enumerate(items, 1):
            file, (start, end) = item.media.file, item.media.span.cells()
            times = f"-{start or 0}-{end or 'end'}" if item.media.is_part else ""
            name = f"{number:03d}-{file.stem[:50]}{times}{file.suffix}"
            clip = folder / name.encode(errors="replace").decode()
            try:
                with item.media.open() as media:
                    early = max(early, copy(media, clip))
            except MediaError as error:
                clip.unlink(missing_ok=True)
                skipped.append(str(error))
    notes = [f"{out}: {len(items) - len(skipped)} clips and photos"]
    notes += [f"a clip begins up to {early:.1f} s early, at a keyframe"] if early else []
    return "; ".join([*notes, f"skipped: {listed(skipped)}"] if skipped else notes)
