// A small chart of the last minutes: a few lines over time, with the value under the pointer.

import { useState } from 'preact/hooks';
import type { Sample } from '../model/board';
import { clock } from './parts';

export interface Series {
  name: string;
  of: (sample: Sample) => number | null;
  tone: 'one' | 'two' | 'three' | 'warn';
}

const WIDTH = 320;
const HEIGHT = 84;
const TOP = 8;
/** How much time the width stands for, at most. */
const SPAN_MS = 300_000;

export function Chart({ title, unit, samples, series, digits = 0 }: { title: string; unit?: string; samples: Sample[]; series: Series[]; digits?: number }) {
  const [pointed, setPointed] = useState<number | null>(null);
  const end = samples.at(-1)?.at ?? 0;
  const start = Math.max(end - SPAN_MS, Math.min(samples[0]?.at ?? 0, end - 60_000));
  const seen = samples.filter((sample) => sample.at >= start);
  const highest = Math.max(0, ...seen.flatMap((sample) => series.map((one) => one.of(sample) ?? 0)));
  const top = ceiling(highest, digits);
  const x = (at: number) => ((at - start) / Math.max(1, end - start)) * WIDTH;
  const y = (value: number) => HEIGHT - (value / top) * (HEIGHT - TOP);
  const sample = pointed === null ? seen.at(-1) : seen[pointed];
  const point = (event: PointerEvent) => {
    const box = (event.currentTarget as Element).getBoundingClientRect();
    const at = start + ((event.clientX - box.left) / box.width) * (end - start);
    const nearest = seen.reduce((best, one, index) => (Math.abs(one.at - at) < Math.abs(seen[best]!.at - at) ? index : best), 0);
    setPointed(seen.length ? nearest : null);
  };
  return (
    <figure class="chart card" data-chart={title}>
      <figcaption>
        <h3>{title}</h3>
        <span class="faint">{pointed !== null && sample ? clock(sample.at) : unit}</span>
      </figcaption>
      <p class="values">
        {series.map((one) => (
          <span key={one.name} data-tone={one.tone} data-series={one.name}>
            <b>{number(sample ? one.of(sample) : null, digits)}</b> {one.name}
          </span>
        ))}
      </p>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={`${title}, the last ${Math.round((end - start) / 60_000) || 1} minutes`} onPointerMove={point} onPointerLeave={() => setPointed(null)}>
        {[0, 0.5, 1].map((part) => (
          <line key={part} class="grid" x1="0" x2={WIDTH} y1={y(top * part)} y2={y(top * part)} />
        ))}
        {series.map((one) => (
          <g key={one.name} data-tone={one.tone}>
            {runs(seen, one).map((run, index) => {
              const line = run.map(([at, value]) => `${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join('L');
              return (
                <g key={index}>
                  <path class="area" d={`M${x(run[0]![0]).toFixed(1)} ${HEIGHT}L${line}L${x(run.at(-1)![0]).toFixed(1)} ${HEIGHT}Z`} />
                  <path class="line" d={`M${line}`} />
                </g>
              );
            })}
          </g>
        ))}
        {pointed !== null && sample && <line class="cross" x1={x(sample.at)} x2={x(sample.at)} y1="0" y2={HEIGHT} />}
      </svg>
      <p class="scale faint">
        <span>{lastMinutes(end - start)}</span>
        <span>top {number(top, top < 10 ? digits : 0)}</span>
      </p>
    </figure>
  );
}

/** The stretches in which the value is known. */
function runs(samples: Sample[], series: Series): Array<Array<[number, number]>> {
  const found: Array<Array<[number, number]>> = [];
  let run: Array<[number, number]> = [];
  for (const sample of samples) {
    const value = series.of(sample);
    if (value === null) {
      if (run.length) found.push(run);
      run = [];
    } else {
      run.push([sample.at, value]);
    }
  }
  if (run.length) found.push(run);
  return found;
}

/** A round number not below the highest value: 1, 2 or 5 of some power of ten. */
function ceiling(highest: number, digits: number): number {
  const least = digits > 0 ? 1 : 4;
  if (highest <= least) return least;
  const power = 10 ** Math.floor(Math.log10(highest));
  return power * [1, 2, 5, 10].find((step) => step * power >= highest)!;
}

function number(value: number | null, digits: number): string {
  if (value === null) return '–';
  return value >= 1000 ? value.toLocaleString('en', { maximumFractionDigits: 0 }) : value.toFixed(value % 1 === 0 ? 0 : digits || 1);
}

function lastMinutes(ms: number): string {
  const minutes = Math.round(ms / 60_000);
  return minutes <= 1 ? 'last minute' : `last ${minutes} minutes`;
}
