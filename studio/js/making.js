// Pictures under way. Each is a job of the server, which goes on whether this page is there or not.
import { call, CallError, events, fromBase64, getJson, newId, untilBack } from './api.js';
import { forgetWork, keep, recall, remember, tidy } from './history.js';
import { cell } from './store.js';
import { number, t } from './words.js';

const UNDER_WAY = 'atelier-under-way'; // the ids of this tab's jobs
const LOOK_MS = 700;
const AGAIN_MS = 500;

/** `{key, id, work, state, progress, step, steps, waits, partials, error}`, newest first. */
export const jobs = cell([]);

const change = (job, part) => {
  Object.assign(job, part);
  jobs.set((all) => [...all]);
};
const leave = (job) => jobs.set((all) => all.filter((each) => each !== job));
const idsOfTab = () => JSON.parse(sessionStorage.getItem(UNDER_WAY) ?? '[]');
const noteIds = () => sessionStorage.setItem(UNDER_WAY, JSON.stringify(jobs.value.filter((each) => !each.error).map((each) => each.id)));

/** Make pictures: `{route, sent, before?, mask?}`, where `sent` is the body but for the pictures in it. */
export function run(work) {
  return begin(work, newId(), false);
}

/** Go on with what was under way when this tab was reloaded. */
export async function resume() {
  for (const id of idsOfTab()) {
    const kept = await recall(id);
    if (kept) begin(kept.work, id, true);
  }
  await tidy();
}

export async function stop(job) {
  job.stopper.abort();
  await call(`v1/jobs/${job.id}`, { method: 'DELETE' }).catch(() => undefined); // it may be over already
}

export function retry(job) {
  leave(job);
  return run(job.work);
}

export const dismiss = leave;

async function begin(work, id, isSent) {
  const job = {
    key: id, id, work, isSent, timesLost: 0, completed: new Set(), stopper: new AbortController(), state: 'queued', progress: null,
    partials: {}, begun: performance.now(), error: null,
  };
  jobs.set((all) => [job, ...all]);
  noteIds();
  await remember({ id, work });
  const watching = setInterval(() => watch(job), LOOK_MS);
  try {
    await follow(job);
    leave(job);
  } catch (failed) {
    if (failed.name === 'AbortError' || failed.code === 'cancelled') leave(job);
    else change(job, { error: failed instanceof CallError ? failed : new CallError(String(failed)), state: 'failed' });
  } finally {
    clearInterval(watching);
    noteIds();
    forgetWork(job.id);
  }
}

const isWhole = (job) => job.completed.size >= (job.work.sent.n ?? 1);

/** Send a job and take what it gives, over as many connections as that needs. */
async function follow(job) {
  for (;;) {
    try {
      if (!job.isSent) await send(job);
      job.isSent = true;
      await receive(await call(`v1/jobs/${job.id}/events`, { signal: job.stopper.signal }), job);
      if (isWhole(job)) return;
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS)); // it was cut short between two events
    } catch (failed) {
      if (failed.code === 'offline') {
        await untilBack(job.stopper.signal);
        job.stopper.signal.throwIfAborted();
      } else if (failed.code === 'job_not_found' && job.timesLost < 2) {
        await lost(job);
      } else throw failed;
    }
  }
}

/** The server does not know the job: it never got it, and gets it now; or has been restarted, and gets it as another one. */
async function lost(job) {
  job.timesLost += 1;
  job.isSent = false;
  if (job.timesLost === 1) return; // under its old id: where it was accepted, it is not made twice
  await forgetWork(job.id);
  change(job, { id: newId(), state: 'queued', progress: null });
  noteIds();
  await remember({ id: job.id, work: job.work });
}

/** Words go as JSON, pictures as a form. The same id again makes nothing new. */
async function send({ id, work: { route, sent, before, mask }, stopper: { signal } }) {
  const headers = { Prefer: 'respond-async', 'Idempotency-Key': id };
  const asked = { ...sent, partial_images: 3 };
  if (route === 'generations') return call('v1/images/generations', { json: asked, id, signal, headers });
  const form = new FormData();
  form.append('image', before, before.name ?? 'picture.png');
  if (mask) form.append('mask', mask, 'mask.png');
  for (const [name, value] of Object.entries(asked)) form.append(name, typeof value === 'object' ? JSON.stringify(value) : value);
  return call(`v1/images/${route}`, { form, id, signal, headers });
}

async function receive(response, job) {
  for await (const [name, told] of events(response)) {
    const index = told.image_index;
    const blob = fromBase64(told.b64_json, `image/${told.output_format}`);
    if (name.endsWith('.partial_image')) {
      change(job, { partials: { ...job.partials, [index]: blob } });
    } else if (name.endsWith('.completed')) {
      const { route, sent, before = null, mask } = job.work;
      await keep({
        id: `${job.key}-${index}`, blob, route, sent, seed: told.seed, size: told.size, before, mask: Boolean(mask),
        seconds: (performance.now() - job.begun) / 1000,
      });
      job.completed.add(index);
    }
  }
}

async function watch(job) {
  try {
    const found = await getJson(`v1/jobs/${job.id}`);
    change(job, { state: found.state, progress: found.progress, step: found.step, steps: found.steps });
    if (found.state !== 'queued') return;
    const { workers } = await getJson('v1/system/status');
    const worker = workers[found.model];
    change(job, { waits: !worker || worker.state !== 'ready'
      ? `${t('{model} is loading', { model: found.model })}${worker?.reason ? `: ${worker.reason}` : ''}`
      : t('{count} before this one', { count: number(worker.queue) }) });
  } catch {
    // what follows the job says what is wrong; this only asks how far it is
  }
}
