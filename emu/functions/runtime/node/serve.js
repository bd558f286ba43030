"use strict";

/*
 * Serves one function: requests as lines of JSON on one descriptor, answers on another. The protocol is that of
 * runtime/python/serve.py.
 *
 * Node cannot duplicate a descriptor, so a protocol socket stays at 0, which Node itself does not touch unless
 * process.stdin is asked for; 1 becomes /dev/null, and what JavaScript prints goes to standard error. With two
 * pipes, the one for answers is opened anew through /proc and the old one closed.
 *
 * Between requests the main thread is in a single read(2) of the protocol, outside of the event loop, and the
 * process holds:
 *
 *     0   the protocol          1   /dev/null          2   standard error
 *     and what Node opens for itself before it runs any script: epoll, eventfd and pipes of its event loops.
 *
 * A handler is a module with `handle(input)`, perhaps asynchronous, which is timed, and perhaps `describe(result)`,
 * which turns its result into something small that can be checked and is not timed.
 */

const fs = require("fs");

function options() {
  const found = {};
  for (let i = 2; i + 1 < process.argv.length; i += 2) found[process.argv[i].replace(/^--/, "")] = process.argv[i + 1];
  if (!found.name || !found.handler) throw new Error("usage: serve.js --name NAME --handler FILE");
  return found;
}

/* Keeps libraries from reading or writing the protocol; returns where it is. */
function moveProtocol() {
  const [input, output] = [fs.fstatSync(0), fs.fstatSync(1)];
  const same = input.isSocket() && input.ino === output.ino && input.dev === output.dev;
  const protocol = { reading: 0, writing: same ? 0 : fs.openSync("/proc/self/fd/1", "w") };
  fs.closeSync(1);
  const nothing = fs.openSync("/dev/null", "w"); // the lowest free descriptor, which is 1
  if (nothing !== 1) throw new Error(`descriptor 1 was not free, got ${nothing}`);
  Object.defineProperty(process, "stdout", { get: () => process.stderr });
  Object.defineProperty(process, "stdin", { get: () => undefined });
  globalThis.console = new console.Console(process.stderr);
  return protocol;
}

class Channel {
  constructor({ reading, writing }) {
    this.reading = reading;
    this.writing = writing;
    this.rest = Buffer.alloc(0);
    this.piece = Buffer.alloc(1 << 16);
  }

  /* The next line, or null at the end. Blocks the whole main thread. */
  line() {
    for (;;) {
      const end = this.rest.indexOf(10);
      if (end >= 0) {
        const line = this.rest.subarray(0, end).toString();
        this.rest = this.rest.subarray(end + 1);
        return line;
      }
      const count = fs.readSync(this.reading, this.piece, 0, this.piece.length, null);
      if (count === 0) return null;
      this.rest = Buffer.concat([this.rest, this.piece.subarray(0, count)]);
    }
  }

  send(message) {
    let data = Buffer.from(JSON.stringify(message) + "\n");
    while (data.length > 0) data = data.subarray(fs.writeSync(this.writing, data));
  }
}

/* The answer to a request; whatever goes wrong with it is an answer too. */
async function answer(handler, line) {
  let id = null;
  try {
    const request = JSON.parse(line);
    if (request === null || typeof request !== "object") throw new TypeError("a request is an object");
    if (request.id !== undefined) id = request.id;
    if (request.input === undefined) throw new TypeError("a request has an input");
    const start = process.hrtime.bigint();
    const result = await handler.handle(request.input);
    const us = Number((process.hrtime.bigint() - start) / 1000n);
    return { id, ok: true, output: handler.describe ? await handler.describe(result) : result, us };
  } catch (error) {
    return { id, ok: false, error: String(error) };
  }
}

async function main() {
  const { name, handler: file } = options();
  const channel = new Channel(moveProtocol());
  const handler = require(file);
  const threads = fs.readdirSync("/proc/self/task").length;
  channel.send({ ready: true, function: name, pid: process.pid, threads });
  for (let line = channel.line(); line !== null; line = channel.line()) {
    if (line.trim()) channel.send(await answer(handler, line));
  }
  process.exit(0);
}

main();
