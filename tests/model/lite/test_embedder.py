"""The lite model on real pictures: what is alike is near, and a vector depends on nothing else."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from model import load
from model.embedder import Embedder, ModelError
from model.inputs import Input
from model.lite.embedder import LiteEmbedder
from model.lite.weights import EARLIER, PROJECTION_DIM


@pytest.fixture(scope="module")
def lite() -> LiteEmbedder:
    embedder = load("lite")
    assert isinstance(embedder, LiteEmbedder)
    return embedder


def photo(name: str) -> np.ndarray:
    """A photograph that comes with Gradio."""
    path = Path(str(files("gradio"))) / "media_assets" / "images" / name
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.fixture(scope="module")
def photos() -> dict[str, np.ndarray]:
    return {name: photo(f"{name}.jpg") for name in ("cheetah", "lion", "tower", "cheetah1")}


def image(*pictures: np.ndarray, role: str = "document", text: str | None = None) -> Input:
    return Input(images=pictures, kind="image", role=role, text=text)  # type: ignore[arg-type]


def page(picture: np.ndarray, text: str = "", role: str = "document") -> Input:
    return Input(images=(picture,), kind="pdf", text=text, role=role)  # type: ignore[arg-type]


def query(text: str) -> Input:
    return Input(text=text, role="query")


def one(lite: Embedder, item: Input) -> np.ndarray:
    return lite.embed([item])[0]


def test_it_is_an_embedder_whose_id_names_weights_and_recipe(lite: LiteEmbedder) -> None:
    assert isinstance(lite, Embedder)
    assert lite.dim == 1152 and lite.max_frames == 8
    name, _, rest = lite.id.partition("@")
    fingerprint, _, recipe = rest.partition("-r")
    assert name == "lite" and len(fingerprint) == 8 and int(fingerprint, 16) and int(recipe) >= 1
    assert LiteEmbedder.load().id == lite.id


@pytest.mark.parametrize(
    "words, wanted",
    [("a big cat with spots", "cheetah"), ("lion", "lion"), ("the eiffel tower, a tall building", "tower")],
)
def test_words_find_the_photo_of_what_they_name(
    lite: LiteEmbedder, photos: dict[str, np.ndarray], words: str, wanted: str
) -> None:
    names = ["cheetah", "lion", "tower"]
    vectors = lite.embed([image(photos[name]) for name in names])
    assert names[int(np.argmax(vectors @ one(lite, query(words))))] == wanted


def test_what_it_tells_apart_in_pictures_is_more_familiar_than_what_it_does_not(lite: LiteEmbedder) -> None:
    things = ("frog", "guitar", "strawberry", "青蛙", "草莓", "Banane")
    others = ("happiness", "moon", "crow", "a contract", "幸福", "发票")
    familiar, strange = (lite.familiarity(lite.embed([query(text) for text in texts])) for texts in (things, others))
    assert familiar.shape == (len(things),)
    assert familiar.min() >= lite.profile.word_familiarity > strange.max()
    assert lite.familiarity(lite.embed([query("frog"), query("moon")]))[0] == pytest.approx(familiar[0])
    old = LiteEmbedder.load(model_id=next(iter(EARLIER)))
    frog, moon = old.familiarity(old.embed([query("frog"), query("moon")]))
    assert frog > moon


def test_a_crop_mirrored_is_nearer_to_its_photo_than_anything_else(
    lite: LiteEmbedder, photos: dict[str, np.ndarray]
) -> None:
    vectors = lite.embed([image(picture) for picture in photos.values()])
    for number, picture in enumerate(photos.values()):
        height, width = picture.shape[:2]
        crop = picture[height // 12 : -height // 12, -width // 12 : width // 12 : -1]
        scores = vectors @ one(lite, image(crop, role="query"))
        assert int(np.argmax(scores)) == number and scores[number] > 0.6


def test_another_photo_of_the_same_animal_is_nearer_than_a_building(
    lite: LiteEmbedder, photos: dict[str, np.ndarray]
) -> None:
    vectors = lite.embed([image(photos[name]) for name in ("cheetah1", "lion", "tower")])
    scores = vectors @ one(lite, image(photos["cheetah"], role="query"))
    assert scores[0] == max(scores) and scores[2] == min(scores)


def test_a_frame_finds_the_clip_it_is_from_without_being_one_of_its_eight(
    lite: LiteEmbedder, photos: dict[str, np.ndarray]
) -> None:
    def clip(picture: np.ndarray) -> np.ndarray:  # a slow pan of nine frames
        side, step = min(picture.shape[:2]) * 3 // 4, max(1, picture.shape[1] // 50)
        return np.stack([picture[:side, at : at + side] for at in range(0, 9 * step, step)])

    clips = {name: clip(picture) for name, picture in photos.items()}
    vectors = lite.embed([Input(video=np.delete(c, 4, 0), kind="video") for c in clips.values()])
    for number, frames in enumerate(clips.values()):
        assert int(np.argmax(vectors @ one(lite, image(frames[4], role="query")))) == number


@pytest.mark.slow
def test_a_page_is_found_by_its_words_and_told_from_photos(lite: LiteEmbedder, photos: dict[str, np.ndarray]) -> None:
    blank = np.full((300, 220, 3), 255, np.uint8)
    texts = [
        "In winter the pump must be drained: switch it off, open the tap in the kitchen, and wait.",
        "Life jackets are in the shed, one for everybody. The outboard engine wants petrol without oil.",
    ]
    vectors = lite.embed([page(blank, text) for text in texts] + [image(p) for p in photos.values()])
    assert int(np.argmax(vectors @ one(lite, query("what to do so that water pipes do not freeze")))) == 0
    assert int(np.argmax(vectors @ one(lite, query("fuel for the boat motor")))) == 1
    assert int(np.argmax(vectors @ one(lite, page(blank, texts[1], role="query")))) == 1


def test_rare_words_at_the_foot_of_a_long_page_count(lite: LiteEmbedder) -> None:
    blank = np.full((300, 220, 3), 255, np.uint8)
    head = (
        "The members of the committee met in the hall of the town and read what was written at the last meeting. " * 12
    )
    plain, with_rare = lite.embed([page(blank, head), page(blank, f"{head} The harpsichord wants tuning.")])
    asked = one(lite, query("musical instrument"))
    assert with_rare @ asked > plain @ asked + 0.01
    assert plain @ with_rare > 0.9


@pytest.mark.slow
def test_a_photographed_page_finds_its_page_by_what_is_written_on_it(lite: LiteEmbedder) -> None:
    texts = [
        "The heating of the cabin was repaired in March, and the chimney was swept before winter.",
        "Minutes of the choir: the summer concert is moved to the church of the old town.",
        "Warranty of the washing machine, two years from the day on which it was bought.",
    ]

    def drawn(text: str, ground: str) -> np.ndarray:
        picture = Image.new("RGB", (900, 400), ground)
        words = text.split()
        for row, at in enumerate(range(0, len(words), 5)):
            line = " ".join(words[at : at + 5])
            ImageDraw.Draw(picture).text((40, 40 + 50 * row), line, "black", ImageFont.load_default(30))
        return np.asarray(picture)

    pages = lite.embed([Input(text=t, images=(drawn(t, "white"),), kind="pdf") for t in texts])
    asked = lite.embed([Input(images=(drawn(t, "#c8c4bc"),), kind="image", role="query") for t in texts])
    likeness = asked @ pages.T
    for number in range(len(texts)):
        others = np.delete(likeness[number], number)
        assert likeness[number, number] > others.max() + 0.15


@pytest.mark.slow
def test_the_end_of_a_long_page_counts(lite: LiteEmbedder) -> None:
    """The network itself reads 256 tokens; the chunks read the rest."""
    filler = "The committee met on Tuesday and approved the minutes of the previous meeting. " * 30
    blank = np.full((300, 220, 3), 255, np.uint8)
    with_end = filler + "Repairing a bicycle chain: wash it in petrol, oil it, and close the link with pliers. " * 3
    vectors = lite.embed([page(blank, filler), page(blank, with_end)])
    scores = vectors @ one(lite, query("how to repair a bicycle chain"))
    assert scores[1] > scores[0] + 0.02  # .000 without chunks


def test_words_read_in_a_picture_help_to_find_it(lite: LiteEmbedder, photos: dict[str, np.ndarray]) -> None:
    plain, read = lite.embed(
        [image(photos["tower"]), image(photos["tower"], text="departure gate for flights to Lisbon")]
    )
    asked = one(lite, query("flight to Lisbon"))
    assert read @ asked > plain @ asked + 0.02
    assert read @ plain > 0.9  # and it is still the same picture


def test_a_mixed_query_lies_between_its_words_and_its_picture(
    lite: LiteEmbedder, photos: dict[str, np.ndarray]
) -> None:
    words, picture, both = lite.embed(
        [query("a lion"), image(photos["tower"], role="query"), image(photos["tower"], role="query", text="a lion")]
    )
    lion, tower, cheetah = lite.embed([image(photos[n]) for n in ("lion", "tower", "cheetah")])
    assert both @ lion > picture @ lion and both @ tower > words @ tower
    assert min(both @ lion, both @ tower) > both @ cheetah - 0.05


def hostile() -> dict[str, Callable[[], Input]]:
    noise = np.random.default_rng(5).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return {
        "no text": lambda: query(""),
        "no text as a document": lambda: Input(text=None),
        "blanks": lambda: query(" \n\t "),
        "control characters": lambda: query("\x00\x1b\ufffd\U0001f600"),
        "a word of 100,000 letters": lambda: Input(text="x" * 100_000),
        "a million words": lambda: Input(text="word " * 1_000_000),
        "one pixel": lambda: image(np.zeros((1, 1, 3), np.uint8)),
        "one pixel as a page": lambda: page(np.zeros((1, 1, 3), np.uint8)),
        "20,000 pixels wide": lambda: image(np.tile(noise[:20, :50], (1, 400, 1))),
        "20,000 pixels wide as a page": lambda: page(np.tile(noise[:20, :50], (1, 400, 1))),
        "all black": lambda: image(np.zeros((90, 160, 3), np.uint8)),
        "a view, mirrored and strided": lambda: image(noise[::-2, ::-3]),
        "read-only": lambda: image(np.broadcast_to(np.uint8(9), (40, 40, 3))),
        "one frame": lambda: Input(video=noise[None], kind="video"),
        "a clip without frames": lambda: Input(video=np.zeros((0, 8, 8, 3), np.uint8), kind="video"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", hostile())
def test_any_input_gives_a_finite_unit_vector(lite: LiteEmbedder, name: str) -> None:
    vectors = lite.embed([hostile()[name]()])
    assert vectors.shape == (1, 1152) and vectors.dtype == np.float32
    assert np.isfinite(vectors).all() and abs(np.linalg.norm(vectors) - 1) < 1e-5


@pytest.mark.parametrize("text", ["바다에서 노는 개", "海で遊ぶがちょうとペンギン", "con chó chạy trên bãi biển"])
def test_text_from_a_mac_means_what_it_means_elsewhere(lite: LiteEmbedder, text: str) -> None:
    """Letters and their marks apart, as in a Mac's file names (findings/tokenizers_decomposed_text.sh)."""
    apart = normalize("NFD", text)
    assert apart != text
    assert (one(lite, query(apart)) == one(lite, query(text))).all()
    assert (one(lite, Input(text=apart)) == one(lite, Input(text=text))).all()


def test_nothing_in_gives_nothing_out(lite: LiteEmbedder) -> None:
    assert lite.embed([]).shape == (0, 1152)


@pytest.mark.parametrize("picture", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((8, 8, 4), np.uint8)])
def test_an_array_that_is_no_rgb_picture_is_named(lite: LiteEmbedder, picture: np.ndarray) -> None:
    with pytest.raises(ModelError, match=r"uint8 \[H, W, 3\]"):
        lite.embed([image(picture)])


@pytest.fixture(scope="module")
def some(photos: dict[str, np.ndarray]) -> list[Input]:
    return [
        query("a dog"),
        image(photos["lion"]),
        Input(text="words of a document " * 60),
        Input(video=np.stack([photos["tower"][:99, at : at + 99] for at in range(3)]), kind="video"),
        page(photos["tower"], "the text of a page, long enough to count as one"),
        image(photos["cheetah"], role="query", text="running"),
    ]


@pytest.mark.slow
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.lists(st.integers(0, 5), min_size=1, max_size=7))
def test_a_vector_depends_on_neither_order_nor_neighbours(
    lite: LiteEmbedder, some: list[Input], order: list[int]
) -> None:
    alone = np.concatenate([lite.embed([item]) for item in some])
    together = lite.embed([some[number] for number in order])
    assert np.abs(together - alone[order]).max() < 1e-6


@pytest.mark.slow
def test_threads_change_no_vector(lite: LiteEmbedder, some: list[Input]) -> None:
    for threads in (1, 3):
        other = LiteEmbedder.load(threads=threads)
        assert np.abs(other.embed(some) - lite.embed(some)).max() < 1e-6


def test_a_page_with_words_is_seen_smaller_and_its_picture_with_or_without_them_asks_for_it(lite: LiteEmbedder) -> None:
    drawn = Image.new("RGB", (320, 450), "white")
    pen = ImageDraw.Draw(drawn)
    for line in range(30):
        pen.line((20, 20 + 13 * line, 60 + line * 37 % 240, 20 + 13 * line), "black", 3)
    picture = np.asarray(drawn)
    words = "How to drain the pump in winter, and where the life jackets are."
    text_page, scan = one(lite, page(picture, words)), one(lite, page(picture))
    looks = slice(-PROJECTION_DIM, None)
    assert 0.8 < float(text_page[looks] @ scan[looks]) / 0.7 < 0.999
    asked = one(lite, page(picture, words, role="query"))
    assert float(asked[looks] @ text_page[looks]) / 0.7 > 0.95 and float(asked[looks] @ scan[looks]) / 0.7 > 0.95


def test_a_photo_that_is_searched_with_is_made_as_large_as_those_that_are_indexed(
    lite: LiteEmbedder, photos: dict[str, np.ndarray]
) -> None:
    for picture in photos.values():
        large = Image.fromarray(picture).resize((1280, 960), Image.Resampling.BICUBIC)
        small = large.resize((lite.max_side, lite.max_side * 3 // 4), Image.Resampling.BICUBIC, reducing_gap=2.0)
        asked = lite.embed([image(np.asarray(size), role="query") for size in (large, small)])
        assert np.array_equal(*asked)
