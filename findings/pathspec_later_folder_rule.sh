#!/bin/sh
# pathspec 1.1.1, `GitIgnoreSpec` beside git's own `check-ignore`, a rule for a folder after one that takes a file in.
#
# Guess: the last rule that fits decides, as in git: a folder that is left out takes its files with it.
# Behaviour: a rule that fits the file itself goes before one that fits a folder above it, in whichever order they stand.
# So `!*.jpg` takes the pictures out of a later `private/`. Asking for each folder first, as git does, gives git's answers.
#
# Seen (private/x.jpg is ignored: by git, by match_file; private/ by match_file):
#   !*.jpg, private/: True, False; True
#   private/, !private/x.jpg: True, False; True
#   private/*, !*.jpg: False, False; False
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q pathspec==1.1.1
cd "$place"
git init -q files
"$place/venv/bin/python" - <<'PY'
import subprocess
from pathlib import Path

from pathspec import GitIgnoreSpec

cases = {
    ("!*.jpg", "private/"): (True, False, True),
    ("private/", "!private/x.jpg"): (True, False, True),
    ("private/*", "!*.jpg"): (False, False, False),
}
for rules, expected in cases.items():
    Path("files/.gitignore").write_text("\n".join(rules))
    command = ["git", "-C", "files", "check-ignore", "--no-index", "-q", "private/x.jpg"]
    spec = GitIgnoreSpec.from_lines(rules)
    seen = subprocess.run(command).returncode == 0, spec.match_file("private/x.jpg"), spec.match_file("private/")
    print(f"{', '.join(rules)}: {seen[0]}, {seen[1]}; {seen[2]}")
    assert seen == expected
PY
