"""Text layers that are no text are known by their letters; text in any language is not taken for one."""

# ruff: noqa: E501

from __future__ import annotations

import base64
import hashlib
import random
import string
from collections.abc import Callable
from pathlib import Path

import pytest

from data.media import legible, pdf
from data.media.kinds import TEXTLESS
from data.media.text import repair_mojibake
from tests.data.media.raw_pdf import lines, page, stream

# Article 1 of the Universal Declaration of Human Rights.
ARTICLES = {
    "english": "All human beings are born free and equal in dignity and rights. They are endowed with reason and conscience and should act towards one another in a spirit of brotherhood.",
    "german": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen begabt und sollen einander im Geiste der Brüderlichkeit begegnen.",
    "french": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et de conscience et doivent agir les uns envers les autres dans un esprit de fraternité.",
    "polish": "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są oni obdarzeni rozumem i sumieniem i powinni postępować wobec innych w duchu braterstwa.",
    "czech": "Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv. Jsou nadáni rozumem a svědomím a mají spolu jednat v duchu bratrství.",
    "hungarian": "Minden emberi lény szabadon születik és egyenlő méltósága és joga van. Az emberek, ésszel és lelkiismerettel bírván, egymással szemben testvéri szellemben kell hogy viseltessenek.",
    "finnish": "Kaikki ihmiset syntyvät vapaina ja tasavertaisina arvoltaan ja oikeuksiltaan. Heille on annettu järki ja omatunto, ja heidän on toimittava toisiaan kohtaan veljeyden hengessä.",
    "turkish": "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. Akıl ve vicdana sahiptirler ve birbirlerine karşı kardeşlik zihniyeti ile hareket etmelidirler.",
    "vietnamese": "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi. Mọi con người đều được tạo hoá ban cho lý trí và lương tâm và cần phải đối xử với nhau trong tình anh em.",
    "icelandic": "Hver maður er borinn frjáls og jafn öðrum að virðingu og réttindum. Menn eru gæddir vitsmunum og samvisku, og ber þeim að breyta bróðurlega hverjum við annan.",
    "welsh": "Genir pawb yn rhydd ac yn gydradd â'i gilydd mewn urddas a hawliau. Fe'u cynysgaeddir â rheswm a chydwybod, a dylai pawb ymddwyn y naill at y llall mewn ysbryd cymodlon.",
    "basque": "Gizon-emakume guztiak aske jaiotzen dira, duintasun eta eskubide berberak dituztela; eta ezaguera eta kontzientzia dutenez gero, elkarren artean senide legez jokatu beharra dute.",
    "maltese": "Il-bnedmin kollha jitwieldu ħielsa u ugwali fid-dinjità u d-drittijiet. Huma mogħnija bir-raġuni u bil-kuxjenza u għandhom iġibu ruħhom ma' xulxin bi spirtu ta' aħwa.",
    "hawaiian": "Hānau kūʻokoʻa ʻia nā kānaka apau loa, a ua kau like ka hanohano a me nā pono kīvila ma luna o kākou pākahi. Ua kuʻu mai ka noʻonoʻo pono a me ka ʻike pono ma luna o kākou.",
    "pinyin": "Ren ren sheng er ziyou, zai zunyan he quanli shang yilü pingdeng. Tamen fuyou lixing he liangxin, bing ying yi xiongdi guanxi de jingshen xiang duidai.",
    "russian": "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью и должны поступать в отношении друг друга в духе братства.",
    "greek": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα. Είναι προικισμένοι με λογική και συνείδηση, και οφείλουν να συμπεριφέρονται μεταξύ τους με πνεύμα αδελφοσύνης.",
    "arabic": "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق. وقد وهبوا عقلا وضميرا وعليهم أن يعامل بعضهم بعضا بروح الإخاء.",
    "hebrew": "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם. כולם חוננו בתבונה ובמצפון, לפיכך חובה עליהם לנהוג איש ברעהו ברוח של אחווה.",
    "hindi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है। उन्हें बुद्धि और अन्तरात्मा की देन प्राप्त है और परस्पर उन्हें भाईचारे के भाव से बर्ताव करना चाहिए।",
    "bengali": "সমস্ত মানুষ স্বাধীনভাবে সমান মর্যাদা এবং অধিকার নিয়ে জন্মগ্রহণ করে। তাঁদের বিবেক এবং বুদ্ধি আছে; সুতরাং সকলেরই একে অপরের প্রতি ভ্রাতৃত্বসুলভ মনোভাব নিয়ে আচরণ করা উচিত।",
    "tamil": "மனிதப் பிறிவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்; அவர்கள் மதிப்பிலும், உரிமைகளிலும் சமமானவர்கள், அவர்கள் நியாயத்தையும் மனச்சாட்சியையும் இயற்பண்பாகப் பெற்றவர்கள்.",
    "thai": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ ต่างมีเหตุผลและมโนธรรม และควรปฏิบัติต่อกันด้วยเจตนารมณ์แห่งภราดรภาพ",
    "chinese": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
    "japanese": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。人間は、理性と良心とを授けられており、互いに同胞の精神をもって行動しなければならない。",
    "korean": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 인간은 천부적으로 이성과 양심을 부여받았으며 서로 형제애의 정신으로 행동하여야 한다.",
    "georgian": "ყველა ადამიანი იბადება თავისუფალი და თანასწორი თავისი ღირსებითა და უფლებებით. მათ მინიჭებული აქვთ გონება და სინდისი.",
    "armenian": "Բոլոր մարդիկ ծնվում են ազատ ու հավասար իրենց արժանապատվությամբ ու իրավունքներով։ Նրանք ունեն բանականություն ու խիղճ։",
    "amharic": "የሰው ልጅ ሁሉ ሲወለድ ነጻና በክብርና በመብትም እኩልነት ያለው ነው። የተፈጥሮ ማስተዋልና ሕሊና ስላለው አንዱ ሌላውን በወንድማማችነት መንፈስ መመልከት ይገባዋል።",
    "khmer": "មនុស្សទាំងអស់ កើតមកមានសេរីភាព និងសមភាព ក្នុងផ្នែកសេចក្ដីថ្លៃថ្នូរនិងសិទ្ធិ។ មនុស្ស មានវិចារណញ្ញាណនិងសតិសម្បជញ្ញៈជាប់ពីកំណើត។",
}  # fmt: skip

# Neither sentences nor letters for others.
OTHERS = {
    "code": 'for (int i = 0; i < n; ++i) { std::swap(xs[i], xs[rng() % n]); } // fprintf(stderr, "%zu\\n", sz);\n' * 4,
    "keys": "\n".join(base64.b64encode(hashlib.sha512(bytes([i])).digest()).decode() for i in range(30)),
    "hexadecimal": "\n".join(hashlib.sha256(bytes([i])).hexdigest() for i in range(30)),
    "numbers": "\n".join(f"{i * 977:,} {i / 7:.3f} EUR {i}%" for i in range(80)),
    "genes": "".join(random.Random(1).choices("ACGT", k=900)),
    "abbreviations": "HTML, CSS, XML, SQL, HTTPS, TCP, NTFS, DVD, PNG, GIF, SVG, CPU, RGB, LCD, USB, VHS, DNS, SSH, PDF",
    "languages": "English Deutsch Русский 中文 日本語 한국어 العربية हिन्दी ไทย Ελληνικά עברית Հայերեն ქართული বাংলা",
    "formulas": "sin α + cos β = tan γ, Δx·Δp ≥ ħ/2, ∑ᵢ xᵢ² ≤ σ², λ₁ ≠ μ, ∇·E = ρ/ε₀, θ = π/4, Φ(x) ≈ ½",
    "dots": "\n".join(f"Chapter {i} " + ". " * 40 + str(i) for i in range(20)),
    "art": "+----+----+\n| /\\ | ## |\n+----+----+\n" * 20,
    "mixed": "USBケーブルをPCに接続し、Windowsの設定画面でBluetoothをONにしてください。" * 3,
}


@pytest.mark.parametrize("name", [*ARTICLES, *OTHERS])
def test_text_is_text(name: str) -> None:
    text = {**ARTICLES, **OTHERS}[name]
    for variant in (text, text.upper(), text * 3, text[: len(text) // 3]):
        assert not legible.is_garbled(variant)
        assert legible.readable_lines("\n".join(variant.split(". "))) == "\n".join(variant.split(". "))


def shifted(text: str) -> str:
    """Numbers of glyphs as TrueType fonts of Western letters have them."""
    return "".join(chr(ord(c) - 29) if " " <= c < "\x7f" else c for c in text)


def in_order(text: str) -> str:
    """Numbers of glyphs in the order in which they are first used."""
    numbers: dict[str, int] = {}
    return "".join(chr(numbers.setdefault(c, len(numbers) + 1)) for c in text)


def exchanged(text: str) -> str:
    """A table that gives letters for others."""
    letters = list(string.ascii_lowercase)
    random.Random(len(text)).shuffle(letters)
    return text.lower().translate(str.maketrans(string.ascii_lowercase, "".join(letters)))


def of_a_large_font(text: str) -> str:
    """Numbers of glyphs of a font with many scripts."""
    numbers = random.Random(3)
    table: dict[str, str] = {}
    return "".join(c if c == " " else table.setdefault(c, chr(numbers.randrange(0x3000))) for c in text)


def swapped(text: str) -> str:
    return text.encode("utf-16-le").decode("utf-16-be", "replace")


def private(text: str) -> str:
    return "".join(chr(0xF000 + ord(c) % 256) if c > " " else c for c in text)


SPOILT: list[Callable[[str], str]] = [shifted, in_order, exchanged, swapped, private]


@pytest.mark.parametrize("spoil", SPOILT)
@pytest.mark.parametrize("name", ["english", "german", "french", "polish", "finnish", "turkish"])
def test_letters_that_stand_for_others_are_no_text(spoil: Callable[[str], str], name: str) -> None:
    assert legible.is_garbled(spoil(ARTICLES[name]))
    assert legible.is_garbled(spoil(ARTICLES[name] * 4))


@pytest.mark.parametrize("name", ["english", "german", "french", "polish", "finnish", "turkish"])
def test_a_page_in_numbers_of_a_large_font_is_no_text(name: str) -> None:
    assert legible.is_garbled(of_a_large_font(ARTICLES[name] * 4))  # a few lines alone may pass for many scripts


@pytest.mark.parametrize("name", ["english", "german", "chinese", "russian"])
def test_swapped_bytes_of_any_script_are_no_text(name: str) -> None:
    assert legible.is_garbled(swapped(ARTICLES[name]))


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("russian", "cp1251"),
        ("russian", "koi8-r"),
        ("greek", "cp1253"),
        ("hebrew", "cp1255"),
        ("chinese", "gbk"),
        ("korean", "cp949"),
    ],
)
def test_an_alphabet_read_by_anothers_table_is_no_text(name: str, encoding: str) -> None:
    assert legible.is_garbled(ARTICLES[name].encode(encoding, "ignore").decode("latin-1"))


@pytest.mark.parametrize("name", ["german", "french", "russian", "greek", "hindi"])
def test_utf_8_that_was_misread_is_read_again(name: str) -> None:
    data = ARTICLES[name].encode()
    table = {i: bytes([i]).decode("cp1252", "ignore") or chr(i) for i in range(256)}
    assert repair_mojibake("".join(table[i] for i in data)) == ARTICLES[name]
    assert repair_mojibake(ARTICLES[name]) == ARTICLES[name]


def test_the_lines_of_one_bad_font_are_left_out() -> None:
    good = ARTICLES["english"].replace(". ", ".\n")
    bad = "\n".join(shifted(ARTICLES[name]) for name in ("german", "french"))
    assert legible.readable_lines(f"{good}\n{bad}") == good
    assert legible.readable_lines(good) == good


# -----------------------------------------------------------------------------------------------------------
# ---- Whole pages, with both engines


@pytest.fixture(params=["pymupdf", "pypdfium2"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    pytest.importorskip(request.param)
    monkeypatch.setenv("SIGHTLINE_PDF", request.param)
    return str(request.param)


CHEESE = ("The cheesemonger delivered", "seventeen wheels of gouda", "to the village museum")


def drawn(path: Path, to_unicode: Callable[[str], int | None]) -> Path:
    """A page in Times whose font says by `to_unicode` what its codes mean; None: nothing."""
    pairs = [(i, to_unicode(chr(i))) for i in range(32, 127)]
    table = "".join(f"<{i:02x}> <{code:04x}>\n" for i, code in pairs if code is not None)
    cmap = (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapType 2 def\n"
        "1 begincodespacerange <00> <ff> endcodespacerange\n"
        f"{len(pairs)} beginbfchar\n{table}endbfchar endcmap end end"
    )
    font = "<</Type/Font/Subtype/Type1/BaseFont/Times-Roman/Encoding/WinAnsiEncoding/ToUnicode 6 0 R>>"
    return page(path, lines(*CHEESE), stream(cmap), font=font)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("spoil", ["shifted", "swapped", "private", "exchanged"])
def test_a_page_whose_font_lies_is_a_page_without_text(tmp_path: Path, spoil: str) -> None:
    tables: dict[str, Callable[[str], int]] = {
        "shifted": lambda c: max(1, ord(c) - 29),
        "swapped": lambda c: ord(c) << 8,
        "private": lambda c: 0xF000 + ord(c),
        "exchanged": lambda c: ord(c) if not c.isalpha() else ord("qwertyuiopasdfghjklzxcvbnm"[ord(c.lower()) - 97]),
    }
    path = drawn(tmp_path / "a.pdf", tables[spoil])
    with pdf.open_pdf(path) as document:
        assert document.text(1) == "" and document.needs_ocr(1) and document.words(1) == []
    with pdf.open_pdf(drawn(tmp_path / "b.pdf", ord)) as document:
        assert document.text(1) == "\n".join(CHEESE) and not document.needs_ocr(1)


@pytest.mark.usefixtures("engine")
def test_a_font_without_a_table_is_no_text(tmp_path: Path) -> None:
    import pymupdf

    font = next((p for p in Path("/usr/share/fonts").rglob("DejaVuSans.ttf")), None)
    if font is None:
        pytest.skip("the font DejaVu Sans is not installed")
    document = pymupdf.open()
    sheet = document.new_page()
    for i, text in enumerate(CHEESE):
        sheet.insert_text((60, 100 + 30 * i), text, fontsize=20, fontname="F0", fontfile=str(font))
    for number in range(1, document.xref_length()):
        if document.xref_get_key(number, "ToUnicode")[0] != "null":
            document.xref_set_key(number, "ToUnicode", "null")
    document.save(str(tmp_path / "a.pdf"))
    assert pdf.page_text(tmp_path / "a.pdf", 1) == ""


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("rotation", [0, 90])
def test_a_scan_with_a_stamp_is_left_to_ocr_and_a_picture_among_text_is_not(tmp_path: Path, rotation: int) -> None:
    import pymupdf

    stamp, text = "Scanned with a telephone, page 3 of 7", ARTICLES["english"].replace(". ", ".\n")
    document = pymupdf.open()
    grey = pymupdf.Pixmap(pymupdf.csGRAY, pymupdf.IRect(0, 0, 50, 70))
    grey.clear_with(230)
    for cover, words in ((1.0, stamp), (0.3, stamp), (1.0, text), (0.0, stamp)):
        sheet = document.new_page()
        if cover:
            sheet.insert_image(
                pymupdf.Rect(0, 0, sheet.rect.width, cover * sheet.rect.height), pixmap=grey, keep_proportion=False
            )
        sheet.insert_text((60, 100), words, fontsize=5)
        sheet.set_rotation(rotation)
    document.save(tmp_path / "a.pdf")
    assert pdf.unread_pages(tmp_path / "a.pdf") == [1]


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    "name",
    [
        "russian",
        "greek",
        "arabic",
        "hebrew",
        "hindi",
        "bengali",
        "thai",
        "chinese",
        "japanese",
        "korean",
        "georgian",
        "armenian",
        "vietnamese",
    ],
)
def test_pages_in_other_scripts_are_text(tmp_path: Path, name: str) -> None:
    from tests.data.media.test_pdf_text import story

    with pdf.open_pdf(story(tmp_path / "a.pdf", ARTICLES[name])) as document:
        assert not document.needs_ocr(1)
        assert len(document.text(1)) > 0.6 * len(ARTICLES[name])


@pytest.mark.slow
def test_no_page_of_the_sample_set_is_taken_for_none() -> None:
    paths = sorted(Path("samples/pdfs").glob("*.pdf"))
    if not paths:
        pytest.skip("the sample set is not here (make samples)")
    for path in paths:
        with pdf.open_pdf(path) as document:
            for number in range(1, document.pages + 1):
                assert document.text(number) or document.needs_ocr(number)
                plain = document._own.engine.plain_text(number)
                assert plain is not None and document.needs_ocr(number) == (len(plain.strip()) < TEXTLESS)
