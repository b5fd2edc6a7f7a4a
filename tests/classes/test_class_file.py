"""Class lists as tools write them: read as they are meant, or refused with the line."""

import random
import re
import unicodedata

import pytest

from kerasseg.pipelines.classes import class_file
from kerasseg.pipelines.errors import InputError

SKY, ROAD, CAR = (70, 130, 180), (128, 64, 128), (0, 0, 142)
NAMES = ("sky", "side walk", "car")
COLORS = {SKY: 0, ROAD: 1, CAR: 2}
COUNTED = {0: 0, 1: 1, 2: 2, 255: 255}
MMSEG = """\
@DATASETS.register_module()
class StreetDataset(BaseSegDataset):
    METAINFO = dict(
        classes=('sky', 'side walk', 'car'),
        palette=[[70, 130, 180], [128, 64, 128], [0, 0, 142]])

    def __init__(self, img_suffix='.png', **kwargs):
        super().__init__(img_suffix=img_suffix, **kwargs)
"""
# The same three classes, with their colours.
COLORED = {
    "name, colour": "sky 70 130 180\nside walk 128 64 128\ncar 0 0 142\n",
    "colour, name": "70 130 180 sky\n128 64 128\tside walk\n0,0,142 car\n",
    "commas": "sky,70,130,180\nside walk,128,64,128\ncar,0,0,142\n",
    "semicolons": "sky;70;130;180\nside walk;128;64;128\ncar;0;0;142\n",
    "tabs": "sky\t70\t130\t180\nside walk\t128\t64\t128\ncar\t0\t0\t142\n",
    "bars": "sky | 70 | 130 | 180\nside walk | 128 | 64 | 128\ncar | 0 | 0 | 142\n",
    "colons": "sky: 70, 130, 180\nside walk: 128, 64, 128\ncar: 0, 0, 142\n",
    "brackets": "sky (70, 130, 180)\nside walk [128, 64, 128]\ncar rgb(0, 0, 142)\n",
    "hexadecimal": "sky #4682b4\nside walk #804080\ncar #00008E\n",
    "hexadecimal first": "#4682b4 sky\n# a comment\n#804080 side walk\n#00008e car\n",
    "0x": "sky,0x4682b4\nside walk,0x804080\ncar,0X00008E\n",
    "alpha": "sky 70 130 180 255\nside walk 128 64 128 255\ncar 0 0 142 255\n",
    "alpha, name": "70 130 180 255 sky\n128 64 128 255 side walk\n0 0 142 255 car\n",
    "values": "0 sky 70 130 180\n1 side walk 128 64 128\n2 car 0 0 142\n",
    "values before colours": "0 70 130 180 sky\n1 128 64 128 side walk\n2 0 0 142 car\n",
    "values behind names": "sky 0 70 130 180\nside walk 1 128 64 128\ncar 2 0 0 142\n",
    "values, hexadecimal": "0,sky,#4682b4\n1,side walk,#804080\n2,car,#00008e\n",
    "FreeSurfer": "# LUT\n0 sky 70 130 180 0\n1 side walk 128 64 128 0\n2 car 0 0 142 0\n",
    "quotation marks": "'sky' 70 130 180\n\"side walk\" 128 64 128\ncar 0 0 142\n",
    "GIMP": "GIMP Palette\nName: Street\nColumns: 3\n#\n"
    " 70 130 180\tsky\n128  64 128\tside walk\n  0   0 142\tcar\n",
    "GIMP, RGBA": "GIMP Palette\nChannels: RGBA\n70 130 180 255 sky\n128 64 128 255 side walk\n"
    "0 0 142 255 car\n",
    "CVAT": "# label:color_rgb:parts:actions\nsky:70,130,180::\nside walk:128,64,128::\n"
    "car:0,0,142:wheel,door:parked\n",
    "CVAT without header": "sky:70,130,180::\nside walk:128,64,128::\ncar:0,0,142::\n",
    "header": "name,r,g,b\nsky,70,130,180\nside walk,128,64,128\ncar,0,0,142\n",
    "header, semicolons": "Name;R;G;B\nsky;70;130;180\nside walk;128;64;128\ncar;0;0;142\n",
    "header, tabs": "Class\tRed\tGreen\tBlue\nsky\t70\t130\t180\nside walk\t128\t64\t128\n"
    "car\t0\t0\t142\n",
    "header, spaces": "id name r g b\n0 sky 70 130 180\n1 side walk 128 64 128\n2 car 0 0 142\n",
    "header, other order": "b,label,note,index,g,r\n180,sky,x,0,130,70\n142,car,,2,0,0\n"
    "128,side walk,y,1,64,128\n",
    "header, one colour": 'id;label;hex\n2;car;#00008e\n0;sky;#4682b4\n1;"side walk";#804080\n',
    "header, colour in cells": 'class,color\nsky,"70,130,180"\nside walk,"[128, 64, 128]"\n'
    'car,"rgb(0, 0, 142)"\n',
    "JSON object": '{"sky": [70, 130, 180], "side walk": "#804080", "car": [0, 0, 142, 255]}',
    "JSON list": '[{"name": "sky", "color": [70, 130, 180]}, {"name": "side walk", "color": '
    '"#804080", "isthing": 0}, {"label": "car", "rgb": "0, 0, 142"}]',
    "JSON of colours": '{"#4682b4": "sky", "#804080": "side walk", "#00008e": "car"}',
    "Supervisely": '{"classes": [{"title": "sky", "shape": "bitmap", "color": "#4682B4", "id": '
    '70001}, {"title": "side walk", "color": "#804080", "id": 4}, {"title": "car", "color": '
    '"#00008E", "id": 5}], "tags": []}',
    "OpenMMLab": MMSEG,
    "OpenMMLab, old": "CLASSES = ('sky', 'side walk', 'car')\n"
    "PALETTE = [[70, 130, 180], [128, 64, 128], [0, 0, 142]]\n",
    "Pascal VOC": "VOC_COLORMAP = [[70, 130, 180], [128, 64, 128], [0, 0, 142]]\n\nVOC_CLASSES = "
    "['sky', 'side walk',\n               'car']\n",
    "Python dictionary": "{'sky': (70, 130, 180), 'side walk': (128, 64, 128), 'car': (0, 0, 142)}",
}
# The same three classes by name and value alone.
NAMED = {
    "names": "sky\nside walk\ncar\n",
    "Windows": "sky\r\nside walk\r\ncar\r\n",
    "old Macintosh": "sky\rside walk\rcar",
    "comments": "# Classes\n\nsky # above\n  side walk  \n\n#car\ncar",
    "values": "0 sky\n1 side walk\n2 car\n",
    "values, colons": "0: sky\n1:side walk\n2 : car\n",
    "values, dots": "0. sky\n1. side walk\n2. car\n",
    "values, commas": "0,sky\n1,side walk\n2,car\n",
    "values, tabs": "0\tsky\n1\tside walk\n2\tcar\n",
    "values, other spaces": "0\u00a0sky\n1\u3000side\u2009walk\n2\u200b car\n\ufeff\n",
    "values behind": "sky 0\nside walk 1\ncar 2\n",
    "values behind colons": "sky: 0\nside walk: 1\ncar: 2\n",
    "labelme": "__ignore__\nsky\nside walk\ncar\n",
    "labelme with values": "-1: __ignore__\n0: sky\n1: side walk\n2: car\n",
    "Roboflow": "Pixel Value, Class\n2, car\n0, sky\n1, side walk\n",
    "number as class": "class,name\n0,sky\n2,car\n1,side walk\n",
    "one column": "name\nsky\nside walk\ncar\n",
    "one column, other word": "category_name\nsky\nside walk\ncar\n",
    "other columns": "Idx\tRatio\tTrain\tName\n0\t0.15\t11664\tsky\n1\t0.12\t6046\tside walk\n"
    "2\t.1\t8265\tcar\n",
    "JSON list": '["sky", "side walk", "car"]',
    "JSON by value": '{"2": "car", "0": "sky", "1": "side walk"}',
    "JSON by name": '{"side walk": 1, "car": 2, "sky": 0}',
    "Hugging Face": '{"id2label": {"0": "sky", "1": "side walk", "2": "car"}, "label2id": '
    '{"sky": 0}, "model_type": "segformer"}',
    "COCO": '{"images": [], "categories": [{"id": 1, "name": "side walk", "supercategory": "x"}, '
    '{"id": 0, "name": "sky"}, {"id": 2, "name": "car"}]}',
    "label map": 'item {\n  id: 1\n  name: "side walk"\n}\nitem {\n  name: "/m/01"\n  id: 0\n  '
    "display_name: 'sky'\n}\n# the last\nitem { id: 2, name: \"car\" }\n",
    "tuple": "('sky', 'side walk', 'car')",
    "assignment": "classes = ('sky', 'side walk', 'car')",
}


def read(folder, text, name="classes.txt"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return class_file.read(path)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accents_are_composed_however_unicode_writes_them(tmp_path, form):
    text = unicodedata.normalize(
        form, "0 Straße\n1 Fußgänger\n2 Straße\n3 \uff43\uff41\uff52\n4 car\n"
    )
    names = read(tmp_path, text).classes.names
    # Characters of another width are others, as capitals are.
    assert names == ("Straße", "Fußg\u00e4nger", "\uff43\uff41\uff52", "car")


def test_two_ways_to_write_a_name_are_no_two_classes(tmp_path):
    with pytest.raises(InputError, match="line 2: class names must differ"):
        read(tmp_path, "caf\u00e9\ncafe\u0301\nroad\n")


@pytest.mark.parametrize("name", COLORED)
def test_classes_are_read_with_their_colours(tmp_path, name):
    description = read(tmp_path, COLORED[name])
    assert description.classes.names == NAMES
    assert description.classes.colors == (SKY, ROAD, CAR)
    assert description.raw_colors == COLORS
    assert description.raw_values == COUNTED


@pytest.mark.parametrize("name", NAMED)
def test_classes_are_read_with_their_values(tmp_path, name):
    description = read(tmp_path, NAMED[name])
    assert description.classes.names == NAMES
    assert description.raw_values == COUNTED
    assert description.raw_colors == {}


@pytest.mark.parametrize("name", ["header, tabs", "CVAT", "JSON list", "Pascal VOC", "values"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-16-le"])
def test_the_content_tells_the_format_in_any_encoding_with_a_mark(tmp_path, name, encoding):
    text = COLORED[name].replace("\n", "\r\n")
    if encoding in ("utf-16-be", "utf-16-le"):
        text = f"\ufeff{text}"
    assert read(tmp_path, text.encode(encoding), "labels").raw_colors == COLORS


def test_values_may_have_gaps_and_begin_at_any_number(tmp_path):
    for text in ("7 sky\n24 car\n", "id,name\n24,car\n7,sky\n", '{"7": "sky", "24": "car"}'):
        assert read(tmp_path, text).raw_values == {7: 0, 24: 1, 255: 255}


def test_names_may_end_in_a_number_that_tells_them_apart(tmp_path):
    assert read(tmp_path, "lane 1\nlane 2\n").classes.names == ("lane 1", "lane 2")
    description = read(tmp_path, "lane 1 1 2 3\nlane 2 4 5 6\nsky 7 8 9\n")
    assert description.classes.names == ("lane 1", "lane 2", "sky")
    assert description.raw_colors == {(1, 2, 3): 0, (4, 5, 6): 1, (7, 8, 9): 2}


def test_the_background_of_labelme_is_class_0_and_black(tmp_path):
    description = read(tmp_path, "__ignore__\n_background_\nroad\ncar\n")
    assert description.classes.names == ("_background_", "road", "car")
    assert description.classes.colors[0] == (0, 0, 0)
    assert description.raw_values == COUNTED
    assert description.raw_colors == {}


def test_quotation_marks_hold_names_with_separators(tmp_path):
    names = ("wall, brick", 'the "old" one', "a;b")
    text = '"wall, brick",1,2,3\n"the ""old"" one",4,5,6\n"a;b",7,8,9\n'
    assert read(tmp_path, text).classes.names == names
    assert read(tmp_path, f"name,r,g,b\n{text}").classes.names == names
    assert read(tmp_path, '["wall, brick", "the \\"old\\" one", "a;b"]').classes.names == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sky\nside walk, car\n", r"line 2: must be name, r, g, b, got 'side walk, car'"),
        ("sky;road;car\n", r"line 1: .* got 'sky, road, car'"),
        ("sky\nroad | paved\n", r"line 2: .* got 'road, paved'"),
        ("sky\nvehicle:car\n", r"line 2: .*no separators.*got 'vehicle:car'"),
        ("1\uff1asky\n2\uff1aroad\n", r"line 1: .*no separators.*got '1\uff1asky'"),
        ("sky\uff0croad\ncar\n", r"line 1: .*no separators.*got 'sky\uff0croad'"),
        ("sky 1 2\nroad 3 4\n", r"line 1: .* got 'sky 1 2'"),
        ("sky 1 2 3\nroad 1 2 300\n", r"line 2: a colour must be .*\[0, 255\], got 'road 1 2 300'"),
        ("sky 1 2 3\nroad .1 .2 .3\n", r"line 2: "),
        ("sky 1 2 3 4 5\n", r"line 1: "),
        ("sky\nroad 128 64 128 # 1 2\nwall 1 2 3 brick\n", r"line 3: .*got 'wall 1 2 3 brick'"),
        ("sky 0\nroad 1\ncar\n", r"line 1: must be a name, with a value in all lines or in none"),
        ("0 sky\nroad\n", r"line 2: values must be given for all classes or for none"),
        ("0 sky\n0 road\n", r"line 2: a value must be listed once, got 0 in line 1"),
        ("sky\nroad\nsky\n", r"line 3: class names must differ"),
        ("sky 1 2 3\nroad 1 2 3\n", r"line 2: the colours of the classes must differ"),
        ("sky 0 0 0 255\nroad 1 1 1 255\n", r"line 1: four numbers .* may be either"),
        ("0 1 2 255 sky\n1 1 2 255 road\n", r"line 1: four numbers .* may be either"),
        ("sky #12345\nroad #123456\n", r"line 1: .*"),
        ("#4682b4 sky\nroad 1 2 3\n", r"line 1: must be a comment, or begin with a colour"),
        ("sky\n__ignore__\nroad\n", r"line 2: __ignore__ must be the first name"),
        ("__ignore__\n__ignore__\nroad\n", r"line 2: __ignore__ must be the first name"),
        ("sky\nignore\n", r"line 2: ignore must have a colour"),
        ("- sky\n- road\n", r"line 1: .*got '- sky'"),
        ("names:\n  0: sky\n  1: road\n", r"line 1: .*got 'names:'"),
        ("<?xml version='1.0'?>\n<label>sky</label>\n", "got XML"),
        ("sky\n12\n", r"line 2: a class must have a name, got '12'"),
        ("# label:color_rgb:parts:actions\nsky:1,2,3::\nroad 4 5\n", r"line 3: must be NAME:R,G,B"),
        ("# label:color_rgb:parts:actions\nsky:1,2,300::\n", r"line 2: a colour must be"),
        ("name,width\nsky,1\nroad,2\n", r"line 1: columns must be .*got 'width'"),
        ("id,r,g,b\n0,1,2,3\n", r"line 2: a class must have a name"),
        ("name,r,g,b\nsky,1,2,3\nroad;4;5;6\n", r"line 3: "),
        ("name,id\nsky,0\nroad,x\n", r"line 3: must be name"),
        ("name,id\nsky,0\nroad,1,2\n", r"line 3: must have 2 columns"),
        ("name,color\nsky,blue\n", r"line 2: a colour must be .*'blue'"),
        ('["sky", "0: road"]', r"entry 2: .*got '0: road'"),
        ('["0 sky", "1 road"]', r"names must hold no values, got 0 sky, 1 road"),
        ('{"sky 0": [1, 2, 3], "road 1": null}', r"names must hold no values, got sky 0, road 1"),
        ('["sky", "road 1 2 3"]', r"entry 2: .*got 'road 1 2 3'"),
        ('["sky", "road #804080"]', r"entry 2: .*got 'road #804080'"),
        ('{"shapes": [], "version": "5.0.1"}', r"entry 1: a colour must be"),
        ('{"names": "sky"}', r"entry 1: a colour must be"),
        ('[{"name": "sky", "name": "road"}]', r"entry 1: fields must differ"),
        ("CLASSES = ('sky', 'road')\nPALETTE = [[1, 2, 3]]", "of one length, got 2 and 1"),
        ("A_CLASSES = ('sky', 'road')\nB_CLASSES = ('car', 'road')", "got 2 different lists"),
        ("classes = [f(i) for i in range(3)]\n", "line 1: must be a literal"),
        ("classes = ('sky',\n", "must be Python"),
        ("classes = ('sky', open('x'))", "line 1: must be a literal, got .open"),
        ("item { id: 1 name: 'sky' }\nitem { id: 1 name: 'road' }", "entry 2: a value must be"),
        ("item { id: 1 name: 'sky'\n", "must end with a brace"),
        ("item { id: 1\n name = 'sky' }\n", r"line 2: must be item .*got \"name = 'sky'"),
        ("item { id: 1 id: 2 name: 'sky' }", "each field once"),
        ("item { id: 1 }", "entry 1: a class must have a name"),
        ("a" + "\nb" * 2**25, "must have up to 32 MiB"),
        ("sky\n" + "x" * 1001, "line 2: a line must have up to 1000 characters"),
        (b"sky\nStra\xdfe\n", r"line 2: must be UTF-8 or UTF-16 text .*got b'Stra"),
        ("sky\nroad\n".encode("utf-16-le"), "with its mark, got zero bytes"),
        ("sky\nroad\x1b[31m\n", r"line 2: a class name must be text of one line"),
        ("sky\nroad\u2028car\n", r"line 2: a class name must be text of one line"),
        ("".join(f"class{i}\n" for i in range(300)), r"in \[1, 255\], got 300: labels are uint8"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_place(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as refusal:
        read(tmp_path, text)
    assert "classes.txt" in str(refusal.value)


@pytest.mark.parametrize("name", ["a.json", "a.gpl", "a.pbtxt", "a.py"])
def test_an_ending_that_promises_another_format_is_believed(tmp_path, name):
    with pytest.raises(InputError):
        read(tmp_path, NAMED["names"], name)


@pytest.mark.parametrize("rest", ["\t1", ", 1", "; 1", "| 1", ": 1"])
def test_a_number_behind_a_separator_is_no_part_of_a_name(tmp_path, rest):
    with pytest.raises(InputError, match=r"must be a name, with a value in all lines"):
        read(tmp_path, f"sky\nlane 2\nlane{rest}\n")
    assert read(tmp_path, "sky\nlane 2\nlane  1\n").classes.names == ("sky", "lane 2", "lane 1")


def test_names_that_end_in_a_number_have_a_colour_all_or_none(tmp_path):
    with pytest.raises(InputError, match=r"line 1: must be a name, with a value in all lines"):
        read(tmp_path, "lane 1\nlane 2 70 130 180\nsky 0 0 0\n")


# Fuzzing

EXPLICIT = re.compile("JSON|COCO|Supervisely|Hugging|OpenMMLab|VOC|Python|label map|tuple|assign")
ALL = {
    **{f"colours, {kind}": text for kind, text in COLORED.items()},
    **{f"values, {kind}": text for kind, text in NAMED.items()},
}
PIECES = [",", ";", "\t", "|", ":", " ", " 7", "7 ", " 1 2 3", "#4682b4", "\n", '"', "'", "=", "-"]


def damage(text, rng):
    """Changes a text in one to three places: cells, separators, lines or single characters."""
    for _ in range(rng.randint(1, 3)):
        lines = text.splitlines(keepends=True)
        at, line = rng.randrange(len(text)), rng.randrange(len(lines))
        kind = rng.randrange(7)
        if kind == 0:
            text = text[:at] + text[at + rng.randint(1, 4) :]
        elif kind == 1:
            text = text[:at] + rng.choice(PIECES) + text[at:]
        elif kind == 2:
            lines[line] = re.sub(r"[,;\t|: ]+", rng.choice(",;\t|: "), lines[line])
        elif kind == 3:
            lines[line] = re.sub(r"\d+", "", lines[line], count=rng.randint(1, 3))
        elif kind == 4:
            lines[line] = lines[line].rstrip("\n") + rng.choice(PIECES) + "\n"
        elif kind == 5:
            lines.insert(line, lines[rng.randrange(len(lines))])
        else:
            del lines[line]
        text = "".join(lines) if kind > 1 else text
        if not text:
            return "sky"
    return text


def holds_columns(name, kind, text):
    """Tells whether a name holds separators, colours or numbers that are columns.

    Where the format itself says where a name ends, it may hold separators and single numbers.
    """
    if re.search(r"(?:^|[\s,;])\d+[\s,;]+\d+(?:[\s,;]|$)|#[0-9a-f]{6}\b|^\d+ ?[:;]|^\d*$", name):
        return True
    if EXPLICIT.search(kind) or re.search(f"""(['"]){re.escape(name)}\\1""", text):
        return False
    return bool(re.search(r"[,;|\t]|^\d+ ?[:;. ]|\s\d+$", name))


def test_a_damaged_list_is_refused_or_has_no_name_with_separators_or_columns(tmp_path):
    rng = random.Random(0)
    read_at_all = 0
    for _ in range(4000):
        kind = rng.choice(list(ALL))
        text = damage(ALL[kind], rng)
        try:
            description = read(tmp_path, text)
        except InputError:
            continue
        read_at_all += 1
        for name in description.classes.names:
            assert not holds_columns(name, kind, text), (name, kind, text)
    assert 400 < read_at_all < 3600  # else the damage, or the reader, is no test of the other
