// What a page does beyond showing: without this script it can be read all the same.
"use strict";
const root = document.documentElement;

function stored(key, value) {
  // Some browsers forbid storage to pages that are files.
  try {
    if (value === undefined) return localStorage.getItem("mnistkit-" + key);
    localStorage.setItem("mnistkit-" + key, value);
  } catch { /* The choice lasts as long as the page. */ }
  return value ?? null;
}

function make(tag, attributes = {}, text = "") {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

// What the script says on a page in Chinese.
const CHINESE = {
  Colours: "颜色", "as system": "随系统", light: "浅色", dark: "深色",
  all: "全部", "agrees in one reading": "在一种解读下成立", "Show outcomes": "按结果筛选",
};
const say = (text) => (root.lang === "zh-CN" && CHINESE[text]) || text;

// ------------------------------------------------------------------ colours and code

function choose(label, key, choices, use) {
  const box = make("label", { class: "switch" });
  const select = make("select", { "aria-label": label });
  for (const [value, text] of Object.entries(choices)) {
    select.append(make("option", { value }, text));
  }
  const before = stored(key);
  if (before in choices) select.value = before;
  select.addEventListener("change", () => use(stored(key, select.value)));
  use(select.value);
  box.append(make("span", {}, label), select);
  document.querySelector(".switches").append(box);
}

function useColours(choice) {
  if (choice === "system") delete root.dataset.theme;
  else root.dataset.theme = choice;
}

function useCode(choice) {
  for (const box of document.querySelectorAll("details.code")) {
    box.open = (choice === "all" && !box.matches(".answer"))
      || (choice === "some" && box.matches(".lesson"));
  }
}

function addCopyButtons() {
  for (const code of document.querySelectorAll("main pre > code")) {
    const button = make("button", { type: "button", class: "copy" }, "Copy");
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(code.textContent).then(
        () => { button.textContent = "Copied"; },
        () => { getSelection().selectAllChildren(code); button.textContent = "Selected"; },
      );
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    const frame = make("div", { class: "frame" });
    code.parentElement.replaceWith(frame);
    frame.append(code.parentElement, button);
  }
}

// -------------------------------------------------------------------------- contents

function followReader() {
  const links = new Map();
  for (const link of document.querySelectorAll(".contents .current ol a")) {
    links.set(decodeURIComponent(link.hash.slice(1)), link);
  }
  const heads = [...links.keys()].map((id) => document.getElementById(id));
  function mark() {
    const passed = heads.filter((head) => head.getBoundingClientRect().top < 120);
    const now = passed.length ? links.get(passed.at(-1).id) : null;
    for (const link of links.values()) {
      if (link === now) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    const list = document.querySelector(".contents");
    if (now && list.scrollHeight > list.clientHeight) {
      const place = now.getBoundingClientRect();
      const frame = list.getBoundingClientRect();
      if (place.top < frame.top + 60) list.scrollTop -= frame.top + 120 - place.top;
      if (place.bottom > frame.bottom - 60) list.scrollTop += place.bottom - frame.bottom + 120;
    }
  }
  let isDue = false;
  addEventListener("scroll", () => {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => { isDue = false; mark(); });
  }, { passive: true });
  mark();
}

function foldContents() {
  const box = document.querySelector(".contents details");
  const wide = matchMedia("(min-width: 70rem)");
  const fit = () => { box.open = wide.matches; };
  wide.addEventListener("change", fit);
  box.addEventListener("click", (event) => {
    if (event.target.closest("ol a") && !wide.matches) box.open = false;
  });
  fit();
}

// ---------------------------------------------------------------------------- tables

function sortKey(cells) {
  const numbers = cells.map((text) => {
    const found = text.replaceAll("−", "-").replaceAll(",", "").match(/^[<>]?\s*([+-]?[\d.]+(?:e[+-]?\d+)?)(?: ([kMG])\b)?/);
    return found ? Number(found[1]) * ({ k: 1e3, M: 1e6, G: 1e9 }[found[2]] ?? 1) : NaN;
  });
  const filled = cells.filter((text) => text && text !== "–");
  const isNumeric = filled.length > 0
    && cells.every((text, i) => !filled.includes(text) || !Number.isNaN(numbers[i]));
  return isNumeric
    ? (a, b) => (Number.isNaN(numbers[a]) - Number.isNaN(numbers[b])) || numbers[a] - numbers[b]
    : (a, b) => cells[a].localeCompare(cells[b], root.lang, { numeric: true });
}

function makeSortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  const rows = [...table.tBodies[0].rows];
  if (table.tHead.rows.length > 1 || rows.length < 3) return;
  heads.forEach((head, column) => {
    if (head.tagName !== "TH") return;
    const button = make("button", { type: "button", class: "sort" });
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const before = sortKey(rows.map((row) => row.cells[column].textContent.trim()));
      const order = rows.map((_, i) => i).sort((a, b) => (up ? before(a, b) : before(b, a)));
      table.tBodies[0].append(...order.map((i) => rows[i]));
    });
  });
}

function addFilter(table) {
  const kinds = new Map();
  const order = ["agrees", "partly", "differs", "open", "not-run"];
  for (const mark of table.querySelectorAll(".outcome")) {
    const kind = mark.classList[1];
    const name = kind === "partly" ? say("agrees in one reading") : mark.textContent;
    kinds.set(kind, { name, count: (kinds.get(kind)?.count ?? 0) + 1 });
  }
  if (kinds.size < 2) return;
  const bar = make("div", { class: "filter", role: "group", "aria-label": say("Show outcomes") });
  const total = table.tBodies[0].rows.length;
  const choices = [["", { name: say("all"), count: total }]];
  for (const kind of order) if (kinds.has(kind)) choices.push([kind, kinds.get(kind)]);
  for (const [kind, { name, count }] of choices) {
    const pressed = String(kind === "");
    const button = make("button", { type: "button", class: `outcome ${kind}`.trim(), "aria-pressed": pressed }, `${name} ${count}`);
    button.addEventListener("click", () => {
      for (const other of bar.children) other.setAttribute("aria-pressed", String(other === button));
      for (const row of table.tBodies[0].rows) {
        row.hidden = kind !== "" && !row.querySelector(`.outcome.${kind}`);
      }
    });
    bar.append(button);
  }
  table.closest(".scroll").before(bar);
}

function letKeysScroll() {
  // Only what scrolls is a stop of the keyboard.
  for (const box of document.querySelectorAll(".scroll, main pre, main math[display=block]")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

// ----------------------------------------------------------------------------- start

useColours(stored("colours") ?? "system");
document.addEventListener("DOMContentLoaded", () => {
  foldContents();
  if (document.querySelector("details.code")) {
    choose("Code", "code", { some: "plots folded", all: "all shown", none: "all folded" }, useCode);
  }
  choose(say("Colours"), "colours", { system: say("as system"), light: say("light"), dark: say("dark") }, useColours);
  document.querySelectorAll("table.data").forEach((table) => { addFilter(table); makeSortable(table); });
  addCopyButtons();
  followReader();
  letKeysScroll();
  addEventListener("resize", letKeysScroll);
  document.addEventListener("toggle", letKeysScroll, true);
});
addEventListener("beforeprint", () => {
  for (const box of document.querySelectorAll("main details:not(.code, :has(.files))")) box.open = true;
});
