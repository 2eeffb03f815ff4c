// Sorting and filtering for the tables. Everything on a page can be read without this file.
"use strict";

const LEAST_TO_FILTER = 6;
const PARTIAL = Symbol("a number over fewer parts than its column claims");

function headers(table) {
  const rows = table.tHead.rows;
  const leaves = [...rows[rows.length - 1].cells];
  return rows.length > 1 ? [rows[0].cells[0], ...leaves] : leaves;
}

function bodyRows(table) {
  return [...table.tBodies].flatMap((body) => [...body.rows]).filter((row) => !row.classList.contains("section"));
}

function sortKey(row, column) {
  const cell = row.cells[column];
  if (cell === undefined) return null;
  if (cell.dataset.partial !== undefined) return PARTIAL;
  if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
  const text = cell.textContent.trim();
  return text === "" || text === "·" || text === "–" ? null : text;
}

// Numbers, then those that have no place in an order, then words, then what is missing: in either direction.
function kind(key) {
  return typeof key === "number" ? 0 : key === PARTIAL ? 1 : key === null ? 3 : 2;
}

function compare(a, b, sign) {
  if (kind(a) !== kind(b)) return kind(a) - kind(b);
  if (kind(a) === 0) return sign * (a - b);
  return kind(a) === 2 ? sign * a.localeCompare(b, "en", { numeric: true }) : 0;
}

function sortBy(table, heads, column, direction) {
  heads.forEach((head, i) => head.setAttribute("aria-sort", i === column ? direction : "none"));
  const sign = direction === "descending" ? -1 : 1;
  for (const body of table.tBodies) {
    const rows = [...body.rows].filter((row) => !row.classList.contains("section"));
    const order = (row) => Number(row.dataset.order);
    rows.sort((a, b) => direction === "none" ? order(a) - order(b)
      : compare(sortKey(a, column), sortKey(b, column), sign) || order(a) - order(b));
    body.append(...rows);
  }
}

// The better end first, then the other, then the order of the page.
function nextDirection(head, column) {
  const first = column === 0 || head.dataset.better !== "higher" ? "ascending" : "descending";
  const second = first === "ascending" ? "descending" : "ascending";
  const now = head.getAttribute("aria-sort");
  return now === first ? second : now === second ? "none" : first;
}

function makeSortable(table) {
  bodyRows(table).forEach((row, i) => { row.dataset.order = i; });
  const heads = headers(table);
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    if (button.textContent.trim() === "") button.textContent = "name";
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => sortBy(table, heads, column, nextDirection(head, column)));
  });
}

function isYardstick(row) {
  return row.classList.contains("muted") || row.cells[0].textContent.includes("†");
}

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function makeFilterable(table) {
  const rows = bodyRows(table);
  const count = element("span", { role: "status" });
  const text = element("input", { type: "search", placeholder: "filter rows" });
  text.setAttribute("aria-label", `Filter rows of: ${table.caption?.textContent ?? "this table"}`);
  const box = element("input", { type: "checkbox" });
  const tools = element("div", { className: "tools" });
  if (rows.length >= LEAST_TO_FILTER) tools.append(text);
  if (rows.some(isYardstick)) tools.append(element("label", {}, box, `hide ${table.closest(".scroll")?.dataset.muted ?? "muted rows"}`));
  if (!tools.hasChildNodes()) return;
  tools.append(count);

  function apply() {
    const wanted = text.value.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      row.hidden = (box.checked && isYardstick(row)) || !row.textContent.toLowerCase().includes(wanted);
      shown += !row.hidden;
    }
    for (const heading of table.querySelectorAll("tr.section")) {
      heading.hidden = [...heading.parentElement.rows].every((row) => row === heading || row.hidden);
    }
    count.textContent = shown === rows.length ? "" : `${shown} of ${rows.length} rows`;
  }
  text.addEventListener("input", apply);
  box.addEventListener("change", apply);
  (table.closest(".scroll") ?? table).before(tools);
}

for (const table of document.querySelectorAll("table.ricebench-table")) {
  if (table.tHead === null || bodyRows(table).length < 2) continue;
  makeSortable(table);
  makeFilterable(table);
}
