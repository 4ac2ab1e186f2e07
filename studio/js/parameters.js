// What a picture was made of, read out of its file: by this server, or in the form that AUTOMATIC1111's web UI made common.

/** `{prompt, negative_prompt?, model?, checkpoint?, seed?, steps?, guidance?, size?, strength?, loras?}`, or null. */
export async function parametersOf(file) {
  try {
    const bytes = new Uint8Array(await file.arrayBuffer());
    const texts = await textsOf(bytes);
    if (texts.atelier) return checked(JSON.parse(texts.atelier));
    return texts.parameters ? parse(texts.parameters) : null;
  } catch {
    return null; // a file that is damaged, or says something else, has no settings to offer
  }
}

/** The common form: the prompt, `Negative prompt: …`, and a last line of `Name: value`. */
export function parse(text) {
  const lines = text.trim().split('\n');
  const named = {};
  if (/^Steps: \d+/.test(lines.at(-1) ?? '')) {
    for (const [, name, value] of lines.pop().matchAll(/\s*([\w][\w \-/]*):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)/g)) {
      named[name.toLowerCase()] = value.startsWith('"') ? JSON.parse(value) : value.trim();
    }
  }
  const negativeAt = lines.findLastIndex((line) => line.startsWith('Negative prompt:'));
  const negative = negativeAt < 0 ? '' : lines.splice(negativeAt).join('\n').slice('Negative prompt:'.length).trim();
  const loras = [];
  const prompt = lines.join('\n').replace(/ ?<lora:([^:>]+)(?::(-?[\d.]+))?[^>]*>/g, (_, name, weight) => {
    loras.push({ name, weight: Number(weight ?? 1) });
    return '';
  });
  return checked({
    prompt, negative_prompt: negative, model: named.model, checkpoint: named.checkpoint, seed: named.seed, steps: named.steps,
    guidance: named['cfg scale'], size: named.size, strength: named['denoising strength'], loras,
  });
}

/** Only what is of the right kind: the file may be anybody's. */
function checked(told) {
  const found = {};
  for (const name of ['prompt', 'negative_prompt', 'model', 'checkpoint']) {
    if (typeof told[name] === 'string' && told[name].trim()) found[name] = told[name].trim().slice(0, 32_000);
  }
  for (const name of ['seed', 'steps', 'guidance', 'strength']) {
    const value = Number(told[name] ?? NaN);
    if (Number.isFinite(value) && value >= 0) found[name] = value;
  }
  for (const name of ['seed', 'steps']) if (!Number.isSafeInteger(found[name])) delete found[name];
  if (/^\d{1,5}x\d{1,5}$/.test(told.size ?? '')) found.size = told.size;
  const loras = (Array.isArray(told.loras) ? told.loras : []).filter((each) => typeof each?.name === 'string' && Number.isFinite(each.weight));
  if (loras.length) found.loras = loras.map(({ name, weight }) => ({ name, weight }));
  return Object.keys(found).length ? found : null;
}

/** The texts of a file by their names; EXIF's comment is called `parameters`. */
async function textsOf(bytes) {
  const view = new DataView(bytes.buffer);
  if (ascii(bytes, 1, 4) === 'PNG') return ofPng(bytes, view);
  if (view.getUint16(0) === 0xffd8) return ofExif(jpegExif(bytes, view));
  if (ascii(bytes, 0, 4) === 'RIFF' && ascii(bytes, 8, 12) === 'WEBP') return ofExif(webpExif(bytes, view));
  return {};
}

const ascii = (bytes, from, to) => String.fromCharCode(...bytes.subarray(from, to));
const latin1 = (bytes) => new TextDecoder('latin1').decode(bytes);
const utf8 = (bytes) => new TextDecoder().decode(bytes);

async function ofPng(bytes, view) {
  const texts = {};
  for (let at = 8; at + 12 <= bytes.length;) {
    const length = view.getUint32(at);
    const kind = ascii(bytes, at + 4, at + 8);
    const content = bytes.subarray(at + 8, at + 8 + length);
    const end = content.indexOf(0);
    const name = latin1(content.subarray(0, Math.max(0, end)));
    const rest = content.subarray(end + 1);
    if (kind === 'tEXt') texts[name] = latin1(rest);
    else if (kind === 'zTXt') texts[name] = latin1(await unpacked(rest.subarray(1)));
    else if (kind === 'iTXt') texts[name] = await international(rest);
    at += 12 + length;
  }
  return texts;
}

/** After the keyword: whether it is packed, how, a language and a translated keyword, each ended by 0, and the text. */
async function international(rest) {
  const language = rest.indexOf(0, 2);
  const text = rest.subarray(rest.indexOf(0, language + 1) + 1);
  return utf8(rest[0] ? await unpacked(text) : text);
}

async function unpacked(bytes) {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'))).arrayBuffer());
}

function jpegExif(bytes, view) {
  for (let at = 2; at + 4 <= bytes.length && bytes[at] === 0xff && bytes[at + 1] !== 0xda;) {
    const length = view.getUint16(at + 2);
    if (bytes[at + 1] === 0xe1 && ascii(bytes, at + 4, at + 8) === 'Exif') return bytes.subarray(at + 10, at + 2 + length);
    at += 2 + length;
  }
  return null;
}

function webpExif(bytes, view) {
  for (let at = 12; at + 8 <= bytes.length;) {
    const length = view.getUint32(at + 4, true);
    if (ascii(bytes, at, at + 4) === 'EXIF') {
      const found = bytes.subarray(at + 8, at + 8 + length);
      return ascii(found, 0, 4) === 'Exif' ? found.subarray(6) : found; // some tools write a JPEG's head before it
    }
    at += 8 + length + (length % 2);
  }
  return null;
}

/** UserComment of the Exif directory, to which the first directory points. */
function ofExif(exif) {
  if (!exif) return {};
  const view = new DataView(exif.buffer, exif.byteOffset, exif.byteLength);
  const little = ascii(exif, 0, 2) === 'II';
  const find = (directory, tag) => {
    for (let i = 0; i < view.getUint16(directory, little); i += 1) {
      const entry = directory + 2 + i * 12;
      if (view.getUint16(entry, little) === tag) return entry;
    }
    return null;
  };
  const pointer = find(view.getUint32(4, little), 0x8769);
  const entry = pointer && find(view.getUint32(pointer + 8, little), 0x9286);
  if (!entry) return {};
  const length = view.getUint32(entry + 4, little);
  const start = view.getUint32(entry + 8, little);
  const comment = exif.subarray(start, start + length);
  const text = comment.subarray(8);
  if (!ascii(comment, 0, 7).startsWith('UNICODE')) return { parameters: utf8(text) };
  const big = new TextDecoder('utf-16be').decode(text); // as tools of the field write it, whatever the head says
  return { parameters: little && !big.includes('Steps: ') ? new TextDecoder('utf-16le').decode(text) : big };
}
