"use strict";

/* Encrypts and decrypts a message again and again, with AES-128 in counter mode of Node's own library. */

const crypto = require("crypto");

const KEY = Buffer.from(Array.from({ length: 16 }, (_, i) => i));
const COUNTER = Buffer.alloc(16);
const LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789";

/* The same message for the same length, where the published function draws another each time. */
function message(length) {
  let state = length;
  let text = "";
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    text += LETTERS[(state >>> 16) % LETTERS.length];
  }
  return text;
}

function handle({ length, iterations }) {
  const plain = message(length);
  let encrypted = "";
  let decrypted = "";
  for (let i = 0; i < iterations; i++) {
    const cipher = crypto.createCipheriv("aes-128-ctr", KEY, COUNTER);
    encrypted = cipher.update(plain, "utf8", "hex") + cipher.final("hex");
    const decipher = crypto.createDecipheriv("aes-128-ctr", KEY, COUNTER);
    decrypted = decipher.update(encrypted, "hex", "utf8") + decipher.final("utf8");
  }
  return { plain, encrypted, decrypted };
}

function describe({ plain, encrypted, decrypted }) {
  const bytes = Buffer.from(encrypted, "hex");
  return {
    bytes: bytes.length,
    sha256: crypto.createHash("sha256").update(bytes).digest("hex"),
    round_trip: decrypted === plain,
  };
}

module.exports = { handle, describe };
