import re

from kerasseg.pipelines.pages import document


def test_text_cannot_become_a_part_of_the_page():
    hostile = "\"><script>alert('1')</script>&\x1b[31m\u202e"
    shown = document.text(hostile)
    assert not set("<>\"'\x1b\u202e") & set(shown)
    page = document.render("check", hostile, [document.image(b"\x89PNG", hostile)])
    assert "<script" not in page
    assert page.count("<img ") == 1
    assert re.search(r'<img alt="[^"<>]*" src="data:image/png;base64,iVBORw==">', page)


def test_a_page_forbids_scripts_and_everything_from_outside():
    page = document.render("check", "title", ["<p>content</p>"])
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page
    assert page.encode().startswith(document.start("check"))
    assert not page.encode().startswith(document.start("evaluate"))
