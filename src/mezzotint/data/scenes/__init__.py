"""Scenes with exact truth: planned, painted, described, and read back."""

from mezzotint.data.scenes.reader import Reader
from mezzotint.data.scenes.scenes import Scenes
from mezzotint.data.scenes.video import SceneVideos

__all__ = ["Reader", "SceneVideos", "Scenes"]
