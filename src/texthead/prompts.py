"""Class names and templates -> prompts. Plain strings only: nothing here imports torch."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from texthead.errors import DataError
from texthead.label_files import read_labels
from texthead.text_files import read_text, read_value

# Where a run-together name is cut: "ApplyEye" after y, "BMXRiding" before Riding.
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
# One word with an ending, as "names.tsv": no class is called so.
_FILE_NAME = re.compile(r"[^\s,]+\.[A-Za-z]\w{1,7}")
_ARTICLES = re.compile(r"\b(?:an?|the) (?:an?|the) ", re.IGNORECASE)
_SIDES = re.compile(r"(?<![a-z])(left|right)(?![a-z])", re.IGNORECASE)


def clean_name(label: str) -> str:
    """The label as a text encoder reads it best: words apart, joined by single spaces.

    `ApplyEyeMakeup` -> `apply eye makeup`, `push_up` -> `push up`; `t-shirt` and `Tai Chi` stay.
    A name is put in lower case only where it was run together.
    """
    words = _CAMEL.sub(" ", label)
    if words != label:
        words = words.lower()
    return " ".join(words.replace("_", " ").split())


def check_names(names: Sequence[str]) -> None:
    """Nothing, if the names can be classes: none empty, none twice, each in one line.

    Raises:
        DataError: no name, an empty name, one of several lines, or one that occurs twice.
    """
    if not names:
        raise DataError("no class names given: at least one is needed")
    for position, name in enumerate(names):
        if not name.strip():
            raise DataError(f"class name {position + 1} of {len(names)} is empty: give it a name or remove it")
        if len(name.splitlines()) > 1:
            # In subtitles what is behind an empty line is the next one.
            raise DataError(f"class name {name[:60]!r} has several lines: write it in one")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"class name {twice[0]!r} occurs {Counter(names)[twice[0]]} times: names must be unique")


def clean_names(labels: Sequence[str]) -> list[str]:
    """The cleaned name of each label, in order.

    Raises:
        DataError: two labels become the same name but for case (`push_up`, `push up`, `Push up`), or one becomes
            empty (`_`).
    """
    check_names(labels)
    names = [clean_name(label) for label in labels]
    seen: dict[str, str] = {}
    for label, name in zip(labels, [name.casefold() for name in names], strict=True):
        if not name:
            raise DataError(f"label {label!r} has no words: rename it, or keep it with --names verbatim")
        if name in seen:
            raise DataError(
                f"labels {seen[name]!r} and {label!r} both read {name!r}: "
                "merge them, or keep them with --names verbatim"
            )
        seen[name] = label
    return names


def check_template(template: str) -> None:
    """Nothing, if the template holds exactly one `{}`.

    Raises:
        DataError: no `{}`, or more than one.
    """
    if template.count("{}") != 1:
        raise DataError(f"template must hold exactly one '{{}}' for the class name, got {template!r}")


def fill_template(template: str, names: Sequence[str]) -> list[str]:
    """One prompt a name: the template with the name in place of `{}`.

    Source: Sec. 4.2, text input forms ("a video of a person {label}.").

    Raises:
        DataError: the template does not hold exactly one `{}`.
    """
    check_template(template)
    before, after = template.split("{}")
    return [f"{before}{name}{after}" for name in names]


def fill_templates(template: str | Sequence[str], names: Sequence[str]) -> list[str | tuple[str, ...]]:
    """The prompt of each name, or its prompts, one a template, where there are several templates.

    Source: Table 4, "multiple fixed templates".

    Raises:
        DataError: no template, the same one twice, or one that does not hold exactly one `{}`.
    """
    if isinstance(template, str):
        return [*fill_template(template, names)]
    if not template or len(set(template)) < len(template):
        raise DataError(f"templates must be one or more, each once, got {list(template)}")
    return list(zip(*(fill_template(one, names) for one in template), strict=True))


def has_two_articles(prompt: str) -> bool:
    """Whether a template and a name each bring an article: "a photo of a a bird"."""
    return bool(_ARTICLES.search(prompt))


def flat(prompts: Sequence[str | Sequence[str]]) -> list[str]:
    """All prompts of all classes, in order."""
    return [prompt for few in prompts for prompt in ([few] if isinstance(few, str) else few)]


def read_template(text: str) -> str | tuple[str, ...]:
    """The template that the text is, or the templates in the file that it names (`.txt`, one a line).

    Raises:
        DataError: a file that is missing or not text, or a template that does not hold exactly one `{}`.
    """
    if "{}" in text or not text.lower().endswith(".txt"):
        check_template(text)
        return text
    lines = tuple(line for line in _lines(Path(text), "templates") if line)
    fill_templates(lines, ["x"])
    return lines


def class_prompts(
    template: str | Sequence[str], names: Sequence[str], sentences: Sequence[str | Sequence[str] | None]
) -> list[str | tuple[str, ...]]:
    """What is behind each class's row: its own sentence or sentences, or the template with its name where it has none.

    class_prompts("a {}.", ["cat", "dog"], [None, ("a hound", "a puppy")]) is ["a cat.", ("a hound", "a puppy")].

    Raises:
        DataError: the template does not hold exactly one `{}`, or a class has an empty sentence or a list of none.
    """
    filled = fill_templates(template, names)
    given = [None if own is None else tuple(flat([own])) for own in sentences]
    for name, own in zip(names, given, strict=True):
        if own is not None and not (own and all(sentence.strip() for sentence in own)):
            raise DataError(f"class {name!r} has an empty sentence or none: give it one, or leave it to the template")
    return [
        prompt if own is None else own[0] if len(own) == 1 else own for prompt, own in zip(filled, given, strict=True)
    ]


class LabelledClasses(NamedTuple):
    """Classes in one order: the data's label of each, the name that a text encoder reads, its own sentences or None."""

    labels: list[str]
    names: list[str]
    sentences: list[tuple[str, ...] | None]


def classes_for(
    classes: Mapping[str, tuple[str, ...] | None], labels: Sequence[str], source: str, *, clean: bool
) -> LabelledClasses:
    """All given classes, each under the label that the data has for it: as it is written, or as `clean_name` reads it.

    classes_for({"push up": None, "yoga": None}, ["push_up"], ...) has the labels "push_up" and "yoga".

    Args:
        classes: as `read_classes` gives them.
        labels: of the data, which lies at `source`.
        clean: names are those of `clean_names`; else as they are given.

    Raises:
        DataError: a label that is no given class, or two labels that are the same one.
    """
    given = list(classes)
    names = clean_names(given) if clean else given
    place = {name: i for i, name in enumerate(names)} | {name: i for i, name in enumerate(given)}
    found = list(given)
    taken: dict[int, str] = {}
    for label in labels:
        key = label if label in place else clean_name(label)
        if key not in place:
            raise DataError(f"{source}: label {label!r} is not among the {len(given)} names of --classes")
        if place[key] in taken:
            raise DataError(
                f"{source}: labels {taken[place[key]]!r} and {label!r} are both {given[place[key]]!r} of --classes: "
                "give each a class of its own, or merge them in the data"
            )
        taken[place[key]] = found[place[key]] = label
    return LabelledClasses(found, names, list(classes.values()))


def mirrored_names(names: Sequence[str]) -> list[str]:
    """The names that say left or right, `TurnLeft` too: a horizontal flip would make them false."""
    return [name for name in names if _SIDES.search(clean_name(name))]


def _lines(path: Path, what: str) -> list[str]:
    try:
        return read_text(path).splitlines()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file of {what}; give a .txt with one a line") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error}); give a .txt with one a line") from None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # A list of names can be longer than a file name may be.
        return False


def read_names(source: str) -> list[str]:
    """Class names from a text file (one a line), a CSV with `id,name`, or a comma-separated string.

    A string that ends in `.txt`, or that names a file, is read as a file; blank lines are passed over. The names of a
    CSV come in the order of its rows, as the published code reads them.

    Raises:
        DataError: the file is missing or not text, the names are empty or repeated, or the string can only be the name
            of a file that is not there.
    """
    path = Path(source)
    if path.suffix.lower() == ".csv":
        return list(read_labels(path).names)
    if path.suffix.lower() == ".txt" or _is_file(path):
        names = [line.strip() for line in _lines(path, "class names") if line.strip()]
    elif _FILE_NAME.fullmatch(source):
        raise DataError(f"{source!r} reads as the name of a file, which is not there: check the path, or name classes")
    else:
        names = [name.strip() for name in source.split(",")]
    check_names(names)
    return names


def typed_names(text: str) -> list[str]:
    """Class names that somebody typed, one a line or with commas between them; no file is read, whatever they say.

    Raises:
        DataError: no name, an empty one between commas, or one that occurs twice.
    """
    names = [name.strip() for line in text.splitlines() if line.strip() for name in line.split(",")]
    check_names(names)
    return names


def read_classes(source: str) -> dict[str, tuple[str, ...] | None]:
    """Each label with its sentences, or with None where the template is to make its prompt.

    A `.json` file holds an object: label -> a sentence, a list of sentences, or null for the template. Everything else
    is read as `read_names` reads it.

    Raises:
        DataError: no such file, no such object in it, a label twice, or a class with an empty sentence or none.
    """
    path = Path(source)
    if path.suffix.lower() != ".json":
        return dict.fromkeys(read_names(source))
    form = '{"archery": ["a person shooting a bow", "archery"], "a kite": null}'
    try:
        value = read_value(path, pairs=_pairs)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file of classes; give a .json as {form}") from None
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise DataError(f"{path}: {error}") from None
        raise DataError(f"{path}: cannot be read as JSON ({error}); give a .json as {form}") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected an object as {form}, found {type(value).__name__}")
    try:
        check_names(list(value))
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return {label: _sentences(path, label, given) for label, given in value.items()}


def _pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object; json itself would keep the last of two equal keys and say nothing."""
    twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if twice:
        raise DataError(f"{twice[0]!r} occurs twice: give all sentences of a class in one list")
    return dict(pairs)


def _sentences(path: Path, label: str, given: object) -> tuple[str, ...] | None:
    if given is None:
        return None
    found = given if isinstance(given, list) else [given]
    wrong = [each for each in found if not isinstance(each, str) or not each.strip()]
    if wrong or not found:
        raise DataError(
            f"{path}: class {label!r} has {json.dumps(wrong[0] if wrong else found, ensure_ascii=False)}: "
            "give a sentence, a list of sentences, or null for the template"
        )
    return tuple(str(each).strip() for each in found)
