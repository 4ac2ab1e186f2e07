// One box: words draw, a picture with words is edited, a picture alone is varied, several are looked at together.
import { html, useEffect, useRef, useState } from '../vendor/preact-htm.js';
import { call, CallError, events, fromBase64, getJson, newId } from './api.js';
import { changing, drawing } from './examples.js';
import { bringBack, forget, keep, made } from './history.js';
import { MaskPainter } from './mask.js';
import { Bar, Code, Drop, Files, isPicture, isSound, Picture, save, Wrong } from './parts.js';
import { handOver, models, toast, useCell, useDraft, useHandedOver } from './store.js';
import { number, seconds, t } from './words.js';

const TRY = [
  'a red circle on a blue background', 'two green stars on white', 'a big yellow square beside a small black triangle',
  '파란 배경의 빨간 원', '白い背景に緑の星', 'three purple hearts on an orange background',
];
const PENDING = 'atelier-pending';
const empty = { model: '', size: '', steps: '', guidance: '', seed: '', n: '1', negative_prompt: '', quality: '', strength: '' };
const randomSeed = () => crypto.getRandomValues(new Uint32Array(1))[0];

export function Create() {
  const all = useCell(models);
  const history = useCell(made);
  const [prompt, setPrompt] = useDraft('prompt');
  const [options, setOptions] = useState(() => ({ ...empty, ...JSON.parse(sessionStorage.getItem('draft:options') ?? '{}') }));
  const [given, setGiven] = useState([]);
  const [mask, setMask] = useState(null);
  const [painting, setPainting] = useState(false);
  const [jobs, setJobs] = useState([]);
  const [error, setError] = useState(null);
  const box = useRef();
  const drawers = all.filter((each) => each.kind === 'image');
  const model = drawers.find((each) => each.id === options.model) ?? drawers[0];
  const can = (what) => !model || model.capabilities.includes(what);

  useEffect(() => { sessionStorage.setItem('draft:options', JSON.stringify(options)); }, [options]);
  useEffect(() => { setMask(null); setPainting(false); }, [given]);
  useEffect(() => { resume(); }, []);
  useHandedOver('create', ({ files, prompt: words, options: chosen }) => {
    if (files) setGiven(files);
    if (words !== undefined) setPrompt(words);
    if (chosen) setOptions({ ...empty, ...chosen });
    box.current?.focus();
  });

  function take(files) {
    const sound = files.find(isSound);
    if (sound) return handOver('speak', { files: [sound] });
    const pictures = files.filter(isPicture);
    if (pictures.length < files.length) toast(t('Only pictures and sounds can be used here.'));
    if (pictures.length) setGiven((before) => [...before, ...pictures].slice(0, 32));
    return undefined;
  }

  const body = (extra = {}) => {
    const sent = { model: model?.id };
    if (prompt.trim()) sent.prompt = prompt.trim();
    for (const name of ['size', 'negative_prompt', 'quality']) if (options[name]) sent[name] = options[name];
    for (const name of ['steps', 'guidance', 'n']) if (options[name] !== '') sent[name] = Number(options[name]);
    sent.seed = options.seed === '' ? randomSeed() : Number(options.seed); // chosen here: a reload can ask for the same again
    if (sent.n === 1) delete sent.n;
    return { ...sent, ...extra };
  };

  const go = async (action) => {
    setError(null);
    const strength = options.strength === '' ? {} : { strength: Number(options.strength) };
    if (action === 'draw') return run({ route: 'generations', sent: body() });
    if (action === 'edit') return run({ route: 'edits', sent: body(strength), before: given[0], mask });
    const { prompt: _, negative_prompt: __, ...sent } = body(strength);
    return run({ route: 'variations', sent, before: given[0] });
  };

  async function run(work) {
    const id = newId();
    const stop = new AbortController();
    const job = { id, ...work, stop, progress: null, partials: {}, begun: performance.now(), state: 'queued', error: null };
    const change = (part) => setJobs((now) => now.map((each) => (each.id === id ? { ...each, ...(typeof part === 'function' ? part(each) : part) } : each)));
    setJobs((now) => [job, ...now]);
    if (work.route === 'generations') sessionStorage.setItem(PENDING, JSON.stringify(work));
    const watching = setInterval(() => watch(id, change), 700);
    try {
      await receive(await send(work, id, stop.signal), work, job, change);
      setJobs((now) => now.filter((each) => each.id !== id));
    } catch (failed) {
      if (failed.name === 'AbortError' || failed.code === 'cancelled') setJobs((now) => now.filter((each) => each.id !== id));
      else change({ error: failed instanceof CallError ? failed : new CallError(String(failed)), state: 'failed' });
    } finally {
      clearInterval(watching);
      sessionStorage.removeItem(PENDING);
    }
  }

  function resume() {
    const pending = sessionStorage.getItem(PENDING);
    if (!pending) return;
    sessionStorage.removeItem(PENDING);
    toast(t('The page was closed while a picture was made. It is made again, with the same seed.'));
    run(JSON.parse(pending));
  }

  const stopJob = async (job) => {
    job.stop.abort();
    await call(`v1/jobs/${job.id}`, { method: 'DELETE', quiet: true }).catch(() => undefined); // it may be over already
  };
  const retry = (job) => { setJobs((now) => now.filter((each) => each.id !== job.id)); run({ route: job.route, sent: job.sent, before: job.before, mask: job.mask }); };
  const remove = async (entry) => { await forget(entry.id); toast(t('Deleted'), { label: t('Undo'), run: () => bringBack(entry) }); };

  const words = Boolean(prompt.trim());
  const actions = !given.length ? [words && ['draw', t('Draw')]]
    : given.length === 1 ? [words ? ['edit', mask ? t('Change what is painted') : t('Edit')] : ['vary', t('Vary')]]
    : [words && can('image.edit') && (model?.limits.max_images ?? 1) > 1 && ['edit', t('Edit')]];

  return html`<header><h1>${t('What shall it be?')}</h1></header>
    <${Drop} take=${take} class="sheet prompt">
      ${given.length > 0 && html`<div class="given">${given.map((file, i) => html`<figure key=${i}><${Picture} blob=${file} alt=${file.name ?? t('a picture')} />
        <button aria-label=${t('Remove this picture')} onClick=${() => setGiven(given.filter((_, j) => j !== i))}>×</button></figure>`)}</div>`}
      <label class="unseen" for="prompt">${t('Prompt')}</label>
      <textarea id="prompt" ref=${box} rows="3" value=${prompt} placeholder=${given.length ? t('What should change? Or nothing, for a variation.') : t('Describe a picture, or drop one here')}
        onInput=${(e) => setPrompt(e.target.value)} onKeyDown=${(e) => { if (e.key === 'Enter' && !e.shiftKey && !e.isComposing && actions[0]) { e.preventDefault(); go(actions[0][0]); } }}></textarea>
      <div class="foot">
        <${Files} accept="image/*,audio/*" multiple take=${take}>${t('Add a picture')}<//>
        ${given.length === 1 && can('image.mask') && html`<button aria-pressed=${painting} onClick=${() => setPainting(!painting)}>${t('Paint a mask')}</button>`}
        ${given.length === 1 && html`<button onClick=${() => handOver('look', { files: given })}>${t('Describe')}</button>
          <button onClick=${() => handOver('find', { files: given })}>${t('Find similar')}</button>`}
        ${given.length > 1 && html`<button onClick=${() => handOver('look', { files: given })}>${t('Caption each')}</button>
          <button onClick=${() => handOver('chat', { files: given, prompt: prompt || t('What is different in these pictures?') })}>${t('Compare')}</button>`}
        <div class="go">${actions.filter(Boolean).map(([name, label]) => html`<button class="main" key=${name} onClick=${() => go(name)}>${label}</button>`)}
          ${!given.length && !words && html`<button class="main" disabled>${t('Draw')}</button>`}</div>
      </div>
      ${painting && given[0] && html`<${MaskPainter} file=${given[0]} done=${(blob) => { setMask(blob); setPainting(false); }} />`}
      <details class="options"><summary>${t('Options')}${model ? ` · ${model.id}` : ''}</summary><${Options} ...${{ options, setOptions, drawers, model, given }} /></details>
    <//>
    <${Wrong} error=${error} />
    ${!history.length && !jobs.length && html`<div class="empty"><p>${t('Try one of these, or write your own.')}</p>
      <div class="chips">${TRY.map((each) => html`<button class="chip" onClick=${() => { setPrompt(each); box.current.focus(); }}>${each}</button>`)}</div></div>`}
    <div class="results" aria-live="polite">
      ${jobs.map((job) => html`<${Working} key=${job.id} job=${job} stop=${() => stopJob(job)} retry=${() => retry(job)} dismiss=${() => setJobs(jobs.filter((each) => each !== job))} />`)}
      ${history.map((entry) => html`<${Result} key=${entry.id} entry=${entry} run=${run} remove=${() => remove(entry)} />`)}
    </div>`;
}

/** Send what a route takes: words as JSON, pictures as a form. */
function send({ route, sent, before, mask }, id, signal) {
  const streamed = { ...sent, stream: true, partial_images: 3 };
  if (route === 'generations') return call('v1/images/generations', { json: streamed, id, signal });
  const form = new FormData();
  form.append('image', before, before.name ?? 'picture.png');
  if (mask) form.append('mask', mask, 'mask.png');
  for (const [name, value] of Object.entries(streamed)) form.append(name, value);
  return call(`v1/images/${route}`, { form, id, signal });
}

async function receive(response, work, job, change) {
  for await (const [name, told] of events(response)) {
    if (name.endsWith('.partial_image')) {
      const blob = fromBase64(told.b64_json, `image/${told.output_format}`);
      change((now) => ({ partials: { ...now.partials, [told.image_index]: blob } }));
    } else if (name.endsWith('.completed')) {
      await keep({
        blob: fromBase64(told.b64_json, `image/${told.output_format}`), route: work.route, sent: work.sent, seed: told.seed,
        size: told.size, before: work.before ?? null, mask: Boolean(work.mask), seconds: (performance.now() - job.begun) / 1000,
      });
    }
  }
}

async function watch(id, change) {
  try {
    const found = await getJson(`v1/jobs/${id}`, { quiet: true });
    change({ state: found.state, progress: found.progress, step: found.step, steps: found.steps });
    if (found.state !== 'queued') return;
    const { workers } = await getJson('v1/system/status', { quiet: true });
    const worker = workers[found.model];
    change({ waits: !worker || worker.state !== 'ready'
      ? `${t('{model} is loading', { model: found.model })}${worker?.reason ? `: ${worker.reason}` : ''}`
      : t('{count} before this one', { count: number(worker.queue) }) });
  } catch {
    // the request itself says what is wrong; this only asks how far it is
  }
}

function Options({ options, setOptions, drawers, model, given }) {
  const set = (name) => (e) => setOptions({ ...options, [name]: e.target.value });
  const limits = model?.limits ?? {};
  const [width, height] = (limits.default_size ?? '1024x1024').split('x').map(Number);
  const rounded = (value) => Math.min(limits.max_side ?? 2048, Math.max(64, Math.round(value / 16) * 16));
  const sizes = [...new Set([[1, 1], [1.5, 1], [1, 1.5], [2, 1], [1, 2], [0.5, 0.5]].map(([x, y]) => `${rounded(width * x)}x${rounded(height * y)}`))];
  return html`<div class="grid">
    <label>${t('Model')}<select value=${model?.id} onChange=${set('model')}>${drawers.map((each) => html`<option value=${each.id}>${each.id}</option>`)}</select></label>
    <label>${t('Size')}<select value=${options.size} onChange=${set('size')}><option value="">${t('the model’s own')}</option>${sizes.map((each) => html`<option value=${each}>${each}</option>`)}</select></label>
    <label>${t('Pictures')}<input type="number" min="1" max=${limits.max_n ?? 10} value=${options.n} onInput=${set('n')} /></label>
    <label>${t('Steps')}<input type="number" min="1" max="150" placeholder=${t('the model’s own')} value=${options.steps} onInput=${set('steps')} /></label>
    <label>${t('Seed')}<input type="number" min="0" placeholder=${t('by chance')} value=${options.seed} onInput=${set('seed')} /></label>
    <label>${t('Guidance')}<input type="number" min="0" max="20" step="0.1" placeholder=${t('the model’s own')} value=${options.guidance} onInput=${set('guidance')} /></label>
    <label>${t('Quality')}<select value=${options.quality} onChange=${set('quality')}><option value="">${t('the model’s own')}</option>${['low', 'medium', 'high'].map((each) => html`<option value=${each}>${t(each)}</option>`)}</select></label>
    <label>${t('Not in the picture')}<input value=${options.negative_prompt} onInput=${set('negative_prompt')} /></label>
    ${given.length > 0 && html`<label>${t('Change')} ${options.strength === '' ? t('by the words') : `${Math.round(options.strength * 100)} %`}
      <input type="range" min="0" max="1" step="0.05" value=${options.strength === '' ? 0.6 : options.strength} onInput=${set('strength')} /></label>`}
    <button class="quiet" onClick=${() => setOptions(empty)}>${t('Back to the defaults')}</button>
  </div>`;
}

function Working({ job, stop, retry, dismiss }) {
  const partial = Object.values(job.partials).at(-1) ?? job.before;
  const line = job.error ? null : job.state === 'running'
    ? t('Step {step} of {steps}', { step: job.step ?? 0, steps: job.steps ?? '…' }) : job.waits ?? t('Waiting');
  return html`<article class="sheet result" aria-busy=${!job.error}>
    <div class="frame">${partial ? html`<${Picture} blob=${partial} alt=${t('the picture so far')} class="partial" />` : html`<span class="soft">${line}</span>`}</div>
    <div class="text"><p class="words">${job.sent.prompt ?? t('a variation')}</p>
      ${job.error ? html`<${Wrong} error=${job.error} retry=${retry} /><button class="quiet" onClick=${dismiss}>${t('Close')}</button>`
        : html`<${Bar} share=${job.state === 'running' ? job.progress : null} label=${t('Progress')} />
          <div class="row apart"><span class="soft">${line}</span><button class="danger" onClick=${stop}>${t('Stop')}</button></div>`}
    </div></article>`;
}

function Result({ entry, run, remove }) {
  const [cut, setCut] = useState(50);
  const file = () => new File([entry.blob], 'picture.png', { type: entry.blob.type });
  const again = (extra) => run({ route: entry.route, sent: { ...entry.sent, ...extra }, before: entry.before });
  const label = entry.sent.prompt ?? t('a variation');
  const snippets = entry.route === 'generations' ? drawing({ ...entry.sent, seed: entry.seed })
    : changing(entry.route, { ...entry.sent, seed: entry.seed }, entry.mask);
  return html`<article class="sheet result">
    <div class="frame" style=${{ '--cut': `${cut}%` }}><${Picture} blob=${entry.blob} alt=${label} />
      ${entry.before && html`<div class="before"><${Picture} blob=${entry.before} alt=${t('before')} /></div>
        <input type="range" min="0" max="100" value=${cut} aria-label=${t('Before and after')} onInput=${(e) => setCut(e.target.value)} />`}</div>
    <div class="text"><p class="words">${label}</p>
      <p class="soft">${entry.size} · ${t('seed')} ${entry.seed} · ${entry.sent.model} · ${seconds(entry.seconds)}</p>
      <div class="row">
        <button onClick=${() => again({ seed: randomSeed(), n: 1 })}>${t('Another')}</button>
        <button onClick=${() => handOver('create', { files: [file()], prompt: '' })}>${t('Edit this')}</button>
        <button onClick=${() => save(entry.blob, `atelier-${entry.seed}.png`)}>${t('Download')}</button>
      </div>
      <details><summary>${t('More')}</summary><div class="row">
        <button onClick=${() => handOver('create', { files: [], prompt: entry.sent.prompt ?? '', options: { ...entry.sent, seed: String(entry.seed), n: '1' } })}>${t('Same seed')}</button>
        <button onClick=${() => run({ route: 'variations', sent: { model: entry.sent.model, seed: randomSeed() }, before: file() })}>${t('Vary')}</button>
        <button onClick=${() => handOver('look', { files: [file()] })}>${t('Describe')}</button>
        <button onClick=${() => handOver('find', { files: [file()] })}>${t('Find similar')}</button>
        <button class="quiet danger" onClick=${remove}>${t('Delete')}</button>
      </div></details>
      <${Code} examples=${snippets} /></div></article>`;
}
