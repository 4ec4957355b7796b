"""Class names and templates -> prompts. Plain strings only: nothing here imports torch."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from texthead.errors import DataError, listed
from texthead.files import read_value
from texthead.text.class_names import check_names, clean_name, clean_names, read_names, text_lines

_ARTICLES = re.compile(r"\b(?:an?|the) (?:an?|the) ", re.IGNORECASE)


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
    lines = tuple(line for line in text_lines(Path(text), "templates") if line)
    fill_templates(lines, ["x"])
    return lines


def check_template_fills(template: object, classes: Mapping[str, object]) -> None:
    """Raise DataError if a template is given (not None) and every class has sentences of its own."""
    if template is not None and classes and None not in classes.values():
        raise DataError(f"template {template!r} would do nothing: every class has sentences of its own; leave it out")


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
            raise DataError(
                f"{source}: label {label!r} is not among the {len(given)} names of classes: add it, or give "
                "a .json of label: name"
            )
        if place[key] in taken:
            raise DataError(
                f"{source}: labels {taken[place[key]]!r} and {label!r} are both {given[place[key]]!r} of classes: "
                "give each a class of its own, or merge them in the data"
            )
        taken[place[key]] = found[place[key]] = label
    return LabelledClasses(found, names, list(classes.values()))


def labelled_classes(
    labels: Sequence[str], source: str, file: str | None, *, template: object = None, clean: bool = True
) -> LabelledClasses:
    """Return the classes that a file or a list names, as `classes_for`; without one, the labels are the classes.

    Raises:
        DataError: as `read_classes` and `classes_for`, or a template although every class has sentences.
    """
    if file is None:
        names = clean_names(labels) if clean else list(labels)
        return LabelledClasses(list(labels), names, [None] * len(labels))
    classes = read_classes(file)
    check_template_fills(template, classes)
    return classes_for(classes, labels, source, clean=clean)


def classes_to_train(
    labels: Sequence[str], source: str, file: str | None, *, head: str, template: object = None, clean: bool = True
) -> tuple[list[str], list[tuple[str, ...] | None], list[str]]:
    """Return (the class name of each training label, its own sentences or None, a line on classes that are left out).

    Raises:
        DataError: as `labelled_classes`, or sentences for a head whose rows are not text.
    """
    found = labelled_classes(labels, source, file, template=template, clean=clean)
    if any(found.sentences) and head != "text":
        raise DataError(f"head {head} makes no rows of sentences: leave them out of {file}")
    places = [found.labels.index(label) for label in labels]
    rest = [label for label in found.labels if label not in labels]
    lines = [f"{file}: without a training item, and so left out: {listed(rest)}"] if rest else []
    return [found.names[place] for place in places], [found.sentences[place] for place in places], lines


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
