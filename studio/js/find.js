// Pictures of a project: dropped in, found by words or by a picture, looked through, deleted.
import { html, useEffect, useMemo, useRef, useState } from '../vendor/preact-htm.js';
import { address, apiKey, call, dataUrl, getJson } from './api.js';
import { searching } from './examples.js';
import { Bar, Code, Drop, Files, isPicture, Picture, save, Wrong } from './parts.js';
import { handOver, toast, useDraft, useHandedOver } from './store.js';
import { number, t } from './words.js';

const PAGE = 1000;
const AT_ONCE = 3;
const UNDO_SECONDS = 6;
const TRY = ['a red circle', 'a green star', '노란 사각형', '青い三角形'];
const imagesOf = (project) => (project === 'default' ? 'v1/images' : `v1/projects/${encodeURIComponent(project)}/images`);

export function Find({ isShown }) {
  const [project, setProject] = useDraft('project', 'default');
  const [typed, setTyped] = useState(null); // the project's name while it is written
  const [projects, setProjects] = useState(['default']);
  const [records, setRecords] = useState([]);
  const [next, setNext] = useState(null);
  const [found, setFound] = useState(null);
  const [query, setQuery] = useDraft('query');
  const [like, setLike] = useState(null);
  const [least, setLeast] = useState(null); // the lowest score that is shown; null for all
  const [uploads, setUploads] = useState([]);
  const [hidden, setHidden] = useState(() => new Set());
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const route = imagesOf(project);

  useHandedOver('find', ({ files }) => { setLike(files[0]); setQuery(''); search({ file: files[0] }); });
  useEffect(() => { if (isShown) { refresh(); readProjects(); } }, [project, isShown]);

  function choose({ target }) {
    setTyped(null);
    if (target.checkValidity() && target.value) {
      setFound(null);
      setProject(target.value);
    } else {
      toast(t('A project’s name has letters, digits, dots, dashes and underscores.'));
    }
  }
  async function readProjects() {
    try {
      const { projects: all } = await getJson('v1/projects');
      setProjects([...new Set(['default', project, ...all.map((each) => each.project_id)])]);
    } catch { /* what is wrong is said where the pictures are */ }
  }
  async function refresh() {
    try {
      const page = await getJson(`${route}?limit=${PAGE}`);
      setRecords(page.images);
      setNext(page.has_more ? page.next : null);
      setError(null);
    } catch (failed) {
      setRecords([]);
      if (failed.status !== 404) setError(failed); // a new project begins with its first picture
    }
  }
  async function more() {
    const after = next;
    setNext(null);
    const page = await getJson(`${route}?limit=${PAGE}&after=${encodeURIComponent(after)}`);
    setRecords((now) => [...now, ...page.images]);
    setNext(page.has_more ? page.next : null);
  }
  async function search({ file, id } = {}) {
    setBusy(true);
    setError(null);
    try {
      const json = file ? { image: await dataUrl(file) } : id ? { image_id: id } : { query: query.trim() };
      setLeast(null);
      setFound((await getJson(`${route}/search`, { json: { ...json, limit: 100 } })).results);
    } catch (failed) {
      setError(failed);
    } finally {
      setBusy(false);
    }
  }
  function take(files) {
    const pictures = files.filter(isPicture);
    if (pictures.length < files.length) toast(t('Only pictures can be used here.'));
    upload(pictures.map((file) => ({ file, state: 'waiting' })));
  }
  async function upload(queue) {
    setUploads((now) => [...now, ...queue]);
    const waiting = [...queue];
    const redraw = () => setUploads((now) => [...now]);
    await Promise.all(Array.from({ length: AT_ONCE }, async () => {
      for (let each = waiting.shift(); each; each = waiting.shift()) {
        each.state = 'running';
        each.error = await sendOne(route, each.file);
        each.state = each.error ? 'failed' : 'done';
        redraw();
      }
    }));
    refresh();
    readProjects();
  }
  const retry = () => {
    const failed = uploads.filter((each) => each.state === 'failed');
    setUploads(uploads.filter((each) => each.state !== 'failed'));
    upload(failed.map(({ file }) => ({ file, state: 'waiting' })));
  };
  const remove = (record) => {
    setHidden((now) => new Set([...now, record.id]));
    const gone = setTimeout(() => call(`${route}/${record.id}`, { method: 'DELETE' }).then(refresh, (failed) => { setError(failed); show(); }), UNDO_SECONDS * 1000);
    const show = () => setHidden((now) => new Set([...now].filter((id) => id !== record.id)));
    toast(t('Deleted'), { label: t('Undo'), run: () => { clearTimeout(gone); show(); } }, UNDO_SECONDS);
  };

  const shown = useMemo(() => (found?.filter((each) => least === null || each.score >= least) ?? records).filter((each) => !hidden.has(each.id)), [found, records, hidden, least]);
  const scores = found?.map((each) => each.score) ?? [];
  const lowest = Math.floor(Math.min(...scores) * 100) / 100;
  const done = uploads.filter((each) => each.state === 'done' || each.state === 'failed').length;
  const failed = uploads.filter((each) => each.state === 'failed');

  return html`<header class="row apart"><h1>${t('Find')}</h1><div class="row">
      <label class="unseen" for="project">${t('Project')}</label><input id="project" list="projects" style=${{ width: '12rem' }} value=${typed ?? project} pattern="[A-Za-z0-9][A-Za-z0-9._\\-]{0,127}"
        onInput=${(e) => setTyped(e.target.value)} onChange=${choose} />
      <datalist id="projects">${projects.map((each) => html`<option value=${each} />`)}</datalist>
      <${Files} accept="image/*" multiple take=${take}>${t('Add pictures')}<//></div></header>
    <form class="sheet" onSubmit=${(e) => { e.preventDefault(); setLike(null); if (query.trim()) search(); else setFound(null); }}>
      <div class="row"><label class="unseen" for="query">${t('What to look for')}</label>
        <input id="query" type="search" style=${{ flex: '1 1 14rem' }} value=${query} placeholder=${t('Words, in any language the model knows')} onInput=${(e) => setQuery(e.target.value)} />
        <button class="main" disabled=${busy}>${t('Search')}</button>
        <${Files} accept="image/*" take=${([file]) => { if (file) { setLike(file); search({ file }); } }}>${t('By a picture')}<//>
        ${found && html`<button type="button" class="quiet" onClick=${() => { setFound(null); setLike(null); setQuery(''); }}>${t('Show all')}</button>`}</div>
      ${found?.length > 0 && html`<div class="row"><label style=${{ flex: '1 1 12rem' }}>${t('Score at least {score}', { score: (least ?? lowest).toFixed(2) })}<input type="range" min=${lowest} max=${Math.max(...scores)} step="0.01" value=${least ?? lowest} onInput=${(e) => setLeast(Number(e.target.value))} /></label>
        ${like && html`<${Picture} blob=${like} alt=${t('looked for')} style=${{ height: '48px', borderRadius: '8px' }} />`}</div>`}
      ${query && html`<${Code} examples=${searching(project, query)} />`}
    </form>
    ${uploads.length > 0 && html`<div class="sheet"><div class="row apart"><span>${t('{done} of {all} sent', { done: number(done), all: number(uploads.length) })}</span>
      ${failed.length > 0 && html`<button onClick=${retry}>${t('Send {count} again', { count: failed.length })}</button>`}
      ${done === uploads.length && html`<button class="quiet" onClick=${() => setUploads([])}>${t('Close')}</button>`}</div><${Bar} share=${done / uploads.length} label=${t('Upload')} />
      ${failed.slice(0, 5).map((each) => html`<p class="soft">${each.file.name}: ${each.error.message}</p>`)}</div>`}
    <${Wrong} error=${error} retry=${refresh} />
    <${Drop} take=${take}>${shown.length ? html`<p class="soft" role="status">${found ? t('{count} found', { count: number(shown.length) }) : next ? t('the first {count} pictures', { count: number(shown.length) }) : t('{count} pictures', { count: number(shown.length) })}</p>
      <${Tiles} records=${shown} route=${route} remove=${remove} similar=${(id) => search({ id })} end=${!found && next ? more : null} />`
      : html`<div class="sheet empty"><p>${found ? t('Nothing like this is here.') : t('Drop pictures here; they can then be found by words.')}</p>
        <div class="chips">${TRY.map((each) => html`<button type="button" class="chip" onClick=${() => setQuery(each)}>${each}</button>`)}</div></div>`}<//>`;
}

/** Send one picture; what went wrong, or null. A full server is waited for. */
async function sendOne(route, file) {
  for (let tries = 0; ; tries += 1) {
    const form = new FormData();
    form.append('file', file, file.name);
    try {
      await call(route, { form });
      return null;
    } catch (error) {
      const mayPass = error.status === 429 || error.status === 503 || error.code === 'offline';
      if (!mayPass || tries === 20) return error;
      await new Promise((resolve) => setTimeout(resolve, (error.retryAfter ?? 2) * 1000));
    }
  }
}

/** A grid of which only what is seen is in the document. */
function Tiles({ records, route, remove, similar, end }) {
  const box = useRef();
  const [view, setView] = useState(null); // nothing is drawn before it is known how wide it is
  useEffect(() => {
    const look = () => setView({ top: box.current.scrollTop, height: box.current.clientHeight, width: box.current.clientWidth });
    const watcher = new ResizeObserver(look);
    watcher.observe(box.current);
    box.current.addEventListener('scroll', look, { passive: true });
    const element = box.current;
    return () => { watcher.disconnect(); element.removeEventListener('scroll', look); };
  }, []);
  const { top, height, width } = view ?? { top: 0, height: 0, width: 800 };
  const columns = Math.max(2, Math.floor(width / 170));
  const side = width / columns;
  const first = Math.max(0, Math.floor(top / side) - 2) * columns;
  const last = view ? Math.min(records.length, (Math.ceil((top + height) / side) + 2) * columns) : 0;
  useEffect(() => { if (end && view && last >= records.length) end(); }, [last, records.length]);
  return html`<div class="scroller" ref=${box} tabindex="0" role="list" aria-label=${t('Pictures')}><div class="tiles" style=${{ height: view ? `${Math.ceil(records.length / columns) * side}px` : '100vh' }}>
    ${records.slice(first, last).map((each, i) => html`<div class="tile" role="listitem" key=${each.id} style=${{ width: `${side}px`, height: `${side}px`, left: `${((first + i) % columns) * side}px`, top: `${Math.floor((first + i) / columns) * side}px` }}>
      <div><${Thumbnail} path=${`${route}/${each.id}/thumbnail?size=320`} name=${each.original_filename} />
        ${each.score !== undefined && html`<span class="score">${each.score.toFixed(2)}</span>`}
        <div class="acts"><button title=${t('Find similar')} onClick=${() => similar(each.id)}>≈<span class="unseen">${t('Find similar')}</span></button>
          <button title=${t('Edit this')} onClick=${async () => handOver('create', { files: [new File([await original(route, each)], each.original_filename, { type: each.content_type })], prompt: '' })}>✎<span class="unseen">${t('Edit this')}</span></button>
          <button title=${t('Download')} onClick=${async () => save(await original(route, each), each.original_filename)}>↓<span class="unseen">${t('Download')}</span></button>
          <button title=${t('Delete')} onClick=${() => remove(each)}>×<span class="unseen">${t('Delete')} ${each.original_filename}</span></button></div></div></div>`)}</div></div>`;
}

const original = async (route, record) => (await call(`${route}/${record.id}/file`)).blob();

/** An image element sends no key, so where there is one the picture is fetched. */
function Thumbnail({ path, name }) {
  const [blob, setBlob] = useState(null);
  useEffect(() => {
    if (!apiKey()) return undefined;
    const left = new AbortController();
    call(path, { signal: left.signal }).then((answer) => answer.blob()).then(setBlob, () => undefined);
    return () => left.abort();
  }, [path]);
  if (!apiKey()) return html`<img src=${address(path)} alt=${name} loading="lazy" decoding="async" />`;
  return blob ? html`<${Picture} blob=${blob} alt=${name} />` : html`<img alt=${name} />`;
}
