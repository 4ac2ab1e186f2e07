// The calls of the page as curl, Python and JavaScript. The tests run what these give.
import { address, apiKey } from './api.js';

const base = () => address('v1');
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const python = (value) => value === null ? 'None' : value === true ? 'True' : value === false ? 'False'
  : typeof value === 'string' ? JSON.stringify(value) : Array.isArray(value) ? `[${value.map(python).join(', ')}]`
  : typeof value === 'object' ? `{${Object.entries(value).map(([k, v]) => `${JSON.stringify(k)}: ${python(v)}`).join(', ')}}` : String(value);
const key = () => (apiKey() ? 'YOUR_KEY' : 'none');
const header = () => (apiKey() ? ` \\\n  -H 'Authorization: Bearer YOUR_KEY'` : '');
const client = () => `from openai import OpenAI\n\nclient = OpenAI(base_url=${python(base())}, api_key="${key()}")\n`;
const jsClient = () => `import OpenAI from 'openai';\n\nconst client = new OpenAI({ baseURL: ${JSON.stringify(base())}, apiKey: '${key()}' });\n`;
const KNOWN = new Set(['model', 'prompt', 'n', 'size', 'quality', 'response_format', 'output_format']); // of OpenAI's SDK

/** A picture out of words: `sent` is the body of POST /v1/images/generations. */
export function drawing(sent) {
  const known = Object.entries(sent).filter(([name]) => KNOWN.has(name));
  const extra = Object.fromEntries(Object.entries(sent).filter(([name]) => !KNOWN.has(name)));
  const args = known.map(([name, value]) => `${name}=${python(value)}`);
  if (Object.keys(extra).length) args.push(`extra_body=${python(extra)}`);
  return [
    ['curl', `curl -s ${base()}/images/generations${header()} \\\n  -H 'Content-Type: application/json' \\\n  -d ${quoted(JSON.stringify(sent))} \\\n  | python3 -c 'import base64, json, sys; sys.stdout.buffer.write(base64.b64decode(json.load(sys.stdin)["data"][0]["b64_json"]))' > picture.png`],
    ['Python', `import base64\n${client()}made = client.images.generate(${args.join(', ')})\nwith open("picture.png", "wb") as file:\n    file.write(base64.b64decode(made.data[0].b64_json))`],
    ['JavaScript', `import { writeFile } from 'node:fs/promises';\n${jsClient()}const made = await client.images.generate(${JSON.stringify(sent)});\nawait writeFile('picture.png', Buffer.from(made.data[0].b64_json, 'base64'));`],
  ];
}

/** A picture out of a picture: `sent` holds the other fields, `route` is edits or variations. */
export function changing(route, sent, hasMask) {
  const fields = Object.entries(sent).map(([name, value]) => ` \\\n  -F ${quoted(`${name}=${value}`)}`).join('');
  const known = Object.entries(sent).filter(([name]) => KNOWN.has(name)).map(([name, value]) => `${name}=${python(value)}`);
  const extra = Object.fromEntries(Object.entries(sent).filter(([name]) => !KNOWN.has(name)));
  const more = Object.keys(extra).length ? [`extra_body=${python(extra)}`] : [];
  const method = route === 'edits' ? 'edit' : 'create_variation';
  const jsMethod = route === 'edits' ? 'edit' : 'createVariation';
  const mask = hasMask ? ['mask=open("mask.png", "rb")'] : [];
  const js = Object.entries(sent).map(([name, value]) => `${name}: ${JSON.stringify(value)}`).join(', ');
  return [
    ['curl', `curl -s ${base()}/images/${route}${header()} \\\n  -F image=@picture.png${hasMask ? ' \\\n  -F mask=@mask.png' : ''}${fields} \\\n  | python3 -c 'import base64, json, sys; sys.stdout.buffer.write(base64.b64decode(json.load(sys.stdin)["data"][0]["b64_json"]))' > changed.png`],
    ['Python', `import base64\n${client()}made = client.images.${method}(${['image=open("picture.png", "rb")', ...mask, ...known, ...more].join(', ')})\nwith open("changed.png", "wb") as file:\n    file.write(base64.b64decode(made.data[0].b64_json))`],
    ['JavaScript', `import { createReadStream } from 'node:fs';\nimport { writeFile } from 'node:fs/promises';\n${jsClient()}const made = await client.images.${jsMethod}({ image: createReadStream('picture.png')${hasMask ? ", mask: createReadStream('mask.png')" : ''}, ${js} });\nawait writeFile('changed.png', Buffer.from(made.data[0].b64_json, 'base64'));`],
  ];
}

/** An answer in words; pictures are shown as a file to read. */
export function talking(model, question, pictures) {
  const content = pictures ? [{ type: 'text', text: question }, { type: 'image_url', image_url: { url: 'PICTURE' } }] : question;
  const sent = { model, messages: [{ role: 'user', content }] };
  const body = JSON.stringify(sent);
  const read = { py: 'import base64\n', js: "import { readFileSync } from 'node:fs';\n" };
  const py = python(sent.messages).replace('"PICTURE"', '"data:image/png;base64," + base64.b64encode(open("picture.png", "rb").read()).decode()');
  const js = JSON.stringify(sent).replace('"PICTURE"', "`data:image/png;base64,${readFileSync('picture.png', 'base64')}`");
  return [
    ['curl', pictures
      ? `echo ${quoted(body)} | sed "s|PICTURE|data:image/png;base64,$(base64 < picture.png | tr -d '\\n')|" \\\n  | curl -s ${base()}/chat/completions${header()} -H 'Content-Type: application/json' -d @-`
      : `curl -s ${base()}/chat/completions${header()} \\\n  -H 'Content-Type: application/json' \\\n  -d ${quoted(body)}`],
    ['Python', `${pictures ? read.py : ''}${client()}answer = client.chat.completions.create(model=${python(model)}, messages=${py})\nprint(answer.choices[0].message.content)`],
    ['JavaScript', `${pictures ? read.js : ''}${jsClient()}const answer = await client.chat.completions.create(${js});\nconsole.log(answer.choices[0].message.content);`],
  ];
}

/** A voice: `sent` is the body of POST /v1/audio/speech. */
export function speaking(sent) {
  const extra = sent.language ? `, extra_body=${python({ language: sent.language })}` : '';
  const { language, ...usual } = sent;
  const args = Object.entries(usual).map(([name, value]) => `${name}=${python(value)}`).join(', ');
  return [
    ['curl', `curl -s ${base()}/audio/speech${header()} \\\n  -H 'Content-Type: application/json' \\\n  -d ${quoted(JSON.stringify(sent))} > speech.${sent.response_format}`],
    ['Python', `${client()}with client.audio.speech.with_streaming_response.create(${args}${extra}) as answer:\n    answer.stream_to_file("speech.${sent.response_format}")`],
    ['JavaScript', `import { writeFile } from 'node:fs/promises';\n${jsClient()}const answer = await client.audio.speech.create(${JSON.stringify(sent)});\nawait writeFile('speech.${sent.response_format}', Buffer.from(await answer.arrayBuffer()));`],
  ];
}

/** A search by words. */
export function searching(project, query) {
  const url = address(project === 'default' ? 'v1/images/search' : `v1/projects/${project}/images/search`);
  const sent = { query, limit: 20 };
  const auth = apiKey() ? ', "Authorization": "Bearer YOUR_KEY"' : '';
  return [
    ['curl', `curl -s ${url}${header()} \\\n  -H 'Content-Type: application/json' \\\n  -d ${quoted(JSON.stringify(sent))}`],
    ['Python', `import json\nimport urllib.request\n\nheaders = {"Content-Type": "application/json"${auth}}\nrequest = urllib.request.Request(${python(url)}, json.dumps(${python(sent)}).encode(), headers)\nfor found in json.load(urllib.request.urlopen(request))["results"]:\n    print(found["score"], found["original_filename"])`],
    ['JavaScript', `const answer = await fetch(${JSON.stringify(url)}, {\n  method: 'POST',\n  headers: { 'Content-Type': 'application/json'${apiKey() ? ", Authorization: 'Bearer YOUR_KEY'" : ''} },\n  body: ${JSON.stringify(JSON.stringify(sent))},\n});\nfor (const found of (await answer.json()).results) console.log(found.score, found.original_filename);`],
  ];
}
