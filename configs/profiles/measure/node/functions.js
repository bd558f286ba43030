// The Node functions, in the form of `../python/functions.py`: `libraries` imports, `load` loads
// what is loaded once and returns the handler, `first` and `base` are the inputs. The first input
// of crypto is the paper's.
'use strict';

const path = require('path');

module.exports = {
  crypto: {
    first: [2000, 5000],
    base: [1000, 20000],
    libraries: () => require('crypto'),
    load: (crypto) => {
      const key = Buffer.alloc(16, 1);
      const counter = Buffer.alloc(16, 2);
      return (length, iterations) => {
        const message = crypto.randomBytes(length);
        let plain;
        for (let i = 0; i < iterations; i++) {
          const cipher = crypto.createCipheriv('aes-128-ctr', key, counter);
          const secret = Buffer.concat([cipher.update(message), cipher.final()]);
          const decipher = crypto.createDecipheriv('aes-128-ctr', key, counter);
          plain = Buffer.concat([decipher.update(secret), decipher.final()]);
        }
        return plain.length;
      };
    },
  },

  'image-flip-rotate': {
    first: ['first.jpg'],
    base: ['base.jpg'],
    libraries: () => require('sharp'),
    load: (sharp, folder) => {
      sharp.concurrency(1);
      return async (name) => {
        const image = sharp(path.join(folder, name));
        const flipped = await image.clone().flip().flop().jpeg().toBuffer();
        const rotated = await image.clone().rotate(90).jpeg().toBuffer();
        return flipped.length + rotated.length;
      };
    },
  },

  'js-json-serde': {
    first: ['first.json'],
    base: ['base.json'],
    libraries: () => require('fs'),
    load: (fs, folder) => (name) =>
      JSON.stringify(JSON.parse(fs.readFileSync(path.join(folder, name), 'utf8')), null, 4).length,
  },
};
