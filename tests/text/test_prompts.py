"""Labels become words, templates are filled once, and names that mirroring would falsify are found."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messages import prints, refuses
from texthead.errors import DataError
from texthead.text.class_names import check_names, clean_name, clean_names, mirrored_names, read_names, typed_names
from texthead.text.prompts import (
    check_template,
    class_prompts,
    classes_to_train,
    fill_template,
    flat,
    read_classes,
    read_template,
)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("ApplyEyeMakeup", "apply eye makeup"),
        ("push_up", "push up"),
        ("t-shirt", "t-shirt"),
        ("BMXRiding", "bmx riding"),
        ("Push_Up", "Push Up"),
        ("playing  the\tviolin ", "playing the violin"),
        ("__brush__hair_", "brush hair"),
        ("TV", "TV"),
        ("Kick3Balls", "kick3 balls"),
        ("élan", "élan"),
    ],
)
def test_a_label_is_read_as_words(label, name):
    assert clean_name(label) == name


@given(st.text(st.sampled_from("abXYZ09_- "), max_size=20))
def test_cleaning_twice_changes_nothing_and_loses_no_letter(label):
    name = clean_name(label)
    assert clean_name(name) == name
    assert name.replace(" ", "").lower() == label.replace("_", "").replace(" ", "").lower()


@pytest.mark.parametrize(
    ("labels", "parts"),
    [
        (["run", "push_up", "push up"], ["'push_up'", "'push up'", "clean=False"]),
        (["PushUp", "push_up"], ["'PushUp'", "'push_up'", "clean=False"]),
        (["run", "_"], ["'_'", "clean=False"]),
        (["run", "jump", "run"], ["'run' and 'run' look the same"]),
        ([], []),
    ],
)
def test_labels_that_cannot_be_classes(labels, parts):
    with refuses(DataError, *parts):
        clean_names(labels)
    check_names(["push_up", "push up"])  # Uncleaned they differ.


def test_a_template_is_filled_in_order():
    assert fill_template("a video of a person {}.", ["running", "{}", "50% {x}"]) == [
        "a video of a person running.",
        "a video of a person {}.",
        "a video of a person 50% {x}.",
    ]


@pytest.mark.parametrize("template", ["", "a video", "{} and {}", "{name}", "{ }"])
def test_a_template_needs_one_place(template):
    for check in (check_template, lambda template: fill_template(template, ["run"])):
        with refuses(DataError, "template", "'{}'", repr(template)):
            check(template)


def test_sides_are_found_as_words_only():
    sided = ["moving left", "Right turn", "turn_left", "left-handed", "TurnRight", "LEFT", "a left2right pass"]
    plain = ["a bright light", "leftover rice", "Copyright", "upright", "BrightLight", "cleft", "go up"]
    assert mirrored_names([*plain, *sided]) == sided


def test_names_from_a_string():
    assert read_names("cat, a dog ,bird") == ["cat", "a dog", "bird"]
    assert read_names("cat") == ["cat"]
    # Long strings and names with a dot are not taken for files.
    names = [f"a class with a long name {i}" for i in range(20)]
    assert read_names(", ".join(names)) == names
    assert read_names("St. Bernard") == ["St. Bernard"]
    assert read_names("node.js, t-shirt") == ["node.js", "t-shirt"]
    for source, parts in (("", []), ("cat,,dog", ["2 of 3"]), ("cat, cat", ["'cat' and 'cat'"])):
        with refuses(DataError, *parts):
            read_names(source)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", ["names.txt", "classes"])
def test_names_from_a_file(tmp_path, monkeypatch, name, newline, mark):
    (tmp_path / name).write_bytes(mark + newline.join(["cat, big", " dog", "", "vélo", ""]).encode())
    monkeypatch.chdir(tmp_path)
    assert read_names(name) == ["cat, big", "dog", "vélo"]
    assert read_names(str(tmp_path / name)) == ["cat, big", "dog", "vélo"]


def test_names_from_a_csv_are_in_the_order_of_numbered_ids(tmp_path):
    path = tmp_path / "names.csv"
    path.write_text('id,name\n10,swim\n1,run\n0,"jump, high"\n')
    assert read_names(str(path)) == ["jump, high", "run", "swim"]
    path.write_text("id,name\nn2,run\nn1,swim\n")
    assert read_names(str(path)) == ["run", "swim"]


@pytest.mark.parametrize("source", ["more.txt", "more.jsn", "missing.csv", "names.tsv", "a/b/names.yaml", "gone.json"])
def test_missing_file_name_is_no_class(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with refuses(DataError, source):
        (read_classes if source.endswith(".json") else read_names)(source)


def test_classes_with_sentences_from_a_file(tmp_path):
    path = tmp_path / "Classes.JSON"
    text = '{"archery": [" a bow ", "archery"], "a kite": null, "vélo, big": "a bicycle"}'
    path.write_text(text, encoding="utf-8-sig")
    classes = read_classes(str(path))
    assert [*classes.items()] == [("archery", ("a bow", "archery")), ("a kite", None), ("vélo, big", ("a bicycle",))]
    assert read_classes("cat, a dog") == {"cat": None, "a dog": None}
    names = tmp_path / "names.txt"
    names.write_text("cat\n")
    assert read_classes(str(names)) == {"cat": None}
    entries = [{"label": "a", "name": "cat", "prompt": None}, {"label": "b", "name": "b", "prompt": ["x", "y"]}]
    path.write_text(json.dumps({"template": "{}", "classes": entries}))
    assert read_classes(str(path)) == {"a": None, "b": ("x", "y")}, "the classes.json of a run"


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ('{"a": []}', ["'a'", "an empty list"]),
        ('{"a": ["x", " "]}', ["'a'", "empty sentence"]),
        ('{"a": 3}', ["`a`", 3]),
        ('{"a": "x", "a": "y"}', ["'a'"]),
        ('{"": "x"}', ["1 of 1"]),
        ('{"a": "x"', []),
        ('{"caf\udce9": null}', []),
        (None, []),
    ],
)
def test_a_file_without_usable_classes(tmp_path, content, parts):
    path = tmp_path / "classes.json"
    path.mkdir() if content is None else path.write_text(content, encoding="utf-8", errors="surrogateescape")
    with refuses(DataError, path, *parts) as caught:
        read_classes(str(path))
    assert "\n" not in str(caught.value)


def test_prompts_are_own_sentences_or_the_template():
    sentences = [None, ("a hound", "a puppy"), ("a bird",), "a fish"]
    prompts = class_prompts("a {}.", ["cat", "dog", "bird", "fish"], sentences)
    assert prompts == ["a cat.", ("a hound", "a puppy"), "a bird", "a fish"]
    assert flat([*prompts, ["d"]]) == ["a cat.", "a hound", "a puppy", "a bird", "a fish", "d"]
    assert class_prompts("a {}.", ["cat", "dog"]) == ["a cat.", "a dog."]
    assert class_prompts(["a {}.", "{}"], ["cat", "dog"]) == [("a cat.", "cat"), ("a dog.", "dog")]
    for wrong in ((), "", ("a", " ")):
        with refuses(DataError, "'cat'"):
            class_prompts("{}", ["cat"], [wrong])
    for wrong in ("a", [], ["a {}", "a {}"], ["a {}", "b"]):
        with refuses(DataError, "template"):
            class_prompts(wrong, ["cat"], ["a cat"])


def test_templates_from_file_or_text(tmp_path):
    path = tmp_path / "templates.txt"
    path.write_text("a photo of {}.\n\n{} in motion\n")
    assert read_template(str(path)) == ("a photo of {}.", "{} in motion")
    assert read_template("a {}.") == "a {}."
    assert read_template("{}.txt") == "{}.txt"
    path.write_text("a photo\n")
    for source, parts in [
        (path, ["template", "'a photo'"]),
        (tmp_path / "none.txt", [tmp_path / "none.txt"]),
        ("no place", ["template", "'no place'"]),
    ]:
        with refuses(DataError, *parts):
            read_template(str(source))


def test_typed_names_are_lines_or_stand_between_commas(tmp_path, monkeypatch):
    assert typed_names("a cat, a dog\n\n  a kite \n") == ["a cat", "a dog", "a kite"]
    # File names are just names, whether or not the file exists.
    (tmp_path / "names.txt").write_text("a bird")
    monkeypatch.chdir(tmp_path)
    names = ["names.txt", str(tmp_path / "names.txt"), "other.csv"]
    assert typed_names("\n".join([names[0], ", ".join(names[1:])])) == names
    with refuses(DataError, "'a' and 'a'"):
        typed_names("a\nb, a")


def test_semicolons_do_not_separate_typed_names(tmp_path):
    for read in (typed_names, read_names):
        with refuses(DataError, "'dress; hat'", "separate names with commas"):
            read("dress; hat")
        assert read("black; white, hat") == ["black; white", "hat"]
    (tmp_path / "names.txt").write_text("black; white")
    assert read_names(str(tmp_path / "names.txt")) == ["black; white"]


def test_names_come_from_the_labels_or_from_given_classes(tmp_path):
    labels = ["TaiChi", "push_up"]
    assert classes_to_train(labels, "here", None) == (["tai chi", "push up"], [None, None], [])
    assert classes_to_train(labels, "here", None, clean=False)[0] == labels
    file = tmp_path / "classes.json"
    file.write_text(json.dumps({"rowing": "a boat", "push up": ["arms bend", "a push-up"], "TaiChi": None}))
    names, sentences, (note,) = classes_to_train(labels, "here", str(file))
    assert (names, sentences) == (["tai chi", "push up"], [None, ("arms bend", "a push-up")])
    prints(note, file, "rowing")


def test_given_classes_that_do_not_fit_are_an_error(tmp_path):
    file = tmp_path / "classes.json"
    file.write_text(json.dumps({"push up": "arms bend", "Push up!": None}))
    with refuses(DataError, "'yoga'", 2, "classes"):
        classes_to_train(["push_up", "yoga"], "here", str(file))
    with refuses(DataError, "'push up'", "'push_up'", "classes"):
        classes_to_train(["push up", "push_up"], "here", str(file))
    file.write_text(json.dumps({"push_up": "arms bend"}))
    with refuses(DataError, "template", "'a {}'"):
        classes_to_train(["push_up"], "here", str(file), template="a {}")


BLANK = ("", " \xa0", "\u200b", "\u200d\ufeff", "\u0301", "\xad", "\u3164", "\u2800", "\x1b")
NOT_ONE_LINE = ("a\nb", "a\u2028", "a\0b", "\x1b[31mred", "a\u202eb", "\u2066a")
LIKE_CAT = ("cat\u200b", "\ufeffcat", "c\u200dat", "cat\U000e0041\U000e0042", " cat ")
ALIKE = (("a b", "a \xa0b"), ("caf\u00e9", "cafe\u0301"), ("\u2764", "\u2764\ufe0f"), ("跑步", "跑步\u200c"))


@pytest.mark.parametrize(
    ("one", "other", "parts"),
    [
        *(
            ("dog", name, ("class name 2 of 2", ascii(name)[1:-1], "one line of visible text", "rename"))
            for name in BLANK
        ),
        *(("dog", name, ("one line of visible text", "rename")) for name in NOT_ONE_LINE),
        # From a folder name, or from a command line in a non-UTF-8 locale.
        *(
            ("dog", name, ("class name 2 of 2", ascii(name)[-7:-1] if "d800" not in ascii(name) else "ud800", "UTF-8"))
            for name in ("caf\udce9", "a \ud800 b")
        ),
        *((one, other, ("look the same", "rename")) for one, other in (*(("cat", name) for name in LIKE_CAT), *ALIKE)),
    ],
)
def test_names_that_are_refused(one: str, other: str, parts: tuple[str, ...]) -> None:
    with refuses(DataError, *parts):
        check_names([one, other])


def test_names_equal_in_lower_case_cannot_be_cleaned() -> None:
    with refuses(DataError, "both become"):
        clean_names(["Cat", "cat\u200b"])


def test_names_of_all_scripts_are_allowed() -> None:
    """Joiners in emoji, Persian and Hindi, tags in flags, marks of direction in Hebrew, an icon of a font."""
    emoji = ["👩\u200d💻", "\u2764\ufe0f\u200d🔥", "1\ufe0f\u20e3", "\U0001f3f4\U000e0067\U000e007f"]
    words = ["می\u200cخواهم", "क्\u200dष", "\u200fשלום!", "पुस्तक", "e\u0301te\u0301", "\ue000", "_", "?"]
    check_names([*emoji, *words])
