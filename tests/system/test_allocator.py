"""Freed memory is kept where glibc allows it, and nothing happens elsewhere."""

import ctypes
import sys

from tfransfer.system import allocator


def test_glibc_takes_the_setting_and_other_systems_are_left_alone(monkeypatch):
    asked = []

    class Library:
        @staticmethod
        def mallopt(name, value):
            asked.append((name, value))
            return 1

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library)
    assert allocator.keep_freed_memory()
    assert asked == [(-2, 64 << 20)]
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not allocator.keep_freed_memory()
    assert len(asked) == 1


def test_another_c_library_is_left_alone(monkeypatch):
    def absent(name):
        raise OSError("libc.so.6: cannot open shared object file")

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert not allocator.keep_freed_memory()
