"""The review page in a real browser: judged with the keyboard alone, safe with hostile names, readable."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from PIL import Image

from emeraldcut.data import ImageSet
from emeraldcut.galaxies import SynthesiseSettings, synthesise
from emeraldcut.review.reviewed_run import ReviewedRun, ReviewSettings
from emeraldcut.review.server import application
from emeraldcut.review.static import write_static
from emeraldcut.review.subject import LOG
from emeraldcut.review.verdicts import VERDICTS

pytestmark = pytest.mark.slow
NAMES = ["<img src=x onerror='window.hacked=1'>", "</script><script>window.hacked=1</script>", "🐉 \"it's\" & co",
         "../../etc/passwd", "e", "f"]  # fmt: skip
TOKEN = "a-token-of-the-tests"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    from tests.review.test_review import made_run

    images = synthesise(SynthesiseSettings(number=len(NAMES), size=32, snr_min=100), seed=3)
    return made_run(tmp_path_factory.mktemp("page") / "run", ImageSet(np.array(images.pixels), Table({"id": NAMES})))


@pytest.fixture
def run(finished):
    (finished / LOG).unlink(missing_ok=True)
    run = ReviewedRun(finished, ReviewSettings(refresh=10_000, repeats=0))
    yield run
    run.close()


@pytest.fixture
def home(run):
    """The address of a server that runs in a thread."""
    import uvicorn

    config = uvicorn.Config(application(run, TOKEN), port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(120_000)  # ms; a busy machine may compile first
    page.wrong = []
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("console", lambda message: message.type == "error" and page.wrong.append(message.text))
    page.on("request", lambda request: page.wrong.append(request.url) if "127.0.0.1" not in request.url
            and not request.url.startswith(("data:", "file:", "blob:")) else None)  # fmt: skip
    yield page
    assert page.wrong == [] and page.evaluate("window.hacked") is None
    context.close()


def begin(page, address, name="Ann"):
    page.goto(address)
    page.keyboard.type(name)
    page.keyboard.press("Enter")
    page.wait_for_selector("body[data-shown]")


def press(page, key, shows=None):
    """Presses a key; `shows` waits until that candidate is there."""
    page.keyboard.press(key)
    if shows is not None:
        page.wait_for_function("name => document.querySelector('h1')?.textContent === name", arg=shows)


def saved(page):
    page.wait_for_selector("body[data-unsaved='0']")


def test_judging_with_the_keyboard_alone(page, home, run):
    begin(page, f"{home}/?token={TOKEN}")
    assert page.text_content("h1") == NAMES[0]
    press(page, "r", NAMES[1])
    press(page, "2", NAMES[2])
    press(page, "n")
    page.keyboard.type("r is typed, not judged <b>")
    press(page, "Escape")
    press(page, "x", NAMES[3])
    press(page, "z", NAMES[2])  # undo leads back
    assert page.input_value("#note") == "r is typed, not judged <b>"
    press(page, "u", NAMES[3])
    press(page, "k", NAMES[2])
    assert page.get_attribute("[data-verdict=unsure]", "aria-pressed") == "true"
    press(page, "ArrowRight", NAMES[3])
    press(page, "j", NAMES[4])  # passed over
    saved(page)
    assert run.verdicts.said("verdict", "Ann") == {
        NAMES[0]: "rectangular",
        NAMES[1]: "oval",
        NAMES[2]: "unsure",
    }
    assert run.verdicts.said("note", "Ann") == {NAMES[2]: "r is typed, not judged <b>"}
    assert [e.what for e in run.verdicts.entries] == ["verdict", "verdict", "note", "verdict", "undo", "verdict"]
    assert page.text_content("#progress") == "3 of 6 judged, 1 rectangular"
    page.reload()
    page.wait_for_selector("body[data-shown]")
    assert page.text_content("h1") == NAMES[3]
    press(page, "z", NAMES[2])  # also what was judged before
    saved(page)
    assert len(run.verdicts.said("verdict", "Ann")) == 2


def test_stretch_colours_zoom_and_lines(page, home):
    begin(page, f"{home}/judge?token={TOKEN}")

    def table():
        return page.get_attribute("feFuncR", "tableValues")

    def window():
        return [float(v) for v in page.get_attribute("svg.picture", "viewBox").split()]

    looks = [table()]
    for key in "scc":
        press(page, key)
        looks.append(table())
    assert len(set(looks)) == 4
    values = [float(v) for v in looks[-1].split()]  # inverted grey
    assert values[0] == 1 and values[-1] == 0 and values == sorted(values, reverse=True)
    first = window()
    press(page, "+")
    assert window()[2] < first[2]
    press(page, "0")
    assert window() == first
    press(page, "l")
    assert page.eval_on_selector(".isophote", "node => getComputedStyle(node).display") == "none"


def test_the_grid_with_the_keyboard_alone(page, home, run):
    begin(page, f"{home}/grid?token={TOKEN}", "Bob")
    assert page.locator(".tile").count() == len(NAMES)
    page.focus(".tile")
    press(page, "b")
    press(page, "ArrowRight")
    press(page, "x")
    press(page, "z")
    saved(page)
    assert run.verdicts.said("verdict", "Bob") == {NAMES[0]: "obround"}
    labels = page.eval_on_selector_all(".tile", "tiles => tiles.map(tile => tile.getAttribute('aria-label'))")
    assert labels[0] == f"{NAMES[0]}, rank 1, obround" and labels[2] == f"{NAMES[2]}, rank 3, not judged"
    page.wait_for_function("() => document.querySelectorAll('.tile svg').length === 6")
    press(page, "Enter")
    page.wait_for_url("**/judge?**row=2*")
    page.wait_for_selector("body[data-shown]")
    assert page.text_content("h1") == NAMES[2]


def test_what_was_not_sent_is_sent_when_the_server_is_back(page, home, run):
    begin(page, f"{home}/?token={TOKEN}", "Cy")
    page.route("**/verdicts.json*", lambda route: route.abort())
    press(page, "r", NAMES[1])
    page.wait_for_selector("#saved.bad")
    assert "1 not saved yet" in page.text_content("#saved") and run.verdicts.entries == []
    page.wrong.clear()  # the browser tells of the failed request
    page.unroute("**/verdicts.json*")
    page.reload()
    saved(page)
    assert run.verdicts.said("verdict", "Cy") == {NAMES[0]: "rectangular"}
    page.wrong.clear()


def test_results_show_hostile_words_as_words(page, home, run):
    entries = [(0, "Ann", "oval"), (0, NAMES[0], "other"), (1, "Ann", "oval"), (1, NAMES[0], "oval")]
    run.add({"key": f"key{k:08d}", "reviewer": who, "id": NAMES[row], "what": "verdict", "value": value}
             for k, (row, who, value) in enumerate(entries))  # fmt: skip
    run.add([{"key": "key-of-a-note", "reviewer": NAMES[1], "id": NAMES[0], "what": "note", "value": NAMES[0]}])
    page.goto(f"{home}/results?token={TOKEN}")
    page.wait_for_selector("body[data-shown]")
    text = page.text_content("main")
    assert all(name in text for name in NAMES[:2]) and "50 %" in text
    assert page.locator("main img, main script").count() == 0
    with page.expect_download() as download:
        page.click("text=candidates.ecsv")
    assert Path(download.value.path()).read_text().startswith("# %ECSV")


def test_the_static_page_judges_from_disk(page, run, tmp_path):
    folder = write_static(run, tmp_path / "static").parent
    begin(page, (folder / "index.html").as_uri(), "Dee")
    press(page, "r", NAMES[1])
    press(page, "o", NAMES[2])
    press(page, "z", NAMES[1])
    press(page, "x", NAMES[2])
    page.click("text=Grid")
    page.wait_for_function("() => document.querySelectorAll('.tile svg').length === 6")
    page.reload()
    page.wait_for_selector(".tile.judged")
    with page.expect_download() as download:
        page.click("#save")
    entries = json.loads(Path(download.value.path()).read_text())["entries"]
    run.add(entries)
    assert run.verdicts.said("verdict", "Dee") == {NAMES[0]: "rectangular", NAMES[1]: "other"}


def test_everything_one_can_use_has_a_name(page, home):
    begin(page, f"{home}/?token={TOKEN}")
    for name in ("judge", "grid", "results"):
        page.goto(f"{home}/{name}?token={TOKEN}")
        page.wait_for_selector("body[data-shown]")
        nameless = page.eval_on_selector_all(
            "button, a, select, textarea, input:not(dialog *)",
            """nodes => nodes.filter(n => !(n.textContent.trim() || n.getAttribute('aria-label') || n.labels?.length))
               .map(n => n.outerHTML)""",
        )
        assert nameless == []
        assert page.locator("h1").count() == 1 and page.get_attribute("html", "lang") == "en"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_each_verdict_has_a_key_of_its_own(page, home):
    begin(page, f"{home}/?token={TOKEN}")
    assert page.evaluate("names => verdictKeys(names)", list(VERDICTS)) == ["r", "o", "b", "x", "u"]
    own = set("sclizjkn")  # what the page itself listens to
    for names in (["spiral", "ring", "smooth", "other", "unsure"], ["nnn", "nn", "n"], ["élan", "星", "1"]):
        keys = page.evaluate("names => verdictKeys(names)", names)
        known = [key for key in keys if key]
        assert len(keys) == len(names) and len(set(known)) == len(known) and not own & set(known)


def test_a_table_with_classes_of_its_own_is_judged_beside_the_reference(page, tmp_path):
    """Cutouts that a catalogue names by their ids only, of which one is in colour."""
    folder, rng = tmp_path / "cutouts", np.random.default_rng(1)
    folder.mkdir()
    images = synthesise(SynthesiseSettings(number=4, size=48, snr_min=100), seed=4).pixels
    for name, pixels in zip("abcd", images, strict=True):
        grey = np.clip(255 * pixels / np.percentile(pixels, 99.9), 0, 255)
        colour = np.stack([grey, 0.5 * grey, 0.2 * grey], axis=-1) if name == "b" else grey
        Image.fromarray(colour.astype(np.uint8)).save(folder / f"{name}.png")
    table = Table({"objid": list("abcd"), "p_spiral": [0.1, 0.9, 0.5, 0.2], "size": rng.random(4)})
    table.write(tmp_path / "table.csv")
    settings = ReviewSettings(
        classes=("spiral", "ring", "other"), images=str(folder), reference="leda074886", repeats=0
    )
    run = ReviewedRun(tmp_path / "table.csv", settings)
    begin(page, (write_static(run, tmp_path / "static").parent / "index.html").as_uri(), "Eve")
    assert page.text_content("h1") == "b"  # the most probable spiral
    buttons = page.locator(".verdicts button")
    assert [buttons.nth(k).get_attribute("data-verdict") for k in range(4)] == ["spiral", "ring", "other", "unsure"]
    captions = page.locator("figcaption").all_text_contents()
    assert "the reference leda074886" in captions and "galaxy minus reference" in captions, captions
    assert page.locator("figure.large image.plain").count() == 1  # in its own colours
    press(page, "p", "c")  # s is for the stretch
    assert page.locator("figure.large image.plain").count() == 0
    press(page, "2", "d")
    with page.expect_download() as download:
        page.click("#save")
    run.add(json.loads(Path(download.value.path()).read_text())["entries"])
    joined = run.joined()
    assert {"id", "p_spiral", "size"} <= set(joined.colnames)
    assert "rank" not in joined.colnames and "flag" not in joined.colnames
    assert list(joined["verdict"].filled("")) == ["", "spiral", "ring", ""]
    run.close()
    assert (tmp_path / "table.verdicts.sqlite").exists()
