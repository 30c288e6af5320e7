"""The interface of what is written of results."""

from __future__ import annotations

from retina_plugin.inference.result import Result


class Output:
    """Writes results as one kind of file.

    Attributes:
        place: the name of the file or folder in the output folder.
    """

    place: str

    def add(self, result: Result, name: str) -> None:
        """Write the result of an image or a frame.

        Args:
            result: the detections.
            name: of the image or the frame, see
                :meth:`retina_plugin.inference.outputs.names.OutputNames.of`.

        Raises:
            DiskError: a file cannot be written.
        """
        raise NotImplementedError

    def start_video(self, name: str, rate: float) -> None:
        """Prepare for the frames of a video with so many frames per second."""

    def end_video(self) -> None:
        """Complete what belongs to the video; called after an error too."""

    def close(self, *, complete: bool) -> None:
        """Complete the files; if not ``complete``, remove those that are unfinished."""
