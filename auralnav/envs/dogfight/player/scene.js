"use strict";
// The replay of the page's data block, and what it shows at a moment: the same arena as scene.py.

const HIT = 2;
const FLASH_SECONDS = 0.5;

/** Whole numbers of a base64 block as typed array (little-endian, like every machine with a browser). */
function decode(block, Type) {
  const bytes = Uint8Array.from(atob(block), (letter) => letter.charCodeAt(0));
  return new Type(bytes.buffer);
}

/** The data block with its arrays unpacked; what is stored in steps comes out in units. */
function unpack(data) {
  const types = { u1: Uint8Array, i1: Int8Array, u2: Uint16Array, i2: Int16Array, i4: Int32Array };
  const arrays = (packed) => {
    const out = {};
    for (const [name, { type, step, block }] of Object.entries(packed)) {
      const whole = decode(block, types[type]);
      out[name] = step === null ? whole : Float64Array.from(whole, (value) => value * step);
    }
    return out;
  };
  const replay = { ...data, ...arrays(data.frames), bullets: arrays(data.bullets) };
  replay.ships = data.names.length;
  replay.count = replay.tick.length;
  replay.last = replay.tick[replay.count - 1];
  replay.shots = replay.bullets.owner.length;
  return replay;
}

function wrap(difference, size) {
  const moved = (difference + size / 2) % size;
  return (moved < 0 ? moved + size : moved) - size / 2;
}

function onTorus(value, size) {
  return ((value % size) + size) % size;
}

/** Index of the last frame that is not after `tick`. */
function frameBefore(replay, tick) {
  let low = 0;
  let high = replay.count - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (replay.tick[middle] <= tick) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Ships, bullets in flight and fresh hits at a moment in ticks; between frames as scene.py has it. */
function sceneAt(replay, tick) {
  const { size, tick_seconds: dt } = replay.arena;
  const now = Math.min(Math.max(tick, replay.tick[0]), replay.last);
  const f = frameBefore(replay, now);
  const g = Math.min(f + 1, replay.count - 1);
  const span = replay.tick[g] - replay.tick[f];
  const u = span ? (now - replay.tick[f]) / span : 0;
  const held = u > 0 ? g : f;
  const ships = [];
  for (let i = 0; i < replay.ships; i++) {
    const a = f * replay.ships + i;
    const b = g * replay.ships + i;
    const death = replay.death[i];
    const dead = death >= 0 && death <= now;
    const wreck = replay.health[a] <= 0 && replay.health[b] <= 0;
    const place = [0, 1].map((axis) => {
      const start = replay.position[2 * a + axis];
      const way = wrap(replay.position[2 * b + axis] - start, size);
      const seconds = span * dt;
      const hermite =
        u * (1 - u) ** 2 * seconds * replay.velocity[2 * a + axis] +
        u ** 2 * (3 - 2 * u) * way -
        u ** 2 * (1 - u) * seconds * replay.velocity[2 * b + axis];
      return onTorus(start + (wreck ? u * way : hermite), size);
    });
    const velocity = [0, 1].map((k) => (1 - u) * replay.velocity[2 * a + k] + u * replay.velocity[2 * b + k]);
    const turn = wrap(replay.attitude[b] - replay.attitude[a], 2 * Math.PI);
    ships.push({
      index: i,
      team: replay.team[i],
      x: place[0],
      y: place[1],
      vx: velocity[0],
      vy: velocity[1],
      speed: Math.hypot(...velocity),
      attitude: replay.attitude[a] + u * turn,
      health: dead ? 0 : replay.health[a],
      power: (1 - u) * replay.power[a] + u * replay.power[b],
      action: Array.from(replay.action.subarray(3 * (held * replay.ships + i), 3 * (held * replay.ships + i) + 3)),
      deadFor: dead ? (Math.max(tick, now) - death) * dt : -1,
      shots: 0,
      hits: 0,
    });
  }
  const { owner, born, end, fate, victim, position, velocity } = replay.bullets;
  const bullets = [];
  const flashes = [];
  for (let k = 0; k < replay.shots && born[k] <= now; k++) {
    const at = (age) => [0, 1].map((axis) => onTorus(position[2 * k + axis] + age * velocity[2 * k + axis], size));
    const shooter = ships[owner[k]];
    const landed = fate[k] === HIT && end[k] <= now;
    shooter.shots += 1;
    if (landed && replay.team[victim[k]] !== shooter.team) shooter.hits += 1;
    const [vx, vy] = [velocity[2 * k], velocity[2 * k + 1]];
    const age = (now - born[k]) * dt;
    if (!landed && now <= end[k]) {
      const [x, y] = at(age);
      bullets.push({ x, y, vx, vy, age, owner: owner[k], team: shooter.team });
    }
    const since = (Math.max(tick, now) - end[k]) * dt;
    if (landed && since < FLASH_SECONDS) {
      const [x, y] = at((end[k] - born[k]) * dt);
      flashes.push({ x, y, age: since, team: shooter.team });
    }
  }
  const over = replay.finished && now >= replay.last;
  return { tick: now, ships, bullets, flashes, result: over ? replay.result : "" };
}
