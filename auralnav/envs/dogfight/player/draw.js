"use strict";
// A scene on a canvas: the same picture as render.py draws, from any place of the torus and at any zoom.

const HULL = [[1.75, 0], [-1.15, 1], [-0.6, 0], [-1.15, -1]];
const WRECK_SECONDS = 2.5;
const BLAST_SECONDS = 0.9;
const GRID_CELLS = 8;

function css([r, g, b], alpha = 1) {
  return `rgb(${r} ${g} ${b} / ${alpha})`;
}

/** Places shapes that are given in units of the world, at each edge of the torus that asks for it. */
class Painter {
  constructor(context, pixels, size, camera) {
    this.context = context;
    this.pixels = pixels;
    this.size = size;
    this.camera = camera;
    this.scale = (pixels / size) * camera.zoom;
    this.unit = pixels / 720;
  }

  /** Calls draw(x, y) in pixels for each visible copy of a point; `reach` is in units. */
  copies(x, y, reach, draw) {
    const half = this.size / 2 / this.camera.zoom + reach;
    const dx = wrap(x - this.camera.x, this.size);
    const dy = wrap(y - this.camera.y, this.size);
    for (const sx of [0, -this.size, this.size]) {
      if (Math.abs(dx + sx) > half) continue;
      for (const sy of [0, -this.size, this.size]) {
        if (Math.abs(dy + sy) > half) continue;
        draw(this.pixels / 2 + (dx + sx) * this.scale, this.pixels / 2 + (dy + sy) * this.scale);
      }
    }
  }

  shape(x, y, angle, radius, points, fill, edge = null) {
    const [cos, sin] = [Math.cos(angle) * radius * this.scale, Math.sin(angle) * radius * this.scale];
    this.copies(x, y, 5 * radius, (px, py) => {
      this.context.beginPath();
      for (const [a, b] of points) this.context.lineTo(px + a * cos - b * sin, py + a * sin + b * cos);
      this.context.closePath();
      this.context.fillStyle = fill;
      this.context.fill();
      if (edge === null) return;
      this.context.strokeStyle = edge;
      this.context.lineWidth = 1.2 * this.unit;
      this.context.stroke();
    });
  }

  line(x, y, [ax, ay], [bx, by], colour, width) {
    this.copies(x, y, Math.hypot(ax, ay) + Math.hypot(bx, by), (px, py) => {
      this.context.beginPath();
      this.context.moveTo(px + ax * this.scale, py + ay * this.scale);
      this.context.lineTo(px + bx * this.scale, py + by * this.scale);
      this.context.strokeStyle = colour;
      this.context.lineWidth = width * this.unit;
      this.context.stroke();
    });
  }

  disc(x, y, radius, fill, edge = null, width = 1.5) {
    this.copies(x, y, radius + 4, (px, py) => {
      this.context.beginPath();
      this.context.arc(px, py, radius * this.scale, 0, 2 * Math.PI);
      if (fill !== null) {
        this.context.fillStyle = fill;
        this.context.fill();
      }
      if (edge === null) return;
      this.context.strokeStyle = edge;
      this.context.lineWidth = width * this.unit;
      this.context.stroke();
    });
  }
}

function drawScene(context, pixels, replay, scene, camera, selected) {
  const paint = new Painter(context, pixels, replay.arena.size, camera);
  drawSky(paint, replay);
  for (const ship of scene.ships) if (ship.deadFor >= 0) drawWreck(paint, replay, ship);
  for (const bullet of scene.bullets) drawBullet(paint, replay, bullet);
  for (const ship of scene.ships) if (ship.deadFor < 0) drawShip(paint, replay, scene, ship, ship.index === selected);
  for (const flash of scene.flashes) drawFlash(paint, replay, flash);
  for (const ship of scene.ships) if (ship.deadFor < 0) drawBars(paint, replay, ship);
}

function drawSky(paint, replay) {
  const { context, pixels, size, scale } = paint;
  context.fillStyle = css(replay.palette.space);
  context.fillRect(0, 0, pixels, pixels);
  for (const [x, y, radius] of replay.stars) paint.disc(x * size, y * size, (0.4 + 0.8 * radius) * (size / 720), css(replay.palette.star));
  context.fillStyle = css(replay.palette.grid);
  const half = size / 2 / paint.camera.zoom;
  for (let cell = 0; cell < GRID_CELLS; cell++) {
    const line = (cell * size) / GRID_CELLS;
    const [dx, dy] = [wrap(line - paint.camera.x, size), wrap(line - paint.camera.y, size)];
    if (Math.abs(dx) <= half) context.fillRect(pixels / 2 + dx * scale, 0, paint.unit, pixels);
    if (Math.abs(dy) <= half) context.fillRect(0, pixels / 2 + dy * scale, pixels, paint.unit);
  }
}

function drawShip(paint, replay, scene, ship, chosen) {
  const { palette, arena } = replay;
  const { radius } = arena;
  const colour = palette.teams[ship.team];
  const { x, y, attitude } = ship;
  paint.disc(x, y, 2.1 * radius, css(colour, 0.07));
  if (chosen) paint.disc(x, y, 2.3 * radius, null, css(palette.ink, 0.8), 1.3);
  if (ship.power > 0) drawFlame(paint, palette, ship, radius, scene.tick);
  paint.shape(x, y, attitude, 1.15 * radius, HULL, css(colour), css(palette.ink, 0.82));
  if (scene.bullets.some((bullet) => bullet.owner === ship.index && bullet.age < 0.06)) {
    const tip = 1.75 * 1.3 * radius;
    paint.disc(x + tip * Math.cos(attitude), y + tip * Math.sin(attitude), 0.5 * radius, css(palette.ember, 0.92));
  }
}

function drawFlame(paint, palette, ship, radius, tick) {
  const flicker = 1 + 0.12 * Math.sin(2.1 * tick);
  const [power] = ship.action;
  if (power === 2) {
    for (const side of [-1, 1]) {
      const jet = [[0.55, 0.45 * side], [1.55 * flicker, 0.95 * side], [0.75, 0.85 * side]];
      paint.shape(ship.x, ship.y, ship.attitude, radius, jet, css(palette.flame, 0.75));
    }
    return;
  }
  const length = (power === 1 ? 2.6 : 0.75) * flicker;
  for (const [share, colour] of [[1, css(palette.flame, 0.78)], [0.55, css(palette.ember, 0.92)]]) {
    const wide = (power === 1 ? 0.52 : 0.34) * share;
    const flame = [[-0.75, wide], [-0.75 - length * share, 0], [-0.75, -wide]];
    paint.shape(ship.x, ship.y, ship.attitude, radius, flame, colour);
  }
}

function drawBullet(paint, replay, bullet) {
  const colour = replay.palette.light[bullet.team];
  const length = Math.min(bullet.age, 0.09);
  const parts = 6;
  for (let part = parts; part > 0; part--) {
    const [start, end] = [(-length * part) / parts, (-length * (part - 1)) / parts];
    const alpha = 0.67 * (1 - (part - 1) / parts) ** 1.6;
    paint.line(bullet.x, bullet.y, [bullet.vx * start, bullet.vy * start], [bullet.vx * end, bullet.vy * end], css(colour, alpha), 1.7);
  }
  paint.disc(bullet.x, bullet.y, 2.6, css(colour));
}

function drawFlash(paint, replay, flash) {
  const { palette } = replay;
  const share = flash.age / FLASH_SECONDS;
  paint.disc(flash.x, flash.y, 3 + 15 * share, null, css(palette.light[flash.team], 0.9 * (1 - share)), 1.8);
  if (share < 0.25) paint.disc(flash.x, flash.y, 6 * (1 - share), css(palette.ember, 0.9));
  for (let spark = 0; spark < 6; spark++) {
    const angle = spark * 1.047 + flash.x;
    const way = (length) => [length * Math.cos(angle), length * Math.sin(angle)];
    paint.line(flash.x, flash.y, way(5 + 18 * share), way(8 + 22 * share), css(palette.flame, 0.86 * (1 - share)), 1.4);
  }
}

function drawWreck(paint, replay, ship) {
  const { palette, arena } = replay;
  const { x, y, deadFor } = ship;
  if (deadFor < BLAST_SECONDS) {
    const share = deadFor / BLAST_SECONDS;
    const fade = 1 - share;
    paint.disc(x, y, arena.radius * (1 + 4.5 * share ** 0.5), css(palette.flame, 0.47 * fade ** 2));
    paint.disc(x, y, arena.radius * (1 + 6 * share ** 0.6), null, css(palette.teams[ship.team], 0.92 * fade), 2.4);
    for (let spark = 0; spark < 11; spark++) {
      const angle = spark * 2.4 + ship.index;
      const length = arena.radius * (1 + 0.35 * (spark % 4));
      const way = (much) => [much * length * Math.cos(angle), much * length * Math.sin(angle)];
      paint.line(x, y, way(1 + 3 * share), way(1.5 + 4 * share), css(palette.ember, 0.9 * fade), 1.6);
    }
  }
  if (deadFor < WRECK_SECONDS) {
    const alpha = 0.78 * (1 - deadFor / WRECK_SECONDS);
    const [fill, edge] = [css(palette.wreck, alpha / 2), css(palette.wreck, alpha)];
    paint.shape(x, y, ship.attitude, 1.15 * arena.radius, HULL, fill, edge);
  }
}

function healthColour(palette, share) {
  return css(share > 0.6 ? palette.healthy : share > 0.3 ? palette.hurt : palette.dying);
}

function drawBars(paint, replay, ship) {
  const { context, unit: u } = paint;
  const { palette, arena } = replay;
  const health = ship.health / arena.max_health;
  const power = ship.power / arena.max_power;
  paint.copies(ship.x, ship.y, 4 * arena.radius, (x, y) => {
    const left = x - 14 * u;
    let top = y + 2.3 * arena.radius * paint.scale;
    for (const [share, thick, colour] of [[health, 3.2, healthColour(palette, health)], [power, 2, css(palette.power)]]) {
      context.fillStyle = css(palette.track, 0.78);
      context.fillRect(left, top, 28 * u, thick * u);
      context.fillStyle = colour;
      context.fillRect(left, top, 28 * u * share, thick * u);
      top += (thick + 1.2) * u;
    }
    context.fillStyle = css(palette.light[ship.team]);
    context.font = `${Math.round(11 * u)}px system-ui, sans-serif`;
    context.textAlign = "right";
    context.textBaseline = "middle";
    context.fillText(String(ship.index + 1), left - 4 * u, top - 4.5 * u);
  });
}
