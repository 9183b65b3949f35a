"""Time-outs that hold for the whole process."""

from __future__ import annotations

INTERVAL = 4_294_967  # microseconds: what a time-out of an operator is a multiple of, 1 to 254 times

event_wait = 0  # seconds a stream waits for an event; 0 for ever
execution = INTERVAL * 254  # microseconds an operator may take; the emulator reports it and lets operators finish


def set_execution(microseconds: int) -> int:
    """Sets the time an operator may take; returns what it was rounded up to. 0 is the longest."""
    global execution
    steps = min(-(-microseconds // INTERVAL), 254) if microseconds else 254
    execution = steps * INTERVAL
    return execution
