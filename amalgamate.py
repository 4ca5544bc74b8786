#!/usr/bin/env python3
"""Inline the parts of src/gor.h into one header.

usage: amalgamate.py [--check] [-o FILE]     default FILE: gor.h beside this script
--check writes nothing and fails if FILE is not what would be written.

It edits no code. A line '#include "part.h"' in the master is replaced by the part; everything else
stays as it is. Anything odd is an error: a part included twice, a part that includes another, a part
on disk that nobody includes, a tab, a carriage return, trailing blanks, a line over 100 columns.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent
SRC = ROOT / "src"
MASTER = SRC / "gor.h"
odd = []                                       # what is wrong with single lines, all of it
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"\s*$')


def fail(where, what):
    sys.exit(f"amalgamate.py: {where}: {what}")


def lines_of(path):
    name = path.relative_to(ROOT)
    text = path.read_text(encoding="utf-8")
    if not text.endswith("\n"):
        fail(name, "no newline at the end")
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if "\t" in line or "\r" in line or line != line.rstrip():
            odd.append(f"{name}:{number}: tab, carriage return or trailing blank")
        if len(line) > 100:
            odd.append(f"{name}:{number}: {len(line)} columns")
    return lines


def inline():
    out, seen = [], set()
    for line in lines_of(MASTER):
        match = INCLUDE.match(line)
        if not match:
            out.append(line)
            continue
        part = SRC / match.group(1)
        if part in seen:
            fail(match.group(1), "included twice")
        if not part.is_file():
            fail(match.group(1), "no such part")
        seen.add(part)
        body = lines_of(part)
        for number, inner in enumerate(body, 1):
            if INCLUDE.match(inner):
                fail(f"{match.group(1)}:{number}", "a part includes nothing of ours")
        out += body + [""]
    for path in sorted(SRC.rglob("*")):
        if path.is_file() and path != MASTER and path not in seen:
            fail(path.relative_to(ROOT), "included by nobody")
    if odd:
        sys.exit("\n".join(odd))
    return "\n".join(out) + "\n"


def main(argv):
    target = ROOT / "gor.h"
    if "-o" in argv:
        target = pathlib.Path(argv[argv.index("-o") + 1])
    text = inline()
    if "--check" in argv:
        if not target.is_file() or target.read_text(encoding="utf-8") != text:
            sys.exit(f"amalgamate.py: {target.name} is stale: run amalgamate.py")
        return
    target.write_text(text, encoding="utf-8")


main(sys.argv[1:])
