import json
import random

import pytest

from kerasseg.pipelines.datasets import _json_stream
from kerasseg.pipelines.errors import InputError

DOCUMENT = {
    "info": {"year": 2018, "nested": [{"deep": [1, [2, {}]]}], "none": None},
    "images": [],
    "licenses": [1, -2.5e3, True, None, 'text, with ] and } and " in it', [], {}, 12345678],
    "annotations": [{"file_name": f"{n:012}.png", "ids": list(range(n))} for n in range(40)],
    "empty": {},
    "categories": [{"name": "café \U0001f600"}],
}


def read(path, *names):
    return list(_json_stream.elements(path, names))


@pytest.fixture(params=[1, 7, 64, 2**20], ids=lambda size: f"chunks-of-{size}")
def chunks(request, monkeypatch):
    monkeypatch.setattr(_json_stream, "_CHUNK", request.param)


@pytest.mark.parametrize("options", [{}, {"indent": 2}, {"ensure_ascii": False}], ids=str)
def test_elements_are_those_of_the_whole_document(tmp_path, chunks, options):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(DOCUMENT, **options), encoding="utf-8")
    found = read(path, "licenses", "annotations", "categories")
    assert found == [
        (name, element)
        for name in ("licenses", "annotations", "categories")
        for element in DOCUMENT[name]
    ]
    assert read(path, "images") == []
    assert read(path, "categories") == [("categories", DOCUMENT["categories"][0])]


def test_an_object_without_arrays_is_read_to_its_end(tmp_path, chunks):
    path = tmp_path / "x.json"
    path.write_text(' { "a" : 1 }\n')
    assert read(path) == []
    path.write_text("{}")
    assert read(path) == []


def test_an_array_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"images": [1], "info": {}}')
    with pytest.raises(InputError, match=r"x\.json: must have annotations, got only images, info"):
        read(path, "images", "annotations")


def test_a_file_that_is_cut_anywhere_is_an_error_that_names_the_place(tmp_path, chunks):
    whole = json.dumps(DOCUMENT, ensure_ascii=False).encode()
    path = tmp_path / "x.json"
    for length in range(0, len(whole), 13):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"x\.json: is (cut short|damaged)"):
            read(path, "annotations")


def test_a_file_that_is_cut_short_is_called_so_with_its_length(tmp_path):
    whole = json.dumps(DOCUMENT).encode()
    path = tmp_path / "x.json"
    length = whole.index(b"000000000031.png") + 5
    path.write_bytes(whole[:length])
    with pytest.raises(InputError, match=rf"is cut short \(byte {length}\)"):
        read(path, "annotations")


def test_damage_is_reported_by_the_position_of_the_byte(tmp_path, chunks):
    whole = json.dumps(DOCUMENT, ensure_ascii=False).encode()
    path = tmp_path / "x.json"
    for number in (3, 30, 39):
        at = whole.index(b"%012d.png" % number) - 1  # the quotation mark before it
        path.write_bytes(whole[:at] + b"#" + whole[at + 1 :])
        with pytest.raises(InputError, match=rf"is damaged: .*\(byte {at}\), got '#0000"):
            read(path, "annotations")


def test_bytes_that_are_no_utf_8_are_reported_by_their_position(tmp_path, chunks):
    whole = json.dumps(DOCUMENT, ensure_ascii=False).encode()
    at = whole.index("é".encode())
    path = tmp_path / "x.json"
    path.write_bytes(whole[:at] + b"\xff\xfe" + whole[at + 2 :])
    with pytest.raises(InputError, match=rf"no UTF-8 at byte {at}\."):
        read(path, "annotations")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", r"no JSON object: must have one of '{' \(byte 0\), got '\[1, 2\]'"),
        ("", r"is cut short \(byte 0\)"),
        ("<html>", r"no JSON object.*got '<html>'"),
        ("{1: 2}", r"must have a name in quotation marks \(byte 1\)"),
        ('{"a" 2}', r"must have one of ':' \(byte 5\)"),
        ('{"a": [1 2]}', r"must have one of ',\]' \(byte 9\)"),
        ('{"a": 1} {"b": 2}', r"continues after its end \(byte 9\)"),
        ('{"a": [' + "[" * 200_000, r"is damaged: .*recursion"),
        ('{"a": [' + "1" * 5000 + "]}", r"is damaged: .*4300"),
    ],
)
def test_what_is_no_json_object_is_refused(tmp_path, text, message):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read(path, "a")


def test_an_element_without_an_end_is_given_up_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(_json_stream, "_CHUNK", 1000)
    monkeypatch.setattr(_json_stream, "_LARGEST_ELEMENT", 10_000)
    path = tmp_path / "x.json"
    path.write_text('{"a": ["' + "x" * 100_000)
    with pytest.raises(InputError, match=r"elements of up to 10000 bytes \(byte 7\)"):
        read(path, "a")


def test_flipped_bits_are_read_or_refused_and_nothing_else(tmp_path, chunks):
    whole = json.dumps(DOCUMENT).encode()
    path = tmp_path / "x.json"
    generator = random.Random(0)
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[generator.randrange(len(whole))] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        try:
            read(path, "annotations")
        except InputError:
            refused += 1
    assert refused > 30


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.json: cannot be read \(No such file"):
        read(tmp_path / "gone.json", "a")
