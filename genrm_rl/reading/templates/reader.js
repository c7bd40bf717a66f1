"use strict";
// Filters, search and keys of the reader. Data come as scripts (data/*.js), which a page opened from a disk may load;
// the pages themselves read without any of this.
const reader = (() => {
  const byId = (id) => document.getElementById(id);
  const body = document.body, base = body.dataset.base, onPage = body.dataset.page !== undefined;
  const FLAG = {
    right: 1, wrong: 2, contradictory: 4, tie: 8, none: 16, masked: 32, probe: 64, groups: 128, traces: 256, kept: 512,
    duplicate: 1024, one_order: 2048, quota_reached: 4096, balanced_out: 8192,
  };
  const BUCKETS = 128, LONGEST_WORD = 40, SHOWN = 50, PAUSE = 150;  // as in word_index.py; hits at once; milliseconds
  const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";  // as in word_index.py
  const waiting = {}, loaded = {};
  let all = null, hits = [], shown = 0, run = 0;

  const put = (name, value) => waiting[name](value);

  function load(name) {
    loaded[name] ??= new Promise((resolve, reject) => {
      waiting[name] = resolve;
      const script = document.createElement("script");
      script.src = `${base}data/${name}.js`;
      script.onerror = () => reject(new Error(`${script.src} can't be read`));
      document.head.append(script);
    });
    return loaded[name];
  }

  function bucketOf(word) {
    const code = (place) => (place < word.length ? word.charCodeAt(place) : 0);
    return ((code(0) * 31 + code(1)) % BUCKETS) % all.buckets;
  }

  const digit = Object.fromEntries([...DIGITS].map((each, value) => [each, value]));

  function numbers(steps) {
    const found = [];
    let last = 0, step = 0;
    for (const each of steps) {
      const value = digit[each];
      step = step * 32 + value % 32;
      if (value < 32) continue;  // more digits follow
      found.push(last += step);
      step = 0;
    }
    return found;
  }

  const entriesOf = async (word) => (await load(`words-${bucketOf(word)}`)).split(",").map((each) => each.split(" "));

  // Items with every word of the query; the last one may be unfinished. null: everything.
  async function found(query) {
    const words = query.toLowerCase().match(/[\p{L}\p{N}_]+/gu) || [];
    if (!words.length) return query.trim() ? new Set() : null;
    const open = /[\p{L}\p{N}_]$/u.test(query);
    let both = null;
    for (const [place, word] of words.map((each) => each.slice(0, LONGEST_WORD)).entries()) {
      const entries = await entriesOf(word);
      const unfinished = open && place === words.length - 1 && word.length > 1;
      const mine = new Set();
      for (const [known, steps] of entries)
        if (known === word || (unfinished && known.startsWith(word))) for (const n of numbers(steps)) mine.add(n);
      both = both === null ? mine : new Set([...mine].filter((n) => both.has(n)));
    }
    return both;
  }

  const flag = (n) => parseInt(all.flags.substr(4 * n, 4), 16);

  function fits(show) {
    if (!show) return () => true;
    const [name, ofTraces] = show.split("-"), traces = name === "traces";  // "wrong" is of judgments, "traces-wrong" of traces
    const fit = {
      traces: (flags) => !ofTraces || flags & FLAG[ofTraces],
      judgments: (flags) => !(flags & FLAG.groups),
      fooled: (flags) => flags & FLAG.probe && flags & FLAG.wrong,
    }[name] || ((flags) => flags & FLAG[name]);
    return (n) => !(flag(n) & FLAG.traces) !== traces && fit(flag(n));
  }

  async function select(wanted) {
    all = await load("overview");
    const among = await found(wanted.q || "");
    const [, start, count] = wanted.part ? all.parts[wanted.part] || ["", 0, 0] : ["", 0, all.items];
    const fit = fits(wanted.show), chosen = [];
    const take = (n) => { if (n >= start && n < start + count && fit(n)) chosen.push(n); };
    if (among === null) for (let n = start; n < start + count; n += 1) take(n);
    else [...among].sort((a, b) => a - b).forEach(take);
    return chosen;
  }

  function wanted() {
    const given = new URLSearchParams(location.search), kept = {};
    for (const name of ["q", "show", "part"]) if (given.get(name)) kept[name] = given.get(name);
    return kept;
  }

  function address(n, id, query) {
    const page = String(Math.floor(n / all.page)).padStart(5, "0");
    return `${base}pages/${page}.html${query ? `?${query}` : ""}#${id}`;
  }

  const row = async (n) => (await load(`rows-${Math.floor(n / all.rows)}`))[n % all.rows];

  async function go(n, query) {
    location.href = address(n, (await row(n))[0], query);
  }

  // -- the first page ---------------------------------------------------------------------------------------------

  async function more(mine) {
    const query = new URLSearchParams(wanted()).toString();
    const next = hits.slice(shown, shown + SHOWN);
    const rows = await Promise.all(next.map(row));
    if (mine !== run) return;
    next.forEach((n, place) => {
      const [id, title, short] = rows[place];
      const link = document.createElement("a");
      link.href = address(n, id, query);
      const number = document.createElement("span"), name = document.createElement("b"), rest = document.createElement("span");
      number.className = "n";
      rest.className = "small";
      number.textContent = n + 1;
      name.textContent = title;  // what a judge or a policy wrote is text, never markup
      rest.textContent = short;
      link.append(number, name, rest);
      const item = document.createElement("li");
      item.append(link);
      byId("list").append(item);
    });
    shown += next.length;
    byId("more").hidden = shown >= hits.length;
  }

  async function search() {
    const mine = (run += 1), form = new FormData(byId("filters"));
    const query = new URLSearchParams([...form].filter(([, value]) => value)).toString();
    history.replaceState(null, "", (query ? `?${query}` : location.pathname) + location.hash);
    byId("hits").hidden = !query;
    if (!query) return;
    const chosen = await select(wanted());
    if (mine !== run) return;
    hits = chosen;
    shown = 0;
    byId("list").replaceChildren();
    byId("status").textContent = `${hits.length.toLocaleString("en")} found`;
    await more(mine);
  }

  function move(step) {
    const links = [...document.querySelectorAll("#list a")], here = links.indexOf(document.activeElement);
    if (here + step >= links.length && !byId("more").hidden) return void more(run).then(() => move(step));
    links[Math.min(Math.max(here + step, 0), links.length - 1)]?.focus();
  }

  function first() {
    const form = byId("filters");
    let pause = 0;
    form.hidden = false;
    for (const [name, value] of Object.entries(wanted())) form.elements[name].value = value;
    form.addEventListener("submit", (event) => { event.preventDefault(); attempt(search); });
    form.addEventListener("input", () => { clearTimeout(pause); pause = setTimeout(() => attempt(search), PAUSE); });
    byId("more").addEventListener("click", () => attempt(() => more(run)));
    attempt(search);
    if (location.hash.length > 1) attempt(() => open(location.hash.slice(1)));
  }

  // A link to a judgment that is not on this page: an id is a word of its item.
  async function open(id) {
    all = await load("overview");
    const entries = await entriesOf(id);
    for (const [word, steps] of entries) {
      if (word !== id.slice(0, LONGEST_WORD)) continue;
      for (const n of numbers(steps)) if ((await row(n))[0] === id) return void location.replace(address(n, id, location.search.slice(1)));
    }
    say(`there is no judgment ${id} here`);
  }

  // -- a page of judgments ----------------------------------------------------------------------------------------

  const articles = () => [...document.querySelectorAll("article")].filter((each) => !each.hidden);

  function current() {
    const focused = document.activeElement.closest?.("article");
    return focused || (location.hash.length > 1 && byId(location.hash.slice(1))) || null;
  }

  function step(by) {
    const shownHere = articles(), at = current(), here = at ? shownHere.indexOf(at) : by > 0 ? -1 : shownHere.length;
    const next = shownHere[here + by];
    if (next) return visit(next);
    const kept = wanted(), query = new URLSearchParams(kept).toString();
    const edge = at ? Number(at.dataset.n) : all.page * Number(body.dataset.page);
    const beyond = by > 0 ? hits.find((n) => n > edge) : hits.findLast((n) => n < edge);
    if (beyond !== undefined) attempt(() => go(beyond, query));
  }

  function visit(article) {
    history.replaceState(null, "", `${location.search}#${article.id}`);
    article.focus({ preventScroll: true });
    article.scrollIntoView();
    count();
  }

  function count() {
    const at = current(), kept = wanted();
    if (!Object.keys(kept).length) return;
    const place = at ? hits.indexOf(Number(at.dataset.n)) : -1;
    const said = [kept.q && `“${kept.q}”`, kept.show?.replace("-", ", ").replace("_", " "), kept.part && all.parts[kept.part]?.[0]].filter(Boolean).join(", ");
    say(`${place < 0 ? "" : `${place + 1} of `}${hits.length.toLocaleString("en")}: ${said}`);
  }

  async function page() {
    const kept = wanted(), query = new URLSearchParams(kept).toString();
    for (const each of document.querySelectorAll("article")) each.tabIndex = -1;
    hits = await select(kept);
    document.querySelectorAll("article").forEach((each, place) => { each.dataset.n = all.page * Number(body.dataset.page) + place; });
    if (query) {
      const chosen = new Set(hits);
      for (const each of document.querySelectorAll("article")) each.hidden = !chosen.has(Number(each.dataset.n)) && `#${each.id}` !== location.hash;
      for (const link of document.querySelectorAll("a[data-keep]")) link.search = query;
      byId("bar").hidden = false;
    }
    byId("previous").addEventListener("click", () => step(-1));
    byId("next").addEventListener("click", () => step(1));
    const id = location.hash.slice(1);
    if (id && !byId(id)) return open(id);
    if (id) visit(byId(id));
    else count();
  }

  // -- both -------------------------------------------------------------------------------------------------------

  function say(text) {
    byId("status").textContent = text;
    for (const name of ["bar", "hits"]) if (byId(name)) byId(name).hidden = false;
  }

  function attempt(work) {
    work().catch((problem) => say(problem.message));
  }

  document.addEventListener("keydown", (event) => {
    const writes = event.target.closest("input, select, textarea");
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (writes) {
      if (event.key === "Escape") event.target.blur();
      else if (event.key !== "ArrowDown" || writes.tagName !== "INPUT") return;
    }
    const by = { j: 1, ArrowDown: 1, ArrowRight: 1, k: -1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    const arrow = event.key.startsWith("Arrow");
    if (event.key === "/" && !onPage) { event.preventDefault(); byId("filters").elements.q.focus(); }
    if (by === undefined || (onPage && (event.key === "ArrowDown" || event.key === "ArrowUp"))) return;  // these scroll
    if (arrow && event.target.closest(".scroll")) return;
    if (!onPage && byId("hits").hidden) return;
    event.preventDefault();
    if (onPage) step(by); else move(by);
  });
  addEventListener("hashchange", () => {
    const at = byId(location.hash.slice(1));
    if (!at) return void (location.hash.length > 1 && attempt(() => open(location.hash.slice(1))));
    at.hidden = false;
    if (onPage) visit(at);
  });
  addEventListener("DOMContentLoaded", () => (onPage ? attempt(page) : first()));
  return { put };
})();
