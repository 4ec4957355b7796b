"use strict";

const $ = (id) => document.getElementById(id);

// Ignore taps for so many milliseconds after a new file, or the second tap of a double tap would hit it.
const CALM = 350;

// Backspace undoes nothing for so many milliseconds after it has emptied the field.
const CLEARED = 1000;

// With fewer labels, the estimate for unlabelled files is too inaccurate to show.
const ENOUGH = 20;

let item = null;
let review = false;
let busy = false;
let marked = 0;
let choices = [];
// The typed name that was asked about: it is much like a class.
let asked = "";
// Several labels per file: the classes that are on, in the order of their names.
let multilabel = false;
let chosen = new Set();
let shownAt = 0;
let clearedAt = -CLEARED;

const showStatus = (text) => { $("status").textContent = text; };

const showError = (text) => {
  $("error").textContent = text;
  $("error").hidden = !text;
};

const ask = async (action, body = {}) => {
  const answer = await fetch(`/api/${action}`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-start": document.documentElement.dataset.start },
    body: JSON.stringify({ review, ...body }),
  });
  if (answer.ok) return answer.json();
  const text = await answer.text();
  throw new Error(text.startsWith("{") ? JSON.parse(text).error : text);
};

// One action at a time: a key pressed before the next file appears must not label it.
const act = async (action, body = {}, done = "") => {
  if (busy) return;
  busy = true;
  showError("");
  try {
    const result = await ask(action, body);
    multilabel = result.state.multilabel;
    if (result.item !== undefined) {
      if (action === "undo" && !result.item) done = "Nothing to undo.";
      else {
        if (action === "undo") setReview(result.item.label !== null);
        show(result.item);
      }
    }
    showState(result.state);
    if (done) showStatus(done);
  } catch (error) {
    showError(error instanceof TypeError ? "The server does not answer. Is texthead label still running?" : error.message);
  } finally {
    busy = false;
  }
};

// ---- the file

const element = (name, properties = {}) => Object.assign(document.createElement(name), properties);

const show = (next) => {
  item = next;
  shownAt = performance.now();
  $("typed").value = asked = "";
  marked = 0;
  chosen = new Set(multilabel && item ? item.classes : []);
  $("why").hidden = !(item && item.why);
  $("choose").hidden = !item;
  for (const id of ["skip", "bad"]) $(id).disabled = !item;
  $("skip").firstChild.textContent = review ? "Keep " : "Skip ";
  if (!item) {
    const text = review ? "Nothing is left to review." : "Every file has a label.";
    $("stage").replaceChildren(element("p", { textContent: text }));
    $("name").textContent = "";
    return;
  }
  $("why").textContent = item.why ? `Labelled ${item.label || "none"}: ${item.why}` : "";
  $("name").textContent = item.name;
  $("name").title = item.path;
  $("stage").replaceChildren(item.kind === "video" ? video(item) : picture(item));
  list();
};

const picture = (file) => {
  const small = `/preview/${file.key}`;
  const media = element("img", { alt: file.name, src: file.kind === "preview" ? small : `/media/${file.key}` });
  media.addEventListener("error", () => unplayable(media, small), { once: true });
  return media;
};

const video = (file) => {
  const media = element("video", { autoplay: true, muted: true, loop: !file.part, playsInline: true, controls: true });
  media.src = `/media/${file.key}`;
  media.tabIndex = -1;
  if (file.part) {
    const [start, end] = file.part;
    const again = () => { media.currentTime = start; media.play(); };
    media.addEventListener("loadedmetadata", again);
    media.addEventListener("ended", again);
    media.addEventListener("timeupdate", () => { if (end !== null && media.currentTime >= end) again(); });
  }
  const instead = () => unplayable(media, `/preview/${file.key}`);
  media.addEventListener("error", instead, { once: true });
  // Browsers play only the audio if they cannot decode the video.
  media.addEventListener("loadeddata", () => { if (!media.videoWidth) instead(); }, { once: true });
  return media;
};

const unplayable = (media, small) => {
  if (!media.isConnected) return;
  const preview = element("img", { alt: item.name, src: small });
  preview.addEventListener("error", () => {
    preview.replaceWith(element("p", { textContent: "This file cannot be shown. Mark it as bad, or skip it." }));
  }, { once: true });
  media.replaceWith(preview);
};

// ---- the classes

// Whether a few letters differ: one in names of four to seven letters, two in longer ones.
const isAlike = (one, other) => {
  const most = Math.min(2, Math.floor(Math.min(one.length, other.length) / 4));
  let row = [...other, ""].map((_, place) => place);
  for (const [i, letter] of [...one].entries()) {
    const next = [i + 1];
    for (const [j, theirs] of [...other].entries()) {
      next.push(Math.min(next[j] + 1, row[j + 1] + 1, row[j] + (letter !== theirs)));
    }
    row = next;
  }
  return row.at(-1) <= most;
};

const list = () => {
  const typed = $("typed").value.trim().replace(/\s+/g, " ");
  const wanted = typed.toLowerCase();
  choices = item ? item.guesses.filter((guess) => guess.name.toLowerCase().includes(wanted)) : [];
  if (wanted) {
    // Names that start with the text, then a new class, then names that contain it: "ship" is not "sailing ship".
    const rank = (name) => [name.toLowerCase() === wanted, name.toLowerCase().startsWith(wanted)].indexOf(true);
    const grouped = [0, 1, -1].map((fit) => choices.filter((guess) => rank(guess.name) === fit));
    const known = item && item.guesses.some((guess) => guess.name === typed);
    const others = item && !choices.length ? item.guesses : [];
    const alike = others.filter((guess) => isAlike(guess.name.toLowerCase(), wanted)).map((guess) => ({ ...guess, isAlike: true }));
    choices = [...grouped[0], ...grouped[1], ...(known ? [] : [{ name: typed, isNew: true }]), ...alike, ...grouped[2]];
  }
  marked = Math.min(marked, Math.max(0, choices.length - 1));
  $("choices").replaceChildren(...choices.map(choice));
  const selected = $("choices").children[marked];
  if (typed && selected) selected.scrollIntoView({ block: "nearest" });
  $("typed").setAttribute("aria-activedescendant", typed && selected ? selected.id : "");
  $("done").hidden = $("keys-several").hidden = !multilabel;
  $("keys-one").hidden = multilabel;
  $("choices").setAttribute("aria-multiselectable", String(multilabel));
  $("done").firstChild.textContent = [...chosen].sort().join("; ") || "None of these";
};

const choice = (guess, place) => {
  const row = element("li", { id: `choice-${place}` });
  row.setAttribute("role", "option");
  const isMarked = $("typed").value.trim() !== "" && place === marked;
  const isLabel = multilabel ? chosen.has(guess.name) : guess.name === item.label;
  row.setAttribute("aria-selected", String(multilabel ? isLabel : isMarked));
  row.classList.toggle("marked", isMarked);
  row.classList.toggle("is-label", isLabel);
  if (!$("typed").value && place < 9) row.append(element("kbd", { textContent: place + 1 }));
  row.append(element("span", { textContent: guess.isNew ? `new class: ${guess.name}` : guess.name }));
  if (!guess.isNew) {
    row.style.setProperty("--part", `${100 * guess.probability}%`);
    row.append(element("span", { className: "share", textContent: `${Math.round(100 * guess.probability)} %` }));
  }
  row.addEventListener("click", calmly(() => choose(guess)));
  return row;
};

const choose = (guess) => {
  if (!multilabel) {
    const known = guess.isNew ? [] : [guess.name];
    if (item) act("label", { key: item.key, label: guess.name, known }, `${item.name}: ${guess.name}`);
    return;
  }
  if (busy) return;
  if (!chosen.delete(guess.name)) chosen.add(guess.name);
  if (guess.isNew) item.guesses.push({ name: guess.name, probability: 0, wasTyped: true });
  $("typed").value = "";
  list();
};

// Enter takes what is marked; a new name that is much like a class is asked about first, with the class marked.
const enter = () => {
  const guess = choices[marked];
  if (!guess) return;
  if (guess.isNew && choices[marked + 1]?.isAlike && asked !== guess.name) {
    asked = guess.name;
    marked += 1;
    list();
    showStatus(`Did you mean ${choices[marked].name}? Enter: yes, \u2191 Enter: no, a new class.`);
  } else choose(guess);
};

const done = () => {
  if (!item) return;
  const classes = [...chosen].sort();
  const known = item.guesses.filter(({ name, wasTyped }) => chosen.has(name) && !wasTyped).map(({ name }) => name);
  act("label", { key: item.key, classes, known }, `${item.name}: ${classes.join("; ") || "none"}`);
};

const skip = () => item && act(review ? "keep" : "skip", { key: item.key }, review ? "Kept." : "Skipped.");

const bad = () => item && act("bad", { key: item.key }, `${item.name}: marked as bad`);

const undo = () => act("undo", {}, "Undone.");

const setReview = (wanted) => {
  review = wanted;
  $("mode-label").setAttribute("aria-pressed", String(!review));
  $("mode-review").setAttribute("aria-pressed", String(review));
};

const setMode = (wanted) => {
  setReview(wanted);
  act("next");
};

const calmly = (does) => () => { if (performance.now() - shownAt > CALM) does(); };

$("typed").addEventListener("input", () => {
  if ($("typed").value === "") clearedAt = performance.now();
  marked = 0;
  asked = "";
  list();
});
$("skip").addEventListener("click", calmly(skip));
$("bad").addEventListener("click", calmly(bad));
$("done").addEventListener("click", calmly(done));
$("undo").addEventListener("click", calmly(undo));
$("mode-label").addEventListener("click", () => setMode(false));
$("mode-review").addEventListener("click", () => setMode(true));

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const typed = $("typed").value;
  const onButton = document.activeElement instanceof HTMLButtonElement;
  const moves = { ArrowDown: 1, ArrowUp: -1 };
  const does = {
    F2: () => setMode(!review),
    Escape: () => { $("typed").value = ""; list(); },
    ...(typed === "" && {
      ...Object.fromEntries([1, 2, 3, 4, 5, 6, 7, 8, 9].map(
        (key) => [key, () => choices[key - 1] && choose(choices[key - 1])],
      )),
      ...(!onButton && { " ": skip, ...(multilabel && { Enter: done }) }),
      Delete: bad,
      Backspace: () => { if (performance.now() - clearedAt > CLEARED) undo(); else clearedAt = performance.now(); },
    }),
    ...(typed.trim() !== "" && !onButton && { Enter: enter }),
  }[event.key];
  // A key that is held down must not label several files.
  if (does && !(event.repeat && typed === "")) does();
  if (does) event.preventDefault();
  else if (moves[event.key] && typed) {
    marked = (marked + moves[event.key] + choices.length) % choices.length;
    list();
    event.preventDefault();
  } else if (event.key.length === 1 && item && document.activeElement !== $("typed")) $("typed").focus();
});

// ---- progress

const showState = (state) => {
  $("estimates").hidden = state.multilabel;
  $("labelled").textContent = state.labelled;
  $("files").textContent = state.files;
  $("bad-count").textContent = state.bad ? `, ${state.bad} bad` : "";
  $("review-count").textContent = state.review ? `(${state.review})` : "";
  $("undo").disabled = !state.undo;
  const classes = JSON.stringify(state.classes);
  if (classes !== $("classes").dataset.shown) $("classes").replaceChildren(...state.classes.map(({ name, count }) => {
    const row = element("li");
    const button = element("button", { textContent: name, title: "rename" });
    button.addEventListener("click", () => rename(name));
    row.append(button, element("span", { textContent: count }));
    return row;
  }));
  $("classes").dataset.shown = classes;
  $("train").textContent = state.train;
  showAccuracy(state);
};

const rename = (old) => {
  const wanted = window.prompt(`New name for "${old}"; the name of an existing class merges the two`, old);
  if (wanted && wanted.trim() && wanted !== old) act("rename", { old, new: wanted }, `${old}: renamed to ${wanted}`);
};

const showAccuracy = ({ curve, others }) => {
  const last = curve.at(-1);
  $("curve").toggleAttribute("hidden", !last);  // An SVG element has no property `hidden`.
  if (!last) {
    $("accuracy").textContent = "At least ten labels of two classes are needed.";
    $("others").textContent = "";
    return;
  }
  const round = (value) => value.toFixed(0);
  $("others").textContent = others === null || last.labels < ENOUGH ? "" : `Unlabelled files: about ${round(others)} % correct.`;
  $("accuracy").textContent = `${round(last.top1)} % (95 % CI ${round(last.low)} to ${round(last.high)}) of the ${last.labels} `
    + "labelled files, cross-validated. These were chosen because they are hard.";
  draw(curve);
};

const draw = (curve) => {
  const [left, right, top, bottom] = [28, 312, 8, 108];
  const most = Math.max(curve.at(-1).labels, 20);
  const x = (labels) => left + (right - left) * labels / most;
  const y = (percent) => bottom - (bottom - top) * percent / 100;
  const points = (key) => curve.map((at) => `${x(at.labels).toFixed(1)},${y(at[key]).toFixed(1)}`);
  const svg = (name, attributes, text = "") => {
    const part = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) part.setAttribute(key, value);
    part.textContent = text;
    return part;
  };
  const last = curve.at(-1);
  $("curve").replaceChildren(
    ...[0, 50, 100].flatMap((percent) => [
      svg("line", { class: "axis", x1: left, x2: right, y1: y(percent), y2: y(percent) }),
      svg("text", { x: left - 4, y: y(percent) + 3, "text-anchor": "end" }, percent),
    ]),
    svg("polygon", { class: "band", points: [...points("low"), ...points("high").reverse()].join(" ") }),
    svg("polyline", { class: "line", points: points("top1").join(" ") }),
    svg("circle", { class: "dot", cx: x(last.labels), cy: y(last.top1), r: 3.5 }),
    svg("text", { x: left, y: bottom + 16 }, "0 labels"),
    svg("text", { x: right, y: bottom + 16, "text-anchor": "end" }, most),
  );
};

const poll = async () => {
  try {
    showState((await ask("state")).state);
  } catch {
    // The next action reports what is wrong.
  }
  setTimeout(poll, 1500);
};

// Not on a phone, where it would open the keyboard.
if (matchMedia("(pointer: fine)").matches) $("typed").focus();
act("next").then(poll);
