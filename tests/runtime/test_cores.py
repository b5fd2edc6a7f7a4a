import os

from kerasseg.pipelines.runtime import cores


def test_the_cores_are_those_that_the_process_may_use():
    own = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(own)})
        assert cores.count() == 1
    finally:
        os.sched_setaffinity(0, own)
    assert cores.count() == len(own)
