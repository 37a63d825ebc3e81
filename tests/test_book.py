"""The book: a few chapters in a tiny setting, one of which fails, read as a browser reads them."""

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
from xml.etree import ElementTree

import pytest
from PIL import Image

from bstudy import Dataset, Lab, Recipe, book, load
from bstudy.errors import Followed, Interrupted, InvalidInput
from bstudy.html import leaves, write
from bstudy.store import Store

TINY = {2: ["small=8", "large=32", "epochs=2"], 11: ["batch_size=8", "epochs=2"], 14: [], 15: []}
CHROMIUM = shutil.which("chromium")
in_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")


@pytest.fixture(scope="module")
def odd_file(tiny_file, tmp_path_factory):
    """The tiny data set under a name that a page must not take for its own words."""
    return shutil.copy(tiny_file, tmp_path_factory.mktemp("odd") / "<b>x.npz")


@pytest.fixture(scope="module")
def made(odd_file, tmp_path_factory):
    """The folder of a book of four chapters, what was said meanwhile, and its Leaves. 14 and 15 need more data."""
    folder, said = tmp_path_factory.mktemp("book"), io.StringIO()
    some = [book.chapter(number) for number in TINY]
    some = [replace(each, parameters=each.with_set(TINY[each.number])) for each in some]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bstudy.html.chapters", lambda: some)
        patch.setattr(Dataset, "is_published", True)
        patch.setattr("bstudy.page.PUBLISHED", {Recipe.sgd(8, 0.01, 2): {"weight_distance": 6.5}})
        lab = Lab(load(odd_file), 2, Store(tmp_path_factory.mktemp("home")), quiet=True)
        with contextlib.redirect_stderr(said):
            found = leaves(lab)
        write(found, folder, lab, " --dataset '<b>x.npz'")
        yield folder, said.getvalue(), found


class Reader(HTMLParser):
    """What a page refers to, what it can be referred to by, and its text."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loaded, self.ids, self.text = [], [], set(), ""
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids.add(attributes.get("id"))
        self.links += [attributes["href"]] if tag == "a" else []
        self.loaded += [attributes[name] for name in ("src", "srcset") if name in attributes]
        self.loaded += [attributes["href"]] if tag == "link" else []

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def read(made):
    return {path.name: Reader(path) for path in made[0].iterdir()}


def test_every_link_leads_to_where_there_is_something(read):
    assert set(read) == {"index.html", "ch02.html", "ch11.html", "ch14.html", "ch15.html"}
    for page in read.values():
        for link in page.links:
            name, _, part = link.partition("#")
            assert name in read and (not part or part in read[name].ids), link
    assert {"ch02.html", "ch11.html", "ch15.html", "ch02.html#claim-1"} <= set(read["index.html"].links)
    assert {"index.html", "ch02.html", "ch14.html"} <= set(read["ch11.html"].links)


def test_nothing_is_loaded_from_anywhere(made, read):
    assert sum(link.startswith("data:image/svg+xml") for page in read.values() for link in page.loaded) == 4
    assert all(link.startswith("data:") for page in read.values() for link in page.loaded)
    for path in made[0].iterdir():
        assert not re.search(r"@import|url\(|<script|<iframe|<object|<embed| on\w+=", path.read_text())


def test_pictures_are_whole_and_differ_in_light_and_dark(read):
    light, dark = (base64.b64decode(link.partition(",")[2]) for link in read["ch02.html"].loaded if "svg" in link)
    assert all(ElementTree.fromstring(each).tag.endswith("svg") for each in (light, dark)) and light != dark


def test_text_from_outside_is_escaped(made, read):
    for path in made[0].iterdir():
        assert "<b>x" not in path.read_text() and "<b>x" in read[path.name].text


def test_a_page_says_what_the_terminal_says(made, read, capsys):
    page = made[2][0].page
    page.show([])
    printed, text = (" ".join(words.split()) for words in (capsys.readouterr().out, read["ch02.html"].text))
    assert "published (difference)" in text
    ((_, rows),) = page.measured()
    told = [*rows[0].cells.values(), *rows[0].published.values(), page.setting[3:20]]
    assert len(rows[0].published) == 1 and all(words in printed and words in text for words in told)
    for claim in page.claims:
        assert claim.claim in text and claim.outcome in text and claim.claim in read["index.html"].text
    assert Path(page.chapter.module.__file__).read_text().strip() in read["ch02.html"].text
    assert "`" not in read["ch02.html"].text.partition('"""')[0], "what is between backticks is code"


def test_a_chapter_that_fails_is_told_and_the_others_are_there(made, read):
    _, said, found = made
    _, why = said.splitlines()
    assert why.startswith("bstudy: chapter 15 is missing: batch_size 64 is larger than the training set of <b>x")
    assert [leaf.page is None for leaf in found] == [False, False, True, True]
    assert found[3].why in read["ch15.html"].text and found[3].why in read["index.html"].text
    assert "Exercises" in read["ch15.html"].text and "Verdicts" not in read["ch15.html"].text


def test_only_the_user_stops_a_book(monkeypatch, tiny):
    raised = iter([Followed("helped"), ZeroDivisionError("by zero\nsomewhere"), InvalidInput("wrong")])

    def of(*_):
        raise next(raised)

    monkeypatch.setattr("bstudy.html.Page.of", of)
    some = [book.chapter(2), book.chapter(3)]
    monkeypatch.setattr("bstudy.html.chapters", lambda: some)
    lab, told = Lab(tiny, 1, quiet=True), io.StringIO()
    with pytest.raises(Followed), contextlib.redirect_stderr(told):  # after it helped with the other chapters too
        leaves(lab)
    assert told.getvalue() == "bstudy: chapter 3 is missing: ZeroDivisionError: by zero\n"
    raised = iter([InvalidInput("wrong"), Interrupted("Stopped.")])
    with pytest.raises(Interrupted):
        leaves(lab)


def test_the_estimate_leaves_out_what_the_data_cannot_answer(tiny):
    few, many = Recipe.sgd(8, 0.01, 2), Recipe.sgd(64, 0.01, 2)
    count, seconds = Lab(tiny, 2).outstanding([few, many])
    assert count == 2 and seconds == pytest.approx(2 * few.guess(tiny))


def test_the_command_writes_all_chapters_and_says_which_are_missing(bstudy, odd_file, tmp_path):
    done = bstudy("book", "--dataset", odd_file, "--seeds", 1)
    count = len(book.chapters())
    assert done.returncode == 1 and done.stdout == f"{count + 1} pages; begin with bstudy-book/index.html\n"
    assert done.stderr.count("is missing: ") == count and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == f"bstudy: {count} chapters are missing from the book"
    assert len(list((tmp_path / "bstudy-book").iterdir())) == count + 1
    command = Reader(tmp_path / "bstudy-book/index.html").text
    assert f"bstudy book --dataset '{odd_file}' --seeds 1" in command


def test_a_folder_that_cannot_be_written_to_is_told_before_anything_is_measured(bstudy, tmp_path):
    (tmp_path / "file").write_text("")
    done = bstudy("book", "--out", "file/book")
    assert (done.returncode, done.stderr) == (1, "bstudy: file/book cannot be written to: Not a directory\n")


def chromium(tmp_path, *words):
    quiet = ["quic", "background-networking", "component-update", "sync"]
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
    command += [f"--disable-{name}" for name in quiet] + [f"--user-data-dir={tmp_path / 'profile'}", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def complaints(path, tmp_path, *words):
    """What a browser has to say of a page: the lines of its console."""
    done = chromium(tmp_path, "--enable-logging=stderr", "--v=0", *words, path.as_uri())
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@in_chromium
def test_every_page_loads_without_complaint_and_shows_something(made, tmp_path):
    for path, dark in [*((path, False) for path in made[0].iterdir()), (made[0] / "ch02.html", True)]:
        shot, scheme = tmp_path / f"{path.stem}.png", f"--blink-settings=preferredColorScheme={int(not dark)}"
        assert complaints(path, tmp_path, f"--screenshot={shot}", "--window-size=900,1200", scheme) == []
        picture = Image.open(shot).convert("L")
        ground = picture.getpixel((2, 1100))
        assert (ground < 60) == dark and len(picture.getcolors()) > 50
        assert picture.histogram()[ground] < 0.98 * picture.width * picture.height
    (tmp_path / "bad.html").write_text('<img src="nowhere.png"><script>console.error("no")</script>')
    assert complaints(tmp_path / "bad.html", tmp_path, "--dump-dom"), "the test would not see a complaint"


@in_chromium
def test_no_page_is_wider_than_a_phone(made, tmp_path):
    """Each in a frame of 375 pixels, since no window of a headless Chromium is that narrow."""
    pages = {path.name: path.read_text() for path in made[0].iterdir()} | {
        "wide": '<div style="width: 400px">wide</div>'
    }
    frames = [f'<iframe title="{name}" srcdoc="{html.escape(text)}"></iframe>' for name, text in pages.items()]
    script = """onload = () => {
        const widths = [...document.querySelectorAll("iframe")].map(
            frame => [frame.title, [frame.contentWindow.innerWidth, frame.contentDocument.documentElement.scrollWidth]])
        document.body.innerHTML = `<pre>${JSON.stringify(Object.fromEntries(widths))}</pre>` }"""
    style = "<style>iframe { width: 375px; height: 800px; border: 0 }</style>"
    (tmp_path / "phone.html").write_text(f"<!doctype html>{style}{''.join(frames)}<script>{script}</script>")
    dump = chromium(tmp_path, "--dump-dom", (tmp_path / "phone.html").as_uri()).stdout
    widths = json.loads(re.search(r"<pre>(.*?)</pre>", dump)[1])
    assert widths.pop("wide")[1] > 375, "the test would not see a page that is too wide"
    assert widths == {name: [375, 375] for name in pages if name != "wide"}
