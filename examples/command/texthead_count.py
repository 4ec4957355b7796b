"""A command for texthead: `texthead count DATA`."""

from dataclasses import dataclass

from texthead.cli import DataOptions, argument


@dataclass(frozen=True, kw_only=True)
class Count:
    """Count the items of each class.

    Args:
        data: class folders, a CSV or a list
    """

    data: str = argument("DATA")
    labelled: DataOptions = DataOptions()

    def __call__(self) -> None:
        from texthead.cli import console

        dataset = self.labelled.read_noted(self.data)
        for label in dataset.classes:
            console.results().print(f"{label}: {dataset.labels.count(label)}")
