"""Fetching by address, for real: httpx and yt-dlp in their confined process, a website on loopback."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from data.download.addresses import is_reachable, networks_of
from data.download.web import Bounds, Fetched, WebError, checked, fetch, keep, safe_name
from data.media import beside
from tests.data.download.website import LOOPBACK, Website
from tests.media import draw_image, draw_pdf, draw_video

BOUNDS = Bounds(max_bytes=5_000_000, stall_s=2.0, total_s=120.0, networks=LOOPBACK)


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    draw_image(folder / "lake.png", "lake")
    draw_image(folder / "photo.jpg", "photo")
    draw_pdf(folder / "report.pdf", ["The lighthouse of the harbour"])
    draw_video(folder / "trip.mp4", 3, 5)
    return folder


@pytest.fixture
def site() -> Iterator[Website]:
    site = Website()
    yield site
    site.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "into").mkdir()
    return tmp_path / "into"


# ---- What an address leads to


@pytest.mark.parametrize(
    ("path", "media_type", "file", "name"),
    [
        ("/a/lake.png", "image/png", "lake.png", "lake.png"),
        ("/a/lake", "image/png", "lake.png", "lake.png"),  # no suffix
        ("/a/lake.php", "text/html", "photo.jpg", "lake.php.jpg"),  # neither name nor media type is right
        ("/a/lake.png", "image/png", "photo.jpg", "lake.jpg"),
        ("/a/%D7%99%D7%9D%20x.pdf?page=2", "application/octet-stream", "report.pdf", "ים x.pdf"),
        ("/", "video/mp4", "trip.mp4", "127.0.0.1.mp4"),
    ],
)
def test_a_file_is_known_by_its_content_and_keeps_its_name(
    site: Website, folder: Path, media: Path, path: str, media_type: str, file: str, name: str
) -> None:
    fetched = fetch(site.put(path, media / file, media_type), folder, BOUNDS)
    assert fetched.path == folder / name
    assert fetched.path.read_bytes() == (media / file).read_bytes()
    assert [entry.name for entry in folder.iterdir()] == [name]


def test_a_name_that_the_server_gives_leads_nowhere(site: Website, folder: Path, media: Path) -> None:
    address = site.put("/file", media / "lake.png", "image/png")
    site.headers["/file"] = {"content-disposition": 'attachment; filename="../../.bashrc\\\\con.png"'}
    assert fetch(address, folder, BOUNDS).path == folder / "_con.png"


def test_a_page_gives_its_video_with_title(site: Website, folder: Path, media: Path) -> None:
    site.put("/v/trip.mp4", media / "trip.mp4", "video/mp4")
    address = site.page("/watch?v=7", '<video controls src="/v/trip.mp4"></video>', "Harbour / dawn")
    fetched = fetch(address, folder, BOUNDS)
    assert fetched.path.name == "Harbour _ dawn.mp4" and fetched.title == "Harbour / dawn"
    assert fetched.path.read_bytes() == (media / "trip.mp4").read_bytes()
    assert fetched.address == address


def test_a_stream_in_parts_is_joined_without_another_program(site: Website, folder: Path, media: Path) -> None:
    parts = [draw_video(folder.parent / f"{n}.ts", 2, 5) for n in range(2)]
    for n, part in enumerate(parts):
        site.put(f"/{n}.ts", part, "video/mp2t")
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:2", "#EXTINF:2.0,", "0.ts", "#EXTINF:2.0,", "1.ts", "#EXT-X-ENDLIST"]
    list_ = site.put("/film.m3u8", "\n".join(lines), "application/vnd.apple.mpegurl")
    fetched = fetch(list_, folder, BOUNDS)
    assert fetched.path.suffix == ".ts"
    assert fetched.path.read_bytes() == b"".join(part.read_bytes() for part in parts)
    without_end = site.put("/live.m3u8", "\n".join(lines[:-1]), "application/vnd.apple.mpegurl")
    with pytest.raises(WebError, match="no video that has an end"):
        fetch(without_end, folder, BOUNDS)


@pytest.mark.parametrize(
    ("body", "media_type", "reason"),
    [
        ("<!doctype html><p>words</p>", "text/html", "holds no video, and is neither an image nor a PDF"),
        ("only words", "text/plain", "leads to text"),
        ("PK\x03\x04" + "x" * 50, "application/zip", "leads to a ZIP archive"),
        ("<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml", "leads to an SVG drawing"),
        ("", "image/png", "is empty"),
        ('<!doctype html><video src="/none.mp4"></video>', "text/html", "404"),
        ('<!doctype html><video src="file:///etc/passwd"></video>', "text/html", "in no single file of http"),
        ('<!doctype html><video src="rtmp://127.0.0.1/a"></video>', "text/html", "in no single file of http"),
    ],
)
def test_what_is_nothing_to_index_is_named(
    site: Website, folder: Path, body: str, media_type: str, reason: str
) -> None:
    with pytest.raises(WebError, match=reason) as caught:
        fetch(site.put("/thing", body, media_type), folder, BOUNDS)
    assert "\n" not in str(caught.value) and f"{site.url}/thing" in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        *("", "a lake", "lake.png", "ftp://example.org/a.png", "file:///etc/passwd", "http://", "https:///a.png"),
        *("http://[::1/a", "http://example.org:port/", "http://example.org/a b", "javascript:alert(1)"),
        *("http://example.org/\na", "http://me:secret@example.org/a.png"),
    ],
)
def test_what_is_no_address_of_the_web_is_refused(address: str) -> None:
    with pytest.raises(WebError):
        checked(address)


# ---- Where a fetch may not go


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
        *("100.64.0.1", "198.18.0.1", "192.0.2.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
        *("168.63.129.16", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::1", "2002:7f00:1::"),
        *("2001:0:7f00:1::", "2001:db8::1", "100::1", "localhost", "127.1", "2130706433", "0x7f.1", ""),
    ],
)
def test_a_private_address_is_refused(host: str) -> None:
    assert not is_reachable(host)


@pytest.mark.parametrize("host", ["9.9.9.9", "1.1.1.1", "2620:fe::fe", "::ffff:9.9.9.9", "64:ff9b::909:909"])
def test_a_public_address_is_reached(host: str) -> None:
    assert is_reachable(host)


def test_a_network_is_opened_by_name_and_no_other_is() -> None:
    opened = networks_of("192.168.1.0/24, ::1")
    assert is_reachable("192.168.1.7", opened) and is_reachable("::ffff:192.168.1.7", opened)
    assert is_reachable("::1", opened) and not is_reachable("192.168.2.7", opened)


def test_the_machine_itself_is_refused_by_number_and_by_name(site: Website, folder: Path, media: Path) -> None:
    address = site.put("/lake.png", media / "lake.png", "image/png")
    for private in (address, address.replace("127.0.0.1", "localhost"), address.replace("127.0.0.1", "[::1]")):
        with pytest.raises(WebError, match="private address"):
            fetch(private, folder, Bounds(total_s=120.0))
    assert site.requests == []


def test_each_hop_is_checked(site: Website, folder: Path, media: Path) -> None:
    site.put("/v.mp4", media / "trip.mp4", "video/mp4")
    site.redirects |= {"/1": "/2", "/2": "http://10.20.30.40/lake.png", "/round": "/round"}
    site.redirects |= {"/ftp": "ftp://127.0.0.1/a", "/file": "file:///etc/passwd", "/v1": "http://[fd00::7]/v.mp4"}
    page = site.page("/page", '<video src="/v1"></video>')
    embedded = site.page("/embedded", '<video src="http://192.168.7.7/v.mp4"></video>')
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:2", "#EXTINF:2.0,", "http://172.16.9.9/0.ts", "#EXT-X-ENDLIST"]
    parts = site.put("/film.m3u8", "\n".join(lines), "application/vnd.apple.mpegurl")
    for address, reason in {
        f"{site.url}/1": "10.20.30.40 is a private address",
        f"{site.url}/round": "without an end",
        f"{site.url}/ftp": "neither http nor https",
        f"{site.url}/file": "neither http nor https",
        page: "fd00::7 is a private address",
        embedded: "192.168.7.7 is a private address",
        parts: "172.16.9.9 is a private address",
    }.items():
        with pytest.raises(WebError, match=reason):
            fetch(address, folder, BOUNDS)


def test_a_confined_process_starts_no_program_and_sends_no_datagram() -> None:
    script = """
import ftplib, json, os, socket, subprocess, sys
from data.download.addresses import confine
state = confine()
def udp(): socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9))
def unix(): socket.socket(socket.AF_UNIX).connect("/tmp/none")
def named(): socket.socket().connect(("localhost", 9))
attempts = {
    "run": lambda: subprocess.run([sys.executable, "-c", "print(1)"]), "system": lambda: os.system("true"),
    "fork": os.fork, "spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "exec": lambda: os.execv("/bin/true", ["true"]), "ftp": lambda: ftplib.FTP("127.0.0.1"),
    "udp": udp, "unix": unix, "named": named, "tcp": lambda: socket.create_connection(("127.0.0.1", 9)),
    "tcp_ex": lambda: socket.socket().connect_ex(("10.0.0.1", 9)),
}
refused = {}
for name, attempt in attempts.items():
    try:
        attempt()
    except OSError as error:
        refused[name] = type(error).__name__
print(json.dumps(refused))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    programs = dict.fromkeys(("run", "system", "fork", "spawn", "exec", "ftp"), "PermissionError")
    connections = dict.fromkeys(("udp", "unix", "named", "tcp", "tcp_ex"), "PrivateAddress")
    assert json.loads(done.stdout) == programs | connections


# ---- What a fetch may cost


def test_more_than_the_bound_is_refused_whatever_length_is_declared(site: Website, folder: Path) -> None:
    declared = site.put("/large.jpg", b"\xff\xd8\xff" + bytes(6_000_000), "image/jpeg")
    endless = f"{site.url}/endless"
    page = site.page("/page", '<video src="/endless"></video>')
    for address in (declared, endless, page):
        with pytest.raises(WebError, match="larger than 5 MB"):
            fetch(address, folder, BOUNDS)
    assert sum(entry.stat().st_size for entry in folder.rglob("*") if entry.is_file()) <= 2 * 5_000_000


def test_a_server_that_stops_sending_is_left(site: Website, folder: Path) -> None:
    with pytest.raises(WebError, match="does not answer in time"):
        fetch(f"{site.url}/stall/a.jpg", folder, BOUNDS)
    with pytest.raises(WebError, match="longer than 1 s"):
        fetch(f"{site.url}/stall/a.jpg", folder, Bounds(stall_s=60, total_s=1, networks=LOOPBACK))
    with pytest.raises(WebError, match="cancelled"):
        fetch(f"{site.url}/stall/a.jpg", folder, Bounds(networks=LOOPBACK), is_cancelled=lambda: True)


def test_half_a_file_is_no_file(site: Website, folder: Path, media: Path) -> None:
    address = site.put("/lake.png", media / "lake.png", "image/png")
    site.headers["/lake.png"] = {"content-length": "99999"}
    with pytest.raises(WebError, match="ends the transfer early"):
        fetch(address, folder, BOUNDS)


# ---- Into a folder


def test_a_kept_file_lies_beside_its_source(tmp_path: Path, folder: Path, media: Path) -> None:
    for number in range(3):
        (tmp_path / "trip.mp4").write_bytes((media / "trip.mp4").read_bytes())
        address = f"https://example.org/watch?a=1&b=<{number}>"
        keep(Fetched(tmp_path / "trip.mp4", address, "Trip & <friends>\x00", "To the\nlake"), folder)
    names = {"trip.mp4", "trip (2).mp4", "trip (3).mp4"}
    assert {entry.name for entry in folder.iterdir()} == names | {f"{name}.xmp" for name in names}
    source = ElementTree.parse(folder / "trip (3).mp4.xmp").find(".//{http://purl.org/dc/elements/1.1/}source")
    assert source is not None and source.text == "https://example.org/watch?a=1&b=<2>"
    assert beside.read(folder / "trip.mp4").words == "Trip & <friends>\nTo the lake"


def test_a_file_that_is_there_is_never_replaced(tmp_path: Path, folder: Path, media: Path) -> None:
    (folder / "lake.png.xmp").write_text("a sidecar of mine")
    (folder / "lake (2).png").write_text("a picture of mine")
    (tmp_path / "lake.png").write_bytes((media / "lake.png").read_bytes())
    assert keep(Fetched(tmp_path / "lake.png", "https://example.org/"), folder).name == "lake (3).png"
    assert (folder / "lake.png.xmp").read_text() == "a sidecar of mine"
    assert (folder / "lake (2).png").read_text() == "a picture of mine"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("AC/DC: live?", "AC_DC_ live_.mp4"),
        ("..", "file.mp4"),
        (".hidden.mp4", "hidden.mp4"),
        ("NUL", "_NUL.mp4"),
        ("v1.5 demo", "v1.5 demo.mp4"),
        ("a\x00\n\u202eb", "ab.mp4"),
        ("é" * 300, "é" * 75 + ".mp4"),
        ("film.webm", "film.mp4"),
    ],
)
def test_a_name_is_safe_on_any_system(name: str, expected: str) -> None:
    assert safe_name(name, ".mp4") == expected
