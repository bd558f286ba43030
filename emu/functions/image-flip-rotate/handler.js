"use strict";

/* Flips and rotates a picture in five ways at once and saves the results, with sharp (libvips). */

const fs = require("fs");
const os = require("os");
const path = require("path");
const sharp = require("sharp");

const DATA = process.env.FUNCTION_DATA;
sharp.concurrency(Number(process.env.FUNCTION_CPUS));

const STEPS = {
  "flip-top-bottom": (image) => image.flip(),
  "flip-left-right": (image) => image.flop(),
  "rotate-90": (image) => image.rotate(90),
  "rotate-180": (image) => image.rotate(180),
  "rotate-270": (image) => image.rotate(270),
};

async function handle({ image }) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "image-flip-rotate-"));
  const names = Object.keys(STEPS);
  const source = path.join(DATA, `${image}.jpg`);
  await Promise.all(names.map((name) => STEPS[name](sharp(source)).toFile(path.join(folder, `${name}.jpg`))));
  return { folder, names };
}

/* Sizes and mean levels of red, green and blue of what was saved, which is then removed. */
async function describe({ folder, names }) {
  const described = {};
  for (const name of names) {
    const file = path.join(folder, `${name}.jpg`);
    const { data, info } = await sharp(file).raw().toBuffer({ resolveWithObject: true });
    described[name] = {
      size: [info.width, info.height],
      mean: means(data, info, info.width, info.height),
      // The corner tells the flips and rotations apart; the means do not.
      corner: means(data, info, info.width >> 3, info.height >> 3),
    };
  }
  fs.rmSync(folder, { recursive: true });
  return described;
}

function means(data, { width: stride, channels }, width, height) {
  const sums = new Array(channels).fill(0);
  for (let y = 0; y < height; y++) {
    for (let i = y * stride * channels; i < (y * stride + width) * channels; i++) sums[i % channels] += data[i];
  }
  return sums.map((sum) => Math.round((100 * sum) / (width * height)) / 100);
}

module.exports = { handle, describe };
