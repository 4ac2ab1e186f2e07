// One call of the official SDK: standard input's first line says which, the one line printed is how it went.
//
// {"url": "…/v1", "call": "images.generate" | "chat.completions.create" | …, "params": {…}, "streams": {"image": "/path"},
//  "files": {"image": ["/path", …]}, "headers": {…}, "leave": "asked" | "first event"}
//
// `streams` are sent as they are read from the disk, `files` whole and in an array. With `leave`, the caller goes away:
// when a second line comes, or with the first event of a stream.
import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import OpenAI, { toFile } from "openai";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const asked = JSON.parse((await lines.next()).value);
const client = new OpenAI({ baseURL: asked.url, apiKey: "none", maxRetries: 0 });
const leaving = new AbortController();
if (asked.leave === "asked") lines.next().then(() => leaving.abort());

async function told() {
  const params = { ...asked.params };
  for (const [name, path] of Object.entries(asked.streams ?? {})) params[name] = createReadStream(path);
  for (const [name, paths] of Object.entries(asked.files ?? {}))
    params[name] = await Promise.all(paths.map(async (path) => toFile(await readFile(path), "picture.png")));
  const options = { headers: asked.headers, signal: leaving.signal };
  const path = asked.call.split(".");
  const owner = path.slice(0, -1).reduce((at, name) => at[name], client);
  const { data, request_id } = await owner[path.at(-1)](params, options).withResponse();
  if (data instanceof Response) return { answer: Buffer.from(await data.arrayBuffer()).toString("base64"), request_id };
  if (!params.stream) return { answer: data, request_id };
  const events = [];
  for await (const event of data) {
    events.push(event);
    if (asked.leave === "first event") break;
  }
  return { events, request_id };
}

let result;
try {
  result = await told();
} catch (error) {
  if (!(error instanceof OpenAI.OpenAIError)) throw error;
  const { status, code, param, type, requestID, message } = error;
  result = { error: { name: error.constructor.name, status, code, param, type, request_id: requestID, message } };
}
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0)); // a line that never comes is not awaited
