"""The doctor: what is wrong with a machine or with a run, each finding with numbers and with a named fix.

Nothing heavy is imported with this room, and its parts are imported by their own names: what examines a machine has to
work on one where torch or numpy do not.

    from mezzotint.doctor.machine import Machine; from mezzotint.doctor import traps   the traps of an environment
    from mezzotint.doctor.patient import examine              a run folder
"""

from mezzotint.doctor.finding import Examination, Finding, Unknown

__all__ = ["Examination", "Finding", "Unknown"]
