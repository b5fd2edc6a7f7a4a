"""Names of classes that differ only in upper and lower case: two classes, with a warning."""

import pytest

from kerasseg.pipelines import check, convert
from kerasseg.pipelines.classes import ClassSpace


def space(*names):
    return ClassSpace(names, tuple((0, 0, number) for number in range(len(names))))


@pytest.fixture
def spelt_twice(folder_tree):
    """A folder with the classes Car, side walk and car."""
    classes = folder_tree / "classes.txt"
    classes.write_text(classes.read_text().replace("road", "Car"))
    return folder_tree


def test_names_that_differ_in_case_look_alike():
    assert space("road", "Car", "car", "ROAD", "sky").look_alikes == "road and ROAD, Car and car"
    assert space("road", "roads").look_alikes == ""


def test_check_warns_of_them(spelt_twice):
    report = check.run(spelt_twice)
    (found,) = [each for each in report.findings if each.kind == "look-alike classes"]
    assert found.severity == "warning"
    assert found.what.endswith("in upper and lower case, got Car and car")
    assert report.errors == 0


def test_convert_says_so_in_one_line(spelt_twice, tmp_path):
    said = []
    converted = convert.run("folder", spelt_twice, tmp_path / "data", on_remark=said.append)
    assert said == ["names of classes differ only in upper and lower case: Car and car"]
    assert {"Car", "car"} <= set(converted.classes.names)
