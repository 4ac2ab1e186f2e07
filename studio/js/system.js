// What is in memory, what waits, and what was asked lately. Looking wakes no model.
import { html, useEffect, useState } from '../vendor/preact-htm.js';
import { address, getJson } from './api.js';
import { Wrong } from './parts.js';
import { models, toast, useCell } from './store.js';
import { bytes, language, number, seconds, t } from './words.js';

const EVERY = 2000;
const MOST = 30;

export function System({ isShown }) {
  const [status, setStatus] = useState(null);
  const [error, setError] = useState(null);
  const [refused, setRefused] = useState(null); // of what was asked for here; looking again does not take it away
  const [busy, setBusy] = useState({});
  const [asked, setAsked] = useState([]);
  const all = useCell(models);
  const look = async () => {
    try {
      const [found, list, { requests }] = await Promise.all(['v1/system/status', 'v1/models', 'v1/system/requests'].map((path) => getJson(path)));
      setStatus(found);
      setAsked(requests);
      models.set(list.data);
      setError(null);
    } catch (failed) { setError(failed); }
  };
  useEffect(() => {
    if (!isShown) return undefined;
    look();
    const timer = setInterval(() => !document.hidden && look(), EVERY);
    return () => clearInterval(timer);
  }, [isShown]);
  const act = (what, alias) => async () => {
    setBusy((now) => ({ ...now, [alias]: what }));
    setRefused(null);
    try {
      await getJson(`v1/system/${what}/${alias}`, { method: 'POST' });
      toast(what === 'load' ? t('{alias} is loaded', { alias }) : t('{alias} has left', { alias }));
    } catch (failed) { setRefused(failed); } finally {
      setBusy((now) => ({ ...now, [alias]: null }));
      look();
    }
  };
  const workers = Object.entries(status?.workers ?? {});
  const memory = status?.memory;
  const share = (gb) => ({ width: `${(gb / memory.total_gb) * 100}%` });
  return html`<header class="row apart"><h1>${t('System')}</h1><div class="row"><a class="button" href=${address('docs')}>${t('API description')}</a><a class="button" href=${address('metrics')}>${t('Metrics')}</a><${Dashboard} url=${status?.dashboard} /></div></header>
    <${Wrong} error=${error ?? refused} />
    ${!status && !error && html`<p class="soft" role="status">${t('Looking…')}</p>`}
    ${memory && html`<div class="sheet"><div class="row apart"><h2>${t('Memory')}</h2><span class="soft">${t('{used} of {all} in use', { used: bytes(memory.used_gb * 1e9), all: bytes(memory.total_gb * 1e9) })}</span></div>
      <div class="memory" role="img" aria-label=${workers.map(([alias, each]) => `${alias}: ${bytes(each.memory_gb * 1e9)}`).join(', ') || t('no model is loaded')}>
        ${workers.map(([alias, each]) => html`<i key=${alias} title=${`${alias}: ${bytes(each.memory_gb * 1e9)}`} style=${share(each.memory_gb)}></i>`)}
        <i class="other" title=${t('everything else')} style=${share(Math.max(0, memory.used_gb - memory.models_loaded_gb))}></i></div>
      <ul class="legend">${workers.map(([alias, each]) => html`<li key=${alias}>${alias} <span class="soft">${bytes(each.memory_gb * 1e9)}</span></li>`)}</ul>
      <p class="soft">${t('A model leaves after {time} without work.', { time: seconds(status.config.idle_timeout_seconds) })}</p></div>`}
    ${status && html`<div class="sheet wide" tabindex="0" role="region" aria-label=${t('Models')}><h2>${t('Models')}</h2><table><thead><tr>${['Model', 'State', 'Memory', 'Idle', 'Waiting', 'Requests', ''].map((each) => html`<th scope="col">${each ? t(each) : html`<span class="unseen">${t('Actions')}</span>`}</th>`)}</tr></thead><tbody>
      ${all.map((each) => { const worker = status?.workers[each.id]; const state = worker?.state ?? each.state; return html`<tr key=${each.id}><td><strong>${each.id}</strong><br /><span class="soft">${each.checkpoint}</span></td>
        <td><span class=${`state ${state}`}>${t(state)}</span>${worker?.reason ? html`<br /><span class="soft">${worker.reason}</span>` : ''}</td><td>${worker ? bytes(worker.memory_gb * 1e9) : '–'}</td>
        <td>${worker ? seconds(worker.idle_seconds) : '–'}</td><td>${worker?.queue ?? 0}</td><td>${number(worker?.request_count ?? 0)}</td>
        <td><div class="row">${each.kind === 'omni' ? '' : state === 'cold' || state === 'failed' ? html`<button disabled=${busy[each.id]} onClick=${act('load', each.id)}>${busy[each.id] ? t('Loading…') : t('Load')}</button>` : html`<button disabled=${busy[each.id] || !worker} onClick=${act('evict', each.id)}>${t('Unload')}</button>`}</div></td></tr>`; })}</tbody></table></div>`}
    ${status && html`<div class="sheet wide" tabindex="0" role="region" aria-label=${t('Recent requests')}><h2>${t('Recent requests')}</h2>${asked.length ? html`<table class="log"><thead><tr>${['Time', 'Request', 'Model', 'Status', 'Took', 'Id'].map((each) => html`<th scope="col">${t(each)}</th>`)}</tr></thead><tbody>
      ${asked.slice(0, MOST).map((each) => html`<tr key=${each.id + each.at}><td>${new Date(each.at * 1000).toLocaleTimeString(language)}</td><td>${each.method} ${each.path}</td><td>${each.model ?? ''}</td>
        <td class=${each.status >= 400 ? 'wrong' : ''}>${each.status || t('left')}</td><td>${seconds(each.seconds)}</td><td class="soft id">${each.id}</td></tr>`)}</tbody></table>` : html`<p class="soft">${t('None yet.')}</p>`}</div>`}`;
}

/** Ray's dashboard, which listens on the server's machine: a link only where this browser can reach it. */
function Dashboard({ url }) {
  if (!url) return null;
  const isHere = (name) => ['localhost', '127.0.0.1', '[::1]'].includes(name);
  const { hostname } = new URL(url);
  return (!isHere(hostname) || isHere(location.hostname)) && html`<a class="button" href=${url}>${t('Ray’s dashboard')}</a>`;
}
