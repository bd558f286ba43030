// A Node instance under measurement: the same protocol as `../python/worker.py`. The runtime is
// Node with its HTTP server listening; a call enters at the handler.
'use strict';

const http = require('http');
const readline = require('readline');
const functions = require('./functions');

const [name, folder] = process.argv.slice(2);
const subject = functions[name];

function used() {
  const { user, system } = process.cpuUsage();
  return (user + system) * 1000;
}

async function serve() {
  let library;
  let handler;
  console.log('runtime', used());
  for await (const step of readline.createInterface({ input: process.stdin })) {
    if (step !== 'next') {
      const start = used();
      await handler(...subject[step]);
      console.log('done', used() - start);
    } else if (!library) {
      library = subject.libraries();
      console.log('library', used());
    } else {
      handler = subject.load(library, folder);
      console.log('ready', used());
    }
  }
  process.exit();
}

http.createServer((request, response) => response.end()).listen(0, '127.0.0.1', serve);
