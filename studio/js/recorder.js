// A button that records the microphone, a minute at most.
import { html, useState } from '../vendor/preact-htm.js';
import { toast } from './store.js';
import { t } from './words.js';

export function Recorder({ take, label }) {
  const [recorder, setRecorder] = useState(null);
  const begin = async () => {
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      const made = new MediaRecorder(stream);
      const pieces = [];
      made.ondataavailable = (event) => pieces.push(event.data);
      made.onstop = () => {
        stream.getTracks().forEach((track) => track.stop());
        setRecorder(null);
        take(new File(pieces, 'recording.webm', { type: made.mimeType }));
      };
      made.start();
      setRecorder(made);
      setTimeout(() => made.state === 'recording' && made.stop(), 60_000);
    } catch {
      toast(t('The microphone is not available; choose a file instead.'));
    }
  };
  return recorder ? html`<button class="danger" onClick=${() => recorder.stop()}>■ ${t('Stop recording')}</button>`
    : html`<button onClick=${begin}>● ${label ?? t('Record')}</button>`;
}
