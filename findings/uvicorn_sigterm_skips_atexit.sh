#!/bin/sh
# uvicorn 0.54.0, a program that serves with `uvicorn.Server(config).run()` and is ended by SIGTERM.
#
# Guess: the server shuts down gracefully, `run` returns, and what follows it (a `finally`, `atexit`) runs.
# Behaviour: after its graceful shutdown uvicorn raises the caught signal again. With SIGTERM's default action the
# program ends there: neither the `finally` around `run` nor `atexit` runs. With a handler of the program's own that raises
# SystemExit, both do.
#
# Seen:
#   without a handler: exit -15, ran: lifespan
#   with a handler: exit 143, ran: lifespan finally atexit
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q uvicorn==0.54.0
cd "$place"
cat > program.py <<'PY'
import atexit, signal, sys

import uvicorn

def note(word):
    with open(sys.argv[1], "a") as file:
        file.write(word + "\n")

async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        note("started")
        await receive()
        note("lifespan")
        await send({"type": "lifespan.shutdown.complete"})

def end(number, frame):
    raise SystemExit(128 + number)

if len(sys.argv) > 2:
    signal.signal(signal.SIGTERM, end)
atexit.register(note, "atexit")
try:
    uvicorn.Server(uvicorn.Config(application, port=0, log_level="critical")).run()
finally:
    note("finally")
PY
"$place/venv/bin/python" - <<'PY'
import os, signal, subprocess, sys, time

def run(name, *more):
    process = subprocess.Popen([sys.executable, "program.py", name, *more])
    while not os.path.exists(name):
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    code = process.wait(20)
    words = open(name).read().split()[1:]
    return code, words

plain, handled = run("plain"), run("handled", "handler")
for name, (code, words) in (("without a handler", plain), ("with a handler", handled)):
    print(f"{name}: exit {code}, ran: {' '.join(words)}")
assert plain == (-15, ["lifespan"]) and handled == (143, ["lifespan", "finally", "atexit"])
PY
