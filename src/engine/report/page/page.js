"use strict";
// Sorts and filters tables, and copies commands. Without a script the page has all of its text.

/** Makes a button. */
function button(text, label, action) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  if (label) made.setAttribute("aria-label", label);
  made.addEventListener("click", () => action(made));
  return made;
}

/** Returns what a cell is sorted by: its number, where it has one, or else its text. */
function valueOf(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.value ?? cell.textContent;
  const number = Number(text);
  return text.trim() === "" || Number.isNaN(number) ? text : number;
}

/** Sorts numbers before words; what is missing goes last, in both directions. */
function compare(one, other, sign) {
  const missing = (value) => value === "" || value === "–" || value === "nan";
  if (missing(one) || missing(other)) return missing(one) - missing(other);
  if (typeof one === typeof other) return sign * (one < other ? -1 : one > other ? 1 : 0);
  return typeof one === "number" ? -1 : 1;
}

function sort(table, column) {
  const head = table.tHead.rows[0].cells[column];
  const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => compare(valueOf(a, column), valueOf(b, column), sign));
  table.tBodies[0].append(...rows);
}

/** Shows the rows that have all words of the filter; the first of them only, unless all. */
function show(table, state) {
  const words = state.filter.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  for (const row of table.tBodies[0].rows) {
    const text = row.textContent.toLowerCase();
    const fits = words.every((word) => text.includes(word));
    found += fits;
    row.hidden = !fits || (!state.all && found > state.open);
  }
  state.count.textContent = words.length ? `${found} of ${table.tBodies[0].rows.length}` : "";
  state.more.hidden = state.all || found <= state.open;
  state.more.textContent = `Show all ${found}`;
}

function control(table) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const sorter = button(head.textContent, "", () => {
      sort(table, column);
      show(table, state);
    });
    head.replaceChildren(sorter);
  });
  const box = document.createElement("div");
  box.className = "controls";
  const input = document.createElement("input");
  input.type = "search";
  input.placeholder = "Filter rows";
  input.setAttribute("aria-label", `Filter: ${table.caption.textContent}`);
  const count = document.createElement("span");
  count.setAttribute("aria-live", "polite");
  const open = Number(table.dataset.open);
  const state = { filter: "", all: false, open, count, more: null };
  state.more = button("", "", () => {
    state.all = true;
    show(table, state);
  });
  input.addEventListener("input", () => {
    state.filter = input.value;
    show(table, state);
  });
  if (table.tBodies[0].rows.length > 5) {
    box.append(input, count);
    table.parentElement.before(box);
  }
  table.parentElement.after(state.more);
  show(table, state);
  addEventListener("beforeprint", () => {
    state.all = true;
    show(table, state);
  });
}

async function copy(text, said) {
  try {
    await navigator.clipboard.writeText(text);
    said.textContent = "Copied";
  } catch {
    said.textContent = "Press Ctrl+C";
  }
  setTimeout(() => (said.textContent = "Copy"), 1500);
}

document.querySelectorAll("table.sortable").forEach(control);
for (const code of document.querySelectorAll(".command code")) {
  code.after(
    button("Copy", "", (own) => {
      getSelection().selectAllChildren(code);
      copy(code.textContent, own);
    }),
  );
}
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
