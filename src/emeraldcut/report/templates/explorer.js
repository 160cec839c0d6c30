// The table of a page: unpacks the rows that the page holds, sorts, filters and searches them.
"use strict";

(() => {
  const PAGE = 50;
  const $ = (id) => document.getElementById(id);
  const NONE = "–";
  const state = { by: 0, down: false, page: 0, kept: [] };
  let data;

  function make(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (typeof value === "function") node.addEventListener(name, value);
      else if (value !== null) node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  }

  async function unpacked() {
    const text = atob($("explorer-rows").textContent.trim());
    const bytes = new Uint8Array(text.length);
    for (let k = 0; k < text.length; k += 1) bytes[k] = text.charCodeAt(k); // with a callback for each, 0.3 s more for 100,000 rows
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).json();
  }

  const column = (name) => data.columns.find((one) => one.name === name);

  // --- which rows, in which order

  function filtered() {
    const search = $("explorer-id").value.trim().toLowerCase();
    const wanted = $("explorer-class")?.value;
    const flag = $("explorer-flag")?.value;
    const least = parseFloat($("explorer-snr")?.value);
    const [ids, classes, flags, snr, trusted] = ["id", "class", "flag", "snr", "trusted"].map((name) => column(name)?.values);
    const tests = [];
    if (search && ids) tests.push((row) => ids[row].toLowerCase().includes(search));
    if (wanted && classes) tests.push((row) => classes[row] === wanted);
    if (flag === "none") tests.push((row) => !flags[row]);
    else if (flag) tests.push((row) => Math.floor(flags[row] / Number(flag)) % 2 === 1);
    if (Number.isFinite(least) && snr) tests.push((row) => snr[row] !== null && snr[row] >= least);
    if ($("explorer-trusted")?.checked && trusted) tests.push((row) => trusted[row]);
    const kept = [];
    for (let row = 0; row < data.rows; row += 1) if (tests.every((test) => test(row))) kept.push(row);
    return kept;
  }

  function sorted(rows) {
    const { name, values } = data.columns[state.by];
    const sign = state.down ? -1 : 1;
    const text = name === "id" || name === "class";
    const compare = text ? (a, b) => (a < b ? -1 : a > b ? 1 : 0) : (a, b) => a - b;
    return rows.sort((a, b) => {
      const [x, y] = [values[a], values[b]];
      if (x === null || y === null) return (x === null) - (y === null) || a - b; // what is missing comes last
      return sign * compare(x, y) || a - b;
    });
  }

  function changed() {
    state.kept = sorted(filtered());
    state.page = 0;
    draw();
  }

  function sortBy(k) {
    const first = ["rank", "id", "class", "similarity_p", "a4", "flag"].includes(data.columns[k].name);
    state.down = state.by === k ? !state.down : !first; // most columns are of interest from the top
    state.by = k;
    changed();
  }

  // --- what is shown

  function words(name, value) {
    if (value === null || value === "") return NONE;
    if (name === "trusted") return value ? "yes" : "no";
    if (name === "rank") return value.toLocaleString("en");
    if (name === "ra" || name === "dec") return value.toFixed(4).replace("-", "−");
    if ((name.startsWith("p_") || name === "similarity_p" || name === "score") && (value < 0.001 || value > 0.999)) return value < 0.001 ? "< 0.001" : "> 0.999";
    if (typeof value !== "number") return value;
    const digits = name === "snr" ? 0 : ["radius_pix"].includes(name) ? 1 : ["axis_ratio", "similarity"].includes(name) ? 2 : 3;
    return (Math.round(value * 10 ** digits) / 10 ** digits + 0).toFixed(digits).replace("-", "−");
  }

  function cell(name, row) {
    const value = column(name).values[row];
    if (name === "flag") {
      const raised = data.flags.filter(([bit]) => Math.floor(value / bit) % 2 === 1);
      const chips = raised.map(([, word, sentence, level]) => make("span", { class: level === "note" ? "chip note" : "chip", title: sentence }, word));
      return make("td", { class: "flags" }, ...chips);
    }
    const number = (typeof value === "number" || value === null) && name !== "trusted";
    const rank = column("rank").values[row];
    const text = words(name, value);
    if (name === "id" && data.cards.includes(rank)) return make("td", {}, make("a", { class: "id", href: `#rank-${rank}` }, text));
    return make("td", { class: number ? "right" : name === "id" ? "id" : null }, text);
  }

  function draw() {
    const pages = Math.max(Math.ceil(state.kept.length / PAGE), 1);
    state.page = Math.min(Math.max(state.page, 0), pages - 1);
    const first = state.page * PAGE;
    const rows = state.kept.slice(first, first + PAGE);
    const names = data.columns.map((one) => one.name);
    $("explorer-body").replaceChildren(...rows.map((row) => make("tr", {}, ...names.map((name) => cell(name, row)))));
    $("explorer-head").querySelectorAll("th").forEach((node, k) => {
      if (k === state.by) node.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else node.removeAttribute("aria-sort");
    });
    const n = (value) => value.toLocaleString("en");
    const place = rows.length ? `Rows ${n(first + 1)} to ${n(first + rows.length)} of ${n(state.kept.length)}` : "No row";
    $("explorer-count").textContent = state.kept.length < data.rows ? `${place} that match; ${n(data.rows)} in all.` : `${place}.`;
    $("explorer-back").disabled = state.page === 0;
    $("explorer-next").disabled = state.page === pages - 1;
    $("explorer").dataset.ready = "yes"; // what a test waits for
  }

  function choices(id, options) {
    if (!$(id)) return;
    $(id).append(...options.map(([value, text]) => make("option", { value }, text)));
    $(id).closest("label").hidden = !options.length;
  }

  function begin(content) {
    data = content;
    const head = data.columns.map(({ name, label, values }, k) =>
      make("th", { scope: "col", class: typeof values.find((v) => v !== null) === "number" && name !== "flag" && name !== "trusted" ? "right" : null },
        make("button", { type: "button", click: () => sortBy(k) }, label)));
    $("explorer-head").replaceChildren(...head);
    const classes = [...new Set(column("class")?.values ?? [])].filter((name) => name !== "").sort();
    choices("explorer-class", classes.length > 1 ? classes.map((name) => [name, name]) : []);
    choices("explorer-flag", data.flags.length ? [["none", "no flag"], ...data.flags.map(([bit, name]) => [bit, name])] : []);
    for (const id of ["id", "class", "flag", "snr", "trusted"]) $(`explorer-${id}`)?.addEventListener("input", changed);
    $("explorer-tools").addEventListener("submit", (event) => event.preventDefault());
    $("explorer-back").addEventListener("click", () => { state.page -= 1; draw(); });
    $("explorer-next").addEventListener("click", () => { state.page += 1; draw(); });
    $("explorer-tools").hidden = false;
    state.kept = filtered();
    draw();
  }

  const failed = (error) => { $("explorer-count").textContent = `This browser cannot show the table (${error.message}).`; };
  if (typeof DecompressionStream === "undefined") failed(new Error("it is older than 2023"));
  else unpacked().then(begin).catch(failed);
})();
