import io

import numpy as np
import PIL.Image

from kerasseg.pipelines import check

COLORS = np.array([[0, 0, 0], [48, 112, 32], [176, 112, 32]], np.uint8)


def test_pictures_show_the_classes_of_a_palette_and_no_background_over_the_image(tmp_path):
    label = np.repeat(np.arange(3, dtype=np.uint8), 16)[None].repeat(32, 0)
    for split in ("train", "validation"):
        for kind in ("images", "labels"):
            (tmp_path / kind / split).mkdir(parents=True)
        image = np.full((32, 48, 3), 200 + len(split), np.uint8)
        PIL.Image.fromarray(image).save(tmp_path / "images" / split / "a.png")
        picture = PIL.Image.fromarray(2 - label)  # numbered from the other end
        picture.putpalette(COLORS[::-1].reshape(-1).tolist())
        picture.save(tmp_path / "labels" / split / "a.png")
    (tmp_path / "classes.txt").write_text("void 0 0 0\ncat 48 112 32\ndog 176 112 32\n")
    report = check.run(tmp_path, "folder", samples=1)
    assert report.findings == []
    drawn, _ = report.pictures
    assert drawn.caption == "void, cat, dog"
    with PIL.Image.open(io.BytesIO(drawn.label)) as picture:
        np.testing.assert_array_equal(picture, COLORS[label])
    with PIL.Image.open(io.BytesIO(drawn.overlay)) as picture:
        overlay = np.asarray(picture, float)
    blended = (205 + COLORS.astype(float)) / 2
    for number, expected in enumerate(([205] * 3, blended[1], blended[2])):
        inner = overlay[4:28, 16 * number + 4 : 16 * number + 12]  # JPEG mixes at the edges
        assert np.abs(inner - expected).max() < 6, number
