// A brush on a picture. What is painted becomes transparent in the mask: there the picture may change.
import { html, useEffect, useRef, useState } from '../vendor/preact-htm.js';
import { Picture } from './parts.js';
import { t } from './words.js';

export function MaskPainter({ file, done }) {
  const canvas = useRef();
  const [size, setSize] = useState(null);
  const [brush, setBrush] = useState(12);
  const [strokes, setStrokes] = useState([]);
  const current = useRef(null);

  useEffect(() => {
    let left = false;
    createImageBitmap(file, { imageOrientation: 'from-image' }).then((bitmap) => { if (!left) setSize([bitmap.width, bitmap.height]); });
    return () => { left = true; };
  }, [file]);
  useEffect(() => { if (size) paint(canvas.current, size, strokes); }, [size, strokes]);

  const at = (event) => {
    const box = canvas.current.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * size[0], ((event.clientY - box.top) / box.height) * size[1]];
  };
  const begin = (event) => {
    canvas.current.setPointerCapture(event.pointerId);
    current.current = { width: (brush / 100) * Math.max(...size), points: [at(event)] };
    setStrokes([...strokes, current.current]);
  };
  const move = (event) => {
    if (!current.current) return;
    current.current.points.push(at(event));
    paint(canvas.current, size, strokes);
  };
  const finish = () => {
    const mask = document.createElement('canvas');
    [mask.width, mask.height] = size;
    const context = mask.getContext('2d');
    context.fillRect(0, 0, ...size);
    context.globalCompositeOperation = 'destination-out';
    trace(context, strokes);
    mask.toBlob(done, 'image/png');
  };
  return html`<div class="options"><div class="paint"><${Picture} blob=${file} alt=${t('the picture to paint on')} />
      ${size && html`<canvas ref=${canvas} width=${size[0]} height=${size[1]} aria-label=${t('Paint where the picture may change')}
        onPointerDown=${begin} onPointerMove=${move} onPointerUp=${() => { current.current = null; }}></canvas>`}</div>
    <div class="row"><label>${t('Brush')}<input type="range" min="2" max="40" value=${brush} onInput=${(e) => setBrush(Number(e.target.value))} /></label>
      <button disabled=${!strokes.length} onClick=${() => setStrokes(strokes.slice(0, -1))}>${t('Undo')}</button>
      <button class="main" disabled=${!strokes.length} onClick=${finish}>${t('Use this mask')}</button></div></div>`;
}

function paint(canvas, size, strokes) {
  const context = canvas.getContext('2d');
  context.clearRect(0, 0, ...size);
  context.strokeStyle = context.fillStyle = 'rgb(255 140 60 / 60%)';
  trace(context, strokes);
}

function trace(context, strokes) {
  context.lineCap = context.lineJoin = 'round';
  for (const { width, points } of strokes) {
    context.lineWidth = width;
    context.beginPath();
    context.moveTo(...points[0]);
    for (const point of points) context.lineTo(...point);
    if (points.length === 1) context.lineTo(points[0][0] + 0.01, points[0][1]);
    context.stroke();
  }
}
