"""The workers meet before they train; here they are threads."""

import socket
import threading
import time

import pytest

from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.workers import rendezvous
from kerasseg.pipelines.workers.cluster import Cluster


@pytest.fixture
def addresses(free_port):
    return tuple(f"127.0.0.1:{free_port()}" for _ in range(3))


def meet(addresses, index, facts, limit=20.0):
    """Starts a worker; returns its thread, with what it said and the error that it ended in."""
    said, errors = [], []

    def run():
        try:
            cluster = Cluster(addresses, index)
            rendezvous.meet(cluster, facts, limit=limit, on_notice=said.append)
        except InputError as error:
            errors.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.said, thread.errors = said, errors
    return thread


def ends_of(workers):
    for worker in workers:
        worker.join(30)
        assert not worker.is_alive()
    return [worker.errors for worker in workers]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_workers_wait_for_each_other_in_any_order(addresses, order):
    first = meet(addresses, order[0], {"option epochs": 3})
    second = meet(addresses, order[1], {"option epochs": 3})
    time.sleep(0.5)
    assert first.is_alive()
    assert second.is_alive()
    third = meet(addresses, order[2], {"option epochs": 3})
    assert ends_of((first, second, third)) == [[], [], []]


def test_the_ports_are_free_again_after_the_meeting(addresses):
    assert ends_of([meet(addresses, index, {}) for index in range(3)]) == [[], [], []]
    for address in addresses:
        socket.create_server(("", int(address.rpartition(":")[2]))).close()


def test_workers_that_are_about_to_do_different_things_do_not_begin(addresses):
    workers = [meet(addresses[:2], index, {"option epochs": index}) for index in range(2)]
    told = "option epochs must be the same at all workers, got 0 at worker 0 and 1 at worker 1."
    assert ends_of(workers) == [[told], [told]]


def test_workers_that_were_told_of_other_workers_do_not_begin(addresses):
    workers = [meet(addresses[:2], 0, {}), meet(addresses, 1, {})]
    for errors in ends_of(workers):
        assert "workers must all be told of the same workers" in errors[0]


def test_a_worker_says_whom_it_waits_for_and_not_for_ever(addresses, monkeypatch):
    monkeypatch.setattr(rendezvous, "_TELL_EVERY", 0.4)
    chief = meet(addresses, 0, {}, limit=1.0)
    other = meet(addresses, 2, {}, limit=1.0)
    chief_errors, other_errors = ends_of((chief, other))
    assert any(f"waiting for worker 1 at {addresses[1]} (" in line for line in chief.said)
    assert any(f"waiting for worker 0 at {addresses[0]}" in line for line in other.said)
    assert chief_errors[0].startswith("workers must all begin within 1 seconds, got nothing from ")
    assert f"worker 1 at {addresses[1]}" in chief_errors[0]
    assert other_errors


def test_a_worker_that_ended_while_waiting_is_waited_for_again(addresses):
    chief = meet(addresses[:2], 0, {})
    time.sleep(0.3)
    host, port = addresses[0].split(":")
    with socket.create_connection((host, int(port))) as stranger:
        stranger.sendall(b"GET / HTTP/1.0\r\n\r\n")  # a scan of the ports
    meet(addresses[:2], 1, {}).join(20)
    assert ends_of([chief]) == [[]]


def test_a_port_that_is_taken_is_refused(addresses):
    with socket.create_server(("", int(addresses[1].rpartition(":")[2]))):
        (errors,) = ends_of([meet(addresses, 1, {})])
    assert errors[0].startswith(f"port of worker 1 at {addresses[1]} must be free")


def test_workers_that_do_not_answer_are_found(addresses):
    with socket.create_server(("127.0.0.1", int(addresses[1].rpartition(":")[2]))):
        assert rendezvous.unreachable(Cluster(addresses, 0)) == [0, 2]
