"""The tree of a dataset's classes, and class folders in class folders."""

from dataclasses import replace
from pathlib import Path

from texthead.data.dataset import Dataset
from texthead.errors import DataError, listed
from texthead.media.find import media_below
from texthead.text.class_tree import ClassTree, read_tree

# In place of a file: nested folders are a tree.
FOLDERS = "folders"


def with_tree(dataset: Dataset, source: str | Path | None) -> Dataset:
    """Return the dataset with the tree of its classes, and a note on it, if they have one.

    Args:
        source: a file, see `read_tree`; "folders" for labels that are paths of folders. With None, the tree is read
            from a column `parent`, or from labels such as `animal/dog/pug`.

    Raises:
        DataError: the file or the folders are no tree of these classes.
    """
    classes, why = dataset.classes, ""
    parents = {(item.label, value.strip()) for item in dataset.items for key, value in item.extra if key == "parent"}
    try:
        if source not in (None, FOLDERS):
            tree = read_tree(Path(source)).with_labels(classes)
        elif any(parent for _, parent in parents):
            tree = ClassTree.of_parents(parents)
        else:
            tree = ClassTree.of_labels(classes)
    except DataError as error:
        if source is not None:
            raise DataError(f"{dataset.source}: {error}") from None
        tree, why = None, f"the column parent is not read as a tree: {error}"
    if source == FOLDERS and tree is None:
        raise DataError(f"{dataset.source}: its folders are no tree: no folder holds two class folders; leave out tree")
    if tree is None:
        return replace(dataset, notes=(*dataset.notes, *filter(None, [why])))
    broader = tree.broader(classes)
    alone = [label for label in classes if not tree.place(label)]
    outside = f"; not in it: {listed(alone)}" if alone else ""
    count = f"{len(broader)} broader name{'s' * (len(broader) != 1)}"
    note = f"the {len(classes)} classes form a tree with {count} ({listed([*broader])}){outside}"
    return replace(dataset, notes=(*dataset.notes, note), tree=tree)


def media_in_folders(class_folder: Path) -> list[Path]:
    """Return the videos and images in the folders below a class folder."""
    below = map(Path, media_below(class_folder))
    return [path for path in below if path.parent != class_folder and path.is_file()]


def label_of(file: Path, class_folder: Path, tree: str | Path | None) -> str:
    """Return the name of the class folder, or with a tree of folders the path of the file's folder."""
    return file.parent.relative_to(class_folder.parent).as_posix() if tree == FOLDERS else class_folder.name
