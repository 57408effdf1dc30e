"use strict";
// The page: keys, buttons, timeline, the panel of ships, and the loop that plays.

const SPEEDS = [0.1, 0.25, 0.5, 1, 2, 4];
const FOLLOW_ZOOM = 1.8;
const AFTERMATH_SECONDS = 1.5;
const POWER = ["coast", "boost", "reverse"];
const TURN = ["straight", "left", "right", "sharp left", "sharp right", "brake", "sharp brake"];

const get = (id) => document.getElementById(id);
const replay = unpack(JSON.parse(get("replay").textContent));
const view = { tick: 0, playing: false, speed: 1, selected: -1, follow: false, before: 0, pixels: 0 };
const rows = [];

function make(parent, tag, name = "", text = "") {
  const node = document.createElement(tag);
  if (name) node.className = name;
  node.textContent = text;
  parent.append(node);
  return node;
}

function actionWords([power, turn, shoot]) {
  return [POWER[power], ...(turn ? [TURN[turn]] : []), ...(shoot ? ["fire"] : [])].join(", ");
}

function buildPanel() {
  const { palette } = replay;
  for (const name of ["space", "panel", "line", "ink", "soft_ink", "track"]) {
    document.documentElement.style.setProperty(`--${name}`, css(palette[name]));
  }
  for (const team of [0, 1]) {
    if (!replay.team.includes(team)) continue;
    const box = make(get("teams"), "div", "team");
    box.style.setProperty("--team", css(palette.teams[team]));
    const title = make(box, "h2");
    make(title, "span", "", replay.sides[team]);
    const alive = make(title, "span");
    const tally = make(box, "div", "soft");
    rows.push({ team, alive, tally, ships: [] });
    replay.team.forEach((side, index) => {
      if (side !== team) return;
      const row = make(box, "button", "ship");
      row.title = replay.names[index];
      row.dataset.ship = String(index + 1);
      make(row, "i", "", String(index + 1));
      const health = make(make(row, "div", "bar"), "span");
      const points = make(row, "b");
      const power = make(make(row, "div", "bar power"), "span");
      const charge = make(row, "b", "soft");
      power.style.background = css(palette.power);
      row.addEventListener("click", () => select(view.selected === index ? -1 : index));
      rows.at(-1).ships.push({ index, row, health, points, power, charge });
    });
  }
  const facts = { result: replay.result, seed: replay.seed ?? "not known", seconds: (replay.last * replay.arena.tick_seconds).toFixed(2) };
  for (const [key, value] of Object.entries({ ...facts, ...replay.settings, ...replay.versions })) {
    make(get("facts"), "dt", "", key);
    make(get("facts"), "dd", "", String(value));
  }
  for (const speed of SPEEDS) make(get("speed"), "option", "", `${speed}×`).value = String(speed);
  get("scrub").max = String(replay.last);
}

function showPanel(scene) {
  const { arena, palette } = replay;
  get("seconds").textContent = `${(scene.tick * arena.tick_seconds).toFixed(1)} s`;
  get("tick").textContent = `tick ${Math.floor(scene.tick)} of ${replay.last}`;
  get("scrub").value = String(Math.floor(scene.tick));
  get("banner").hidden = !scene.result;
  get("banner").textContent = scene.result;
  for (const { alive, tally, ships } of rows) {
    const states = ships.map(({ index }) => scene.ships[index]);
    const sum = (key) => states.reduce((total, ship) => total + ship[key], 0);
    alive.textContent = `${states.filter((ship) => ship.deadFor < 0).length} of ${ships.length} alive`;
    tally.textContent = `${sum("hits")} hits of ${sum("shots")} shots`;
    for (const { index, row, health, points, power, charge } of ships) {
      const ship = scene.ships[index];
      const dead = ship.deadFor >= 0;
      const share = ship.health / arena.max_health;
      row.classList.toggle("dead", dead);
      row.setAttribute("aria-pressed", String(index === view.selected));
      health.style.transform = `scaleX(${share})`;
      health.style.background = healthColour(palette, share);
      points.textContent = dead ? "✕" : ship.health.toFixed(0);
      power.style.transform = `scaleX(${dead ? 0 : ship.power / arena.max_power})`;
      charge.textContent = dead ? "" : ship.power.toFixed(0);
    }
  }
  showDetail(scene);
}

function showDetail(scene) {
  const ship = scene.ships[view.selected];
  get("numbers").replaceChildren();
  get("hint").hidden = ship !== undefined;
  get("follow").disabled = ship === undefined;
  get("follow").setAttribute("aria-pressed", String(view.follow && ship !== undefined));
  get("chosen").textContent = ship === undefined ? "no ship selected" : `ship ${ship.index + 1} · ${replay.names[ship.index]}`;
  if (ship === undefined) return;
  const degrees = onTorus((ship.attitude * 180) / Math.PI, 360);
  const numbers = {
    position: `${ship.x.toFixed(1)}, ${ship.y.toFixed(1)}`,
    speed: `${ship.speed.toFixed(1)} u/s`,
    attitude: `${degrees.toFixed(1)}°`,
    health: ship.health.toFixed(0),
    power: ship.power.toFixed(1),
    action: ship.deadFor < 0 ? actionWords(ship.action) : `shot down ${ship.deadFor.toFixed(1)} s ago`,
    hits: `${ship.hits} of ${ship.shots} shots`,
  };
  for (const [key, value] of Object.entries(numbers)) {
    make(get("numbers"), "dt", "", key);
    make(get("numbers"), "dd", "", value).id = `ship-${key}`;
  }
}

function camera(scene) {
  const ship = view.follow ? scene.ships[view.selected] : undefined;
  const middle = replay.arena.size / 2;
  return ship === undefined ? { x: middle, y: middle, zoom: 1 } : { x: ship.x, y: ship.y, zoom: FOLLOW_ZOOM };
}

function show() {
  const scene = sceneAt(replay, view.tick);
  drawScene(get("map").getContext("2d"), view.pixels, replay, scene, camera(scene), view.selected);
  showPanel(scene);
  get("playing").setAttribute("d", view.playing ? "M3 2h3v12H3zM10 2h3v12h-3z" : "M3 1v14l11-7z");
}

/** Hits as strokes and kills as crosses above the timeline, in the colour of who shot. */
function drawMarks() {
  const canvas = get("marks");
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(canvas.clientWidth * ratio);
  canvas.height = Math.round(canvas.clientHeight * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  // A slider's thumb moves from half its width after the left edge to as far before the right one.
  const thumb = 16;
  const x = (tick) => thumb / 2 + ((canvas.clientWidth - thumb) * tick) / Math.max(1, replay.last);
  const { owner, end, fate } = replay.bullets;
  for (let k = 0; k < replay.shots; k++) {
    if (fate[k] !== HIT) continue;
    context.fillStyle = css(replay.palette.teams[replay.team[owner[k]]], 0.75);
    context.fillRect(x(end[k]) - 0.75, 11, 1.5, 7);
  }
  replay.death.forEach((tick, ship) => {
    if (tick < 0) return;
    const shooter = replay.killer[ship];
    context.strokeStyle = css(shooter < 0 ? replay.palette.soft_ink : replay.palette.teams[replay.team[shooter]]);
    context.lineWidth = 2;
    for (const sign of [-1, 1]) {
      context.beginPath();
      context.moveTo(x(tick) - 4, 5 - 4 * sign);
      context.lineTo(x(tick) + 4, 5 + 4 * sign);
      context.stroke();
    }
  });
}

function resize() {
  const canvas = get("map");
  const room = Math.max(200, Math.min(get("stage").clientWidth, get("stage").clientHeight) - 2);
  view.pixels = Math.round(room * (window.devicePixelRatio || 1));
  canvas.width = canvas.height = view.pixels;
  canvas.style.width = canvas.style.height = `${room}px`;
  drawMarks();
  show();
}

function go(tick) {
  view.tick = Math.min(Math.max(tick, 0), replay.last);
  show();
}

function step(ticks) {
  view.playing = false;
  go(ticks > 0 ? Math.floor(Math.min(view.tick, replay.last)) + ticks : Math.ceil(Math.min(view.tick, replay.last)) + ticks);
}

function toggle() {
  view.playing = !view.playing;
  if (view.playing && view.tick >= replay.last) view.tick = 0;
  view.before = performance.now();
  if (view.playing) requestAnimationFrame(advance);
  show();
}

function advance(now) {
  if (!view.playing) return;
  const end = replay.last + AFTERMATH_SECONDS / replay.arena.tick_seconds;
  view.tick = Math.min(end, view.tick + ((now - view.before) / 1000 / replay.arena.tick_seconds) * view.speed);
  view.before = now;
  if (view.tick >= end) view.playing = false;
  show();
  if (view.playing) requestAnimationFrame(advance);
}

function select(ship) {
  view.selected = ship < replay.ships ? ship : view.selected;
  if (view.selected < 0) view.follow = false;
  show();
}

function follow() {
  view.follow = view.selected >= 0 && !view.follow;
  show();
}

function setSpeed(speed) {
  view.speed = speed;
  get("speed").value = String(speed);
}

function shiftSpeed(by) {
  const index = SPEEDS.indexOf(view.speed) + by;
  setSpeed(SPEEDS[Math.min(Math.max(index, 0), SPEEDS.length - 1)]);
}

function listen() {
  const second = Math.round(1 / replay.arena.tick_seconds);
  const keys = {
    " ": toggle,
    Home: () => step(-Infinity),
    End: () => step(Infinity),
    ArrowLeft: (event) => step(event.shiftKey ? -second : -replay.arena.action_repeat),
    ArrowRight: (event) => step(event.shiftKey ? second : replay.arena.action_repeat),
    ",": () => step(-1),
    ".": () => step(1),
    ArrowUp: () => shiftSpeed(1),
    ArrowDown: () => shiftSpeed(-1),
    f: follow,
    F: follow,
    Escape: () => select(-1),
    0: () => select(-1),
  };
  for (let ship = 0; ship < replay.ships; ship++) keys[ship + 1] = () => select(ship);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
    event.preventDefault();
    keys[event.key](event);
  });
  // Space on a button that has the focus would press it when it is released.
  document.addEventListener("keyup", (event) => event.key === " " && event.preventDefault());
  const clicks = { start: keys.Home, back: () => step(-replay.arena.action_repeat), play: toggle, forth: () => step(replay.arena.action_repeat), finish: keys.End, follow };
  for (const [id, act] of Object.entries(clicks)) get(id).addEventListener("click", act);
  get("scrub").addEventListener("input", () => {
    view.playing = false;
    go(Number(get("scrub").value));
  });
  get("speed").addEventListener("change", () => setSpeed(Number(get("speed").value)));
  get("map").addEventListener("click", (event) => {
    const scene = sceneAt(replay, view.tick);
    const eye = camera(scene);
    const { size, radius } = replay.arena;
    const units = size / eye.zoom / get("map").clientWidth;
    const away = (ship) => Math.hypot(
      wrap(eye.x + (event.offsetX - get("map").clientWidth / 2) * units - ship.x, size),
      wrap(eye.y + (event.offsetY - get("map").clientHeight / 2) * units - ship.y, size),
    );
    const near = scene.ships.filter((ship) => away(ship) < 3 * radius).sort((a, b) => away(a) - away(b));
    select(near.length ? near[0].index : -1);
  });
  window.addEventListener("resize", resize);
}

buildPanel();
listen();
setSpeed(1);
resize();
