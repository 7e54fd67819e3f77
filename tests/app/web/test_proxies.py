"""The nginx and Caddy examples of deploy/, run with a certificate of our own before a real `sightline
serve`."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from indexer.library import Library
from tests.media import draw_image, draw_video

ROOT = Path(__file__).parents[3]
NAME = "photos.example.org"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    command += f" -subj /CN={NAME} -addext subjectAltName=DNS:{NAME} -keyout {NAME}.key -out {NAME}.pem"
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """(port, token) of `sightline serve --name photos.example.org` over a small library."""
    base = tmp_path_factory.mktemp("proxied")
    draw_image(base / "in" / "red lake.png", color=(200, 20, 20))
    draw_video(base / "in" / "film.mp4", 6, 5)
    with Library.open(base / "library", ocr="off") as library:
        library.index([base / "in"])
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "serve", "--no-browser", "--name", NAME, "--port", str(port)],
        stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "SIGHTLINE_DATA_DIR": str(base / "library")},
    )  # fmt: skip
    assert process.stderr is not None
    token = re.search(r"\?token=(\S+)", process.stderr.readline())
    assert token, "a server behind a proxy asks for a token"
    until_it_listens(port)
    yield port, token[1]
    process.terminate()
    process.wait(60)


def until_it_listens(port: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with socket.socket() as one:
            one.settimeout(1)
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens on {port}")


def placed(name: str, certificate: Path, port: int, tls: int) -> str:
    """The example with its certificate and ports replaced, nothing else."""
    text = (ROOT / "deploy" / name).read_text("utf-8")
    assert f"/etc/ssl/{NAME}" in text and "127.0.0.1:7860" in text
    return text.replace("/etc/ssl", str(certificate)).replace("127.0.0.1:7860", f"127.0.0.1:{port}").replace(
        "listen 443", f"listen 127.0.0.1:{tls}"
    )  # fmt: skip


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def proxied(
    request: Any, tmp_path_factory: pytest.TempPathFactory, certificate: Path, served: tuple[int, str]
) -> Iterator[tuple[int, str]]:
    """(port of the proxy, token)"""
    which = request.param
    program = shutil.which(which)
    if program is None:
        pytest.skip(f"{which} is not installed")
    folder, tls = tmp_path_factory.mktemp(which), free_port()
    if which == "nginx":
        paths = "".join(
            f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        inner = placed("nginx.conf", certificate, served[0], tls)
        (folder / "nginx.conf").write_text(
            f"daemon off; pid {folder}/pid; error_log {folder}/error.log;\nevents {{}}\n"
            f"http {{ access_log off; {paths} {inner} }}\n"
        )
        command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    else:
        inner = placed("Caddyfile", certificate, served[0], tls).replace(f"{NAME} {{", f"{NAME}:{tls} {{", 1)
        (folder / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + inner)
        command = [program, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
    environment = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder)
    try:
        until_it_listens(tls)
        yield tls, served[1]
    finally:
        process.terminate()
        process.wait(60)


def test_the_library_behind_a_proxy_with_tls(proxied: tuple[int, str], certificate: Path) -> None:
    """Page, search, ranges, a Secure cookie; a wrong name, a forged header and a missing token are
    refused."""
    port, token = proxied
    trusted = ssl.create_default_context(cafile=str(certificate / f"{NAME}.pem"))

    def ask(path: str, name: str = NAME, **headers: str) -> httpx.Response:
        """Over TLS to the proxy on this machine, by the name that its certificate is for."""
        return client.get(
            f"https://127.0.0.1:{port}{path}",
            headers={"host": name, **{key.replace("_", "-"): value for key, value in headers.items()}},
            extensions={"sni_hostname": NAME},
        )

    with httpx.Client(verify=trusted, timeout=60) as client:
        assert ask("/").status_code == 401 and ask("/healthz").status_code == 200
        first = ask(f"/?token={token}", accept="text/html")
        assert first.status_code == 303 and first.headers["location"] == "/"
        cookie = first.headers["set-cookie"]
        assert "Secure" in cookie and "HttpOnly" in cookie and "SameSite=Strict" in cookie
        client.cookies.clear()
        mine = {"cookie": cookie.split(";")[0]}
        page = ask("/", **mine)
        assert page.status_code == 200 and "sightline" in page.text
        assert "max-age" in page.headers["strict-transport-security"]
        assert page.headers["content-security-policy"]
        hits = ask("/api/search?q=red+lake", **mine).json()["hits"]
        assert hits[0]["title"] == "red lake.png"
        film = next(hit for hit in hits if hit["kind"] == "video")
        part = ask(f"/media/{film['file_id']}", range="bytes=100-199", **mine)
        assert part.status_code == 206 and len(part.content) == 100
        assert part.headers["content-range"].startswith("bytes 100-199/")
        posted = client.post(
            f"https://127.0.0.1:{port}/api/roots",
            headers={"host": NAME, "origin": f"https://{NAME}", **mine},
            json={"path": "/no/such/folder"},
            extensions={"sni_hostname": NAME},
        )
        assert posted.status_code == 400 and "/no/such/folder" in posted.json()["error"]  # past the guard
        assert ask("/api/status", origin="https://evil.example", **mine).status_code == 403
        # Caddy answers an unknown name itself, with an empty page; nothing of the library comes back.
        wrong = ask("/api/status", name="evil.example", **mine)
        assert wrong.status_code == 421 or not wrong.content
        forged = ask("/api/status", x_forwarded_host="evil.example", forwarded="host=evil.example", **mine)
        assert forged.status_code == 200 and "evil.example" not in forged.text
