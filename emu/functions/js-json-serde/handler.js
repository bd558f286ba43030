"use strict";

/* Reads a file of JSON and writes it again, indented. */

const crypto = require("crypto");
const fs = require("fs").promises;
const path = require("path");

const DATA = process.env.FUNCTION_DATA;

async function handle({ file }) {
  const parsed = JSON.parse(await fs.readFile(path.join(DATA, `${file}.json`), "utf8"));
  return { parsed, text: JSON.stringify(parsed, null, 4) };
}

function describe({ parsed, text }) {
  return {
    records: parsed.length,
    bytes: text.length,
    sha256: crypto.createHash("sha256").update(text).digest("hex"),
  };
}

module.exports = { handle, describe };
