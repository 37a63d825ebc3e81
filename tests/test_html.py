"""The book: a few chapters in a tiny setting, two of which are missing, read as a browser reads them."""

import base64
import contextlib
import html
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from bstudy import Recipe, Runs, leaves, load, map_leaves, terminal
from bstudy.chapter import chapter, chapters
from bstudy.cli import main
from bstudy.errors import ClusterLost, Interrupted, InvalidInput, WorkerDone
from bstudy.html import FRONT_MATTER, ChapterPage, build_pages, write
from bstudy.models import MLP

TINY = {2: ["small_batch_size=8", "large_batch_size=32", "epochs=2"], 11: ["batch_size=8", "epochs=2"], 14: [], 15: []}
CHROMIUM = shutil.which("chromium")
in_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")


@pytest.fixture(scope="module")
def odd_file(tiny_file, tmp_path_factory):
    """The tiny data set, under a name that would be a tag if it were not escaped."""
    return shutil.copy(tiny_file, tmp_path_factory.mktemp("odd") / "<b>x.npz")


def make_up(recipe):
    random = np.random.default_rng(recipe.batch_size)
    names = ("test_accuracy", "test_loss", "train_subset_accuracy", "train_subset_loss")
    names += ("weight_distance", "bias_distance", "weight_norm")
    columns = {name: random.normal(90, 1, (2, recipe.epochs + 1)) for name in names}
    return Runs(recipe, range(2), columns, np.zeros(2), [{"bstudy": "0"}] * 2, samples=50)


def made_up_lab(dataset):
    """Return an object that takes the place of a Lab. It refuses what the data are too few for."""

    def prepare(tree):
        for experiment in leaves(tree).values():
            experiment.validate(dataset)

    def read(tree):
        return map_leaves(make_up, tree)

    def run(tree):
        prepare(tree)
        return read(tree)

    functions = {"prepare": prepare, "read": read, "run": run}
    return SimpleNamespace(dataset=dataset, model=MLP, seeds=(0, 1), quiet=True, **functions)


@pytest.fixture(scope="module")
def tiny_chapters():
    found = [chapter(number) for number in TINY]
    found = [replace(each, parameters=each.with_settings(TINY[each.number])) for each in found]
    return [replace(found[0], published={Recipe.sgd(8, 0.01, 2): {"test_accuracy": 95}}), *found[1:]]


@pytest.fixture(scope="module")
def book(odd_file, tiny_chapters, tmp_path_factory):
    """A book of four chapters: its folder, its pages, and what was printed meanwhile. Two chapters need more data."""
    folder, printed, dataset = tmp_path_factory.mktemp("book"), io.StringIO(), load(odd_file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bstudy.html.chapters", lambda: tiny_chapters)
        patch.setattr("bstudy.data.MNIST_DIGEST", dataset.digest)
        with contextlib.redirect_stderr(printed):
            pages = build_pages(made_up_lab(dataset))
        write(pages, folder, made_up_lab(dataset), " --dataset '<b>x.npz'")
    return SimpleNamespace(folder=folder, pages=pages, printed=printed.getvalue())


class Reader(HTMLParser):
    """Reads a page: its links, the files that it loads, its ids, and its text."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loaded, self.ids, self.text = [], [], set(), ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids.add(attributes.get("id"))
        self.links += [attributes["href"]] if tag == "a" else []
        self.loaded += [attributes[name] for name in ("src", "srcset") if name in attributes]
        self.loaded += [attributes["href"]] if tag == "link" else []

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def read(book):
    return {path.name: Reader(path) for path in book.folder.iterdir()}


def squeezed(text):
    return " ".join(text.split())


def test_every_link_has_a_target(read):
    assert set(read) == {*FRONT_MATTER, "ch02.html", "ch11.html", "ch14.html", "ch15.html"}
    for here, page in read.items():
        for link in page.links:
            name, _, part = link.partition("#")
            if name.startswith("https://"):  # a source
                continue
            assert (name or here) in read, link
            assert not part or part in read[name or here].ids, link


def test_the_front_page_leads_to_chapters_and_claims(read):
    wanted = {"ch02.html", "ch11.html", "ch15.html", "ch02.html#claims", "answers.html", "reading.html"}
    assert wanted <= set(read["index.html"].links)


def test_a_chapter_leads_to_the_ones_before_and_after(read):
    assert {"index.html", "ch02.html", "ch14.html"} <= set(read["ch11.html"].links)


def test_nothing_is_loaded_from_elsewhere(book, read):
    loaded = [link for page in read.values() for link in page.loaded]
    assert all(link.startswith("data:") for link in loaded)
    assert len([link for link in loaded if link.startswith("data:image/svg+xml")]) == 4
    for path in book.folder.iterdir():
        assert not re.search(r"@import|url\(|<script|<iframe|<object|<embed| on\w+=", path.read_text(encoding="utf-8"))


def test_figures_are_complete_and_differ_in_light_and_dark(read):
    light, dark = (base64.b64decode(link.partition(",")[2]) for link in read["ch02.html"].loaded if "svg" in link)
    assert ElementTree.fromstring(light).tag.endswith("svg")
    assert ElementTree.fromstring(dark).tag.endswith("svg")
    assert light != dark


def test_text_from_outside_is_escaped(book, read):
    for path in book.folder.iterdir():
        assert "<b>x" not in path.read_text(encoding="utf-8")
    for name in ("index.html", "answers.html", "ch02.html", "ch14.html"):
        assert "<b>x" in read[name].text


def test_a_page_has_what_the_terminal_prints(book, read, capsys):
    report = book.pages[0].report
    terminal.show(report, [])
    printed, text = squeezed(capsys.readouterr().out), squeezed(read["ch02.html"].text)
    assert report.setting[3:20] in text
    cells = report.tables[0].rows[0].cells.values()
    assert [cell.published_text for cell in cells if cell.published_text]
    for words in (part for cell in cells for part in (cell.text, cell.published_text)):
        assert words in printed
        assert words in text
    assert "published (difference)" in text


def test_every_claim_is_on_its_page_and_the_answers_are_on_the_front_page(book, read):
    for page in book.pages:
        for claim in page.claims:
            assert claim.claim in read[page.name].text
            assert claim.mark in read[page.name].text
        for answer in page.report.answers if page.report else []:
            assert answer.finding_with_numbers in read["index.html"].text
            assert answer.finding_with_numbers in read[page.name].text


def test_the_page_of_advice_has_each_answer_with_its_consequence(book, read):
    text = squeezed(read["answers.html"].text)
    answers = [answer for page in book.pages if page.report for answer in page.report.answers]
    for answer in answers:
        assert answer.advice in text
        assert answer.finding_with_numbers in text or not answer.advice
    assert answers


def test_terms_are_explained_where_they_are_first_used(book, read):
    links = read["ch02.html"].links
    assert "glossary.html#learning-rate" in links
    assert links.count("glossary.html#learning-rate") == 1
    assert "learning-rate" in read["glossary.html"].ids


def test_solutions_are_folded(book):
    text = (book.folder / "ch02.html").read_text(encoding="utf-8")
    assert text.count("<details><summary>Solution</summary>") == len(book.pages[0].chapter.text.exercises)


def test_a_figure_is_described_in_words(book):
    page = book.pages[0]
    (described,) = re.findall(r'<img [^>]*alt="([^"]*)"', (book.folder / page.name).read_text(encoding="utf-8"))
    described = html.unescape(described)
    assert described.startswith(page.report.headline)
    first, last = page.report.runs["small batch"]["test_accuracy"].mean(axis=0)[[0, -1]]
    assert f"8 at 0.01: {first:.3g} to {last:.3g}" in described


def test_the_numbers_of_a_figure_are_folded_next_to_it(book, read):
    page = book.pages[0]
    text = (book.folder / page.name).read_text(encoding="utf-8")
    figure = text[text.index("<figure>") : text.index("</figure>")]
    assert figure.count("<details") == 1
    assert figure.count("<caption>") == len(page.data) == 2
    assert page.data[0].headings == ("epoch", "8 at 0.01", "32 at 0.01", "32 at 0.1")
    for values in page.data[0].rows:
        assert all(value in read[page.name].text for value in values)


def test_the_python_page_has_every_name_and_its_columns_as_a_list(read):
    page = read["api.html"]
    assert {"Lab", "Lab.run", "Recipe.sgd", "claim", "curve"} <= page.ids
    assert "#Recipe" in page.links
    assert "api.html" in read["index.html"].links
    assert "Args:" not in page.text
    assert "`" not in page.text


def test_a_page_has_the_code_of_its_chapter_and_explains_its_parameters(book, read):
    found, text = book.pages[0].chapter, read["ch02.html"].text
    docstring, code = Path(found.module.__file__).read_text(encoding="utf-8").removeprefix('"""').split('"""', 1)
    assert code.strip() in text
    assert docstring not in text
    assert "`" not in text.partition(code.strip())[0]
    assert "small_batch_size=8" in text
    assert found.help["small_batch_size"] in text
    assert "bstudy chapter 2 --dataset '<b>x.npz'" in text


def test_a_chapter_that_fails_is_reported_and_the_others_are_there(book, read):
    assert [page.report is None for page in book.pages] == [False, False, True, True]
    first, *others = book.printed.splitlines()
    assert first.endswith("; continuing with one chapter at a time.")
    assert [line.partition(": batch_size ")[0] for line in others] == [
        "bstudy: chapter 14 is missing",
        "bstudy: chapter 15 is missing",
    ]
    assert book.pages[3].reason in read["ch15.html"].text
    assert book.pages[3].reason in read["index.html"].text
    assert "Exercises" in read["ch15.html"].text
    assert "The claims" not in read["ch15.html"].text


@pytest.fixture
def build_with_errors(tiny, tiny_chapters, monkeypatch):
    """build_with_errors(*errors) builds a book of two chapters; `prepare`, and then each chapter, raises its error."""
    monkeypatch.setattr("bstudy.html.chapters", lambda: tiny_chapters[:2])

    def build(*errors):
        lab, errors = made_up_lab(tiny), iter(errors)

        def fail(_):
            if error := next(errors):
                raise error

        lab.prepare = lab.read = lab.run = fail
        return build_pages(lab)

    return build


def test_an_unforeseen_error_stops_one_chapter(build_with_errors, capsys):
    pages = build_with_errors(None, ZeroDivisionError("by zero\nsomewhere"), InvalidInput("wrong"))
    assert [page.reason for page in pages] == ["ZeroDivisionError: by zero", "wrong"]
    assert capsys.readouterr().err.splitlines() == [
        "bstudy: chapter 2 is missing: ZeroDivisionError: by zero",
        "bstudy: chapter 11 is missing: wrong",
    ]


def test_an_error_in_the_common_plan_is_reported(build_with_errors, capsys):
    build_with_errors(MemoryError("too large"), InvalidInput("one"), InvalidInput("other"))
    first, *_ = capsys.readouterr().err.splitlines()
    assert first == "bstudy: MemoryError: too large; continuing with one chapter at a time."


@pytest.mark.parametrize(
    "error", [Interrupted("stopped"), WorkerDone("the chief has them"), ClusterLost("no scheduler")]
)
def test_the_user_and_a_cluster_stop_the_book(build_with_errors, error):
    with pytest.raises(type(error)):
        build_with_errors(error)
    with pytest.raises(type(error)):
        build_with_errors(InvalidInput("wrong"), InvalidInput("wrong"), error)


def test_one_page_can_be_written_without_results(tiny, tmp_path):
    *_, path = write([ChapterPage(chapter(1), reason="asleep")], tmp_path, made_up_lab(tiny), "")
    assert "The measurements of this chapter are missing: asleep." in Reader(path).text


def test_the_command_writes_all_chapters_and_reports_missing_ones(odd_file, tmp_path):
    done = CliRunner().invoke(main, ["book", "--dataset", str(odd_file), "--seeds", "1", "--out", str(tmp_path / "b")])
    count, pages = len(chapters()), len(chapters()) + len(FRONT_MATTER)
    assert done.exit_code == 1
    assert done.stdout == f"{pages} pages; begin with {tmp_path / 'b/index.html'}\n"
    assert done.stderr.count("is missing: ") == count
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == f"bstudy: {count} chapters are missing from the book"
    assert len(list((tmp_path / "b").iterdir())) == pages
    assert f"bstudy book --dataset '{odd_file}' --seeds 1" in Reader(tmp_path / "b/index.html").text


def chromium(tmp_path, *words):
    quiet = ["quic", "background-networking", "component-update", "sync"]
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
    command += [f"--disable-{name}" for name in quiet] + [f"--user-data-dir={tmp_path / 'profile'}", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def complaints(path, tmp_path, *words):
    """Return the lines of a browser's console."""
    done = chromium(tmp_path, "--enable-logging=stderr", "--v=0", *words, path.as_uri())
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@in_chromium
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["index.html", "answers.html", "ch02.html"])
def test_a_page_loads_without_complaint_and_shows_something(book, tmp_path, name, dark):
    shot, scheme = tmp_path / "shot.png", f"--blink-settings=preferredColorScheme={int(not dark)}"
    assert complaints(book.folder / name, tmp_path, f"--screenshot={shot}", "--window-size=900,1200", scheme) == []
    picture = Image.open(shot).convert("L")
    background = picture.getpixel((2, 1100))
    assert (background < 60) == dark
    assert len(picture.getcolors()) > 50
    assert picture.histogram()[background] < 0.98 * picture.width * picture.height


@in_chromium
def test_a_complaint_of_the_browser_is_seen(tmp_path):
    (tmp_path / "bad.html").write_text('<img src="nowhere.png"><script>console.error("no")</script>')
    assert complaints(tmp_path / "bad.html", tmp_path, "--dump-dom")


@in_chromium
def test_no_page_is_wider_than_a_phone(book, tmp_path):
    """Each is in a frame of 375 pixels, because no window of a headless Chromium is that narrow."""
    pages = {path.name: path.read_text(encoding="utf-8") for path in book.folder.iterdir()}
    pages["wide"] = '<div style="width: 400px">wide</div>'
    frames = [f'<iframe title="{name}" srcdoc="{html.escape(text)}"></iframe>' for name, text in pages.items()]
    script = """onload = () => {
        const widths = [...document.querySelectorAll("iframe")].map(
            frame => [frame.title, [frame.contentWindow.innerWidth, frame.contentDocument.documentElement.scrollWidth]])
        document.body.innerHTML = `<pre>${JSON.stringify(Object.fromEntries(widths))}</pre>` }"""
    style = "<style>iframe { width: 375px; height: 800px; border: 0 }</style>"
    (tmp_path / "phone.html").write_text(f"<!doctype html>{style}{''.join(frames)}<script>{script}</script>")
    dump = chromium(tmp_path, "--dump-dom", (tmp_path / "phone.html").as_uri()).stdout
    widths = json.loads(re.search(r"<pre>(.*?)</pre>", dump)[1])
    assert widths.pop("wide")[1] > 375
    assert widths == {name: [375, 375] for name in pages if name != "wide"}
