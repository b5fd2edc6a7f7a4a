import os
import signal
import threading

import pytest

from kerasseg.pipelines.errors import Interrupted
from kerasseg.pipelines.runtime import interruption


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_raises_at_once_and_the_handlers_come_back(number):
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as caught, interruption.handled():
        send(number)
    assert caught.value.signal == number
    assert not isinstance(caught.value, Exception)
    assert signal.getsignal(number) is before


def test_where_a_block_checks_nothing_is_raised_before(capfd):
    with interruption.handled() as stop, stop.checked():
        send(signal.SIGTERM)
        assert stop.signal == signal.SIGTERM
        with pytest.raises(Interrupted):
            stop.check()
    assert "stopping after this step" in capfd.readouterr().err


def test_an_iterable_is_left_before_its_next_item():
    seen = []

    def interrupted():
        with interruption.handled() as stop, stop.checked():
            for item in stop.checking(range(5)):
                seen.append(item)
                if item == 2:
                    send(signal.SIGINT)

    with pytest.raises(Interrupted):
        interrupted()
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_after_a_signal_aborts_at_once(first):
    def interrupted():
        with interruption.handled() as stop, stop.checked():
            send(first)
            send(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        interrupted()
    assert caught.type is KeyboardInterrupt


def test_a_second_sigterm_changes_nothing():
    with interruption.handled() as stop, stop.checked():
        send(signal.SIGTERM)
        send(signal.SIGTERM)
        assert stop.signal == signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])  # nohup ignores the latter
def test_a_signal_that_is_ignored_stays_ignored(number):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with interruption.handled() as stop:
            send(number)
            assert stop.signal is None
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_other_threads_leave_signals_alone():
    before, inside = signal.getsignal(signal.SIGINT), []

    def handle():
        with interruption.handled():
            inside.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=handle)
    thread.start()
    thread.join()
    assert inside == [before]
