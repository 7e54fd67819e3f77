#!/bin/sh
# watchdog 7.1.0 on Linux (inotify), a folder that is moved out of the watched tree.
#
# Guess: watching it ends with the `deleted` event, and `Observer.stop` ends everything whatever was moved before.
# Behaviour: the kernel's watches of the folder and those in it stay. What is written there, in its new place outside, is
# reported under the old path, where nothing is, or where a new folder of that name is. If that new folder is then
# renamed, two watches have one path in watchdog's tables, and `stop` raises KeyError.
#
# Seen:
#   moved away: deleted a/trip
#   written outside: created a/trip/day/1.jpg, which is there: False
#   a new a/trip, renamed to a/tour, then stop: KeyError
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q watchdog==7.1.0
cd "$place"
mkdir -p a/trip/day outside
"$place/venv/bin/python" - <<'PY'
import os, time
from pathlib import Path

from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer

seen = []

class Handler(FileSystemEventHandler):
    def on_any_event(self, event):
        if event.event_type in ("created", "deleted", "moved"):
            seen.append((event.event_type, event.src_path))

def wait_for(kind, path):
    for _ in range(100):
        if (kind, path) in seen:
            return f"{kind} {path}"
        time.sleep(0.1)
    raise AssertionError(seen)

observer = Observer()
observer.schedule(Handler(), "a", recursive=True)
observer.start()
os.rename("a/trip", "outside/trip")
print(f"moved away: {wait_for('deleted', 'a/trip')}")
Path("outside/trip/day/1.jpg").touch()
print(f"written outside: {wait_for('created', 'a/trip/day/1.jpg')}, which is there: {os.path.exists('a/trip')}")
os.mkdir("a/trip")
wait_for("created", "a/trip")
time.sleep(0.5)  # watchdog puts its watch on it
os.rename("a/trip", "a/tour")
wait_for("moved", "a/trip")
try:
    observer.stop()
    outcome = "nothing raised"
except KeyError:
    outcome = "KeyError"
print(f"a new a/trip, renamed to a/tour, then stop: {outcome}")
assert outcome == "KeyError" and not os.path.exists("a/trip")
PY
