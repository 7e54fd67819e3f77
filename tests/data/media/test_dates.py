"""The day on the wall: dates as programs, cameras and names write them, in order of trust, on any computer."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from data.media.dates import SOURCES, Taken, most_trusted, of_digits, of_file, of_name, of_seconds, taken, unix


@pytest.fixture(params=["UTC", "Asia/Tokyo", "America/Los_Angeles", "Pacific/Auckland"])
def computer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The zone that the computer stands in."""
    if not hasattr(time, "tzset"):
        pytest.skip("this system's zone cannot be set for one program")
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


WRITTEN = [
    ("2023:01:01 00:30:00", "2023-01-01T00:30:00"),
    ("2015-08-09T10:11:12+02:00", "2015-08-09T10:11:12+02:00"),
    ("2012-03-04T05:06:07+0900", "2012-03-04T05:06:07+09:00"),
    ("2014-03-02T11:12:13.256Z", "2014-03-02T11:12:13.256+00:00"),
    ("2003-03-10 15:04:43", "2003-03-10T15:04:43"),
    ("2010:02:03 04:05", "2010-02-03T04:05:00"),
    ("2009:03:04", "2009-03-04"),
    ("1968", "1968"),
    ("1970", "1970"),
    ("1968-05", "1968-05"),
    ("1968:05:00 00:00:00", "1968-05"),
    ("1868-05-12", "1868-05-12"),
    ("Sun, 02 Mar 2014 11:12:13 +0100", "2014-03-02T11:12:13+01:00"),
    ("2016-02-29T23:59:59-11:00", "2016-02-29T23:59:59-11:00"),
    ("2023:07:14 09:30:00\x00", "2023-07-14T09:30:00"),
]
NONSENSE = [
    "0000:00:00 00:00:00", "    :  :     :  :  ", "2016:02:29 24:10:00", "2016:02:29 12:61:00", "2015:02:29 12:00:00",
    "1970:01:01 00:00:00", "1970-01-01T09:00:00", "1970-01-01T13:37:05", "1969-12-31T16:00:00", "1904-01-01T00:00:00Z",
    "1903-12-31T19:00:00", "1980:01:01 00:00:00", "1804:01:01 00:00:00", "9999:12:31 23:59:59", "yesterday", "",
    "20230714",
]  # fmt: skip


@pytest.mark.parametrize(("text", "at"), WRITTEN)
def test_a_date_is_kept_as_it_is_written(computer: str, text: str, at: str) -> None:
    assert taken(text, "exif") == Taken(at, "exif")


@pytest.mark.parametrize("text", NONSENSE)
def test_nonsense_is_no_date(computer: str, text: str) -> None:
    assert taken(text, "exif") is None


def test_the_future_is_no_date() -> None:
    now = datetime.now(UTC)
    assert taken((now + timedelta(days=2)).isoformat(), "exif") is None
    assert taken((now + timedelta(hours=2)).isoformat(), "exif") is None
    ahead = (now + timedelta(hours=12)).replace(tzinfo=None).isoformat()
    assert taken(ahead, "exif") is not None, "a clock without a zone may be that of New Zealand"
    assert of_seconds(now.timestamp() + 1e9, "export") is None


def test_real_dates_near_the_zeros_of_clocks_are_dates() -> None:
    for text in (
        "1969-12-31T20:07:13",
        "1970-01-02T00:00:00",
        "1904-01-02T10:00:00",
        "1980-01-01T00:00:01",
        "2000-01-01",
    ):
        assert taken(text, "exif") is not None, text


def test_exif_says_zone_and_fraction_apart() -> None:
    assert taken("2023:01:01 00:30:00", "exif", "+09:00", "25") == Taken("2023-01-01T00:30:00.25+09:00", "exif")
    assert taken("2023:01:01 00:30:00", "exif", "   :  ", "00") == Taken("2023-01-01T00:30:00", "exif")
    assert taken("2023:01:01 00:30:00", "exif", "+99:00", b"25") == Taken("2023-01-01T00:30:00", "exif")
    assert unix("2023-01-01T00:30:00.25+09:00") == 1672500600.25
    assert unix(None) is None


def test_iptc_writes_digits() -> None:
    assert of_digits("19990704", "120000+0200", "iptc") == Taken("1999-07-04T12:00:00+02:00", "iptc")
    assert of_digits("19990704", "", "iptc") == of_digits("1999-07-04", "x", "iptc") == Taken("1999-07-04", "iptc")
    assert of_digits("19990000", "", "iptc") == Taken("1999", "iptc")
    assert of_digits("", "120000", "iptc") is None and of_digits("00000000", "", "iptc") is None


NAMED = {
    "IMG-20200517-WA0004.jpg": "2020-05-17",
    "VID-20200517-WA0001.mp4": "2020-05-17",
    "WhatsApp Image 2020-05-17 at 12.34.56.jpeg": "2020-05-17T12:34:56",
    "WhatsApp Video 2020-05-17 at 9.05.33 PM.mp4": "2020-05-17T21:05:33",
    "Screenshot_20190203-101112.png": "2019-02-03T10:11:12",
    "Screenshot_20190203-101112_Chrome.jpg": "2019-02-03T10:11:12",
    "Screenshot_2019-02-03-10-11-12-123_com.android.png": "2019-02-03T10:11:12.123",
    "Screenshot 2023-07-14 at 09.30.12.png": "2023-07-14T09:30:12",
    "Screen Shot 2019-03-02 at 9.05.33 AM.png": "2019-03-02T09:05:33",
    "Screenshot from 2023-07-14 09-30-12.png": "2023-07-14T09:30:12",
    "Bildschirmfoto 2023-07-14 um 09.30.12.png": "2023-07-14T09:30:12",
    "PXL_20210908_070605123.jpg": "2021-09-08T07:06:05.123+00:00",
    "PXL_20210908_070605123.PORTRAIT.jpg": "2021-09-08T07:06:05.123+00:00",
    "Signal-2018-07-06-050403.jpg": "2018-07-06T05:04:03",
    "signal-2018-07-06-05-04-03-123.jpg": "2018-07-06T05:04:03.123",
    "2017-06-05 04.03.02.jpg": "2017-06-05T04:03:02",
    "2017-06-05 04.03.02-1.jpg": "2017-06-05T04:03:02",
    "20200517_123456(0).jpg": "2020-05-17T12:34:56",
    "VID20200517123456.mp4": "2020-05-17T12:34:56",
    "DJI_20230714093012_0001_D.MP4": "2023-07-14T09:30:12",
    "WIN_20190203_10_11_12_Pro.jpg": "2019-02-03T10:11:12",
    "photo_2021-05-06_07-08-09.jpg": "2021-05-06T07:08:09",
    "FB_IMG_1589712345678.jpg": "2020-05-17T10:45:45+00:00",
    "mmexport1589712345678.jpg": "2020-05-17T10:45:45+00:00",
    "1968-05-12 Paris.jpg": "1968-05-12",
    "2017 06 05 birthday.jpg": "2017-06-05",
    "photo_5@03-02-2021_11-22-33.jpg": "2021-02-03T11:22:33",
    "video_12@31-12-2020_23-59-58.mp4": "2020-12-31T23:59:58",
    "00100sPORTRAIT_00100_BURST20190102030405678_COVER.jpg": "2019-01-02T03:04:05.678",
    "Captura de Tela 2023-07-14 às 21.05.38.png": "2023-07-14T21:05:38",
    "Captura de pantalla 2023-07-14 a la(s) 21.05.37.png": "2023-07-14T21:05:37",
    "Captura de pantalla 2023-07-14 a las 9.05.37 p. m..png": "2023-07-14T21:05:37",
    "Skärmavbild 2023-07-14 kl. 21.05.40.png": "2023-07-14T21:05:40",
    "Capture d’e\u0301cran 2023-07-14 a\u0300 21.05.35.png": "2023-07-14T21:05:35",
    "Снимок экрана 2023-07-14 в 21.05.48.png": "2023-07-14T21:05:48",
    "Zrzut ekranu 2023-07-14 o 21.05.49.png": "2023-07-14T21:05:49",
    "Näyttökuva 2023-07-14 kello 21.05.50.png": "2023-07-14T21:05:50",
    "截圖 2023-07-14 下午9.05.46.png": "2023-07-14T21:05:46",
    "截屏2023-07-14 上午12.05.46.png": "2023-07-14T00:05:46",
    "스크린샷 2023-07-14 오후 9.05.47.png": "2023-07-14T21:05:47",
    "Screenshot 2023-07-14 at 9.05.59 p.m..png": "2023-07-14T21:05:59",
    "Screenshot 2023-07-14 at 9.05.58\u202fPM (2).png": "2023-07-14T21:05:58",
    "GMT20210304-151617_Recording_1920x1080.mp4": "2021-03-04T15:16:17+00:00",
    "clip-2020-05-06 07;08;09.mp4": "2020-05-06T07:08:09",
    "RPReplay_Final1612345678.mp4": "2021-02-03T09:47:58+00:00",
    "2020-05-06 Birthday 2 of 12.jpg": "2020-05-06",
    "2020-05-06 IMG 123456.jpg": "2020-05-06",
    "NO20230714-210533-000123F.MP4": "2023-07-14T21:05:33",
    "2023_0714_210533_0001F.MP4": "2023-07-14T21:05:33",
    "192.168.1.64_01_20230714210533123_MOTION.jpg": "2023-07-14T21:05:33.123",
    "MTXX_MH20230714_210533123.jpg": "2023-07-14T21:05:33.123",
    "Game 2077 2023.07.14 - 21.05.33.04.DVR.mp4": "2023-07-14T21:05:33",
    "vlcsnap-2023-07-14-21h05m33s123.png": "2023-07-14T21:05:33.123",
    "LINE_MOVIE_1689368733123.mp4": "2023-07-14T21:05:33+00:00",
    "FB_VID_1689368733123.mp4": "2023-07-14T21:05:33+00:00",
    "Imagem do WhatsApp de 2023-07-14 à(s) 21.05.33_ab12cd34.jpg": "2023-07-14T21:05:33",
    "WhatsApp kép 2023-07-14 - 21.05.33.jpg": "2023-07-14T21:05:33",
    "WhatsApp 图像2023-07-14于21.05.33_ab.jpg": "2023-07-14T21:05:33",
    "Photo 2023-07-14, 21 05 33.jpg": "2023-07-14T21:05:33",
    "צילום מסך \u200f2023-07-14 ב-\u200f21.05.33.png": "2023-07-14T21:05:33",
    "لقطة الشاشة 2023-07-14 في 9.05.33 م.png": "2023-07-14T21:05:33",
    "لقطة الشاشة 2023-07-14 في 9.05.33 ص.png": "2023-07-14T09:05:33",
    "Στιγμιότυπο 2023-07-14, 9.05.33 μ.μ..png": "2023-07-14T21:05:33",
    "Στιγμιότυπο 2023-07-14, 12.05.33 π.μ..png": "2023-07-14T00:05:33",
    "Ekran Resmi 2023-07-14 ÖS 9.05.33.png": "2023-07-14T21:05:33",
    "2023年7月14日運動会.jpg": "2023-07-14",
    "2023年07月14日 21時05分33秒.jpg": "2023-07-14T21:05:33",
    "2023년 7월 14일.jpg": "2023-07-14",
    "20230714_210533000_iOS.heic": "2023-07-14T21:05:33+00:00",
    "20230714T210533Z.jpg": "2023-07-14T21:05:33+00:00",
    "2023-07-14T21_05_33.123Z.jpg": "2023-07-14T21:05:33.123+00:00",
    "20230714_210533_Zoo.jpg": "2023-07-14T21:05:33",
}


@pytest.mark.parametrize("name", NAMED)
def test_names_of_cameras_and_messengers_hold_a_date(computer: str, name: str) -> None:
    assert of_name(name) == Taken(NAMED[name], "name")


@pytest.mark.parametrize(
    "name",
    [
        "IMG_0001.jpg", "IMG_20111305.jpg", "IMG_20200230_101010.jpg", "20991231_101010.jpg", "19321231.jpg",
        "invoice 4711-20200101234.pdf", "a1b20190203c.jpg", "scan 12.05.1968.jpg", "1589712345.jpg",
        "IMG_19700101_000000.jpg", "Photo 03-02-2014 04 05 06.jpg", "RPReplay_Final0012345678.mp4",
        "9999999999999.jpg", "photo_5@31-02-2021_11-22-33.jpg", "version 2017 6 5.jpg", "",
        "received_12023071421053.jpeg", "ISBN 9782019071234.jpg", "v2012.11.10.png", "2023_1345_101112.mp4",
        "10156230714210533.jpg", "2023年13月41日.jpg", "IMG_20230714210.jpg",
    ],
)  # fmt: skip
def test_other_numbers_are_no_dates(name: str) -> None:
    assert of_name(name) is None


def test_a_place_says_which_day_it_was_there() -> None:
    utc = Taken("2022-12-31T15:30:00+00:00", "clock")
    assert utc.at_place(35.68, 139.76).at == "2023-01-01T00:30:00+09:00"
    assert utc.at_place(38.72, -9.14).at == "2022-12-31T15:30:00+00:00"
    assert utc.at_place(None, None) == utc
    summer = Taken("2023-07-01T23:30:00+00:00", "export")
    assert summer.at_place(38.72, -9.14).at == "2023-07-02T00:30:00+01:00", "with daylight saving"
    assert summer.at_place(0.0, -150.0).at == "2023-07-01T13:30:00-10:00", "at sea"
    written = Taken("2022-12-31T15:30:00+00:00", "exif")
    assert written.at_place(35.68, 139.76) == written, "a camera's own zone is where its clock was"


def test_a_name_tells_the_zone_of_a_films_clock() -> None:
    clock = Taken("2022-12-31T15:30:40+00:00", "clock")
    named = of_name("VID_20230101_002955.mp4")
    assert clock.with_zone_of_name(named).at == "2023-01-01T00:30:40+09:00", "a film's clock may be its end's"
    for other in (None, of_name("VID-20230101-WA0001.mp4"), of_name("VID_20230109_002955.mp4")):
        assert clock.with_zone_of_name(other) == clock
    written = Taken("2022-12-31T15:30:40+00:00", "exif")
    assert written.with_zone_of_name(named) == written


def test_a_satellites_clock_tells_the_zone() -> None:
    utc = datetime(2022, 12, 31, 15, 29, 10, tzinfo=UTC)
    assert Taken("2023-01-01T00:30:00", "exif").with_satellite_zone(utc).at == "2023-01-01T00:30:00+09:00"
    assert Taken("2022-12-31T21:15:00", "exif").with_satellite_zone(utc).at == "2022-12-31T21:15:00+05:45"
    for other in ("2023-01-01T00:37:00", "2023-01-05T00:30:00", "2023-01-01T00:30:00+01:00", "2023-01-01"):
        assert Taken(other, "exif").with_satellite_zone(utc).at == other, "no zone is that far, or it is known"
    assert Taken("2023-01-01T00:30:00", "exif").with_satellite_zone(None).at == "2023-01-01T00:30:00"


def test_the_order_of_trust() -> None:
    every = [Taken("2001", source) for source in reversed(SOURCES)]
    assert most_trusted(every) == Taken("2001", "exif") and most_trusted([None]) is None
    assert SOURCES.index("exif") < SOURCES.index("sidecar") < SOURCES.index("export") < SOURCES.index("name")
    assert SOURCES[-1] == "file"


def test_a_files_own_date_is_marked_and_keeps_its_zone(computer: str) -> None:
    own = of_file(1_764_000_000 * 10**9)
    assert own is not None and own.source == "file" and unix(own.at) == 1_764_000_000
    assert own.at[:10] == time.strftime("%Y-%m-%d", time.localtime(1_764_000_000))
    assert of_file(0) is None and of_file(int((time.time() + 1e8) * 1e9)) is None
    assert of_file(2**63) is None


def test_a_program_in_another_zone_reads_the_same() -> None:
    code = "from data.media.dates import *; print(taken('2012:02:03 04:05:06','exif'), unix('2012-02-03T04:05:06'))"
    told = {
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"TZ": zone}, capture_output=True, text=True, check=True
        ).stdout
        for zone in ("Pacific/Auckland", "America/Los_Angeles", "UTC")
    }
    assert len(told) == 1
