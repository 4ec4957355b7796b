"""Decode once: store evenly spaced frames of every video, all as key frames, in tar shards in WebDataset's format.

A video becomes `KEY.avi` (Motion JPEG), preceded by a table of its frames, `KEY.frames.json`; an image becomes
`KEY.jpg`. `KEY.json` holds the label and the source. Other tools can read the tars directly; `texthead.media.shard`
reads single clips, `texthead.media.stored_clip` single frames.
"""

import hashlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import av
import numpy as np
import PIL.Image
from jaxtyping import UInt8
from torch import Tensor

from texthead.data.dataset import Dataset, Item
from texthead.data.sampling import evenly
from texthead.data.transforms import short_side
from texthead.errors import CheckedFields, DataError, MediaError, NonNegativeInt, PositiveInt, Rule, RunError, raising
from texthead.files import MAX_BYTES_OF_LISTS, locked, read_json, replacing, write_json
from texthead.media.addresses import address
from texthead.media.paths import MediaPath, fingerprints
from texthead.media.shard import INDEX, SHARD_FORMAT
from texthead.media.stored_clip import TABLE_SUFFIX, frame_table
from texthead.parallel.loaders import FileDataset, read_each
from texthead.parallel.progress import Reporter

# Frame times are stored in milliseconds.
_DIGITS = 3

_ORDER_SEED = 0

MARK, LOCK = "prepare.json", ".lock"


@dataclass(frozen=True)
class ShardOptions(CheckedFields):
    """How clips are stored.

    Attributes:
        frames: maximum number of frames per clip, evenly spaced (segment centers).
        short_side: short side of the frames in pixels; frames are scaled down to it, never up.
        quality: JPEG quality, 1-95.
        clips: clips per shard.

    Raises: DataError for a number out of range.
    """

    frames: PositiveInt = 32
    short_side: Annotated[int, Rule("16 to 16384 pixels", lambda side: 16 <= side <= 16_384)] = 256
    quality: Annotated[int, Rule("1 to 95", lambda quality: 1 <= quality <= 95)] = 85
    clips: PositiveInt = 256


@dataclass(frozen=True)
class Prepared:
    """Result of `prepare`: total clips, bytes and shards, shards that were finished already, files left out."""

    clips: int
    bytes: int
    shards: int
    skipped: int
    unreadable: tuple[MediaError, ...]


class _Task(NamedTuple):
    """One shard to write: its number, and its items as (position in the dataset, item, fingerprint of the file)."""

    number: int
    items: tuple[tuple[int, Item, str], ...]
    options: ShardOptions
    out: Path

    @property
    def tar(self) -> Path:
        return self.out / f"shard-{self.number:06d}.tar"

    @property
    def listing(self) -> Path:
        return self.tar.with_suffix(".json")


class Clip(NamedTuple):
    """One file encoded for a shard: suffix, bytes, table of its frames (empty for an image), origin of its frames."""

    suffix: str
    data: bytes
    table: bytes
    about: dict[str, Any]


def prepare(
    dataset: Dataset,
    out: str | Path,
    options: ShardOptions | None = None,
    *,
    workers: NonNegativeInt = 0,
    skip_unreadable: bool = False,
    reporter: Reporter = Reporter(),
) -> Prepared:
    """Write the dataset's clips into shards in the folder `out`; finished shards there are not written again.

    Clips are assigned to shards in a fixed random order, so that tools that stream shards see mixed classes; when read
    back, they come in the dataset's order. Each shard lists its unreadable files.

    Args:
        workers: data-loader workers, which encode the clips; 0 encodes in this process.
        skip_unreadable: finish without the unreadable files. Otherwise shards with unreadable files are written again
            the next time, like shards whose source files have changed.
        reporter: gets progress.

    Raises:
        DataError: `out` is remote, is inside the class folders, or holds anything but shards of this data with these
            options.
        MediaError: files cannot be read, unless `skip_unreadable`. All other files are in shards by then.
        RunError: the disk is full or read-only, another process prepares into `out`, or workers end at once.
    """
    options, source, out = options or ShardOptions(), Path(dataset.source), Path(out)
    others = sorted(path.name for path in out.iterdir() if path.name != LOCK) if out.is_dir() else []
    unfit = f"contains {others[0]} but no {MARK}, so it has no shards" if others and MARK not in others else ""
    unfit = f"is the address {address(out)}" if address(out) else unfit
    if dataset.source and source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        unfit = f"is inside {source}, whose folders are classes"
    if unfit:
        raise DataError(f"{out}: {unfit}; use a new or empty local folder")
    files = [str(item.media.resolved().file) for item in dataset.items]
    often = Counter(files)
    # Parts and copies of a file have it as their group.
    items = [
        replace(item, group=file) if not item.group and (item.media.is_part or often[file] > 1) else item
        for item, file in zip(dataset.items, files, strict=True)
    ]
    dataset = replace(dataset, items=tuple(items))
    order, prints = np.random.default_rng(_ORDER_SEED).permutation(len(dataset)).tolist(), fingerprints(dataset.paths)
    placed = tuple((position, dataset.items[position], prints[position]) for position in order)
    shards = [placed[start : start + options.clips] for start in range(0, len(placed), options.clips)]
    tasks = [_Task(number, own, options, out) for number, own in enumerate(shards)]
    with locked(out), reporter.bar("prepare", "clips") as progress:
        _begin(dataset, out, options)
        finished = {task.number: done for task in tasks if (done := _finished(task, skip_unreadable)) is not None}
        skipped, left = len(finished), [task for task in tasks if task.number not in finished]
        paths = [str(item.path) for task in left for _, item, _ in task.items]
        clips = read_each(FileDataset(partial(encoded, options=options), paths), workers)
        stored = len(dataset) - len(paths)
        progress(stored, len(dataset))
        for task in left:
            finished[task.number] = _write(task, clips)
            stored += len(task.items)
            progress(stored, len(dataset))
        shards = [finished[task.number] for task in tasks]
        lost = [MediaError(*entry) for shard in shards for entry in shard["unreadable"]]
        if lost and not skip_unreadable:
            more = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
            problem = f"{lost[0].problem}{more}; all other files are prepared: `skip_unreadable` skips such files"
            raise MediaError(lost[0].path, problem)
        about = {"format": SHARD_FORMAT, "source": dataset.source, **asdict(options), "unreadable": len(lost)}
        about |= {"several": True} if dataset.multilabel else {}
        about |= {"tree": {**dataset.tree.above}} if dataset.tree else {}
        keys = {"url": "file", "nsamples": "clips", "filesize": "bytes", "sha256": "sha256"}
        urls = [{key: shard[name] for key, name in keys.items()} for shard in shards]
        # The format of WebDataset's indexed reader, plus an entry of ours.
        index = {"__kind__": "wids-shard-index-v1", "wids_version": 1, "shardlist": urls, "texthead": about}
        write_json(out / INDEX, index)
    clips, size = (sum(shard[key] for shard in shards) for key in ("clips", "bytes"))
    return Prepared(clips, size, len(tasks), skipped, tuple(lost))


# ---- shards


def _row(position: int, item: Item) -> dict[str, Any]:
    """Return an item's entry in the index."""
    return {
        "order": position,
        "label": item.label,
        "split": item.split,
        "group": item.group,
        "extra": [list(pair) for pair in item.extra],
        "name": item.name or str(item.path),
        "source": str(item.media.resolved()),
    }


def _begin(dataset: Dataset, out: Path, options: ShardOptions) -> None:
    """Mark the folder as holding shards of this data with these options, or check its mark.

    Raises:
        DataError: the folder is for other data or options.
    """
    content = [SHARD_FORMAT, asdict(options), [_row(position, item) for position, item in enumerate(dataset.items)]]
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    mark = out / MARK
    if mark.is_file():
        if read_json(mark).get("of") != digest:
            raise DataError(f"{out}: holds shards of other data or options; pass the same ones, or use a new folder")
        return
    write_json(mark, {"format": SHARD_FORMAT, "of": digest, "options": asdict(options)})


def _record(listing: dict[str, Any]) -> dict[str, Any]:
    """Return what is remembered of a finished shard: its clips are in its own index."""
    return {"clips": len(listing["clips"]), "unreadable": listing["unreadable"], **listing["tar"]}


def _finished(task: _Task, skip_unreadable: bool) -> dict[str, Any] | None:
    """Return the record of a shard if it is complete and its source files have not changed, else None."""
    try:
        listing = read_json(task.listing, most=MAX_BYTES_OF_LISTS)
        done = _record(listing)
        same = listing["prints"] == [fingerprint for *_, fingerprint in task.items]
        whole = task.tar.stat().st_size == done["bytes"]
    except (RunError, OSError, KeyError, TypeError):
        return None
    return done if same and whole and (skip_unreadable or not done["unreadable"]) else None


# ---- writing


def _write(task: _Task, encoded_clips: Iterator[Clip | MediaError]) -> dict[str, Any]:
    """Write the next clips as a shard and its index, each atomically; return its record."""
    clips, unreadable = [], []
    first = task.number * task.options.clips
    task.listing.unlink(missing_ok=True)  # It describes the previous tar.
    with replacing(task.tar) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as archive:
        for (position, item, fingerprint), clip in zip(task.items, encoded_clips, strict=False):
            if not (fingerprint or isinstance(clip, MediaError)):
                clip = MediaError(item.path, "could not be read at the start; run the command again")
            if isinstance(clip, MediaError):
                unreadable.append([str(clip.path), clip.problem])
                continue
            key, row = f"{first + len(clips):09d}", _row(position, item)
            _add(archive, f"{key}.json", json.dumps({**row, **clip.about}).encode())
            if clip.table:
                _add(archive, f"{key}{TABLE_SUFFIX}", clip.table)
            offset = _add(archive, f"{key}{clip.suffix}", clip.data)
            digest = hashlib.sha256(clip.table or clip.data).hexdigest()
            stored = {"key": key, "suffix": clip.suffix, "offset": offset, "size": len(clip.data), "sha256": digest}
            clips.append({**stored, "table": len(clip.table), "print": fingerprint, **row})
    with task.tar.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    tar = {"file": task.tar.name, "bytes": task.tar.stat().st_size, "sha256": digest}
    prints = [fingerprint for *_, fingerprint in task.items]
    listing = {"format": SHARD_FORMAT, "tar": tar, "clips": clips, "unreadable": unreadable, "prints": prints}
    write_json(task.listing, listing)
    return _record(listing)


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> int:
    """Add a file to the archive; return the offset of its bytes."""
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    offset = archive.offset + tarfile.BLOCKSIZE  # Names are short, so the header is one block.
    archive.addfile(entry, io.BytesIO(data))
    return offset


# ---- one clip


def encoded(path: str, options: ShardOptions) -> Clip:
    """Encode one file as a clip.

    Raises:
        MediaError: the file cannot be read.
    """
    with raising(partial(MediaError, path), "cannot be read", "check its permissions"), MediaPath(path).open() as media:
        chosen = evenly(media.num_frames, options.frames)
        frames = media.frames_at(chosen, partial(short_side, most=options.short_side))
        seconds = [round(media.times[index], _DIGITS) for index in chosen] if media.times else []
        about: dict[str, Any] = {"frames": chosen, "source_frames": media.num_frames}
    pictures = [jpeg(frame, options.quality) for frame in frames]
    if MediaPath(path).is_image and len(chosen) == 1:
        return Clip(".jpg", pictures[0], b"", about)
    rate = Fraction(8)
    if len(seconds) > 1 and seconds[-1] > seconds[0]:  # Keep the duration of the source.
        rate = Fraction((len(seconds) - 1) / (seconds[-1] - seconds[0])).limit_denominator(1000)
    rate = min(max(rate, Fraction(1, 100)), Fraction(1000))
    data = motion_jpeg(pictures, rate, height=frames.shape[-2], width=frames.shape[-1])
    about |= {"seconds": seconds} if seconds else {}
    return Clip(".avi", data, frame_table(data, pictures, seconds), about)


def motion_jpeg(pictures: Sequence[bytes], rate: Fraction, *, height: int, width: int) -> bytes:
    """Return JPEG pictures as Motion JPEG in an .avi; every frame is a key frame.

    Differs: the JPEGs are made by Pillow. FFmpeg's encoder is no faster, and is off by 1.4 grey levels instead of 0.8.
    """
    out = io.BytesIO()
    with av.open(out, "w", format="avi") as container:
        stream = container.add_stream("mjpeg", rate=rate)
        stream.height, stream.width = height, width
        stream.pix_fmt = "yuvj444p"
        for number, picture in enumerate(pictures):
            packet = av.Packet(picture)
            packet.stream, packet.time_base = stream, 1 / rate
            packet.pts = packet.dts = number
            packet.duration, packet.is_keyframe = 1, True
            container.mux(packet)
    return out.getvalue()


def jpeg(frame: UInt8[Tensor, "3 height width"], quality: int) -> bytes:
    """Encode a frame as a JPEG without chroma subsampling, which would cost accuracy (docs/decisions.md).

    Optimised Huffman tables make the file 2.5 % smaller and faster to decode.
    """
    out = io.BytesIO()
    picture = PIL.Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy())
    picture.save(out, "JPEG", quality=quality, subsampling="4:4:4", optimize=True)
    return out.getvalue()
