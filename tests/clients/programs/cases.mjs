// What a program of a client is made of: one function for each ability, run one after the other.

import { readFileSync } from 'node:fs';

export const MODEL = 'gpt-4o-mini';
export const QUESTION = 'What colour is the circle?';
export const PNG = readFileSync(new URL('circle.png', import.meta.url));
export const PNG_URL = `data:image/png;base64,${PNG.toString('base64')}`;
export const WANTS_PICTURE = [
  { type: 'text', text: QUESTION },
  { type: 'image_url', image_url: { url: PNG_URL } },
];

// A PNG or a JPEG.
export const isPicture = (bytes) => [0x89, 0xff].includes(bytes[0]) && [0x50, 0xd8].includes(bytes[1]);
// By its tag, or the mark of its first frame.
export const isMp3 = (bytes) =>
  (bytes[0] === 0x49 && bytes[1] === 0x44) || (bytes[0] === 0xff && (bytes[1] & 0xe0) === 0xe0);

export function check(held, what) {
  if (!held) throw new Error(`not so: ${what}`);
}

// Run every case against the server at `argv[2]`, in which `CASE` stands for its name; a line of JSON for each.
export async function main(cases) {
  for (const [name, run] of Object.entries(cases)) {
    let failure = null;
    try {
      await run(process.argv[2].replace('CASE', name));
    } catch (error) {
      console.error(error);
      failure = `${error.name}: ${error.message}`.slice(0, 300);
    }
    console.log(`{"case": ${JSON.stringify(name)}, "failure": ${JSON.stringify(failure)}}`);
  }
}
