"""Review: the log of verdicts, agreement, the order of candidates, and what the server lets through."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from importlib import import_module

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from emeraldcut import cli
from emeraldcut.data import ImageSet
from emeraldcut.galaxies import SynthesiseSettings, synthesise
from emeraldcut.images import ReadSettings, write_images
from emeraldcut.review import ReviewSettings, agreement, cohen_kappa, fleiss_kappa, review
from emeraldcut.review.order import INFORMATIVE_EVERY, Order, features
from emeraldcut.review.reviewed_run import REMEMBERED, ReviewedRun
from emeraldcut.review.server import PAGES, application, page
from emeraldcut.review.static import CARDS_A_FILE
from emeraldcut.review.subject import LOG
from emeraldcut.review.verdicts import VERDICTS, Entry, Verdicts
from emeraldcut.runs import Run
from emeraldcut.tables import read_table, write_table

HOSTILE = ["<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", "\"it's\" & co", "🐉 ellipse – ñ",
           "../../etc/passwd", "a/b?c=d#e%20f", "{{7*7}} ${name}", "=HYPERLINK(1)"]  # fmt: skip
TOKEN = "a-token-of-the-tests"
HOME = "http://127.0.0.1:8642"


def candidates(ids, **columns) -> Table:
    """A ranked table with made-up numbers, falling score first."""
    n = len(ids)
    table = Table({"id": np.array(ids, dtype=object), "rank": np.arange(1, n + 1), "score": np.linspace(0.9, 0.1, n)})
    for name in ("p_rectangular", "p_oval", "p_obround", "p_other"):
        table[name] = np.full(n, 0.25)
    table["a4"], table["a4_err"], table["axis_ratio"] = np.linspace(-0.1, 0, n), np.full(n, 0.01), np.full(n, 0.6)
    table["flag"], table["flag_text"] = np.zeros(n, dtype=int), np.array([""] * n, dtype=object)
    for name, values in columns.items():
        table[name] = values
    return table


def made_run(folder, images: ImageSet, **columns):
    """A finished run of `screen` on stored images, with made-up numbers."""
    source = write_images(images, folder.with_name(f"{folder.name}-images"), command="test")
    run = Run.start(folder, "screen", ReadSettings(), 0, [source])
    columns["set_row"] = np.arange(len(images))  # where the pixels of each row are
    write_table(candidates(list(images.table["id"]), **columns), run.path("candidates.parquet"))
    run.finish()
    return folder


@pytest.fixture(scope="module")
def galaxies() -> ImageSet:
    """Few galaxies under hostile names; the last has no data."""
    images = synthesise(SynthesiseSettings(number=len(HOSTILE), size=32, snr_min=100), seed=3)
    pixels = np.array(images.pixels)
    pixels[-1] = np.nan
    return ImageSet(pixels, Table({"id": HOSTILE}))


@pytest.fixture(scope="module")
def finished(galaxies, tmp_path_factory):
    flags = np.array([64 + 128] + [0] * (len(HOSTILE) - 1))
    place = {"ra": np.linspace(10, 20, len(HOSTILE)), "dec": np.linspace(-5, 5, len(HOSTILE)), "flag": flags}
    return made_run(tmp_path_factory.mktemp("review") / "run", galaxies, **place)


@pytest.fixture
def run(finished):
    (finished / LOG).unlink(missing_ok=True)
    run = ReviewedRun(finished, ReviewSettings(refresh=10_000))
    yield run
    run.close()


@pytest.fixture
def client(run):
    return TestClient(application(run, TOKEN), base_url=HOME, raise_server_exceptions=False)


def entry(number: int, name: str, value: str = "oval", reviewer: str = "Ann", **more) -> dict:
    return {"key": f"key{number:08d}", "reviewer": reviewer, "id": name, "what": "verdict", "value": value, **more}


def get(client, path, **query):
    return client.get(path, params={"token": TOKEN, **query})


def post(client, *entries, **more):
    return client.post("/verdicts.json", params={"token": TOKEN}, json={"entries": list(entries)}, **more)


# --- the log


def test_nothing_in_the_log_can_be_changed_or_removed(tmp_path):
    log = Verdicts(tmp_path / "log")
    log.add([Entry.checked(entry(1, "g"))])
    log.close()
    other = sqlite3.connect(tmp_path / "log")
    for order in ("UPDATE log SET value = 'other'", "DELETE FROM log"):
        with pytest.raises(sqlite3.Error, match="only added"):
            other.execute(order)
    assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()


def test_an_undo_is_a_row_and_the_verdict_before_stands_again(tmp_path):
    log = Verdicts(tmp_path / "log")
    first, second = Entry.checked(entry(1, "g", "oval")), Entry.checked(entry(2, "g", "rectangular"))
    log.add([first, second])
    assert log.said("verdict", "Ann") == {"g": "rectangular"}
    log.add([Entry.checked(entry(3, "g", second.key, what="undo"))])
    assert log.said("verdict", "Ann") == {"g": "oval"} and len(log.entries) == 3
    log.add([Entry.checked(entry(4, "g", first.key, what="undo", reviewer="Bob"))])  # not his to undo
    assert log.said("verdict", "Ann") == {"g": "oval"}
    log.add([Entry.checked(entry(5, "g", first.key, what="undo"))])
    assert log.said("verdict", "Ann") == {} and log.reviewers == []
    log.close()


ENTRIES = st.lists(
    st.tuples(st.integers(0, 12), st.sampled_from("ab"), st.sampled_from(["Ann", "Bob"]),
              st.sampled_from(["verdict", "note", "undo"]), st.sampled_from(VERDICTS), st.integers(0, 12),
              st.booleans()),
    max_size=25,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(ENTRIES)
def test_what_stands_is_what_the_whole_log_says(drawn):
    """Against a second reading of the log, from its beginning, without any state."""
    log = Verdicts(":memory:")
    for key, name, who, what, verdict, target, again in drawn:
        value = f"key{target:08d}" if what == "undo" else verdict
        log.add([Entry.checked(entry(key, name, value, who, what=what, again=again))])
    seen: dict[str, Entry] = {}
    for key, name, who, what, verdict, target, again in drawn:
        value = f"key{target:08d}" if what == "undo" else verdict
        seen.setdefault(f"key{key:08d}", (name, who, what, value, again))
    undone = {(who, value) for _, who, what, value, _ in seen.values() if what == "undo"}
    expected = defaultdict(dict)
    for key, (name, who, what, value, again) in seen.items():
        if what != "undo" and (who, key) not in undone:
            kind = "again" if what == "verdict" and again else what
            expected[kind, who].pop(name, None)
            expected[kind, who][name] = value
    for kind in ("verdict", "again", "note"):
        for who in ("Ann", "Bob"):
            assert log.said(kind, who) == expected[kind, who]
    assert [e.key for e in log.entries] == list(seen)
    log.close()


def test_two_processes_see_what_the_other_adds(tmp_path):
    one, two = Verdicts(tmp_path / "log"), Verdicts(tmp_path / "log")
    assert one.add([Entry.checked(entry(1, "g"))]) == 1
    assert two.add([Entry.checked(entry(1, "g")), Entry.checked(entry(2, "h"))]) == 1  # the first is there already
    one.refresh()
    assert one.said("verdict", "Ann") == two.said("verdict", "Ann") == {"g": "oval", "h": "oval"}
    one.close()
    two.close()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"value": "square"}, "a verdict is one of"),
        ({"key": "short"}, "8 to 64"),
        ({"key": "../../../x"}, "8 to 64"),
        ({"reviewer": "  "}, "1 to 80"),
        ({"reviewer": "x" * 81}, "1 to 80"),
        ({"reviewer": None}, "must be text"),
        ({"reviewer": "half a pair \ud800"}, "must be text"),
        ({"what": "delete"}, "a verdict, a note or an undo"),
        ({"what": "note", "value": "x" * 2001}, "at most 2000"),
        ({"time": "yesterday"}, "ISO 8601"),
        ({"number": 7}, "has the keys"),
    ],
)
def test_what_is_no_entry_is_refused_with_a_sentence(wrong, said):
    with pytest.raises(ValueError, match=said):
        Entry.checked(entry(1, "g") | wrong)


# --- agreement


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), min_size=3, max_size=40))
def test_cohen_is_that_of_scikit_learn_and_its_error_that_of_statsmodels(pairs):
    from sklearn.metrics import cohen_kappa_score
    from statsmodels.stats.inter_rater import cohens_kappa

    first, second = zip(*pairs, strict=True)
    kappa, error = cohen_kappa(first, second)
    words = sorted({*first, *second})
    if len(words) == 1:
        assert np.isnan(kappa) and np.isnan(error)
        return
    counts = np.zeros((len(words), len(words)))
    for a, b in pairs:
        counts[words.index(a), words.index(b)] += 1
    with np.errstate(invalid="ignore"):  # rounding may leave their variance just below 0
        theirs = cohens_kappa(counts)
    assert kappa == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)
    assert error == pytest.approx(np.sqrt(max(theirs.var_kappa, 0)), abs=1e-7)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 6).flatmap(lambda r: st.lists(st.lists(st.integers(0, 3), min_size=r, max_size=r), min_size=2)))
def test_fleiss_is_that_of_statsmodels(ratings):
    from statsmodels.stats import inter_rater

    if len({value for row in ratings for value in row}) == 1:
        return
    counts, _ = inter_rater.aggregate_raters(np.array(ratings))
    assert fleiss_kappa(counts) == pytest.approx(inter_rater.fleiss_kappa(counts), abs=1e-12)


def test_published_kappas():
    # Fleiss, Levin & Paik 2003 (Statistical Methods for Rates and Proportions, table 18.1): kappa 0.676
    table = [("psychotic", "psychotic", 75), ("psychotic", "neurotic", 1), ("psychotic", "organic", 4),
             ("neurotic", "psychotic", 5), ("neurotic", "neurotic", 4), ("neurotic", "organic", 1),
             ("organic", "organic", 10)]  # fmt: skip
    first, second = zip(*[(a, b) for a, b, n in table for _ in range(n)], strict=True)
    assert cohen_kappa(first, second)[0] == pytest.approx(0.676, abs=5e-4)
    # the worked example of Wikipedia's "Fleiss' kappa", 10 subjects and 14 raters: 0.210
    counts = [[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
              [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]]  # fmt: skip
    assert fleiss_kappa(np.array(counts)) == pytest.approx(0.210, abs=5e-4)


def test_agreement_compares_only_what_two_have_judged():
    votes = {
        "a": {"Ann": "oval", "Bob": "oval"},
        "b": {"Ann": "oval", "Bob": "other", "Cy": "oval"},
        "c": {"Ann": "oval"},
    }
    found = agreement(votes)
    assert found["candidates"] == 2
    assert [(pair["reviewers"], pair["candidates"], pair["same"]) for pair in found["pairs"]] == [
        (["Ann", "Bob"], 2, 0.5), (["Ann", "Cy"], 1, 1.0), (["Bob", "Cy"], 1, 0.0)]  # fmt: skip
    assert found["pairs"][1]["kappa"] is None  # one word only
    assert agreement({}) == {"fleiss": None, "candidates": 0, "pairs": []}


# --- the order


@pytest.fixture(scope="module")
def planted():
    """500 candidates of which 10 are wanted, told by two columns that the score knows nothing of."""
    rng = np.random.default_rng(0)
    n, wanted = 500, np.zeros(500, dtype=bool)
    wanted[rng.permutation(n)[:10]] = True
    a4 = np.where(wanted, -0.1, 0.0) + 0.01 * rng.normal(size=n)
    ratio = np.where(wanted, 0.5, 0.8) + 0.05 * rng.normal(size=n)
    return candidates([f"g{i}" for i in range(n)], a4=a4, axis_ratio=ratio), wanted


def test_without_verdicts_the_suggested_order_is_the_runs_own(planted):
    table, _ = planted
    order = Order(table[np.random.default_rng(1).permutation(len(table))])
    np.testing.assert_array_equal(order.all("suggested"), order.all("rank"))
    left = np.ones(len(table), bool)
    assert order.next("suggested", left, 50) == order.next("rank", left, 50)


def test_one_positive_brings_those_like_it_forward(planted):
    table, wanted = planted
    order, first = Order(table), np.flatnonzero(wanted)[:1]
    order.learn(first, np.ones(1))
    judged, looks = {int(first[0])}, 40
    for k in range(looks):
        left = np.ones(len(table), bool)
        left[list(judged)] = False
        judged.add(order.next("suggested", left, 1)[0])
        if k % 5 == 4:
            rows = np.array(sorted(judged))
            order.learn(rows, wanted[rows].astype(float))
    static = wanted[order.all("rank")[:looks]].sum()
    assert wanted[list(judged)].sum() >= 9 > static
    order.learn(np.array([], int), np.array([]))
    np.testing.assert_array_equal(order.all("suggested"), order.all("rank"))


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(0, 29), min_size=1), st.integers(1, 30))
def test_every_candidate_that_is_left_comes_once(left, count):
    order = Order(candidates([str(i) for i in range(30)]))
    order.learn(np.array([3, 7]), np.array([1.0, 0.0]))
    mask = np.zeros(30, bool)
    mask[list(left)] = True
    rows = order.next("suggested", mask, count)
    assert len(rows) == len(set(rows)) == min(count, len(left)) and set(rows) <= left
    likely = [row for row in order.all("suggested") if mask[row]]
    plain = min(INFORMATIVE_EVERY - 1, len(rows))
    assert rows[:plain] == likely[:plain]


def test_features_take_masked_and_missing_columns_and_those_of_the_user():
    table = candidates(list("abcd"), feature_0=[1.0, 2.0, 3.0, 4.0], note=["x"] * 4)
    table["snr"] = MaskedColumn([1.0, 2.0, 0.0, 4.0], mask=[0, 0, 1, 0])
    table["similarity"] = np.full(4, np.nan)
    found = features(table)
    assert np.isfinite(found).all() and len(found) == 4
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-9)
    del table["feature_0"]
    assert features(table).shape[1] == found.shape[1] - 1


# --- the run


def test_some_are_shown_again_without_a_word(tmp_path):
    images = ImageSet(np.zeros((60, 8, 8), np.float32), Table({"id": [f"g{i}" for i in range(60)]}))
    run = ReviewedRun(made_run(tmp_path / "run", images), ReviewSettings(repeats=0.1, refresh=1000))
    shown, number = [], 0
    while queue := run.judge("Ann")["queue"]:
        item = queue[0]
        number += 1
        shown.append((item["id"], item["again"]))
        run.add([entry(number, item["id"], "oval" if number % 2 else "other", again=item["again"])])
    repeats = [k for k, (_, again) in enumerate(shown) if again]
    assert all((k + 1) % 10 == 0 and k >= REMEMBERED for k in repeats) and len(repeats) >= 4
    for k in repeats:
        before = [name for name, _ in shown[:k]]
        assert k - before.index(shown[k][0]) > REMEMBERED
    assert len({name for name, again in shown if again}) == len(repeats)
    assert [name for name, again in shown if not again] == [f"g{i}" for i in range(60)]
    one = run.results()["reviewers"][0]
    assert one["judged"] == 60 and one["repeats"]["candidates"] == len(repeats)
    run.close()


def test_verdicts_joined_to_the_candidates(run):
    a, b, c = HOSTILE[:3]
    run.add([entry(1, a, "rectangular"), entry(2, a, "rectangular", "Bob"), entry(3, a, "oval", "Cy"),
              entry(4, b, "oval"), entry(5, b, "other", "Bob"), entry(6, b, HOSTILE[3], what="note")])  # fmt: skip
    table = run.joined()
    assert list(table["verdict"][:2]) == ["rectangular", "unsure"] and table["verdict"].mask[2]
    assert table["verdict_fraction"][0] == pytest.approx(2 / 3) and list(table["verdicts"][:3]) == [3, 2, 0]
    assert table["reviewers"][0] == "Ann, Bob, Cy" and table["review_notes"][1] == f"Ann: {HOSTILE[3]}"
    assert table["id"][2] == c and len(table) == len(HOSTILE)


def test_the_order_is_renewed_after_a_few_verdicts(finished):
    (finished / LOG).unlink(missing_ok=True)
    run = ReviewedRun(finished, ReviewSettings(refresh=2))
    run.add([entry(1, HOSTILE[5], "rectangular")])
    assert run.order.n_verdicts == 0
    run.add([entry(2, HOSTILE[0], "oval")])
    for _ in range(100):
        if run.order.n_verdicts == 2:
            break
        time.sleep(0.05)
    assert run.order.n_verdicts == 2 and list(run.order.all("rank")) == list(range(len(HOSTILE)))
    run.close()


def test_a_folder_that_is_no_run_gets_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="not a finished run"):
        ReviewedRun(tmp_path)


@pytest.mark.parametrize("wrong", [{"port": 70000}, {"refresh": 0}, {"repeats": 0.9}, {"number": 0}])
def test_settings_are_checked(wrong):
    with pytest.raises(ValueError, match=f"'{next(iter(wrong))}' must be"):
        ReviewSettings(**wrong)


# --- the server


def test_every_page_has_a_json_twin(client):
    for name in PAGES:
        assert get(client, f"/{name}").headers["content-type"].startswith("text/html")
        assert get(client, f"/{name}.json").headers["content-type"] == "application/json"
    away = client.get("/", params={"token": TOKEN}, follow_redirects=False)
    assert away.headers["location"] == f"judge?token={TOKEN}"
    first = get(client, "/judge.json").json()["queue"][0]
    card = get(client, f"/card/{first['row']}.json").json()
    assert card["id"] == first["id"] == HOSTILE[0] and len(card["flags"]) == 2
    assert card["sky"]["src"].startswith("data:image/png") and card["framed"] is not None
    assert {name for name, _ in card["links"]} >= {"Aladin", "ESASky", "SIMBAD", "NED", "Legacy Survey"}
    assert get(client, f"/card/{len(HOSTILE) - 1}.json").json()["sky"] is None  # no data
    assert get(client, f"/card/{len(HOSTILE)}.json").status_code == 404


@pytest.mark.parametrize(
    "path", ["/", "/judge", "/judge.json", "/card/0.json", "/review.js", "/verdicts.json", "/export/c.csv"]
)
def test_without_the_token_there_is_nothing(client, path):
    for query in ({}, {"token": "wrong"}, {"token": ""}):
        answer = client.get(path, params=query)
        assert answer.status_code == 403 and "token" in answer.json()["error"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},  # a name that was bound to 127.0.0.1
        {"Host": "127.0.0.1.evil.example:8642"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_other_origins_and_hosts_are_refused(client, headers):
    assert get(client, "/judge.json").status_code == 200
    assert client.get("/judge.json", params={"token": TOKEN}, headers=headers).status_code == 403
    assert post(client, entry(1, HOSTILE[0]), headers=headers).status_code == 403
    assert get(client, "/verdicts.json").json()["entries"] == []


def test_our_own_origin_and_a_forwarded_port_are_let_through(client):
    assert post(client, entry(1, HOSTILE[0]), headers={"Origin": HOME}).status_code == 200
    there = {"Host": "localhost:9000", "Origin": "http://localhost:9000", "Sec-Fetch-Site": "same-origin"}
    assert post(client, entry(2, HOSTILE[1]), headers=there).status_code == 200


def test_pages_may_load_nothing_from_elsewhere(client):
    for path in ("/judge", "/judge.json", "/nothing"):
        headers = get(client, path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        assert headers["referrer-policy"] == "no-referrer" and headers["x-content-type-options"] == "nosniff"
    text = "".join(get(client, path).text for path in ("/judge", "/review.js", "/style.css"))
    assert "https://" not in text and text.count("http://") == text.count("http://www.w3.org/2000/svg")


def test_hostile_names_and_notes_come_back_as_they_are(client, run, tmp_path):
    entries = [entry(k, name, HOSTILE[-k], what="note") for k, name in enumerate(HOSTILE)]
    entries += [entry(100 + k, name, "other", HOSTILE[k]) for k, name in enumerate(HOSTILE)]
    assert post(client, *entries).status_code == 200
    assert [item["id"] for item in get(client, "/grid.json").json()["items"]] == HOSTILE
    assert {one["name"] for one in get(client, "/results.json").json()["reviewers"]} == set(HOSTILE)
    for ending in (".parquet", ".ecsv", ".csv", ".fits", ".vot"):
        (tmp_path / f"t{ending}").write_bytes(get(client, f"/export/candidates{ending}").content)
        table = read_table(tmp_path / f"t{ending}")
        assert list(table["id"]) == HOSTILE and list(table["reviewers"]) == HOSTILE
        assert list(table["review_notes"]) == [f"Ann: {HOSTILE[-k]}" for k in range(len(HOSTILE))]
    assert "<img" not in get(client, "/judge").text


@pytest.mark.parametrize(
    "name", ["..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "a%2f..%2fb.csv", "verdicts.sqlite"]
)
def test_export_writes_tables_only(client, name):
    assert get(client, f"/export/{name}").status_code in (400, 404)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"entries": 3}', b'{"entries": [3]}', b"[" * 100_000, b'{"entries": [{"key": "\\ud800"}]}'],
)
def test_what_are_no_verdicts_is_refused(client, body):
    answer = client.post("/verdicts.json", params={"token": TOKEN}, content=body)
    assert answer.status_code == 400 and answer.json()["error"]


def test_verdicts_are_taken_together_or_not_at_all(client):
    assert post(client, entry(1, HOSTILE[0]), entry(2, "not of this run")).status_code == 400
    assert get(client, "/verdicts.json").json()["entries"] == []
    answer = client.post("/verdicts.json", params={"token": TOKEN}, content=b" " * (4 * 1024**2 + 1))
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "query", [{"page": "-1"}, {"page": "x"}, {"order": "size"}, {"show": "nice"}, {"page": "9" * 5000}]
)
def test_a_wrong_question_gets_a_sentence(client, query):
    answer = get(client, "/grid.json", **query)
    assert (answer.status_code == 400 and "expects" in answer.json()["error"]) or "one of" in answer.json()["error"]


def test_the_grid_has_pages_and_shows_what_is_asked_for(client):
    post(client, entry(1, HOSTILE[2], "rectangular"))
    assert get(client, "/grid.json", reviewer="Ann", show="rectangular").json()["items"][0]["id"] == HOSTILE[2]
    left = get(client, "/grid.json", reviewer="Ann", show="unjudged", page=99).json()
    assert left["page"] == left["pages"] == 1 and left["candidates"] == len(HOSTILE) - 1
    assert get(client, "/grid.json", reviewer="Bob", show="rectangular").json()["items"] == []


@pytest.mark.parametrize("name", HOSTILE)
def test_a_page_holds_hostile_names_as_text(name):
    text = page("judge", {"run": name, "token": TOKEN}, suffix=f"?token={name}")
    assert "<img src=x" not in text and text.count("<script") == 2  # its own ones
    given = text.split('id="given">')[1].split("</script>")[0]
    assert json.loads(given)["run"] == name


def test_while_judging_nobody_sees_the_verdicts_of_others(client):
    post(client, entry(1, HOSTILE[0], "rectangular"), entry(2, HOSTILE[0], "secret", what="note"))
    seen = get(client, "/judge.json", reviewer="Bob").json()
    assert seen["queue"][0]["id"] == HOSTILE[0] and "secret" not in json.dumps(seen) and seen["recent"] == []


# --- killed and started again

SERVER = """
import sys
from emeraldcut.review import server
from emeraldcut.review.reviewed_run import ReviewedRun, ReviewSettings
server.secrets.token_urlsafe = lambda n: sys.argv[3]
run = ReviewedRun(sys.argv[1], ReviewSettings(port=int(sys.argv[2]), refresh=10_000))
server.serve(run, lambda address: print(address, flush=True))
"""


@pytest.mark.slow
def test_nothing_is_lost_or_doubled_when_the_process_is_killed(finished):
    """Two clients send the same way as the page: again and again until it is acknowledged."""
    (finished / LOG).unlink(missing_ok=True)

    def start(port):
        command = [sys.executable, "-c", SERVER, str(finished), str(port), TOKEN]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        return process, process.stdout.readline().strip()

    process, address = start(0)
    port, sent, kills = int(address.split(":")[2].split("/")[0]), 0, 0
    while sent < 60:
        pair = [entry(2 * sent + k, HOSTILE[sent % 8], VERDICTS[sent % 5], who) for k, who in enumerate(("Ann", "Bob"))]
        try:
            for one in pair:
                body = json.dumps({"entries": [one]}).encode()
                urllib.request.urlopen(f"http://127.0.0.1:{port}/verdicts.json?token={TOKEN}", body, timeout=10).close()
            sent += 1
        except OSError:
            if process.poll() is not None:
                process.stdout.close()
                process, _ = start(port)
        if sent == 30 and not kills:
            kills += 1
            process.kill()
            process.wait()
    process.terminate()
    process.wait()
    process.stdout.close()
    log = Verdicts(finished / LOG)
    assert kills == 1 and [e.key for e in log.entries] == [f"key{k:08d}" for k in range(120)]
    log.close()


# --- the static form and the command line


@pytest.mark.slow
def test_a_static_folder_holds_everything_and_what_it_saves_comes_back(finished, tmp_path, capsys):
    (finished / LOG).unlink(missing_ok=True)
    folder = tmp_path / "static"
    words = ["review", str(finished), "--static", "--output", str(folder)]
    assert cli.main(words) == 0 and capsys.readouterr().out.strip() == str(folder / "index.html")
    page = (folder / "index.html").read_text()
    assert "<img src=x" not in page and "token" not in page.split('id="given">')[1]
    given = json.loads(page.split('id="given">')[1].split("</script>")[0])
    assert [one["id"] for one in given["static"]] == HOSTILE
    text = (folder / "cards" / "0.js").read_text()
    cards = json.loads(text.removeprefix("emeraldcutCards(").removesuffix(");\n"))
    assert [card["id"] for card in cards] == HOSTILE and len(cards) <= CARDS_A_FILE
    assert cli.main(words) == 2 and "--overwrite" in capsys.readouterr().err
    saved = tmp_path / "verdicts.json"
    saved.write_text(json.dumps({"entries": [entry(1, HOSTILE[0], "rectangular"), entry(2, HOSTILE[1], "oval")]}))
    table = tmp_path / "judged.ecsv"
    for _ in range(2):  # taken in once, however often
        words = ["review", str(finished), "--import", str(saved), "--export", str(table), "--overwrite"]
        assert cli.main(words) == 0
    assert list(read_table(table)["verdicts"][:3]) == [1, 1, 0]
    log = Verdicts(finished / LOG)
    assert len(log.entries) == 2
    log.close()


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"entries": [{"id": "x"}]}', "\x00"])
def test_a_file_without_verdicts_gets_one_sentence(finished, tmp_path, capsys, text):
    (tmp_path / "v.json").write_text(text)
    assert cli.main(["review", str(finished), "--import", str(tmp_path / "v.json")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_port_that_is_taken_gets_one_sentence(finished):
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(OSError, match="--port"):
            review(finished, ReviewSettings(port=other.getsockname()[1]))


# --- what is wrong with the files of a run, and with requests


@pytest.mark.parametrize("host", ["[", "[::1", "a:b:c", "%00", ""])
def test_a_bad_host_is_refused(client, host):
    answer = client.get("/judge.json", params={"token": TOKEN}, headers={"host": host})
    assert answer.status_code == 403


@pytest.mark.parametrize("length", [101, 300])
def test_a_long_name_of_an_export_is_a_sentence(client, length):
    answer = get(client, f"/export/{'x' * (length - 4)}.csv")
    assert answer.status_code == 400 and "at most 100 letters" in answer.json()["error"]


def test_an_export_is_no_formula(client):
    rows = get(client, "/export/all.csv").text
    assert "'=HYPERLINK(1)" in rows and ',"=HYPERLINK' not in rows and not rows.startswith("=")


@pytest.mark.parametrize("damage", ["zeros", "text", "other", "read only", "folder"])
def test_a_bad_log_is_one_sentence(galaxies, tmp_path, damage, capsys, monkeypatch):
    folder = made_run(tmp_path / "run", galaxies)
    Verdicts(folder / LOG).close()
    whole = (folder / LOG).read_bytes()
    if damage == "folder":
        (folder / LOG).unlink()
        (folder / LOG).mkdir()
    elif damage == "other":
        (folder / LOG).unlink()
        with sqlite3.connect(folder / LOG) as other:
            other.execute("CREATE TABLE log (number INTEGER)")
        other.close()
    elif damage == "read only":
        connect = sqlite3.connect
        asked = lambda path, **options: connect(f"file:{path}?mode=ro", uri=True, **options)  # noqa: E731  as for root
        monkeypatch.setattr(sqlite3, "connect", asked)
    else:
        (folder / LOG).write_bytes(b"no database, " * 999 if damage == "text" else whole[:100] + bytes(len(whole)))
    module = import_module("emeraldcut.review.server")
    monkeypatch.setattr(module, "serve", lambda run, say: run.add([entry(1, HOSTILE[0])]))
    code = cli.main(["review", str(folder)])
    err = capsys.readouterr().err
    assert code in (1, 2) and "bug" not in err and err.count("\n") == 1
    assert LOG in err


def test_a_locked_log_is_tried_again_then_said(run, client, monkeypatch):
    other = sqlite3.connect(run.log, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    run.verdicts._connection.execute("PRAGMA busy_timeout = 100")
    answer = post(client, entry(1, HOSTILE[0]))
    assert answer.status_code == 503 and "locked" in answer.json()["error"]
    run.verdicts._connection.execute("PRAGMA busy_timeout = 10000")
    other.execute("COMMIT")
    other.close()
    assert post(client, entry(1, HOSTILE[0])).status_code == 200


def test_candidates_without_a_column_are_one_sentence(galaxies, tmp_path, capsys):
    folder = made_run(tmp_path / "run", galaxies)
    table = read_table(folder / "candidates.parquet")
    table.remove_column("id")
    write_table(table, folder / "candidates.parquet", overwrite=True)
    assert cli.main(["review", str(folder)]) == 2
    assert "lacks the column 'id'" in capsys.readouterr().err


# --- any table


def judged(run, number: int, truth: dict[str, str]) -> list[str]:
    """The first `number` candidates that a reviewer who knows the truth is shown, each judged before the next."""
    shown: list[str] = []
    while len(shown) < number:
        name = run.judge("Ann", count=1, skip=[])["queue"][0]["id"]
        run.add([entry(len(shown), name, truth[name], "Ann")])
        run.learn()
        shown.append(name)
    return shown


def test_a_table_of_anybody_is_reviewed_in_an_active_order(tmp_path):
    """60 rows, 6 of them rings, which differ in two columns of the user's own; the score says nothing."""
    rng, n = np.random.default_rng(5), 60
    truth = np.array(["ring"] * 6 + ["disc"] * 54)
    table = Table({"name": [f"g{k}" for k in range(n)], "score": np.full(n, 0.1)})
    table["colour"] = np.where(truth == "ring", 3.0, 0.0) + rng.normal(size=n)
    table["spots"] = np.where(truth == "ring", 3.0, 0.0) + rng.normal(size=n)
    table = table[rng.permutation(n)]
    write_table(table, tmp_path / "mine.ecsv")
    run = ReviewedRun(tmp_path / "mine.ecsv", ReviewSettings(classes=("ring", "disc"), refresh=1000, repeats=0))
    known = {name: "ring" if int(name[1:]) < 6 else "disc" for name in table["name"]}
    run.add([entry(900, "g0", "ring")])
    run.learn()
    shown = judged(run, 12, known)
    assert sum(known[name] == "ring" for name in shown) >= 4  # of the 5 left; 1.1 by chance
    results = run.results()
    assert results["agreement"].keys() == {"all verdicts", "ring or not"}
    rings = sum(known[name] == "ring" for name in shown)
    assert results["reviewers"][0]["counts"] == {"ring": rings + 1, "disc": len(shown) - rings, "unsure": 0}
    assert run.card(0)["sky"] is None and run.card(0)["classes"] == {}  # there are no images, and nothing fails
    with pytest.raises(ValueError, match="a verdict is one of ring, disc, unsure"):
        run.add([entry(901, "g1", "rectangular")])
    assert {*run.joined().colnames} >= {"id", "score", "colour", "spots", "verdict"}
    assert not {"rank", "flag"} & {*run.joined().colnames}
    run.close()


@pytest.mark.parametrize(
    "classes", [("one",), ("a", "a"), ("", "b"), tuple("abcdefghi"), ("a", "b" * 41), ("a\n", "b\x1b")]
)
def test_classes_are_a_few_names(tmp_path, classes):
    write_table(Table({"id": ["x"]}), tmp_path / "t.csv")
    with pytest.raises(ValueError, match="classes expects|a class has"):
        ReviewedRun(tmp_path / "t.csv", ReviewSettings(classes=classes))


def test_images_of_a_table_are_found_by_name_by_row_and_in_a_set(tmp_path):
    pixels = np.array([np.full((12, 12), k + 1.0) + np.eye(12) for k in range(3)], np.float32)
    ids = ["c-3", "a_1", "b"]
    write_images(ImageSet(pixels, Table({"id": ids})), tmp_path / "set", command="test")
    np.save(tmp_path / "stack.npy", pixels)
    (tmp_path / "files").mkdir()
    for name, one in zip(ids, pixels, strict=True):
        fits.writeto(tmp_path / "files" / f"{name}.fits", one)
    write_table(Table({"id": ids[::-1]}), tmp_path / "turned.ecsv")
    write_table(Table({"id": ids}), tmp_path / "same.ecsv")
    for name, images, order in (
        ("turned", "set", [2, 1, 0]),
        ("turned", "files", [2, 1, 0]),
        ("same", "stack.npy", [0, 1, 2]),
    ):
        run = ReviewedRun(tmp_path / f"{name}.ecsv", ReviewSettings(images=str(tmp_path / images)))
        for row, place in enumerate(order):
            np.testing.assert_array_equal(run.source_images[row], pixels[place])
        run.close()
    with pytest.raises(ValueError, match="have other names"):
        write_table(Table({"id": ["x", "y", "z"]}), tmp_path / "other.ecsv")
        ReviewedRun(tmp_path / "other.ecsv", ReviewSettings(images=str(tmp_path / "files")))
    with pytest.raises(FileNotFoundError):
        ReviewedRun(tmp_path / "same.ecsv", ReviewSettings(images=str(tmp_path / "nothing")))


@pytest.mark.parametrize(
    "columns",
    [
        {"rank": ["first", "second"]},
        {"rank": [1.5, np.nan]},
        {"flag": ["ok", "bad"], "flag_text": [1, 2]},
        {"score": ["high", "low"]},
        {"score": [np.nan, 1e9]},
        {"id": ["same", "same"]},
        {"file": ["gone.fits", "/nowhere/at all.png"]},
        {"p_spiral": [np.inf, -1.0], "note": [None, "x"]},
        {"ra": [10.0, np.nan], "dec": [95.0, 2.0]},
    ],
)
def test_whatever_columns_a_table_has_it_is_reviewed(tmp_path, columns):
    Table(columns | {"name": ["a", "b"]}).write(tmp_path / "t.ecsv", serialize_method="data_mask")
    run = ReviewedRun(tmp_path / "t.ecsv", ReviewSettings(classes=("spiral", "ring")))
    names = [item["id"] for item in run.judge("Ann", count=9)["queue"]]
    assert len(set(names)) == 2
    run.add([entry(k, name, "ring") for k, name in enumerate(names)])
    run.learn()
    assert len(run.grid("Ann")["items"]) == 2 and all(json.dumps(run.card(row), allow_nan=False) for row in (0, 1))
    assert list(run.joined()["verdict"]) == ["ring", "ring"]
    run.close()
