"""parity-inside: the verbs and flags of a client, by walking its help. For lab/parity.

A line each: VERB, --FLAG, -SHORT, what its value is called; tabs between them. A verb by itself has only
the first field.
"""
import os
import re
import subprocess
import sys

CLIENT = sys.argv[1]
# One option a line, however long its text.
ENVIRONMENT = {**os.environ, "COLUMNS": "4000"}
OPTION = re.compile(r"^ {2,6}(?:(-\w), )?(--[\w.-]+)(?:[ =](\S+))?(?: {2,}|$)")
COMMAND = re.compile(r"^  (\w[\w-]*)\*? +\S")


def run(*words):
    done = subprocess.run([CLIENT, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=ENVIRONMENT)
    return done.stdout


def sections(text):
    """Each line with the heading that it stands under."""
    heading = ""
    for line in text.splitlines():
        if re.match(r"^[A-Z].*:$", line):
            heading = line
        else:
            yield heading, line


def walk(path):
    text = run(*path, "--help")
    commands = []
    for heading, line in sections(text):
        if heading.endswith("Commands:") and (match := COMMAND.match(line)):
            commands.append(match[1])
        elif heading.endswith(("Options:", "Flags:")) and (match := OPTION.match(line)):
            short, flag, value = match.groups()
            if flag != "--help":
                print(" ".join(path), flag, short or "", value or "", sep="\t")
    for name in commands:
        if name in ("help", "completion"):
            continue
        print(" ".join([*path, name]))
        walk([*path, name])


print("#", run("--version").strip())
walk([])
