"use strict";
const all = (what, within = document) => [...within.querySelectorAll(what)];
const large = document.getElementById("large"), pick = document.getElementById("pick");
let playing = 0;

function play(frames) {
  let at = 0;
  clearInterval(playing);
  if (frames.length > 1) playing = setInterval(() => {
    frames[at].hidden = true;
    at = (at + 1) % frames.length;
    frames[at].hidden = false;
  }, 400);
}

function enlarge(content) {
  large.lastElementChild.replaceChildren(content);
  large.showModal();
}

for (const button of all(".card .frames")) button.addEventListener("click", () => {
  if (large.open) return;
  const card = button.closest(".card").cloneNode(true);
  enlarge(card);
  play(all(".frames img", card));
});
for (const button of all("[data-items]")) button.addEventListener("click", () =>
  enlarge(document.getElementById(button.dataset.items).content.cloneNode(true)));
large?.addEventListener("close", () => clearInterval(playing));
large?.firstElementChild.addEventListener("click", () => large.close());
large?.addEventListener("click", (event) => { if (event.target === large) large.close(); });

function show(chosen) {
  pick.value = chosen;
  for (const each of all("[data-classes]:not(.thumbnail)"))
    each.hidden = chosen !== "" && !each.dataset.classes.split(" ").includes(chosen);
  for (const thumbnail of all(".thumbnail")) thumbnail.setAttribute("aria-pressed", String(thumbnail.dataset.pick === chosen));
}

pick?.addEventListener("change", () => show(pick.value));
for (const thumbnail of all(".thumbnail")) thumbnail.addEventListener("click", () =>
  show(pick.value === thumbnail.dataset.pick ? "" : thumbnail.dataset.pick));

for (const header of all(".sorted thead th")) {
  const button = document.createElement("button");
  button.append(...header.childNodes);
  header.append(button);
  button.addEventListener("click", () => {
    const body = header.closest("table").tBodies[0], column = header.cellIndex;
    const up = header.getAttribute("aria-sort") === "descending";
    const key = (row) => row.cells[column].textContent.trim(), rows = [...body.rows];
    const number = (text) => Number.isNaN(parseFloat(text)) ? -1 : parseFloat(text);
    const words = header.classList.contains("left");
    rows.sort((a, b) => (words ? key(a).localeCompare(key(b)) : number(key(a)) - number(key(b))) * (up ? 1 : -1));
    for (const each of all("th", header.parentNode)) each.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", up ? "ascending" : "descending");
    body.append(...rows);
  });
}
