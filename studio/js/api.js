// The server's public routes, and nothing else of it. Every call of the page goes through `call`.
import { cell } from './store.js';
import { t } from './words.js';

const ROOT = new URL('../../../', import.meta.url); // the page may lie under a prefix
const KEY = 'atelier-key';

export const keyWanted = cell(null); // null, or why a key is asked for
export const isAway = cell(false); // the server does not answer

export const address = (path) => new URL(path, ROOT).href;
export const apiKey = () => sessionStorage.getItem(KEY) ?? '';

/** Keep the key as long as this tab of the browser is open, and nowhere else. */
export function setKey(key) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
}

/** A refusal or a failure, with a sentence to show. `code` is the server's, or `offline`. */
export class CallError extends Error {
  constructor(message, { status = 0, code = null, param = null, id = null, retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { status, code, param, id, retryAfter });
  }
}

/** An id for a request that is to be found again under /v1/jobs. */
export const newId = () => `studio-${crypto.getRandomValues(new Uint32Array(4)).join('-')}`;

/**
 * Send a request; the response, when its status is below 400.
 * Throws CallError, and the AbortError of `signal`.
 */
export async function call(path, { method, json, form, headers = {}, signal, id } = {}) {
  const sent = { ...headers };
  if (apiKey()) sent.Authorization = `Bearer ${apiKey()}`;
  if (json) sent['Content-Type'] = 'application/json';
  if (id) sent['X-Request-Id'] = id;
  const how = method ?? (json || form ? 'POST' : 'GET');
  let response;
  try {
    response = await fetch(address(path), {
      method: how, headers: sent, body: json ? JSON.stringify(json) : form, signal,
    });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    isAway.set(true);
    throw new CallError(t('The server does not answer. It is tried again by itself; nothing you typed is lost.'), { code: 'offline' });
  }
  if (isAway.value) isAway.set(false);
  if (!response.ok) throw await refusal(response);
  return response;
}

export const getJson = async (path, options) => (await call(path, options)).json();

/** The events of a streamed answer, as [name, object]; a failure that comes as an event is thrown. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const parts = (buffer + value).split('\n\n');
      buffer = parts.pop();
      for (const part of parts) {
        const data = part.split('\n').filter((line) => line.startsWith('data:')).map((line) => line.slice(5).trim()).join('\n');
        if (!data || data === '[DONE]') continue;
        const told = JSON.parse(data);
        if (told.error) throw errorOf(told.error, 200);
        yield [told.type ?? '', told];
      }
    }
  } catch (error) {
    if (error instanceof CallError || error.name === 'AbortError') throw error;
    isAway.set(true);
    throw new CallError(t('The connection broke before the answer was whole.'), { code: 'offline' });
  } finally {
    reader.cancel().catch(() => undefined); // it has ended, or nobody wants the rest
  }
}

/** Ask /healthz until the server is there again. */
export async function untilBack(signal) {
  for (let wait = 500; !signal?.aborted; wait = Math.min(wait * 1.5, 5000)) {
    await new Promise((resolve) => setTimeout(resolve, wait));
    try {
      await call('healthz');
      return;
    } catch (error) {
      if (error.code !== 'offline' && error.status < 500) throw error;
    }
  }
}

export const toBase64 = async (blob) => (await dataUrl(blob)).split(',')[1];

export function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new CallError(t('This file could not be read.')));
    reader.readAsDataURL(blob);
  });
}

export function fromBase64(text, type) {
  return new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], { type });
}

async function refusal(response) {
  const id = response.headers.get('x-request-id');
  const retryAfter = Number(response.headers.get('retry-after')) || null;
  let error = {};
  try {
    const body = await response.json();
    error = body.error ?? {};
  } catch {
    error = { message: `${response.status} ${response.statusText}` }; // of a proxy in between, not of the server
  }
  const refused = errorOf(error, response.status, id, retryAfter);
  if (response.status === 401) keyWanted.set(apiKey() ? t('The server does not know this key.') : t('This server asks for a key.'));
  return refused;
}

const errorOf = (error, status, id = null, retryAfter = null) =>
  new CallError(sentence(error, status, retryAfter), { status, code: error.code, param: error.param, id, retryAfter });

/** What went wrong and what to do about it, in the reader's language where it is one of the usual things. */
function sentence(error, status, retryAfter) {
  const known = {
    rate_limit_exceeded: retryAfter ? t('Too many requests at once. Try again in {seconds} s.', { seconds: retryAfter }) : t('Too many requests at once. Try again in a moment.'),
    model_too_large: t('This model needs more memory than there is here. Choose another model.'),
    request_too_large: t('This is larger than the server takes. Choose a smaller file.'),
    FILE_TOO_LARGE: t('This is larger than the server takes. Choose a smaller file.'),
    feature_disabled: t('This part of the server is switched off.'),
    OUT_OF_MEMORY: t('The model ran out of memory. Make the picture smaller, or fewer at once.'),
    STORE_FULL: t('The server’s disk is full. Nothing was kept.'),
    server_restarting: t('The server is starting. Try again in a moment.'),
    invalid_image: t('This is no picture that the server can read. It takes JPEG, PNG, WebP, GIF and BMP.'),
    INVALID_IMAGE: t('This is no picture that the server can read. It takes JPEG, PNG, WebP, GIF and BMP.'),
  }[error.code];
  if (status === 401) return t('A valid key is needed; enter it above.');
  if (status === 403 && error.code === 'forbidden') return t('This needs a key with the admin scope.');
  return known ?? error.message ?? String(status);
}
