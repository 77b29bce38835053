#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that what a Markdown page names is there.

usage: tests/lint/markdown.py PAGE...      (in the top folder of the tree)

 - links and pictures to other files, and their anchors;
 - each word of code, in a line or a block, that looks like a path: it begins with a
   folder of the tree, or ends as a page does (x.md).

A path is looked for from the top and from the page's folder. It may leave out .c and .h,
be a program that the folder's meson.build makes, and have a * in it.
"""
import fnmatch
import functools
import os
import re
import subprocess
import sys
import unicodedata

FENCE = re.compile(r"^ *(```|~~~)")
CODE = re.compile(r"(`+)(.+?)\1")
LINK = re.compile(r"\]\(([^()\s]+)\)")
SPLIT = re.compile(r"[\s\"'=:,;|()<>\[\]]+")
PATH = re.compile(r"[\w.*-]+(?:/[\w.*-]+)*/?")


@functools.cache
def tree():
    """Every file and folder that is tracked."""
    names = set()
    for name in subprocess.check_output(["git", "ls-files"], text=True).split("\n"):
        while name:
            names.add(name)
            name = os.path.dirname(name)
    return names


@functools.cache
def tops():
    return {name for name in tree() if "/" not in name and os.path.isdir(name)}


def exists(path):
    path = os.path.normpath(path)
    folder, name = os.path.split(path)
    makes = os.path.join(folder, "meson.build")
    return (
        any(path + end in tree() for end in ("", ".c", ".h"))
        or ("*" in path and any(fnmatch.filter(tree(), path)))
        or (makes in tree() and f"'{name}'" in open(makes, encoding="utf-8").read())
    )


def lines(page):
    """(number, text, whether it is code) of each line."""
    fence = indented = False
    before = ""
    for number, line in enumerate(open(page, encoding="utf-8"), 1):
        if FENCE.match(line):
            fence = not fence
        else:
            # An indented block begins after an empty line, outside of a list.
            indented = line.startswith("    ") and (indented or not before.strip())
            yield number, line, fence or indented
        before = line


def slug(heading):
    """The anchor of a heading, as GitHub makes it."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
    kept = (c for c in text if c in " -_" or unicodedata.category(c)[0] in "LN")
    return "".join(kept).replace(" ", "-")


@functools.cache
def anchors(page):
    found = {}
    for _, line, code in lines(page):
        heading = re.match(r"#+ +(.*)", line)
        if heading and not code:
            name = slug(heading.group(1))
            found[name] = found.get(name, -1) + 1
    return {name if i == 0 else f"{name}-{i}" for name, last in found.items() for i in range(last + 1)}


def broken_links(page, text):
    folder = os.path.dirname(page)
    for target in LINK.findall(CODE.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = os.path.normpath(os.path.join(folder, path)) if path else page
        if path and file not in tree():
            yield f"{target}: no such file"
        elif anchor and anchor not in anchors(file):
            yield f"{target}: no such anchor"


def missing_paths(page, text):
    folder = os.path.dirname(page)
    for word in SPLIT.split(re.sub(r"#\S*", "", text)):
        word = word.rstrip(".")
        looks = PATH.fullmatch(word) and (word.endswith(".md") or "/" in word and word.split("/")[0] in tops())
        if looks and not any(exists(os.path.join(at, word)) for at in ("", folder)):
            yield f"{word}: no such file"


def faults(page):
    for number, line, code in lines(page):
        spans = [line] if code else [m.group(2) for m in CODE.finditer(line)]
        found = [] if code else list(broken_links(page, line))
        for span in spans:
            found += missing_paths(page, span)
        for fault in found:
            yield f"{page}:{number}: {fault}"


def main():
    found = [fault for page in sys.argv[1:] for fault in faults(page)]
    for fault in found:
        print(fault)
    return 1 if found else 0


sys.exit(main())
