"""Read a dataset from class folders, manifests, published lists, YAML files or shards.

Files without labels come from a folder or a manifest.
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import NamedTuple

from texthead.data.dataset import SPLIT_NAMES, Dataset, Item, Split, splits_of
from texthead.data.manifest import SUFFIXES, is_manifest, manifest_rows, read_manifest
from texthead.data.published_lists import read_list
from texthead.data.sources import SOURCE_FUNCTIONS, SOURCE_GROUP, SOURCES, unknown_source
from texthead.errors import DataError, RunError, listed, naming
from texthead.extensions import find
from texthead.media.find import find_media, is_hidden, is_system_folder, media_below, skipped_note
from texthead.media.paths import MediaPath
from texthead.media.shard import read_rows
from texthead.parallel.progress import Reporter
from texthead.text.class_names import check_names
from texthead.text.class_tree import FOLDERS, ClassTree
from texthead.text.label_files import ClassIds, read_labels

YAML_SUFFIXES = (".yaml", ".yml")


def as_dataset(data: Dataset | str | Path) -> Dataset:
    """Return a dataset, read with `read_dataset` if its source is given."""
    return data if isinstance(data, Dataset) else read_dataset(data)


def read_dataset(
    source: str | Path,
    *,
    labels: str | Path | ClassIds | None = None,
    root: str | Path | None = None,
    frame_template: str | None = None,
    suffix: str | None = None,
    columns: Mapping[str, str] | None = None,
    tree: str | Path | ClassTree | None = None,
) -> Dataset:
    """Read a dataset from any kind of source that `sources.py` lists, or that an installed package reads.

    - A folder of class folders; folders named train, val, test above the class folders are splits. Files in folders
      below a class folder belong to its class.
    - A manifest (CSV or TSV), or a folder that holds one.
    - A `.txt` list with lines `path n_frames label` or `file label`.
    - `datasets:...`: a folder that Hugging Face `datasets` saved or can load, or a dataset of its hub.
    - A YAML file that names a list, its columns and where its files are (data_file.py).
    - A folder of prepared shards. The clips come in the order of the original data, so that seeded draws are the same.

    Args:
        labels: a CSV with `id,name`, or `imagenet`. The labels of a `.txt` list are row numbers in it; in other sources
            a label is an id, replaced by its name.
        root: the folder that paths in a list or manifest are relative to; the file's own if None.
        frame_template: for lists of folders of frames: the file name of a frame, such as "img_{:05d}.jpg".
        suffix: for lists of files without a suffix: the suffix, such as ".avi".
        columns: name of a manifest's column for `path`, `label` and others, such as {"path": "image_id"}.
        tree: the broader names above the classes, or a YAML file of them (see `read_tree`), or "folders": each folder
            with files is a class, below the folders that it is in. If None, labels such as `animal/dog/pug` are
            read as a tree.

    Raises:
        DataError: the path does not exist, holds no labelled file or an empty class folder, a manifest, list or label
            file breaks a rule, or an option does not apply to the source.
    """
    named = read_labels(Path(labels)) if isinstance(labels, str | Path) else labels
    folder = None if root is None else Path(root)
    options = {"labels": named, "root": folder, "frame_template": frame_template, "suffix": suffix, "columns": columns}
    options |= {"tree": FOLDERS} if tree == FOLDERS else {}
    options = {name: value for name, value in options.items() if value is not None}
    found, problem = None, None
    # Packages come before our applications.
    for each in sorted(find(SOURCE_GROUP, SOURCES).values(), key=lambda each: each.ours and each.name not in SOURCES):
        try:
            module = each.load(SOURCE_FUNCTIONS)
            with each.errors():
                if module.accepts(str(source)):
                    found = each, module
                    break
        except RunError as error:  # A broken package matters only if nothing else accepts the source.
            problem = problem or error
    if found is None:
        raise problem or unknown_source(Path(source))
    entry, module = found
    used = options.keys() & signature(module.read).parameters.keys()
    for option, value in options.items():
        if option not in (*used, "labels"):
            kind = "class folders" if option == "tree" else "lists (.csv, .tsv, .txt)"
            raise DataError(f"`{option}` '{value}' is for {kind}, and {source} is not; remove `{option}`")
    if folder is not None and entry.ours:
        MediaPath(folder).check()
    with entry.errors():
        dataset = module.read(str(source), **{name: options[name] for name in used})
    if not (isinstance(dataset, Dataset) and all(isinstance(item, Item) for item in dataset.items)):
        raise RunError(entry.broken(f"returned a {type(dataset).__name__}, not a Dataset of Items"))
    path = Path(source)
    dataset = _checked(dataset, folder or (path if path.is_dir() else path.parent))
    if named is not None and "labels" not in used:
        names = {label: named.name_of(label) for label in dataset.classes}
        dataset = replace(dataset, items=tuple(item.renamed(names) for item in dataset.items))
    with naming(dataset.source):
        check_names(dataset.classes)
    return dataset.with_tree(tree)


def read_files(source: str | Path) -> Dataset:
    """Return files without labels: those in a folder and its subfolders, a manifest's column `path`, or a YAML file.

    A manifest's columns `start` and `end` select parts of videos, `group` groups related files. Other columns are
    ignored. A YAML file is read as by `read_dataset`, without its labels.

    Raises:
        DataError: there is no such path, or no file in it.
    """
    manifest = Path(source)
    if manifest.suffix.lower() in YAML_SUFFIXES and manifest.is_file():
        dataset = read_dataset(source)
        items = (Item(item.path, (), group=item.group) for item in dataset.items)
        return Dataset(tuple(items), dataset.source, dataset.notes)
    if manifest.suffix.lower() not in SUFFIXES:
        notes: list[str] = []
        paths = find_media([manifest], Reporter(note=notes.append))
        return Dataset(tuple(Item(Path(path), ()) for path in paths), str(source), tuple(notes))
    rows = [*manifest_rows(manifest, ("path",))]
    if not rows:
        raise DataError(f"{source}: lists no files; write one path per line")
    items = (Item(row.path(), (), group=row.group) for row in rows)
    return Dataset(tuple(items), str(source))


def listed_files(path: str | Path) -> list[str | Path]:
    """Return the files that a manifest or a YAML file lists, as from `read_files`; any other path as it is."""
    file = Path(path)
    is_list = file.suffix.lower() in (*SUFFIXES, *YAML_SUFFIXES) and file.is_file()
    return [*read_files(file).paths] if is_list else [path]


class _Source(NamedTuple):
    """A source of our own; that of a package is a module with these functions."""

    accepts: Callable[[str], bool]
    read: Callable[..., Dataset]


def _read_shards(source: str) -> Dataset:
    rows, multilabel, notes, tree = read_rows(source)
    dataset = Dataset(tuple(Item(*row) for row in rows), source, tuple(notes), multilabel)
    return dataset.with_tree(ClassTree(tree)) if tree else dataset


def _read_folder(source: str, tree: str | None = None) -> Dataset:
    path = Path(source)
    saved = f"was saved by Hugging Face datasets; name it as datasets:{path}"
    run = "is a run, not data; name a folder of class folders or a CSV with path,label"
    for name, what in (("recipe.json", run), ("dataset_dict.json", saved), ("dataset_info.json", saved)):
        if (path / name).is_file():
            raise DataError(f"{path}: {what}")
    manifests = [p for p in sorted(path.iterdir()) if is_manifest(p)]
    if len(manifests) > 1:
        names = ", ".join(manifest.name for manifest in manifests)
        raise DataError(f"{path}: {len(manifests)} manifests ({names}); name the one to read")
    if not manifests:
        return _read_class_folders(path, tree)

    dataset = read_manifest(str(manifests[0]))
    return replace(dataset, notes=(f"{path}: read from its manifest {manifests[0].name}", *dataset.notes))


def _read_class_folders(root: Path, tree: str | None) -> Dataset:
    folders = _folders(root)
    splits = [p for p in folders if p.name.lower() in SPLIT_NAMES]
    if len(splits) < len(folders) and sum(bool(_folders(p)) for p in splits) > 1:
        other = next(p for p in folders if p not in splits)
        names = listed([p.name for p in splits])
        raise DataError(f"{root}: {names} are splits, but {other.name} is not; move it out of the data, or rename it")
    roots: list[tuple[Path, Split | None]] = [(root, None)]
    if folders and len(splits) == len(folders):
        roots = [(p, SPLIT_NAMES[p.name.lower()]) for p in folders]
    items: list[Item] = []
    nested: list[Path] = []
    others: list[str] = []
    empty: list[str] = []
    for folder, split in roots:
        for class_folder in _folders(folder):
            below, skipped = media_below(class_folder)
            inside, before = [*map(Path, below)], len(items)
            others += [*skipped, *(p.name for p in inside if not p.is_file())]  # Broken or circular links; pipes.
            for path in filter(Path.is_file, inside):
                nested += [path] if path.parent != class_folder else []
                label = path.parent.relative_to(folder).as_posix() if tree else class_folder.name
                items.append(Item(path, (label,), split))
            if len(items) == before and not (class_folder / "recipe.json").is_file():  # A run is no class.
                empty.append(str(class_folder))
    for path in sorted(path for folder in {root, *(folder for folder, _ in roots)} for path in folder.iterdir()):
        if is_system_folder(path.name) or not (path.is_dir() or is_hidden(path.name)):
            others.append(f"{path.name}{'/' * path.is_dir()}")
    notes = [f"{root}: {line}" for line in skipped_note(others)]
    if splits and roots[0][1] is None:
        notes.append(f"{root}: {splits[0].name} is a class here, since not all folders beside it are splits")
    if nested and not tree:
        belong = f"{len(nested)} files in folders below class folders belong to these classes (the first: {nested[0]})"
        notes.append(f"{root}: {belong}; `tree={FOLDERS}` makes each folder a class")
    if empty:
        raise DataError(f"{listed(empty)}: class has no video or image; add one or remove the folder")
    return Dataset(tuple(items), str(root), tuple(notes))


def _folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without hidden ones and those of the system."""
    return sorted(
        p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".") and not is_system_folder(p.name)
    )


def _checked(dataset: Dataset, root: Path) -> Dataset:
    """Return the dataset, each item with its name: the path relative to `root`, unless the source has named it.

    Paths are compared normalised (`b/../a.jpg` is `a.jpg`), with the times of parts; links are not resolved.

    Raises:
        DataError: no item has a label, a path is listed twice, or only some items have a split.
    """
    if not dataset.classes:
        problem = f"none of its {len(dataset)} files has a label" if len(dataset) else "no labelled videos or images"
        raise DataError(f"{dataset.source}: {problem}; expected one folder per class, or a CSV with path,label")
    path, count = Counter(os.path.normpath(item.path) for item in dataset.items).most_common(1)[0]
    if count > 1:
        labels = "; ".join(sorted({item.label for item in dataset.items if os.path.normpath(item.path) == path}))
        remedy = "list it once, in one split, with all its labels in one cell"
        raise DataError(f"{dataset.source}: {path} is listed {count} times (labels: {labels!r}); {remedy}")
    splits_of(dataset)  # Checks them.
    items = tuple(replace(item, name=item.name or item_name(item.path, root)) for item in dataset.items)
    notes = (*dataset.notes, multilabel_note(dataset)) if dataset.multilabel else dataset.notes
    return replace(dataset, items=items, notes=notes)


def multilabel_note(dataset: Dataset) -> str:
    """Return a note on how many files have several labels or none."""
    sizes = [len(own) for own in dataset.label_sets]
    most, none = max(sizes), f", {sizes.count(0)} have none" if 0 in sizes else ""
    first = f" (at most {most}, as {dataset.items[sizes.index(most)].path})" if most > 1 else ""
    about = f"{sum(size > 1 for size in sizes)} of {len(sizes)} files have several labels{first}{none}"
    return f"{dataset.source}: {about}: each class is an independent binary label"


def item_name(path: Path, root: Path) -> str:
    """Return a path relative to `root`, with /, so that data keeps its names when moved; absolute if not below it."""
    below = path.relative_to(root) if path.is_relative_to(root) else MediaPath(path).relative_to(root)
    return Path(os.path.normpath(below)).as_posix()


# Named in `sources.SOURCES`.
lists = _Source(lambda source: source.lower().endswith(".txt") and not Path(source).is_dir(), read_list)
shards = _Source(
    lambda source: MediaPath(source).has_shards(),
    _read_shards,
)
manifests = _Source(lambda source: Path(source).suffix.lower() in SUFFIXES and Path(source).is_file(), read_manifest)
folders = _Source(lambda source: Path(source).is_dir(), _read_folder)
