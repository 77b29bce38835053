#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Draws what one run of script/bench has measured.

    plot.py DIRECTORY OUT.svg

DIRECTORY has the .csv files of tests/cluster/e2e/load and scale. script/bench calls it.
"""
import csv
import pathlib
import sys

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

WEBHOOK, BARE, OTHER = "#2f6fde", "#9aa0a8", "#e07b39"
# Equal data draw an equal picture; text stays text.
matplotlib.rcParams.update({
    "svg.hashsalt": "dbupgrade", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#e4e6e9",
    "axes.axisbelow": True, "axes.titlesize": 11, "axes.titleweight": "bold", "axes.titlelocation": "left",
})


def columns(path):
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in rows[0]}


def over_objects(axes, objects):
    axes.set_xscale("symlog", linthresh=100)
    axes.set_xlim(left=0)
    axes.set_xticks(objects, [f"{n:,.0f}" for n in objects])
    axes.minorticks_off()
    axes.set_xlabel("finished objects (logarithmic)")
    axes.set_ylim(bottom=0)


def memory(axes, data):
    axes.set_title("reconciler: memory, MB")
    axes.plot(data["objects"], data["rss"], "o-", clip_on=False, color=WEBHOOK, label="resident")
    axes.plot(data["objects"], data["private"], "o-", clip_on=False, color=OTHER, label="of it private, dirty")
    over_objects(axes, data["objects"])
    axes.legend(frameon=False)


def start(axes, data):
    axes.set_title("reconciler: from exec until all are known, s")
    axes.plot(data["objects"], data["start"], "o-", clip_on=False, color=WEBHOOK)
    over_objects(axes, data["objects"])


def latency(axes, data):
    axes.set_title("webhook: latency at half load, ms")
    # Even steps to the right are ever rarer reviews.
    rarity = [1 / (1 - percent / 100) for percent in data["percent"]]
    for name, color, label in (("webhook", WEBHOOK, "webhook"), ("bare", BARE, "bare HTTPS server")):
        axes.plot(rarity, [1000 * s for s in data[name]], color=color, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks([1 / (1 - p) for p in (0, 0.5, 0.9, 0.99, 0.999)], ["least", "50 %", "90 %", "99 %", "99.9 %"])
    axes.minorticks_off()
    axes.set_yticks(ticks := [t for t in (0.1, 1, 10, 100, 1000) if axes.get_ylim()[0] <= t <= axes.get_ylim()[1]],
                    [f"{t:g}" for t in ticks])
    axes.set_xlabel("of the reviews are faster")
    axes.legend(frameon=False)


def processor(axes, data):
    axes.set_title("webhook: processor time of a review, µs")
    for shift, name, color, label in ((-0.2, "bare", BARE, "bare HTTPS server"), (0.2, "webhook", WEBHOOK, "webhook")):
        axes.bar([n + shift for n in data["round"]], [1000 * s for s in data[name]], 0.4, color=color, label=label)
    axes.set_xticks(data["round"])
    axes.set_xlabel("round, each as fast as the server answers")
    axes.set_ylim(0, axes.get_ylim()[1] * 1.25)
    axes.grid(axis="x", visible=False)
    axes.legend(frameon=False, ncols=2, loc="upper left")


def main(directory, out):
    directory = pathlib.Path(directory)
    figure, ((a, b), (c, d)) = pyplot.subplots(2, 2, figsize=(10, 7), layout="constrained")
    reconciler = columns(directory / "reconciler.csv")
    memory(a, reconciler)
    start(b, reconciler)
    latency(c, columns(directory / "webhook-latency.csv"))
    processor(d, columns(directory / "webhook-cpu.csv"))
    figure.savefig(out, metadata={"Date": None})


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
