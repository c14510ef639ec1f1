"""The doctor: what is wrong with a machine or with a run, each finding with numbers and with a named fix.

Nothing heavy is imported with this room, and its parts are imported by their own names: what examines a machine has to
work on one where torch or numpy do not.

    traps.examine(machine.Machine.here())     the traps of an environment
    ailments.examine("runs/digits")           a run folder, and its error by level
"""

from mezzotint.doctor.finding import Examination, Finding, Unknown

__all__ = ["Examination", "Finding", "Unknown"]
