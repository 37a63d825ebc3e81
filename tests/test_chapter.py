"""Chapters as text, parameters and functions: how they are found and read, and what a user may set."""

import sys

import pytest
from click.testing import CliRunner

import bstudy.chapters
from bstudy.chapter import as_text, chapter, chapters, chapters_with_settings, option_name, read_settings
from bstudy.cli import main
from bstudy.errors import BstudyError, InvalidInput

OWN_CHAPTER = '''"""# Is half of it enough?

One half is said to be as good as all.

## Idea

    half = all / 2

## Experiment

Half and all. **Predict.** Which is better?

## Explanation

There is none.

## In practice

Take half.

## Exercises

1. Try a third:
   `--fraction 0.3`.

   > Worse.

2. Why?

## Sources

- None.
"""

PART = "IX. My own"
HELP = {"fraction": "which part is used", "epochs": "epochs of each half"}


def experiments(epochs=4, fraction=0.5, names=("a", "b")):
    return {}


def figure(runs, fig):
    pass


def verdicts(runs):
    return []
'''


@pytest.fixture
def write_chapter(tmp_path, monkeypatch):
    """write_chapter(text) writes a chapter of a reader into a folder of its own, next to those of the book."""
    monkeypatch.setattr(bstudy.chapters, "__path__", [*bstudy.chapters.__path__, str(tmp_path)])
    yield (tmp_path / "ch98_half.py").write_text
    sys.modules.pop("bstudy.chapters.ch98_half", None)


@pytest.fixture
def own_chapter(write_chapter, tmp_path):
    write_chapter(OWN_CHAPTER)
    (tmp_path / "notes.py").write_text("raise RuntimeError('it is no chapter')")
    return chapter(98)


def test_the_chapters_come_in_order():
    numbers = [each.number for each in chapters()]
    assert numbers == sorted(numbers)
    assert numbers[0] == 0
    assert chapter(3).name == "ch03"
    assert chapter(3).question == "Does a large batch get the model stuck?"


def test_a_missing_chapter_is_refused_with_those_there_are():
    with pytest.raises(InvalidInput, match="there is no chapter 99; the chapters are 0, 1, 2, 3, "):
        chapter(99)


def test_a_chapter_is_found_and_read_without_registration(own_chapter):
    assert chapters()[-1].number == 98
    assert own_chapter.part == "IX. My own"
    assert own_chapter.question == "Is half of it enough?"
    assert own_chapter.text.introduction == "One half is said to be as good as all."
    assert [each.question for each in own_chapter.text.exercises] == ["Try a third:\n`--fraction 0.3`.", "Why?"]
    assert own_chapter.parameters == {"epochs": 4, "fraction": 0.5, "names": ("a", "b")}
    assert own_chapter.published == {}


def test_a_chapter_explains_its_own_parameters(own_chapter):
    assert own_chapter.help["fraction"] == "which part is used"
    assert own_chapter.help["epochs"] == "epochs of each half"
    assert own_chapter.help["names"] == ""


@pytest.mark.parametrize(
    ("old", "new", "missing"),
    [
        ("## Idea", "## Thought", "must begin with a docstring of a title, '# Question?', and the sections Idea, Exp"),
        (OWN_CHAPTER, "", "has no PART, no experiments, no figure, no verdicts; chapter 1 has all of them"),
        ("PART", "SECTION", "has no PART; chapter 1 has all of them"),
        ("def experiments", "def runs", "has no experiments; chapter 1 has all of them"),
    ],
    ids=["section", "all", "PART", "experiments"],
)
def test_a_chapter_in_which_something_is_missing_is_refused_in_a_sentence(write_chapter, old, new, missing):
    write_chapter(OWN_CHAPTER.replace(old, new))
    with pytest.raises(BstudyError) as error:
        chapters()
    assert f"ch98_half.py {missing}" in str(error.value)


@pytest.mark.parametrize("name", ["seeds", "set", "settings", "help"])
def test_a_parameter_with_the_name_of_an_option_is_refused(write_chapter, name):
    write_chapter(OWN_CHAPTER.replace("epochs=4", f"{name}=4"))
    done = CliRunner().invoke(main, ["chapter", "98"])
    assert done.exit_code == 2
    assert done.stderr.endswith(f"ch98_half.py: the parameter {name!r} has the name of an option; rename it\n")


def test_without_an_installation_a_sentence_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "bstudy.chapters", None)
    with pytest.raises(BstudyError, match=r"bstudy\.chapters is not installed; in a checkout, run 'pip install -e \.'"):
        chapters()


def test_settings_have_the_types_of_the_defaults():
    found = chapter(1)
    parameters = found.with_settings(["batch_sizes=2,64", "learning-rate=1", " epochs = 3 "])
    assert parameters == {"batch_sizes": (2, 64), "tiny_batch_size": 2, "learning_rate": 1.0, "epochs": 3}
    assert isinstance(parameters["learning_rate"], float)
    assert found.changed(parameters) == {"batch_sizes": "2,64", "learning_rate": "1.0", "epochs": "3"}
    assert found.command(parameters) == "bstudy chapter 1 --batch-sizes 2,64 --learning-rate 1.0 --epochs 3"
    assert found.command(found.parameters) == "bstudy chapter 1"


def test_settings_change_given_parameters():
    found = chapter(1)
    assert found.with_settings(["epochs=3"], {"learning_rate": 0.5})["learning_rate"] == 0.5
    assert found.with_settings(["epochs=3"], {"epochs": 5})["epochs"] == 3


def test_a_value_as_text_is_read_as_the_same_value(own_chapter):
    for found in (own_chapter, *chapters()):
        texts = [f"{option_name(name)[2:]}={as_text(value)}" for name, value in found.parameters.items()]
        assert found.with_settings(texts) == found.parameters


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epoch=3", "chapter 1 has no parameter 'epoch'; did you mean 'epochs'? It has: batch_sizes=64,256,1024, "),
        ("speed=3", "chapter 1 has no parameter 'speed'. It has: batch_sizes=64,256,1024, tiny_batch_size=2"),
        ("", "chapter 1 has no parameter ''"),
        ("epochs", "'epochs' needs a value, for example epochs=30"),
        ("epochs=1.5", "epochs: '1.5' is not a whole number"),
        ("epochs=", "epochs: '' is not a whole number"),
        ("epochs=" + "9" * 5000, "is not a whole number"),
        ("learning_rate=nan", "learning_rate: 'nan' is not a positive, finite number; for example learning_rate=0.01"),
        ("learning_rate=1e400", "learning_rate: '1e400' is not a positive, finite number"),
        ("learning_rate=-1", "learning_rate: '-1' is not a positive, finite number"),
        ("batch_sizes=64,a", "batch_sizes: 'a' is not a whole number"),
        ("batch_sizes=64,", "'64,' has fewer than two different values; for example batch_sizes=64,256,1024"),
        ("batch_sizes=64,64", "batch_sizes: '64,64' has fewer than two different values"),
    ],
    ids=lambda text: text[:30],
)
def test_a_wrong_setting_is_refused_in_a_sentence(setting, message):
    with pytest.raises(InvalidInput) as error:
        chapter(1).with_settings([setting])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_setting_of_the_book_changes_every_chapter_that_has_it():
    found = chapters_with_settings(["trials=9"])
    changed = [each.number for each, parameters in found if parameters != each.parameters]
    assert changed == [4, 5, 6, 7]
    assert all(parameters["trials"] == 9 for each, parameters in found if each.number in changed)
    with pytest.raises(InvalidInput, match="the book has no parameter 'trial'; did you mean 'trials'"):
        chapters_with_settings(["trial=9"])


def test_a_word_is_read_as_it_is():
    assert read_settings(["optimizer=adam"], {"optimizer": "sgd"}, "a phase") == {"optimizer": "adam"}
