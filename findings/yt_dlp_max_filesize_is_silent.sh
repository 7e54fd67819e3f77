#!/bin/sh
# yt-dlp 2026.10.26, `max_filesize` through its Python interface.
#
# Guess: a file above `max_filesize` raises DownloadError, as a missing file does.
# Behaviour: nothing is raised, and the return code of `download` is 0. The result of `extract_info` merely lacks
# `requested_downloads[0]["filepath"]`; a caller who looks for the file must notice by itself.
#
# Seen:
#   within the limit: code 0, a file, has filepath: True
#   above the limit: code 0, no file, has filepath: False
#   missing: DownloadError
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q yt-dlp==2026.10.26
cd "$place"
"$place/venv/bin/python" - <<'PY'
import os, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yt_dlp

class Files(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def answer(self, body):
        if not self.path.startswith("/film"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "video/mp4")
        self.send_header("Content-Length", "200000")
        self.end_headers()
        if body:
            self.wfile.write(b"\0" * 200000)

    def log_message(self, *arguments):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_port}"

def options(folder, **more):
    os.makedirs(folder)
    return {"quiet": True, "no_warnings": True, "noprogress": True, "outtmpl": folder + "/%(id)s.%(ext)s", "proxy": "", **more}

def fetch(name, limit):
    with yt_dlp.YoutubeDL(options(name + "1", max_filesize=limit)) as downloader:
        code = downloader.download([address + "/film.mp4"])
    with yt_dlp.YoutubeDL(options(name + "2", max_filesize=limit)) as downloader:
        result = downloader.extract_info(address + "/film.mp4")
    there = any(name.endswith(".mp4") for name in os.listdir(name + "2"))
    path = "filepath" in result["requested_downloads"][0]
    return code, there, path

small, large = fetch("within", 1_000_000), fetch("above", 1_000)
for name, (code, there, path) in (("within", small), ("above", large)):
    print(f"{name} the limit: code {code}, {'a' if there else 'no'} file, has filepath: {path}")
try:
    with yt_dlp.YoutubeDL(options("missing")) as downloader:
        downloader.download([address + "/none.mp4"])
    outcome = "nothing"
except yt_dlp.utils.DownloadError as error:
    outcome = "DownloadError"
print("missing:", outcome)
assert (small, large, outcome) == ((0, True, True), (0, False, False), "DownloadError")
PY
