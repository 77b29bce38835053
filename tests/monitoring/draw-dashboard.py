#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Draws manifests/monitoring/dashboard.json with what a Prometheus has: each panel by its own
queries, units, thresholds and colours. It is no Grafana: it knows the kinds of panels and the
options that this dashboard uses, and stops at what it does not know.

    draw-dashboard.py PROMETHEUS_URL START END SCRAPE_SECONDS OUT.png

START and END are Unix seconds. script/dashboard-picture calls it.
"""
import io
import json
import math
import pathlib
import re
import sys
import urllib.parse
import urllib.request

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot, ticker
from matplotlib.patches import FancyBboxPatch
from PIL import Image

BACKGROUND, PANEL, TEXT, DIM, GRID = "#111217", "#181b1f", "#d8d9da", "#8e9199", "#2c3037"
COLORS = {
    "green": "#73bf69", "red": "#f2495c", "dark-red": "#c4162a", "super-light-red": "#ffa6b0",
    "orange": "#ff9830", "dark-orange": "#fa6400", "light-orange": "#ffb357", "yellow": "#fade2a",
    "dark-yellow": "#e0b400", "blue": "#5794f2", "light-blue": "#8ab8ff", "purple": "#b877d9",
    "light-purple": "#ca95e5", "text": TEXT, "transparent": "none",
}
PALETTE = ["#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#705da0", "#37872d"]
CELL, WIDTH = 30, 24  # pixels of a grid unit's height; units of a row
DPI = 100
DASHBOARD_SCRAPE = 30  # what the dashboard's own intervals are meant for, seconds


class Prometheus:
    def __init__(self, url, start, end, scrape):
        self.url, self.start, self.end, self.scrape = url, start, end, scrape

    def ask(self, what, **parameters):
        with urllib.request.urlopen(f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}") as answer:
            return json.load(answer)["data"]["result"]

    def expression(self, target, step):
        values = {"$namespace": ".*", "$__range": f"{int(self.end - self.start)}s",
                  "$__rate_interval": f"{int(max(step + self.scrape, 4 * self.scrape))}s"}
        expr = target["expr"]
        for name, value in values.items():
            expr = expr.replace(name, value)
        assert "$" not in expr, f"a variable that is not known: {expr}"
        return expr

    def now(self, target):
        return self.ask("query", query=self.expression(target, 0), time=self.end)

    def over_time(self, target, step):
        return self.ask("query_range", query=self.expression(target, step), start=self.start, end=self.end, step=step)


def color(name):
    return COLORS.get(name, name)


def in_unit(value, unit, decimals=None):
    """A number as people read it."""
    if unit == "s":
        for size, suffix in ((86400, "days"), (3600, "hours"), (60, "min"), (1, "s"), (1e-3, "ms")):
            if abs(value) >= size:
                return f"{value / size:.3g} {suffix}"
        return "0 s" if not value else f"{value * 1e6:.3g} µs"
    if unit == "bytes":
        for size, suffix in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
            if abs(value) >= size:
                return f"{value / size:.3g} {suffix}"
        return f"{value:.0f} B"
    suffix = {"none": "", "ops": " ops/s", "reqps": " req/s", "percentunit": " %"}[unit]
    value = value * 100 if unit == "percentunit" else value
    return (f"{value:.{decimals}f}" if decimals is not None else f"{value:.4g}") + suffix


def step_color(steps, value):
    reached = [s for s in steps if s["value"] is None or value >= s["value"]]
    return color(reached[-1]["color"])


def place(figure, panel, height):
    """The axes of a panel in its place, with its title."""
    g = panel["gridPos"]
    gap = 0.12
    box = [(g["x"] + gap) / WIDTH, 1 - (g["y"] + g["h"] - gap) / height, (g["w"] - 2 * gap) / WIDTH, (g["h"] - 2 * gap) / height]
    figure.patches.append(FancyBboxPatch(box[:2], box[2], box[3], transform=figure.transFigure, figure=figure,
                                         boxstyle="square,pad=0", facecolor=PANEL, edgecolor=GRID, linewidth=0.6, zorder=-2))
    figure.text(box[0] + 0.005, box[1] + box[3] - 0.45 / height, panel["title"], color=TEXT, fontsize=7.5,
                fontweight="bold", va="center")
    return box


def draw_stat(figure, panel, height, prometheus):
    x, y, w, h = place(figure, panel, height)
    defaults = panel["fieldConfig"]["defaults"]
    result = prometheus.now(panel["targets"][0])
    text, fill = defaults["noValue"], color(defaults["thresholds"]["steps"][0]["color"])
    if result and result[0]["value"][1] != "NaN":
        value = float(result[0]["value"][1])
        text = in_unit(value, defaults["unit"], defaults.get("decimals"))
        fill = step_color(defaults["thresholds"]["steps"], value)
        for mapping in defaults["mappings"]:
            text = mapping["options"].get(text, {}).get("text", text)
    figure.patches.append(FancyBboxPatch((x, y), w, h - 0.85 / height, transform=figure.transFigure, figure=figure,
                                         boxstyle="square,pad=0", facecolor=fill, edgecolor="none", zorder=-1))
    figure.text(x + w / 2, y + (h - 0.85 / height) / 2, text, color="#0b0c0e", fontsize=17, fontweight="bold",
                ha="center", va="center")


def legend_of(target, metric):
    return re.sub(r"\{\{(\w+)\}\}", lambda m: metric.get(m[1], ""), target["legendFormat"])


def overridden(panel, legend):
    """What the panel's overrides say about a series."""
    found = {}
    for override in panel["fieldConfig"]["overrides"]:
        assert override["matcher"]["id"] == "byRegexp", override
        if re.search(override["matcher"]["options"].strip("/"), legend):
            found.update({p["id"]: p["value"] for p in override["properties"]})
    return found


def all_series(panel, prometheus, step):
    """[legend, times in minutes, values, color, dashed] of each series."""
    found = []
    for target in panel["targets"]:
        for result in prometheus.over_time(target, step):
            points = [((t - prometheus.start) / 60, float(v)) for t, v in result["values"] if v != "NaN"]
            if points:
                legend = legend_of(target, result["metric"])
                own = overridden(panel, legend)
                paint = own.get("color", {}).get("fixedColor", PALETTE[len(found) % len(PALETTE)])
                found.append((legend, *zip(*points), color(paint), "custom.lineStyle" in own))
    return found


def seconds_of(interval):
    return int(interval[:-1]) * {"s": 1, "m": 60}[interval[-1]]


def draw_timeseries(figure, panel, height, prometheus):
    x, y, w, h = place(figure, panel, height)
    axes = figure.add_axes([x + 0.045, y + 1.75 / height, w - 0.055, h - 2.9 / height], facecolor=PANEL)
    defaults = panel["fieldConfig"]["defaults"]
    custom = defaults["custom"]
    least = seconds_of(panel.get("interval", "1s")) * prometheus.scrape / DASHBOARD_SCRAPE
    step = max(prometheus.scrape, least, (prometheus.end - prometheus.start) / 240)
    found = all_series(panel, prometheus, step)
    if custom["drawStyle"] == "bars":
        draw_bars(axes, found, step / 60 * 0.8)
    elif custom["stacking"]["mode"] == "normal":
        draw_stack(axes, found)
    else:
        for _, times, values, paint, dashed in found:
            axes.plot(times, values, color=paint, linewidth=1.1, linestyle="--" if dashed else "-",
                      drawstyle="steps-post" if custom["lineInterpolation"] == "stepAfter" else "default")
    axes.set_xlim(0, (prometheus.end - prometheus.start) / 60)
    top = max(axes.get_ylim()[1], 1 if defaults.get("decimals") == 0 else 0)
    axes.set_ylim(0, defaults.get("max", top) * 1.02)
    draw_thresholds(axes, custom, defaults)
    if defaults["unit"] == "bytes":
        axes.yaxis.set_major_locator(ticker.MultipleLocator(2 ** math.ceil(math.log2(axes.get_ylim()[1] / 5))))
    else:
        axes.yaxis.set_major_locator(ticker.MaxNLocator(5, integer=defaults.get("decimals") == 0))
    axes.yaxis.set_major_formatter(lambda value, _: in_unit(value, defaults["unit"], defaults.get("decimals")))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} min")
    axes.tick_params(colors=DIM, labelsize=6, length=0)
    axes.grid(color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
    draw_legend(figure, found, x, y, w, height)


def draw_bars(axes, found, width):
    base = {}
    for _, times, values, paint, _ in found:
        axes.bar(times, values, width, bottom=[base.get(t, 0) for t in times], color=paint)
        base.update({t: base.get(t, 0) + v for t, v in zip(times, values)})


def draw_stack(axes, found):
    base = {}
    for _, times, values, paint, _ in found:
        low = [base.get(t, 0) for t in times]
        high = [b + v for b, v in zip(low, values)]
        axes.fill_between(times, low, high, color=paint, alpha=0.35, linewidth=0, step="post")
        axes.step(times, [v if v > b else float("nan") for v, b in zip(high, low)], color=paint, linewidth=1, where="post")
        base.update(zip(times, high))


def draw_thresholds(axes, custom, defaults):
    if custom["thresholdsStyle"]["mode"] == "off":
        return
    for limit in defaults["thresholds"]["steps"]:
        if limit["value"] is not None and limit["value"] <= axes.get_ylim()[1]:
            axes.axhline(limit["value"], color=color(limit["color"]), linewidth=1)
            axes.axhspan(limit["value"], axes.get_ylim()[1], color=color(limit["color"]), alpha=0.08)


def draw_legend(figure, found, x, y, w, height):
    """In as many lines as needed, two at most."""
    at, line = x + 0.008, 0
    for legend, _, values, paint, _ in found:
        if not any(values) and len(found) > 5:
            continue  # a state that never was
        width = 0.018 + 0.0044 * len(legend)
        if at + width > x + w:
            at, line = x + 0.008, line + 1
        if line > 1:
            break
        figure.text(at, y + (0.95 - 0.55 * line) / height, "▬", color=paint, fontsize=7, va="center")
        figure.text(at + 0.010, y + (0.95 - 0.55 * line) / height, legend, color=TEXT, fontsize=6, va="center")
        at += width


def draw_table(figure, panel, height, prometheus):
    x, y, w, h = place(figure, panel, height)
    filtered, organized = (t["options"] for t in panel["transformations"])
    names = sorted(filtered["include"]["names"], key=organized["indexByName"].get)
    titles = [organized["renameByName"].get(n, n) for n in names]
    paints = {o["matcher"]["options"]: o["properties"][-1]["value"][0]["options"]
              for o in panel["fieldConfig"]["overrides"]}
    rows = sorted([r["metric"].get(n, "") for n in names] for r in prometheus.now(panel["targets"][0]))
    lengths = [max(len(str(v)) for v in column) + 2 for column in zip(titles, *rows)]
    lefts = [sum(lengths[:i]) / sum(lengths) for i in range(len(lengths))]
    room = int(h * height / 1 - 1.6)
    for line, row in enumerate([titles, *rows][:room]):
        for title, left, cell in zip(titles, lefts, row):
            paint = paints.get(title, {}).get(cell, {}).get("color", "text")
            figure.text(x + 0.008 + left * (w - 0.01), y + h - (1.45 + 0.8 * line) / height, cell, va="center", fontsize=6.5,
                        color=DIM if line == 0 else color(paint), fontweight="bold" if line == 0 else "normal")
    if not rows:
        figure.text(x + 0.008, y + h - 2.25 / height, panel["fieldConfig"]["defaults"]["noValue"], color=DIM, fontsize=6.5)


def draw_row(figure, panel, height, _):
    figure.text(0.006, 1 - (panel["gridPos"]["y"] + 0.55) / height, "⌄ " + panel["title"], color=TEXT, fontsize=9,
                fontweight="bold", va="center")


DRAW = {"stat": draw_stat, "timeseries": draw_timeseries, "table": draw_table, "row": draw_row}


def main(url, start, end, scrape, out):
    path = pathlib.Path(__file__).resolve().parents[2] / "manifests/monitoring/dashboard.json"
    panels = json.loads(path.read_text())["panels"]
    height = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in panels)
    figure = pyplot.figure(figsize=(14, height * CELL / DPI), dpi=DPI, facecolor=BACKGROUND)
    prometheus = Prometheus(url, float(start), float(end), float(scrape))
    for panel in panels:
        DRAW[panel["type"]](figure, panel, height, prometheus)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=BACKGROUND)
    Image.open(buffer).convert("RGB").quantize(96).save(out, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
