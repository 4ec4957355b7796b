"""Names that a text encoder will misread."""

from texthead.apps.doctor.names import is_code, is_foreign, run_together, same_names


def test_codes_are_no_names():
    codes = ["n01440764", "v_001", "7", "class 12", "Class_3", "video-0007", "c12", "id4", "x1y2"]
    names = ["dog", "TV", "A", "t-shirt", "4 wheel drive", "backflip360", "n01440764 tench", "boeing 747", "_"]
    assert [label for label in codes + names if is_code(label)] == codes


def test_letters_that_few_encoders_read():
    assert is_foreign("跑步")
    assert is_foreign("бег")
    assert not is_foreign("café Ångström 3")


def test_words_run_together():
    assert run_together("ApplyEyeMakeup") == "apply eye makeup"
    assert run_together("push_up") == "push up"
    assert run_together("push up") is None
    assert run_together("two  spaces") is None


def test_labels_that_read_the_same():
    assert same_names(["push_up", "Push up", "run", "PushUp"]) == [["push_up", "Push up", "PushUp"]]
    assert same_names(["a", "b"]) == []
