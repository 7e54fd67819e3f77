"""The hash of a picture stays nearly the same with the picture, and no other has it."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageEnhance

from data.media.picture_hash import COLOURS, STEPS, WAVES, hash_of_thumbnail, picture_hash
from data.reader import to_webp
from indexer.search.near_equal import BURST, COLOUR, SAME


def landscape(seed: int, side: int = 256) -> Image.Image:
    """A picture of soft hills of many sizes and colours, as photographs have them."""
    rng = np.random.default_rng(seed)
    planes = np.zeros((side, side, 3), np.float32)
    for size in (3, 6, 12, 24):
        hills = rng.normal(0, 60 / size**0.5, (size, size, 3))
        for n in range(3):
            layer = Image.fromarray(hills[:, :, n].astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)
            planes[:, :, n] += np.asarray(layer)
    return Image.fromarray(np.clip(planes + 120, 0, 255).astype(np.uint8))


def hash_of(picture: Image.Image) -> bytes:
    return hash_of_thumbnail(to_webp(np.asarray(picture.convert("RGB"))))


def apart(a: bytes, b: bytes) -> tuple[int, int, int]:
    bits = [(int.from_bytes(a[part]) ^ int.from_bytes(b[part])).bit_count() for part in (WAVES, STEPS)]
    return bits[0], bits[1], max(abs(x - y) for x, y in zip(a[COLOURS], b[COLOURS], strict=True))


def compressed(picture: Image.Image, quality: int) -> Image.Image:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=quality)
    return Image.open(data)


def test_a_picture_that_was_resized_compressed_lightened_or_trimmed_keeps_its_hash_nearly() -> None:
    for seed in range(6):
        picture = landscape(seed)
        own = hash_of(picture)
        trimmed = picture.crop((2, 2, 253, 253))
        versions = picture.resize((128, 128)), compressed(picture, 40), ImageEnhance.Brightness(picture).enhance(1.1)
        for version in (*versions, trimmed):
            waves, steps, colour = apart(own, hash_of(version))
            assert waves <= SAME[0] and steps <= SAME[1] and colour <= COLOUR


def test_other_pictures_have_other_hashes() -> None:
    hashes = [hash_of(landscape(seed)) for seed in range(30)]
    pairs = [apart(a, b) for n, a in enumerate(hashes) for b in hashes[n + 1 :]]
    assert all(waves > SAME[0] or steps > SAME[1] for waves, steps, _ in pairs)
    assert sum(waves <= BURST[0] and steps <= BURST[1] for waves, steps, _ in pairs) == 0


def test_the_hash_of_a_picture_is_nearly_that_of_its_thumbnail() -> None:
    for seed in range(6):
        picture = landscape(seed)
        waves, steps, colour = apart(picture_hash(picture), hash_of(picture))
        assert waves <= SAME[0] // 2 and steps <= SAME[1] // 2 and colour <= COLOUR // 2


def test_a_flat_picture_and_what_is_none_have_no_hash() -> None:
    assert hash_of(Image.new("RGB", (64, 64), (200, 30, 30))) == b""
    assert hash_of_thumbnail(b"") == hash_of_thumbnail(b"no picture") == b""
