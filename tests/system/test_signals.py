"""A request to stop is never lost, wherever its exception is raised."""

import signal
import weakref

import pytest

from tfransfer.system.signals import Stopped, Stopping, stop_if_requested, stoppable

# What the exception is lost in is Python's "exception ignored in".
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def lose(number=signal.SIGTERM):
    """A signal whose exception is lost: it arrives in a callback that garbage collection calls."""

    class Garbage:
        pass

    garbage = Garbage()
    _callback = weakref.ref(garbage, lambda gone: signal.raise_signal(number))
    del garbage


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_lost_signal_stops_between_the_next_steps(number):
    stopping, after = Stopping(), []
    with pytest.raises(Stopped), stopping.listening():
        lose(number)
        after.append("the exception is lost")
        stop_if_requested()
        after.append("the next step")
    assert after == ["the exception is lost"]


def test_lost_signal_stops_at_the_end_of_the_work_at_the_latest():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped), Stopping().listening():
        lose()
    assert signal.getsignal(signal.SIGTERM) is before


def test_failure_is_told_even_if_a_stop_was_requested():
    with pytest.raises(OSError, match="disk"), Stopping().listening():
        lose()
        raise OSError("disk full")


def test_patient_work_is_not_interrupted_between_its_steps():
    stopping, steps = Stopping(), []
    with pytest.raises(Stopped), stopping.listening():
        with stopping.patient():
            signal.raise_signal(signal.SIGTERM)
            stop_if_requested()
            steps.append("saved")
        stop_if_requested()
        steps.append("on")
    assert steps == ["saved"]


def test_work_inside_other_work_listens_to_the_same_signals():
    outer = Stopping()
    with pytest.raises(Stopped), outer.listening(), stoppable():
        assert signal.getsignal(signal.SIGTERM) == outer._handle
        lose()
        stop_if_requested()
    assert outer.wanted


def test_nothing_stops_where_nobody_asked():
    stop_if_requested()
    with stoppable():
        stop_if_requested()
