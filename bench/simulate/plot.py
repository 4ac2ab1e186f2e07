"""A curve of waits as an SVG, drawn by hand: for each wait, which share of the requests waited for longer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

_WIDTH, _HEIGHT = 760, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 20, 16, 52
_SECONDS = (0.1, 1, 10, 100, 1000)
_SHARES = (1.0, 0.1, 0.01, 0.001)
_COLOURS = ("#0a7d5a", "#4aa3df", "#c8501e", "#8a8a8a")


def draw(waits: Mapping[str, Sequence[float]]) -> str:
    """The picture: a line for each name, on two logarithmic axes, readable on light and dark pages."""
    body = [*_axes()]
    for number, (name, seconds) in enumerate(waits.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        body.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{_points(seconds)}"/>')
        y = _TOP + 14 + 18 * number
        x = _WIDTH - _RIGHT - 210
        body.append(f'<path d="M{x - 26} {y - 4}h20" stroke="{colour}" stroke-width="3"/>')
        body.append(f'<text x="{x}" y="{y}">{name}</text>')
    style = "text{font:12px system-ui,sans-serif;fill:#808080}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="Share of requests that waited for longer than so many seconds"><style>{style}</style>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _x(seconds: float) -> float:
    part = math.log10(max(seconds, _SECONDS[0]) / _SECONDS[0]) / math.log10(_SECONDS[-1] / _SECONDS[0])
    return _LEFT + min(1.0, part) * (_WIDTH - _LEFT - _RIGHT)


def _y(share: float) -> float:
    part = math.log10(max(share, _SHARES[-1])) / math.log10(_SHARES[-1])
    return _TOP + part * (_HEIGHT - _TOP - _BOTTOM)


def _axes() -> Iterator[str]:
    for seconds in _SECONDS:
        x = _x(seconds)
        yield f'<path d="M{x:.0f} {_TOP}V{_HEIGHT - _BOTTOM}" stroke="#80808040"/>'
        yield f'<text x="{x:.0f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{seconds:g} s</text>'
    for share in _SHARES:
        y = _y(share)
        yield f'<path d="M{_LEFT} {y:.0f}H{_WIDTH - _RIGHT}" stroke="#80808040"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.0f}" text-anchor="end">{share:.1%}</text>'
    yield f'<text x="{(_LEFT + _WIDTH) / 2:.0f}" y="{_HEIGHT - 12}" text-anchor="middle">waited for longer than</text>'


def _points(waits: Sequence[float]) -> str:
    """The curve, a point for every fortieth of a power of ten."""
    ordered = sorted(waits)
    points, below = [], 0
    for step in range(40 * round(math.log10(_SECONDS[-1] / _SECONDS[0])) + 1):
        seconds = _SECONDS[0] * 10 ** (step / 40)
        while below < len(ordered) and ordered[below] <= seconds:
            below += 1
        share = 1 - below / len(ordered)
        points.append(f"{_x(seconds):.1f},{_y(share):.1f}")
        if share <= _SHARES[-1]:
            break
    return " ".join(points)
