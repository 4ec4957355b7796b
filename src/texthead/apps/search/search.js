"use strict";

const $ = (id) => document.getElementById(id);

const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

// A still plays after the pointer has rested on it for so many milliseconds.
const REST = 150;

const NARROW = matchMedia("(max-width: 50rem)");

// Marks after which the page asks for the next page.
const ENOUGH = 10;

// The hits by key, the example that is searched for, the marks to undo, and the still that the keys act on.
const hits = new Map();
let like = null;
const undone = [];
let current = null;
let busy = false;

// What the marks of this page are of.
let wish = "";

const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

const showStatus = (text) => { $("status").textContent = text; };

const showError = (text) => {
  $("error").textContent = text;
  $("error").hidden = !text;
  if (text) $("error").scrollIntoView({ block: "nearest" });
};

// Errors are JSON, or a line of text from the guard.
const checked = async (answer) => {
  const text = await answer.text();
  if (answer.ok) return JSON.parse(text);
  let message = text;
  try {
    message = JSON.parse(text).error;
  } catch {
    // A line of text.
  }
  throw new Error(message || `the server answered ${answer.status}`);
};

// One action at a time; returns nothing if it fails or another one is running.
const act = async (action, more = {}, doing = "") => {
  if (busy) return undefined;
  busy = true;
  showError("");
  if (doing) {
    showStatus(doing);
    $("lists").setAttribute("aria-busy", "true");
  }
  try {
    const headers = { "content-type": "application/json", "x-start": document.documentElement.dataset.start };
    const body = JSON.stringify({ name: wish, ...more });
    return await checked(await fetch(`/api/${action}`, { method: "POST", headers, body }));
  } catch (error) {
    showStatus("");
    showError(error instanceof TypeError ? "The server does not answer. Is texthead find still running?" : error.message);
    return undefined;
  } finally {
    busy = false;
    $("lists").removeAttribute("aria-busy");
  }
};

// ---- the query

const search = async () => {
  if (busy) return;
  const body = { words: $("words").value, avoid: $("avoid").value, like: like && like.from, hit: like && like.hit };
  const answer = await act("search", body, "Searching \u2026");
  if (answer) show(answer);
  else clear();
};

const next = async () => {
  const answer = await act("next", {}, "Searching with the marks \u2026");
  if (answer) show(answer);
};

// Takes away what belongs to the query before one that failed.
const clear = () => {
  hits.clear();
  current = null;
  undone.length = 0;
  for (const part of ["note", "sure", "unsure", "teach", "keep"]) $(part).hidden = true;
  for (const stills of document.querySelectorAll("#lists ol")) stills.replaceChildren();
  $("next").disabled = true;
  setLike(null);
};

const show = (answer) => {
  hits.clear();
  if (answer.marks.name !== wish) undone.length = 0;
  wish = answer.marks.name;
  $("saved").hidden = true;
  const { fits, marks, unsure } = answer;
  const taught = marks.hits + marks.misses > 0;
  const probable = [...answer.hits, ...unsure].some((hit) => hit.probability !== null);
  const note = answer.note && `${answer.note[0].toUpperCase()}${answer.note.slice(1)}.`;
  const count = plural(answer.hits.length || "No", taught ? probable ? "likely hit" : "best hit" : "hit");
  // Said once: a good verdict beside the number of hits, a bad one above it.
  $("note").textContent = fits ? "" : note;
  $("note").hidden = fits;
  const found = fits ? `${count}. ${note}` : `The closest ${answer.hits.length}:`;
  const without = $("avoid").value.trim() && " The marks decide, not what is under \u201cbut not\u201d.";
  showStatus(taught ? `${count}, ${unsure.length} to mark.${without}` : found);
  // On a narrow page, first what is to be marked.
  $("lists").append($(NARROW.matches ? "sure" : "unsure"));
  list("sure", answer.hits, taught ? probable ? "Likely" : "Best" : fits ? "Hits" : "The closest ones");
  list("unsure", unsure);
  $("lists").classList.toggle("both", unsure.length > 0);
  $("keep").hidden = !hits.size;
  current = document.querySelector(".still");
  if (current) {
    setCurrent(current);
    current.focus();
  }
  showMarks(marks);
};

const list = (name, found, title = "") => {
  $(name).hidden = !found.length;
  if (title) $(name).firstElementChild.textContent = title;
  $(name).lastElementChild.replaceChildren(...found.map((hit, place) => card(hit, place, name === "sure")));
};

const setLike = (example) => {
  like = example;
  $("like").hidden = !like;
  if (!like) return;
  $("like").querySelector("b").textContent = like.name;
  $("words").value = "";
};

const upload = async (file) => {
  if (!file) return;
  showError("");
  showStatus(`Sending ${file.name} \u2026`);
  try {
    const address = `/upload?${new URLSearchParams({ name: file.name.slice(-100) })}`;
    const { file: from } = await checked(await fetch(address, { method: "POST", body: file }));
    setLike({ from, name: file.name });
    await search();
  } catch (error) {
    showStatus("");
    showError(error instanceof TypeError ? `${file.name}: cannot be sent. Is texthead find still running?` : error.message);
  }
};

$("query").addEventListener("submit", (event) => {
  event.preventDefault();
  search();
});
$("words").addEventListener("input", () => setLike(null));
$("pick").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => upload($("file").files[0]));
$("like").querySelector("button").addEventListener("click", () => {
  setLike(null);
  $("words").focus();
});

// A file may be dropped anywhere; elsewhere the browser would leave the page to open it.
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("over"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  upload(event.dataTransfer.files[0]);
});

// ---- a hit

const clock = (seconds) => {
  const whole = Math.floor(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const digits = (value) => String(value).padStart(2, "0");
  return `${hours ? `${hours}:${digits(minutes)}` : minutes}:${digits(whole % 60)}`;
};

// The name of a file, and the start and end of a part of it in seconds, as in film.mp4#t=12,15.
const read = (path) => {
  const [, file, start = "", end = ""] = /^(.*?)(?:#t=([\d.]*),?([\d.]*))?$/su.exec(path);
  const part = path !== file;
  return { file, name: file.split(/[\\/]/u).at(-1), part, start: Number(start), end: end === "" ? null : Number(end) };
};

const timeOf = ({ part, start, end }) => (part ? `${clock(start)} \u2013 ${end === null ? "end" : clock(end)}` : "");

const card = (hit, place, isSure) => {
  Object.assign(hit, read(hit.path));
  const row = element("li");
  const time = timeOf(hit);
  const score = element("span", { className: "share" });
  score.textContent = hit.probability === null ? ` ${(Math.round(10 * hit.score) / 10 || 0).toFixed(1)} \u03c3` : ` ${Math.round(100 * hit.probability)} %`;
  score.title = hit.probability === null ? "standard deviations above the mean of the folder" : "probability";
  const still = element("button", { type: "button", className: "still", tabIndex: -1 });
  still.dataset.key = hit.key;
  const image = element("img", { alt: "", loading: "lazy", src: `/still/${hit.key}` });
  image.addEventListener("error", () => image.replaceWith(element("span", { className: "failed", textContent: "no picture" })));
  still.append(image);
  if (time) still.append(element("span", { className: "time", textContent: time }));
  const name = element("p", { className: "name", title: hit.path }, `${isSure ? `${place + 1}. ` : ""}${hit.name}`, score);
  const does = [
    ["Hit", "h", () => mark(hit, hit.mark === true ? null : true)],
    ["Miss", "m", () => mark(hit, hit.mark === false ? null : false)],
    ["Copy", "c", () => copy(hit)],
    ["More", "l", () => more(hit)],
  ];
  const buttons = does.map(([label, key, run]) => {
    const button = element("button", { type: "button", textContent: label, tabIndex: -1 });
    button.setAttribute("aria-label", `${label}${{ c: " the path", l: " like this" }[key] || ""}: ${hit.name} ${time}`);
    button.addEventListener("click", run);
    return button;
  });
  row.append(still, name, element("div", { className: "buttons" }, ...buttons));
  const tabs = [still, ...buttons];
  if (hit.copies.length) {
    const summary = element("summary", { textContent: `+${copiesOf(hit)}`, tabIndex: -1 });
    const copies = hit.copies.map(read).map((copied) => element("li", {}, `${copied.file} ${timeOf(copied)}`));
    row.append(element("details", {}, summary, element("ul", {}, ...copies)));
    tabs.push(summary);
  }
  hits.set(hit.key, Object.assign(hit, { row, still, time, buttons, image, tabs }));
  still.addEventListener("focus", () => setCurrent(still));
  row.addEventListener("focusin", () => { if (current !== still) setCurrent(still); });
  let rest = 0;
  still.addEventListener("click", () => {
    still.focus();
    clearTimeout(rest);
    if (still.dataset.plays) stop(hit);
    else play(hit);
  });
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) {
    const begin = () => { rest = setTimeout(() => play(hit), REST); };
    still.addEventListener("mouseenter", begin);
    still.addEventListener("focus", begin);
    for (const kind of ["mouseleave", "blur"]) still.addEventListener(kind, () => clearTimeout(rest));
  }
  for (const kind of ["mouseleave", "blur"]) still.addEventListener(kind, () => stop(hit));
  showMark(hit);
  return row;
};

const copiesOf = (hit) => plural(hit.copies.length, "near copy", "near copies");

const showMark = (hit) => {
  hit.row.className = hit.mark === true ? "hit" : hit.mark === false ? "miss" : "";
  hit.still.querySelector(".mark")?.remove();
  if (hit.mark !== null) hit.still.append(element("span", { className: "mark", textContent: hit.mark ? "hit" : "miss" }));
  hit.buttons[0].setAttribute("aria-pressed", String(hit.mark === true));
  hit.buttons[1].setAttribute("aria-pressed", String(hit.mark === false));
  const parts = [hit.name, hit.time, hit.copies.length ? copiesOf(hit) : "", hit.mark === null ? "" : hit.mark ? "hit" : "miss"];
  hit.still.setAttribute("aria-label", parts.filter(Boolean).join(", "));
};

// Plays the moment over and over, in place of the still.
const play = (hit) => {
  const { image } = hit;
  if (hit.kind === "image" || hit.still.dataset.plays || !image.isConnected) return;
  hit.still.dataset.plays = "yes";
  const animated = () => { if (hit.still.dataset.plays) image.src = `/preview/${hit.key}`; };
  if (hit.kind === "preview") {
    animated();
    return;
  }
  // The player counts from the start of the file, whose first picture may come later.
  const start = hit.offset + hit.start;
  const end = hit.end === null ? null : hit.offset + hit.end;
  const video = element("video", { muted: true, autoplay: true, playsInline: true });
  video.src = `/media/${hit.key}#t=${start}${end === null ? "" : `,${end}`}`;
  video.poster = image.src;
  const again = () => {
    video.currentTime = start;
    video.play().catch(() => {});
  };
  video.addEventListener("ended", again);
  // At the end of its fragment the browser pauses by itself.
  video.addEventListener("pause", () => { if (end !== null && video.currentTime >= end - 0.3) again(); });
  video.addEventListener("timeupdate", () => { if (end !== null && video.currentTime >= end) again(); });
  const instead = () => {
    if (!video.isConnected) return;
    video.replaceWith(image);
    hit.kind = "preview";
    animated();
  };
  video.addEventListener("error", instead, { once: true });
  // Browsers play only the audio if they cannot decode the video.
  video.addEventListener("loadeddata", () => { if (!video.videoWidth) instead(); }, { once: true });
  image.replaceWith(video);
};

const stop = (hit) => {
  if (!hit.still.dataset.plays) return;
  delete hit.still.dataset.plays;
  const video = hit.still.querySelector("video");
  if (video) {
    video.replaceWith(hit.image);
    // Ends the request for the rest of the file.
    video.removeAttribute("src");
    video.load();
  } else hit.image.src = `/still/${hit.key}`;
};

// ---- marks

const mark = async (hit, value, undo = false) => {
  const before = hit.mark;
  const answer = await act("mark", { key: hit.key, hit: value });
  if (!answer) return;
  if (undo) undone.pop();
  else undone.push([hit, before]);
  hit.mark = value;
  if (hits.get(hit.key) === hit) showMark(hit);
  showMarks(answer.marks);
  const count = answer.marks.new;
  const what = value === null ? "no mark" : value ? "hit" : "miss";
  showStatus(`${hit.name}: ${what}. ${count && count % ENOUGH === 0 ? `${count} new marks: press r, or Search again with the marks.` : ""}`);
};

const showMarks = (marks) => {
  const count = marks.hits + marks.misses;
  const added = marks.new ? `, ${marks.new} of them new` : "";
  const file = marks.file && ` Kept in ${marks.file}.`;
  $("teach").hidden = !hits.size && !count;
  $("marks").textContent = count
    ? `${marks.name}: ${plural(marks.hits, "hit")}, ${plural(marks.misses, "miss", "misses")}${added}.${file}`
    : `Mark hits and misses; after ${ENOUGH} marks, search again with them.${file}`;
  $("next").disabled = $("save").disabled = !count;
  $("undo").disabled = !undone.length;
  $("next").classList.toggle("primary", marks.new >= ENOUGH);
};

const undo = () => {
  const last = undone.at(-1);
  if (!last) {
    showStatus("Nothing to undo.");
    return;
  }
  const hit = hits.get(last[0].key) || last[0];
  if (hit.still.isConnected) hit.still.focus();
  mark(hit, last[1], true);
};

const copy = async (hit) => {
  try {
    await navigator.clipboard.writeText(hit.path);
    showStatus(`Copied: ${hit.path}`);
  } catch {
    // Pages of other machines may not write to the clipboard.
    showStatus(`Path: ${hit.path}`);
  }
};

const more = (hit) => {
  setLike({ hit: hit.key, name: `${hit.name} ${hit.time}` });
  search();
};

const save = async () => {
  if (busy) return;
  $("saved").hidden = false;
  $("saved").textContent = "Saving \u2026";
  const answer = await act("save", {}, "Saving \u2026");
  $("saved").hidden = !answer;
  if (!answer) return;
  $("saved").textContent = answer.line;
  showStatus("Done.");
};

$("next").addEventListener("click", next);
$("undo").addEventListener("click", undo);
$("save").addEventListener("click", save);

// ---- keys: one still and its buttons are in the order of the Tab key

const setCurrent = (still) => {
  for (const hit of hits.values()) {
    for (const tab of hit.tabs) tab.tabIndex = hit.still === still ? 0 : -1;
  }
  current = still;
};

const move = (key) => {
  const stills = [...document.querySelectorAll(".still")];
  const here = stills.indexOf(current);
  if (key === "ArrowLeft" || key === "ArrowRight") {
    stills[here + (key === "ArrowRight" ? 1 : -1)]?.focus();
    return;
  }
  const box = current.getBoundingClientRect();
  const middle = box.left + box.width / 2;
  const way = key === "ArrowDown" ? 1 : -1;
  const far = (still) => {
    const other = still.getBoundingClientRect();
    return 4 * Math.abs(other.top - box.top) + Math.abs(other.left + other.width / 2 - middle);
  };
  const others = stills.filter((still) => way * (still.getBoundingClientRect().top - box.top) > box.height / 2);
  others.sort((one, other) => far(one) - far(other))[0]?.focus();
};

const markAndGo = (value) => {
  const hit = hits.get(current.dataset.key);
  if (busy) return;
  mark(hit, value);
  move("ArrowRight");
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const inHelp = event.target.closest("#help");
  if ((event.key === "Escape" && event.target.closest("#query, #help")) || (event.key === "?" && inHelp)) {
    if (inHelp) $("help").open = false;
    current?.focus();
    return;
  }
  // Letters act on the stills, or where nothing has the focus.
  if (event.target !== document.body && !event.target.closest("#lists")) return;
  const hit = current && hits.get(current.dataset.key);
  const does = {
    "/": () => {
      $("words").focus();
      $("words").select();
    },
    "?": () => {
      $("help").open = !$("help").open;
      if ($("help").open) $("help").firstElementChild.focus();
    },
    u: undo,
    r: () => { if (!$("next").disabled) next(); },
    ...(hit && {
      h: () => markAndGo(true),
      y: () => markAndGo(true),
      m: () => markAndGo(false),
      n: () => markAndGo(false),
      c: () => copy(hit),
      l: () => more(hit),
      ...Object.fromEntries(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"].map((key) => [key, () => move(key)])),
    }),
  }[event.key];
  if (!does) return;
  event.preventDefault();
  // A key that is held down moves, but marks once.
  if (!event.repeat || event.key.startsWith("Arrow")) does();
});

// ---- the start

const start = async () => {
  const state = await act("state");
  if (!state) return;
  $("about").textContent = state.about;
  $("words").value = state.words || "";
  $("avoid").value = state.avoid || "";
  if (state.like) setLike({ from: true, name: read(state.like).name });
  showMarks(state.marks);
  if (state.words || state.like) search();
  else if (matchMedia("(pointer: fine)").matches) $("words").focus();
};

start();
