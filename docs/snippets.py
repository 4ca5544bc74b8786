#!/usr/bin/env python3
"""Compile the C code blocks of Markdown files.

usage: snippets.py FILE.md ...        run in the directory of gor.h; TAP on stdout

    ```c program    a complete file
    ```c body       statements of a goroutine's function; PRELUDE stands before them

Each block is compiled by $CC (default cc) $CFLAGS -std=c11 -Wall -Wextra -Werror -fsyntax-only -I.
A C block of no kind is an error: what the documents show must compile.
"""
import os
import re
import shlex
import subprocess
import sys

PRELUDE = """\
#include "gor.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
void work(void *arg);
int job(void *arg);
void use(int);
void snippet(void *);
"""

FLAGS = "-std=c11 -Wall -Wextra -Werror -fsyntax-only -I. -x c -"


def blocks(path):
    """Yield (line number, words after the fence, text) of every fenced block of C."""
    fence = None
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            mark = re.match(r"\s*(```+)\s*(.*)", line)
            if fence is None and mark:
                fence, info = mark.group(1), mark.group(2).split()
                start, text = number + 1, []
            elif fence is not None and mark and mark.group(1) == fence and not mark.group(2):
                if info and info[0] == "c":
                    yield start, info[1:], "".join(text)
                fence = None
            elif fence is not None:
                text.append(line)
    if fence is not None:
        sys.exit(f"{path}:{start - 1}: a block that does not end")


def source(path, line, kind, text):
    """The translation unit of a block; its errors name the line of the document."""
    where = f'#line {line} "{path}"\n'
    if kind == ["program"]:
        return where + text
    return f"{PRELUDE}void snippet(void *arg)\n{{\n(void)arg;\n{where}{text}}}\n"


def main(paths):
    command = shlex.split(os.environ.get("CC", "cc"))
    command += shlex.split(os.environ.get("CFLAGS", "")) + FLAGS.split()
    count = failed = 0
    for path in paths:
        for line, kind, text in blocks(path):
            count += 1
            complaint = ""
            if kind not in (["program"], ["body"]):
                complaint = "neither ```c program nor ```c body"
            else:
                done = subprocess.run(command, input=source(path, line, kind, text), text=True,
                                      stderr=subprocess.PIPE, check=False)
                if done.returncode != 0:
                    complaint = done.stderr.rstrip()
            verdict = "not ok" if complaint else "ok"
            print(f"{verdict} {count} - {path}:{line} {' '.join(kind)}".rstrip())
            for complaint_line in complaint.splitlines():
                print(f"# {complaint_line}")
            failed += bool(complaint)
    print(f"1..{count}")
    return 1 if failed or count == 0 else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))
