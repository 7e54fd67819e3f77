#!/bin/sh
# huggingface_hub 2.4.0, `hf_hub_download` in a process that is killed, and the same call again.
#
# Guess: the second call goes on where the first one was, as it does after a broken connection within one call; the
# library keeps `.incomplete` files for that.
# Behaviour: each call names its temporary file anew. The second call asks for the whole file (no Range header), and
# what the first one left stays in the cache for good. Big models on a slow line never arrive if each try is killed.
#
# Seen:
#   after the kill: 1 part, 20 MB or more: True
#   asked again with ranges: [None, None]
#   after the second call: 1 part left beside the whole file
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q huggingface_hub==2.4.0
cd "$place"
"$place/venv/bin/python" - <<'PY'
import hashlib, os, signal, subprocess, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BODY = os.urandom(32_000_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
ranges, stall = [], threading.Event()
stall.set()

class Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self, start=0):
        self.send_response(206 if start else 200)
        headers = {"X-Repo-Commit": "a" * 40, "ETag": f'"{SHA256}"', "Accept-Ranges": "bytes"}
        headers |= {"X-Linked-ETag": f'"{SHA256}"', "X-Linked-Size": len(BODY), "Content-Length": len(BODY) - start}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()

    def do_GET(self):
        asked = self.headers.get("Range")
        ranges.append(asked)
        start = int(asked[6:].split("-")[0]) if asked else 0
        self.do_HEAD(start)
        if stall.is_set():
            self.wfile.write(BODY[start:25_000_000])
            time.sleep(600)
        self.wfile.write(BODY[start:])

hub = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
hub.daemon_threads = True
threading.Thread(target=hub.serve_forever, daemon=True).start()
more = {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HOME": os.getcwd(), "HF_HUB_DISABLE_XET": "1"}
call = [sys.executable, "-c", "from huggingface_hub import hf_hub_download as get; get('a/b', 'model.bin')"]

def parts():
    return [part.stat().st_size for part in Path().rglob("*.incomplete")]

first = subprocess.Popen(call, env=os.environ | more, stderr=subprocess.DEVNULL)
for _ in range(600):
    if sum(parts()) >= 20_000_000:
        break
    time.sleep(0.1)
first.send_signal(signal.SIGKILL)
first.wait()
print(f"after the kill: {len(parts())} part, 20 MB or more: {sum(parts()) >= 20_000_000}")
assert len(parts()) == 1
ranges.clear()
stall.clear()
subprocess.run(call, env=os.environ | more, check=True, stderr=subprocess.DEVNULL)
print(f"asked again with ranges: {ranges}")
print(f"after the second call: {len(parts())} part left beside the whole file")
assert set(ranges) == {None} and len(parts()) == 1
PY
