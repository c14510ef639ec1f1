"""What is in a folder of pictures before anybody trains on it: :func:`look` answers with a :class:`Report`."""

from mezzotint.data.check.kinds import KINDS, Kind
from mezzotint.data.check.look import look
from mezzotint.data.check.report import Case, Problem, Report

__all__ = ["KINDS", "Case", "Kind", "Problem", "Report", "look"]
