"""A command for texthead: `texthead count DATA`."""

from dataclasses import dataclass

from texthead.cli import argument


@dataclass(frozen=True, kw_only=True)
class Count:
    """Count the items of each class.

    Args:
        data: class folders, a CSV or a list
    """

    data: str = argument("DATA")

    def __call__(self) -> None:
        from texthead import read_dataset
        from texthead.cli import console

        dataset = read_dataset(self.data)
        console.say_notes(*dataset.notes)
        for label in dataset.classes:
            console.results().print(f"{label}: {dataset.labels.count(label)}")
