
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const list = byId("cards");
  const cards = [...list.children];
  const tools = byId("tools").elements;
  const slowdown = Number(list.dataset.slowdown); // of the sound, against the recording
  const player = new Audio();
  let current = null; // the card whose sound is loaded in the player

  // Filter and sort

  const number = (card, name) => Number(card.dataset[name]);
  const labelsOf = new Map(cards.map((card) => [card, JSON.parse(card.dataset.labels)]));
  const textOf = new Map(cards.map((card) => [
    card, [card.dataset.file, ...labelsOf.get(card)].join("\n").toLowerCase(),
  ]));
  const byText = new Intl.Collator("en", { numeric: true }).compare;
  const byTurn = (a, b) => number(a, "turn") - number(b, "turn");
  const byFile = (a, b) => byText(a.dataset.file, b.dataset.file) || number(a, "at") - number(b, "at");
  const score = (card) => Number(card.dataset.score ?? -1e9); // cards without one are at one end
  const firstLabel = (card) => labelsOf.get(card)[0] ?? "\uffff"; // cards without a label sort last
  const orders = {
    chosen: byTurn,
    file: byFile,
    label: (a, b) => byText(firstLabel(a), firstLabel(b)) || byFile(a, b),
    loud: (a, b) => number(b, "rms") - number(a, "rms"),
    quiet: (a, b) => number(a, "rms") - number(b, "rms"),
    score: (a, b) => score(b) - score(a),
    doubt: (a, b) => score(a) - score(b),
    peak: (a, b) => number(b, "peak") - number(a, "peak") || number(b, "clipped") - number(a, "clipped"),
  };

  function fits(card, level) {
    const band = level.match(/^(.+) to (.+)$/);
    if (band) return number(card, "rms") >= Number(band[1]) && number(card, "rms") < Number(band[2]);
    return card.dataset.flags.split(" ").includes(level);
  }

  function filter() {
    const words = tools.find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const label = tools.label?.value;
    const level = tools.level.value;
    let shown = 0;
    for (const card of cards) {
      const has = words.every((word) => textOf.get(card).includes(word))
        && (!label || (label === "none" ? !labelsOf.get(card).length : labelsOf.get(card).includes(label.slice(1))))
        && (!level || fits(card, level));
      card.hidden = !has;
      shown += has;
    }
    if (current?.hidden) stop();
    const all = `${cards.length.toLocaleString("en")} window${cards.length === 1 ? "" : "s"}`;
    byId("count").value = shown === cards.length ? all : `${shown.toLocaleString("en")} of ${all}`;
    byId("none").hidden = shown > 0;
  }

  function sort() {
    cards.sort(orders[tools.sort.value]);
    list.append(...cards);
  }

  tools.find.addEventListener("input", filter);
  for (const name of ["label", "level"]) tools[name]?.addEventListener("change", filter);
  tools.sort.addEventListener("change", sort);
  byId("tools").addEventListener("submit", (event) => event.preventDefault());
  byId("reset").addEventListener("click", () => {
    byId("tools").reset();
    sort();
    filter();
    tools.find.focus();
  });

  // Play

  function sound(card) {
    const holder = byId(`sound-${card.dataset.turn}`);
    if (!holder) return null; // the page has no sound, or the browser has not parsed this one yet
    const bytes = Uint8Array.from(atob(holder.textContent), (character) => character.charCodeAt(0));
    return URL.createObjectURL(new Blob([bytes], { type: holder.dataset.type }));
  }

  function show() {
    if (!current) return;
    const playing = !player.paused && !player.ended;
    const button = current.querySelector(".play");
    button.querySelector("use").setAttribute("href", playing ? "#i-pause" : "#i-play");
    button.setAttribute("aria-label", button.getAttribute("aria-label").replace(/^\w+/, playing ? "Pause" : "Play"));
    current.classList.toggle("on", playing);
    const head = current.querySelector(".head");
    head.hidden = player.ended || (!playing && !player.currentTime);
    const length = number(current, "length") * slowdown;
    head.style.transform = `translateX(${100 * Math.min(1, player.currentTime / length)}%)`;
    if (playing) requestAnimationFrame(show);
  }

  function stop() {
    player.pause();
    if (!current) return;
    const url = player.src;
    player.removeAttribute("src");
    player.load(); // so that it stops fetching before the URL is revoked
    show();
    URL.revokeObjectURL(url);
    current = null;
  }

  function play(card, at) {
    if (card !== current) {
      const url = sound(card);
      stop();
      if (!url) return;
      player.src = url;
      current = card;
    }
    if (at !== undefined) player.currentTime = at * slowdown;
    player.play().catch(() => {}); // rejected if another window is played before this one starts
  }

  const toggle = (card) => (card === current && !player.paused ? player.pause() : play(card));
  for (const event of ["play", "pause", "ended", "seeked"]) player.addEventListener(event, show);

  list.addEventListener("click", (event) => {
    const card = event.target.closest(".card");
    if (event.target.closest(".play")) toggle(card);
    const view = event.target.closest(".view");
    if (view) {
      const box = view.getBoundingClientRect();
      play(card, ((event.clientX - box.left) / box.width) * number(card, "length"));
      card.querySelector(".play")?.focus({ preventScroll: true });
    }
  });

  // Tick, and save what is ticked as annotations

  const ticked = () => list.querySelectorAll(".pick:checked, .tick:checked").length;
  let unsaved = false;

  function rowsOf(card) {
    const labels = new Set([...card.querySelectorAll(".tick:checked")].map((tick) => tick.value));
    const rows = JSON.parse(card.dataset.events).filter((row) => labels.has(row[2]));
    if (card.querySelector(".pick").checked) {
      rows.push([number(card, "at"), number(card, "stop"), tools.mark.value.trim(), null, null, null]);
    }
    return rows.map((row) => [card.dataset.file, ...row]);
  }

  function csv(rows) {
    const cell = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
    return rows.map((row) => row.map((value) => cell(String(value ?? ""))).join(",")).join("\n") + "\n";
  }

  function save() {
    const names = ["file", "start_s", "end_s", "label", "low_hz", "high_hz", "score"];
    const rows = [...cards].sort(byFile).flatMap(rowsOf);
    const once = new Map(rows.map((row) => [row.join("\n"), row])); // windows may overlap
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv([names, ...once.values()])], { type: "text/csv" }));
    link.download = "annotations.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // some browsers read it later
    unsaved = false;
  }

  function showTicks() {
    const count = ticked();
    byId("save").disabled = !count;
    byId("save").textContent = count ? `Save ${count.toLocaleString("en")} ticked` : "Save ticked";
  }

  list.addEventListener("change", () => {
    unsaved = true;
    showTicks();
  });
  byId("save").addEventListener("click", save);
  addEventListener("beforeunload", (event) => {
    if (unsaved && ticked()) event.preventDefault(); // the browser asks whether to leave
  });

  // Keys

  function move(step) {
    const shown = cards.filter((card) => !card.hidden);
    if (!shown.length) return;
    const here = shown.indexOf(document.activeElement?.closest(".card") ?? current);
    const to = here < 0 ? (step < 0 ? shown.length - 1 : 0) : here + step;
    const card = shown[Math.max(0, Math.min(shown.length - 1, to))];
    const playing = current && !player.paused;
    card.querySelector("button, .what").focus();
    card.scrollIntoView({ block: "nearest" });
    if (playing && card !== current) play(card, 0);
  }

  const columns = () => getComputedStyle(list).gridTemplateColumns.split(" ").length;
  const anywhere = {
    j: () => move(1),
    k: () => move(-1),
    "/": () => tools.find.focus(),
    t: () => (document.activeElement?.closest(".card") ?? current)?.querySelector(".pick").click(),
    "?": () => byId("help").showModal(),
    ",": () => { if (current) player.currentTime = Math.max(0, player.currentTime - 0.5); },
    ".": () => { if (current) player.currentTime += 0.5; },
  };
  const amongCards = {
    ArrowRight: () => move(1),
    ArrowLeft: () => move(-1),
    ArrowDown: () => move(columns()),
    ArrowUp: () => move(-columns()),
    Home: () => move(-Infinity),
    End: () => move(Infinity),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("dialog")) return;
    if (event.target === tools.find && event.key === "Escape") {
      tools.find.value = "";
      filter();
      tools.find.blur();
    }
    if (event.target.closest("input:not([type=checkbox]), select")) return;
    if (event.key === " " && !event.target.closest("button, a, input") && current) {
      event.preventDefault();
      toggle(current);
      return;
    }
    const act = anywhere[event.key.toLowerCase()] ?? (event.target.closest(".card") && amongCards[event.key]);
    if (act) {
      event.preventDefault();
      act();
    }
  });
  byId("keys").addEventListener("click", anywhere["?"]);

  if (tools.sort.value !== "chosen") sort(); // after a reload the form keeps its values
  filter();
  showTicks();
})();
