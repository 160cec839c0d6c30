// The review page: judges candidates one by one or in a grid, from the server or, opened from disk, on its own.
"use strict";

const given = JSON.parse(document.getElementById("given").textContent);
const $ = (id) => document.getElementById(id);

// --- pieces of the page

function make(tag, attributes = {}, ...children) {
  const svg = /^(svg|g|image|path|text)$/.test(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

function say(text) {
  $("said").textContent = text;
}

const key = (name) => make("kbd", { "aria-hidden": "true" }, name);

// --- what the browser remembers; nothing where it may not

const memory = {};
const base = `emeraldcut/${given.key}/`;
function kept(name, store = localStorage) {
  try {
    return store.getItem(name);
  } catch {
    return memory[name] ?? null;
  }
}
function keep(name, value, store = localStorage) {
  try {
    if (value === null) store.removeItem(name);
    else store.setItem(name, value);
  } catch {
    memory[name] = value;
  }
}
function keptNames(start) {
  let names = Object.keys(memory);
  try {
    names = names.concat(Object.keys(localStorage));
  } catch {}
  return names.filter((name) => name.startsWith(start)).sort();
}

// Two windows of one browser may have different reviewers.
let reviewer = kept("emeraldcut/reviewer", sessionStorage) || kept("emeraldcut/reviewer") || "";

// --- where candidates come from and verdicts go: the server ...

async function ask(path, query = {}, body = null) {
  const address = new URL(path, location.href);
  address.search = new URLSearchParams({ token: given.token, ...query });
  const answer = await fetch(address, body === null ? {} : { method: "POST", body: JSON.stringify(body) });
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw Object.assign(new Error(content.error || answer.statusText), { status: answer.status });
  return content;
}

const server = {
  judge: (order, skip) => ask("judge.json", { reviewer, order, skip }),
  grid: (order, show, page) => ask("grid.json", { reviewer, order, show, page }),
  results: () => ask("results.json"),
  card: (row) => ask(`card/${row}.json`),
  send: (entries) => ask("verdicts.json", {}, { entries }),
};

// --- ... or, without one, this folder and the browser's memory

const PAGE = 48;
const REMEMBERED = 20;
const loading = {};
window.emeraldcutCards = (cards) => cards.forEach((card) => (loading[card.row] = card));

const paper = {
  entries: () => JSON.parse(kept(`${base}entries`) || "[]"),

  standing(kind) {
    const mine = paper.entries().filter((entry) => entry.reviewer === reviewer);
    const undone = new Set(mine.filter((entry) => entry.what === "undo").map((entry) => entry.value));
    const said = new Map();
    for (const entry of mine) {
      const its = entry.what === "verdict" && entry.again ? "again" : entry.what;
      if (its === kind && !undone.has(entry.key)) said.set(entry.id, entry);
    }
    return said;
  },

  progress() {
    const values = [...paper.standing("verdict").values()].map((entry) => entry.value);
    const found = values.filter((value) => value === given.verdicts[0]).length;
    return { judged: values.length, of: given.static.length, found, learned: 0 };
  },

  async judge(order, skip) {
    const [said, again, notes] = ["verdict", "again", "note"].map(paper.standing);
    const item = (candidate, more) => ({ ...candidate, again: false, note: notes.get(candidate.id)?.value ?? "", ...more });
    const queue = [];
    const old = given.static.filter((c) => [...said.keys()].slice(0, -REMEMBERED).includes(c.id));
    const forgotten = old.filter((c) => !again.has(c.id) && !skip.includes(c.row));
    let shown = said.size + again.size + skip.length;
    for (const candidate of given.static.filter((c) => !said.has(c.id) && !skip.includes(c.row)).slice(0, 20)) {
      if (given.every && (shown + 1) % given.every === 0 && forgotten.length) {
        queue.push(item(forgotten.splice((shown * 7) % forgotten.length, 1)[0], { again: true, note: "" }));
        shown += 1;
      }
      queue.push(item(candidate));
      shown += 1;
    }
    const recent = [...said.values()].map((entry) =>
      item(given.static.find((c) => c.id === entry.id), { key: entry.key, verdict: entry.value }),
    );
    return { order, queue, recent, progress: paper.progress() };
  },

  async grid(order, show, page) {
    const [said, notes] = ["verdict", "note"].map(paper.standing);
    const verdict = (c) => said.get(c.id)?.value ?? null;
    const wanted = (c) => show === "all" || (show === "unjudged" ? !verdict(c) : verdict(c) === show);
    const all = given.static.filter(wanted);
    const pages = Math.max(Math.ceil(all.length / PAGE), 1);
    const here = Math.min(Math.max(page, 1), pages);
    const items = all.slice((here - 1) * PAGE, here * PAGE);
    const told = items.map((c) => ({ ...c, verdict: verdict(c), note: notes.get(c.id)?.value ?? "" }));
    return { order, show, page: here, pages, candidates: all.length, items: told, progress: paper.progress() };
  },

  card(row) {
    const file = Math.floor(given.static.findIndex((c) => c.row === row) / given.aFile);
    return new Promise((done, failed) => {
      if (loading[row]) return done(loading[row]);
      const script = make("script", { src: `cards/${file}.js`, load: () => done(loading[row]) });
      script.addEventListener("error", () => failed(new Error(`cards/${file}.js is missing.`)));
      document.head.append(script);
    });
  },

  async send(entries) {
    keep(`${base}entries`, JSON.stringify([...paper.entries(), ...entries]));
    return { saved: entries.map((entry) => entry.key), progress: paper.progress() };
  },

  save() {
    const text = JSON.stringify({ program: "emeraldcut", run: given.run, entries: paper.entries() }, null, 1);
    const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "application/json" })) });
    link.download = `verdicts-${reviewer.replace(/[^\p{L}\p{N}]+/gu, "-")}.json`;
    link.click();
  },
};

const api = given.static ? paper : server;

// --- verdicts on their way: each is kept in the browser until it is known to be on disk

let sending = false;
function record(what, id, value, again = false) {
  const random = crypto.getRandomValues(new Uint8Array(12));
  const name = [...random].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const entry = { key: name, time: new Date().toISOString(), reviewer, id, what, value, again };
  keep(`${base}out/${entry.time}/${name}`, JSON.stringify(entry));
  flush();
  return name;
}

async function flush() {
  const names = keptNames(`${base}out/`).slice(0, 200);
  showSaved(names.length);
  if (sending || !names.length) return;
  sending = true;
  const entries = names.map((name) => JSON.parse(kept(name)));
  let wait = 0;
  try {
    const answer = await api.send(entries);
    names.forEach((name) => keep(name, null));
    if (answer.progress) onProgress(answer.progress);
  } catch (error) {
    wait = 1500;
    showSaved(names.length, error.status ? error.message : "the server does not answer; retrying");
  }
  sending = false;
  if (wait || keptNames(`${base}out/`).length) setTimeout(flush, wait);
  else showSaved(0);
}

function showSaved(n, why = "") {
  const text = why ? `${n} not saved yet: ${why}` : "";
  if ($("saved").textContent !== text) $("saved").textContent = text;
  $("saved").className = why ? "bad" : "";
  document.body.dataset.unsaved = n;
}

// --- how pictures are displayed

const STRETCHES = { normal: 1, centre: 2.2, outskirts: 0.5 }; // powers of the stretched light
const MAPS = ["colour", "grey", "inverted"];
const display = { stretch: "normal", map: "colour", lines: true, numbers: true, ...JSON.parse(kept("emeraldcut/display") || "{}") };

function applyDisplay() {
  const stops = [...Array(33).keys()].map((k) => (k / 32) ** STRETCHES[display.stretch]);
  ["R", "G", "B"].forEach((channel, k) => {
    const map = given.colours[k];
    const colour = (v) => {
      const place = v * (map.length - 1);
      const low = Math.min(Math.floor(place), map.length - 2);
      return map[low] + (place - low) * (map[low + 1] - map[low]);
    };
    const value = { colour, grey: (v) => v, inverted: (v) => 1 - v }[display.map];
    document.querySelector(`feFunc${channel}`).setAttribute("tableValues", stops.map((v) => value(v).toFixed(3)).join(" "));
  });
  document.body.classList.toggle("no-lines", !display.lines);
  document.body.classList.toggle("no-numbers", !display.numbers);
  keep("emeraldcut/display", JSON.stringify(display));
  showDisplay();
}

function cycle(name, values) {
  display[name] = values[(values.indexOf(display[name]) + 1) % values.length];
  applyDisplay();
  say(`${name}: ${display[name]}`);
}
const DISPLAY = {
  s: ["stretch", () => cycle("stretch", Object.keys(STRETCHES)), () => `Stretch: ${display.stretch}`],
  c: ["colours", () => cycle("map", MAPS), () => `Colours: ${display.map}`],
  l: ["lines on or off", () => cycle("lines", [true, false]), () => `Lines: ${display.lines ? "on" : "off"}`],
  i: ["numbers on or off", () => cycle("numbers", [true, false]), () => `Numbers: ${display.numbers ? "on" : "off"}`],
};

function showDisplay() {
  for (const [name, [, , words]] of Object.entries(DISPLAY)) {
    const button = $(`display-${name}`);
    if (button) button.replaceChildren(`${words()} `, key(name));
  }
}

function picture(what, words) {
  if (!what) return make("div", { class: "missing", role: "img", "aria-label": `No image of ${words}` }, "no image");
  const image = make("image", { href: what.src, width: what.side, height: what.side, class: what.plain ? "plain" : null });
  const lines = what.lines.map(([name, path]) => make("path", { class: name, d: path }));
  const bar = what.bar ? [make("path", { class: "bar" }), make("text", {}, what.bar[1])] : [];
  const node = make("svg", { class: "picture", role: "img", "aria-label": words }, image, ...lines, ...bar);
  node.show = ([x, y, side]) => {
    node.setAttribute("viewBox", `${x} ${y} ${side} ${side}`);
    if (!bar.length) return;
    bar[0].setAttribute("d", `M${x + 0.05 * side} ${y + 0.94 * side}h${what.bar[0]}`);
    bar[1].setAttribute("x", x + 0.05 * side);
    bar[1].setAttribute("y", y + 0.92 * side);
    bar[1].setAttribute("font-size", 0.04 * side);
  };
  node.show(what.window);
  return node;
}

// --- judging one by one

let order = given.orders[0];
let queue = [];
let filling = null;
const trail = []; // what was shown, in this order; `at` is where we are
let at = -1;
let learned = 0;
const cards = new Map();

function card(row) {
  if (!cards.has(row)) {
    if (cards.size > 300) cards.delete(cards.keys().next().value);
    const coming = api.card(row);
    coming.catch(() => cards.delete(row));
    cards.set(row, coming);
  }
  return cards.get(row);
}

async function ahead() {
  const skip = [...queue, ...trail.filter((item) => !item.verdict)].map((item) => item.row);
  return api.judge(order, skip.slice(-400));
}

function fill() {
  filling ??= ahead()
    .then((answer) => {
      const have = new Set(queue.map((item) => item.row));
      queue.push(...answer.queue.filter((item) => !have.has(item.row)));
      onProgress(answer.progress);
      queue.slice(0, 4).forEach((item) => card(item.row).catch(() => {}));
      return answer;
    })
    .finally(() => (filling = null));
  return filling;
}

function onProgress(progress) {
  const found = `${progress.found.toLocaleString("en")} ${given.verdicts[0]}`;
  $("progress").textContent = `${progress.judged.toLocaleString("en")} of ${progress.of.toLocaleString("en")} judged, ${found}`;
  if (progress.learned === learned) return;
  learned = progress.learned;
  if (onPage !== "judge" || order !== "suggested" || !queue.length) return;
  queue = queue.slice(0, 1); // the next one is on its way already
  fill();
}

async function next() {
  if (at < trail.length - 1) at += 1;
  else {
    if (!queue.length) await fill();
    if (!queue.length) return nothingLeft();
    trail.push(queue.shift());
    at = trail.length - 1;
  }
  if (queue.length < 6) fill().catch(() => {});
  else queue.slice(0, 4).forEach((item) => card(item.row).catch(() => {}));
  return show();
}

function back() {
  if (at <= 0) return say("This is the first candidate that was shown.");
  saveNote();
  at -= 1;
  return show();
}

function forward() {
  saveNote();
  return next();
}

function judgeIt(verdict) {
  const item = trail[at];
  if (!item || !item.id) return null;
  saveNote();
  item.key = record("verdict", item.id, verdict, item.again);
  item.verdict = verdict;
  item.when = Date.now();
  say(`${item.id}: ${verdict}`);
  return next();
}

function undo() {
  const item = trail.filter((one) => one.key).sort((a, b) => (a.when ?? 0) - (b.when ?? 0)).pop();
  if (!item) return say("There is no verdict to undo.");
  record("undo", item.id, item.key);
  item.key = item.verdict = null;
  at = trail.indexOf(item);
  say(`${item.id}: verdict undone`);
  return show();
}

function saveNote() {
  const item = trail[at];
  const box = $("note");
  if (!box || !item?.id || box.value.trim() === (item.note ?? "").trim()) return;
  item.note = box.value.trim();
  record("note", item.id, item.note);
}

let windowNow = null;
async function show() {
  const item = trail[at];
  let its;
  try {
    its = await card(item.row);
  } catch (error) {
    its = null;
    say(error.message);
  }
  if (trail[at] !== item) return;
  if (!its) return $("main").replaceChildren(make("p", {}, "This candidate cannot be shown."));
  item.id = its.id;
  drawCard(item, its);
}

function drawCard(item, its) {
  const sky = picture(its.sky, `${its.id} on the sky`);
  const framed = its.framed && picture(its.framed, `${its.id} in its own frame, where a rectangle is a square`);
  const reference = its.reference && picture(its.reference, `the reference ${its.compared} in its own frame`);
  const residual = its.residual && picture(its.residual, `${its.id} minus the reference ${its.compared}`);
  windowNow = its.sky && { node: sky, side: its.sky.side, start: its.sky.window, now: its.sky.window };
  if (windowNow) movable(sky);
  const verdicts = given.verdicts.map((name, k) =>
    make(
      "button",
      { type: "button", "aria-pressed": String(item.verdict === name), "data-verdict": name, click: () => judgeIt(name) },
      name,
      key(VERDICT_KEYS[k] || String(k + 1)),
    ),
  );
  const facts = its.facts.map(([name, value]) =>
    make("div", { class: value.includes("±") ? "wide" : null }, make("dt", {}, name), make("dd", {}, value)),
  );
  const classes = Object.entries(its.classes).map(([name, p]) =>
    make("div", {}, make("dt", {}, name), make("meter", { value: p ?? 0, "aria-hidden": "true" }), make("dd", {}, probability(p))),
  );
  const flags = its.flags.map(([name, sentence]) => make("li", { class: "chip", title: sentence }, name));
  const links = its.links.map(([name, url]) => make("a", { href: url, rel: "noopener noreferrer", target: "_blank" }, name));
  const note = make("textarea", { id: "note", rows: 2, maxlength: given.longest.note, change: saveNote });
  note.value = item.note ?? "";
  const switches = Object.entries(DISPLAY).map(([name, [, run]]) => make("button", { type: "button", id: `display-${name}`, click: run }));
  const zooms = [["+", 1 / 1.4, "Zoom in"], ["−", 1.4, "Zoom out"]].map(([name, factor, words]) =>
    make("button", { type: "button", "aria-label": words, click: () => zoom(factor) }, name),
  );
  const focused = document.activeElement?.dataset?.verdict;
  $("main").replaceChildren(
    make(
      "div",
      { class: "judging" },
      make(
        "div",
        { class: "title" },
        make("span", { class: "rank numbers" }, `rank ${its.rank.toLocaleString("en")}`),
        make("h1", { class: "id" }, its.id),
        given.static ? null : make("label", { class: "push" }, "Order ", choice("order", given.orders, order, changeOrder)),
      ),
      make(
        "div",
        { class: "pictures" },
        make("figure", { class: "large" }, sky, make("figcaption", {}, "on the sky")),
        make("div", { class: "frames" },
          framed ? make("figure", {}, framed, make("figcaption", { title: "where an ellipse is a circle and a rectangle a square" }, "in its own frame")) : null,
          reference ? make("figure", {}, reference, make("figcaption", {}, "the reference ", make("span", { class: "id" }, its.compared))) : null,
          residual ? make("figure", {}, residual, make("figcaption", { title: "scaled to the galaxy's profile; red: excess light, blue: missing light" }, "galaxy minus reference")) : null),
        make("div", { class: "display" }, ...zooms, ...switches),
      ),
      make(
        "div",
        { class: "side" },
        make("div", { class: "bottom" }, make("div", { class: "verdicts", role: "group", "aria-label": "Verdict" }, ...verdicts)),
        make(
          "div",
          { class: "steps" },
          make("button", { type: "button", click: back, disabled: at <= 0 }, "Back ", key("k")),
          make("button", { type: "button", click: undo }, "Undo ", key("z")),
          make("button", { type: "button", click: forward }, "Next ", key("j")),
        ),
        make("div", {}, make("label", { for: "note" }, "Note ", key("n")), note),
        classes.length ? make("dl", { class: "classes numbers", "aria-label": "Probability of each class" }, ...classes) : null,
        facts.length ? make("dl", { class: "numbers" }, ...facts) : null,
        flags.length ? make("ul", { class: "chips", "aria-label": "Quality flags" }, ...flags) : null,
        links.length ? make("div", { class: "links" }, ...links) : null,
      ),
    ),
  );
  showDisplay();
  if (focused) document.querySelector(`[data-verdict="${focused}"]`).focus();
  document.body.dataset.shown = item.row; // what a test waits for
}

const probability = (p) => (p === null ? "–" : p < 0.001 ? "< 0.001" : p > 0.999 ? "> 0.999" : p.toFixed(3));

function choice(name, values, now, changed) {
  const options = values.map((value) => make("option", { value, selected: value === now }, value));
  return make("select", { name, change: (event) => changed(event.target.value) }, ...options);
}

function changeOrder(value) {
  order = value;
  queue = [];
  if (trail[at] && !trail[at].verdict) trail.splice(at, 1);
  at = trail.length - 1;
  return next();
}

function nothingLeft() {
  delete document.body.dataset.shown;
  $("main").replaceChildren(make("h1", {}, "All candidates are judged."), make("p", {}, "You have given a verdict on every candidate."));
}

function zoom(factor) {
  if (!windowNow) return;
  const { side, now } = windowNow;
  const size = Math.min(Math.max(now[2] * factor, 6), side);
  moveTo(now[0] + (now[2] - size) / 2, now[1] + (now[2] - size) / 2, size);
}

function moveTo(x, y, size) {
  const inside = (v) => Math.min(Math.max(v, 0), windowNow.side - size);
  windowNow.now = [inside(x), inside(y), size];
  windowNow.node.show(windowNow.now);
}

function movable(node) {
  let last = null;
  node.addEventListener("wheel", (event) => { event.preventDefault(); zoom(event.deltaY > 0 ? 1.15 : 1 / 1.15); }, { passive: false });
  node.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse") { last = [event.clientX, event.clientY]; node.setPointerCapture(event.pointerId); }
  });
  node.addEventListener("pointerup", () => (last = null));
  node.addEventListener("pointermove", (event) => {
    if (!last || !windowNow) return;
    const [x, y, size] = windowNow.now;
    const scale = size / node.clientWidth;
    moveTo(x - (event.clientX - last[0]) * scale, y - (event.clientY - last[1]) * scale, size);
    last = [event.clientX, event.clientY];
  });
}

async function startJudging() {
  if (!trail.length) {
    const answer = await fill();
    trail.push(...answer.recent);
    at = trail.length - 1;
  }
  const row = new URLSearchParams(location.search).get("row") ?? new URLSearchParams(location.hash.split("?")[1]).get("row");
  if (row !== null) {
    trail.push({ row: Number(row), again: false, note: "" });
    at = trail.length - 1;
    return show();
  }
  return at >= 0 && !trail[at].verdict ? show() : next();
}

// --- judging in a grid

const grid = { order: "rank", show: "all", page: 1, items: [], pages: 1 };

async function showGrid(first = false) {
  const answer = await api.grid(grid.order, grid.show, grid.page);
  if (onPage !== "grid") return;
  Object.assign(grid, { page: answer.page, pages: answer.pages, items: answer.items });
  onProgress(answer.progress);
  const tiles = answer.items.map((item) => {
    const tile = make(
      "button",
      { type: "button", class: "tile", "data-row": item.row, click: () => open(item.row) },
      make("div", { class: "missing" }, ""),
      make("span", {}, make("b", { class: "id" }, item.id), make("em", { class: "quiet numbers" }, item.rank.toLocaleString("en"))),
      make("i"),
    );
    tile.item = item;
    mark(tile);
    card(item.row).then((its) => tile.firstChild.replaceWith(picture(its.sky, ""))).catch(() => {});
    return make("li", {}, tile);
  });
  const step = (by) => () => turn(grid.page + by);
  const place = make("input", { type: "number", min: 1, max: grid.pages, value: grid.page, change: (e) => turn(Number(e.target.value)) });
  $("main").replaceChildren(
    make("h1", { class: "hidden" }, "Candidates in a grid"),
    make(
      "div",
      { class: "pager" },
      make("button", { type: "button", click: step(-1), disabled: grid.page <= 1 }, "Previous"),
      make("label", {}, "Page ", place, ` of ${grid.pages.toLocaleString("en")}`),
      make("button", { type: "button", click: step(1), disabled: grid.page >= grid.pages }, "Next page"),
      make("label", {}, "Show ", choice("show", given.show, grid.show, (v) => { grid.show = v; turn(1); })),
      given.static ? null : make("label", {}, "Order ", choice("order", given.orders, grid.order, (v) => { grid.order = v; turn(1); })),
      make("span", { class: "quiet" }, `${answer.candidates.toLocaleString("en")} candidates`),
      make("button", { type: "button", id: "display-s", click: DISPLAY.s[1] }),
      make("button", { type: "button", id: "display-c", click: DISPLAY.c[1] }),
    ),
    answer.items.length ? make("ul", { class: "tiles", role: "list" }, ...tiles) : make("p", {}, "There are no such candidates."),
  );
  showDisplay();
  if (first && answer.items.length) document.querySelector(".tile").focus();
  document.body.dataset.shown = `page ${grid.page}`;
}

function mark(tile) {
  const { item } = tile;
  tile.classList.toggle("judged", Boolean(item.verdict));
  tile.querySelector("i").textContent = item.verdict ?? "";
  tile.setAttribute("aria-label", `${item.id}, rank ${item.rank}, ${item.verdict ?? "not judged"}`);
}

function turn(page) {
  grid.page = Math.min(Math.max(Math.round(page) || 1, 1), Math.max(grid.pages, 1));
  return showGrid(true);
}

const done = []; // tiles judged here, to undo
function judgeTile(tile, verdict) {
  const { item } = tile;
  item.key = record("verdict", item.id, verdict);
  item.verdict = verdict;
  done.push(item);
  mark(tile);
  say(`${item.id}: ${verdict}`);
  move(tile, 1);
}

function undoTile() {
  const item = done.pop();
  if (!item) return say("There is no verdict to undo on this page.");
  record("undo", item.id, item.key);
  item.verdict = null;
  const tile = document.querySelector(`.tile[data-row="${item.row}"]`);
  if (tile?.item === item) { mark(tile); tile.focus(); }
  return say(`${item.id}: verdict undone`);
}

function move(tile, by) {
  const tiles = [...document.querySelectorAll(".tile")];
  const place = tiles.indexOf(tile) + by;
  if (tiles[place]) tiles[place].focus();
  return Boolean(tiles[place]);
}

function columns() {
  const tops = [...document.querySelectorAll(".tile")].map((tile) => tile.getBoundingClientRect().top);
  return Math.max(tops.filter((top) => top === tops[0]).length, 1);
}

// --- results

async function showResults() {
  const all = await api.results();
  if (onPage !== "results") return;
  const table = (names, rows) =>
    make("div", { class: "scroll", tabindex: 0 }, make("table", {},
      make("thead", {}, make("tr", {}, ...names.map((name) => make("th", { scope: "col" }, name)))),
      make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, cell ?? "–")))))));
  const decimal = (v) => (v === null ? "–" : (Math.round(100 * v) / 100 + 0).toFixed(2).replace("-", "−"));
  const kappa = (one) => (one.kappa === null ? "–" : `${decimal(one.kappa)} ± ${decimal(one.kappa_err)}`);
  const link = (item) => (item.row === null ? item.id : make("a", { class: "id", href: `judge?token=${given.token}&row=${item.row}` }, item.id));
  const reviewers = all.reviewers.map((one) => [
    one.name, String(one.judged), ...given.verdicts.map((word) => String(one.counts[word])),
    one.repeats ? `${Math.round(one.repeats.same * one.repeats.candidates)} of ${one.repeats.candidates}` : "–",
    one.repeats ? kappa(one.repeats) : "–",
  ]);
  const pairs = Object.entries(all.agreement).flatMap(([name, one]) => [
    ...one.pairs.map((pair) => [name, pair.reviewers.join(" and "), String(pair.candidates), `${Math.round(100 * pair.same)} %`, `${kappa(pair)} (Cohen)`]),
    ...(one.candidates ? [[name, "everyone", String(one.candidates), "", `${decimal(one.fleiss)} (Fleiss)`]] : []),
  ]);
  const words = (said) => Object.entries(said).map(([who, text]) => `${who}: ${text}`).join("; ");
  const files = ["candidates.csv", "candidates.ecsv", "candidates.parquet", "candidates.fits", "candidates.vot"];
  const downloads = files.map((name) => make("a", { href: `export/${name}?token=${given.token}`, download: name }, name));
  downloads.push(make("a", { href: `verdicts.json?token=${given.token}`, download: "verdicts.json" }, "verdicts.json"));
  $("progress").textContent = `${all.judged.toLocaleString("en")} of ${all.candidates.toLocaleString("en")} judged by anyone`;
  $("main").replaceChildren(
    make("h1", {}, `Verdicts on ${given.run}`),
    make("h2", {}, "Reviewers"),
    reviewers.length
      ? table(["reviewer", "judged", ...given.verdicts, "repeats with the same verdict", "kappa of the repeats"], reviewers)
      : make("p", {}, "There are no verdicts yet."),
    make("h2", {}, "Agreement"),
    pairs.length ? table(["verdicts compared", "reviewers", "candidates", "same verdict", "kappa"], pairs) : make("p", {}, "No candidate has verdicts from two reviewers yet."),
    make("p", { class: "quiet" }, "Kappa is 1 for full agreement and 0 for agreement by chance; its standard error follows it. ",
      "Repeats are candidates that were shown a second time without notice."),
    make("h2", {}, "Disputed candidates"),
    all.disputed.length
      ? table(["candidate", "verdicts", "notes"], all.disputed.map((item) => [link(item), words(item.votes), words(item.notes)]))
      : make("p", {}, "The reviewers disagree on no candidate."),
    make("h2", {}, "Downloads"),
    make("p", { class: "links" }, ...downloads),
    make("p", { class: "quiet" }, "The tables list the candidates with their verdict, the fraction of reviewers who gave it, and the number, names and notes of the reviewers. The file verdicts.json is the log of all entries."),
    make("h2", {}, "Latest entries"),
    all.latest.length
      ? table(["time (UTC)", "reviewer", "candidate", "entry"], all.latest.map((one) => [
          one.time.slice(0, 19).replace("T", " "), one.reviewer, link(one),
          one.what === "verdict" ? one.value : one.what === "undo" ? "undid a verdict" : `note: ${one.value || "(empty)"}`]))
      : make("p", {}, "There are no entries yet."),
  );
  document.body.dataset.shown = "results";
}

// --- keys

// Each verdict has a letter of its own, the first of its name that is free; those of the page itself are not.
function verdictKeys(names) {
  const taken = new Set("sclizjkn");
  const preferred = { other: "x", obround: "b", unsure: "u" };
  const keys = names.map((name) => {
    const wanted = preferred[name];
    if (wanted) taken.add(wanted);
    return wanted ?? null;
  });
  return names.map((name, k) => {
    if (keys[k]) return keys[k];
    const letter = [...name.toLowerCase()].find((one) => /^[a-z]$/.test(one) && !taken.has(one)) ?? "";
    if (letter) taken.add(letter);
    return letter;
  });
}
const VERDICT_KEYS = verdictKeys(given.verdicts);
const HELP = [
  ...given.verdicts.map((name, k) => [VERDICT_KEYS[k] ? `${VERDICT_KEYS[k]} or ${k + 1}` : `${k + 1}`, name]),
  ["z", "undo"], ["n", "write a note; Esc leaves it"], ["j →", "next candidate"], ["k ←", "previous candidate"],
  ["+ − 0", "zoom (also the wheel)"],
  ...Object.entries(DISPLAY).map(([name, [words]]) => [name, words]),
  ["arrows", "grid: move"], ["Enter", "grid: open"], ["PgUp PgDn", "grid: turn the page"], ["?", "show the shortcuts"],
];

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const typing = event.target.matches?.("input:not([type=checkbox]), textarea, select");
  if (typing) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.key.length === 1 && !$("use-keys").checked) return;
  if (react(event.key, event.target)) event.preventDefault();
}

function react(pressed, target) {
  const name = pressed.length === 1 ? pressed.toLowerCase() : pressed;
  const k = Math.max(VERDICT_KEYS.indexOf(name), "123456789".slice(0, given.verdicts.length).indexOf(name));
  if (name === "?") return $("help").showModal(), true;
  if (DISPLAY[name]) return DISPLAY[name][1](), true;
  if (onPage === "judge") {
    if (k >= 0 && name) return judgeIt(given.verdicts[k]), true;
    const run = {
      z: undo, j: forward, ArrowRight: forward, k: back, ArrowLeft: back, "+": () => zoom(1 / 1.4), "=": () => zoom(1 / 1.4),
      "-": () => zoom(1.4), 0: () => windowNow && moveTo(...windowNow.start), n: () => $("note")?.focus(),
    }[name];
    return run ? (run(), true) : false;
  }
  if (onPage === "grid") {
    const tile = target.closest?.(".tile");
    if (name === "z") return undoTile(), true;
    if (name === "PageDown" || name === "PageUp") return turn(grid.page + (name === "PageDown" ? 1 : -1)), true;
    if (!tile) return false;
    if (k >= 0 && name) return judgeTile(tile, given.verdicts[k]), true;
    const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns(), ArrowUp: -columns(), j: 1, k: -1 }[name];
    return by ? move(tile, by) : false;
  }
  return false;
}

// --- pages

let onPage = given.page;
const TITLES = { judge: "Judge", grid: "Grid", results: "Results" };
const addressOf = (name, more = "") => (given.static ? `#${name}${more && `?${more}`}` : `${name}?token=${given.token}${more && `&${more}`}`);

function open(row) {
  location.href = addressOf("judge", `row=${row}`);
}

function start() {
  if (given.static) onPage = location.hash.startsWith("#grid") ? "grid" : "judge";
  const pages = given.static ? ["judge", "grid"] : ["judge", "grid", "results"];
  document.body.className = `review ${onPage}`;
  document.title = `${TITLES[onPage]} – emeraldcut review`;
  $("nav").replaceChildren(...pages.map((name) =>
    make("a", { href: addressOf(name), "aria-current": name === onPage ? "page" : null }, TITLES[name])));
  if (given.static) $("nav").append(make("button", { type: "button", id: "save", click: paper.save }, "Save verdicts"));
  $("name").textContent = reviewer || "Your name";
  $("name").setAttribute("aria-label", `Reviewer: ${reviewer}; change`);
  applyDisplay();
  const run = { judge: startJudging, grid: () => showGrid(), results: showResults }[onPage];
  run().catch((error) => $("main").replaceChildren(make("p", { role: "alert" }, error.message)));
}

function askName() {
  $("who-name").value = reviewer;
  $("who").showModal();
}

$("who-name").maxLength = given.longest.reviewer;
$("who").addEventListener("close", () => {
  const name = $("who-name").value.trim();
  if (!name) return reviewer || askName();
  if (name === reviewer) return null;
  reviewer = name;
  keep("emeraldcut/reviewer", name);
  keep("emeraldcut/reviewer", name, sessionStorage);
  trail.length = queue.length = 0;
  at = -1;
  return start();
});
$("name").addEventListener("click", askName);
$("keys").addEventListener("click", () => $("help").showModal());
$("help-keys").replaceChildren(...HELP.map(([name, words]) => make("p", {}, make("span", {}, words), make("kbd", {}, name))));
$("use-keys").checked = kept("emeraldcut/keys") !== "off";
$("use-keys").addEventListener("change", (event) => keep("emeraldcut/keys", event.target.checked ? "on" : "off"));
document.addEventListener("keydown", onKey);
window.addEventListener("hashchange", () => given.static && start());
window.addEventListener("pagehide", saveNote);
flush();
if (reviewer || given.page === "results") start();
else askName();
