"""A plain window that shows pictures: `render_mode="human"` through Python's own tkinter."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from auralnav.errors import MissingDependencyError

_log = logging.getLogger(__name__)


class Window:
    """Shows uint8 [H, W, 3] pictures. It opens with the first one, and stays closed once a person has closed it.

    Args:
        title: what its title bar says.

    Raises:
        MissingDependencyError: from `show`, when tkinter is not installed or there is no display.
    """

    def __init__(self, title: str = "AuralNav") -> None:
        self.title = title
        self._root: Any = None
        self._label: Any = None
        self._picture: Any = None
        self._dismissed = False

    def _open(self) -> None:
        try:
            import tkinter
        except ImportError as error:
            raise MissingDependencyError(
                'render_mode="human" needs tkinter: `sudo apt install python3-tk` '
                '(or use render_mode="rgb_array")'
            ) from error
        try:
            self._root = tkinter.Tk()
        except tkinter.TclError as error:
            raise MissingDependencyError(
                f'render_mode="human" needs a display ({error}): set DISPLAY, or use render_mode="rgb_array"'
            ) from error
        self._root.title(self.title)
        self._root.resizable(False, False)
        self._root.protocol("WM_DELETE_WINDOW", self._dismiss)
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()

    @property
    def is_open(self) -> bool:
        """Whether the window is on the screen (a person may have closed it)."""
        return self._root is not None

    def show(self, picture: np.ndarray) -> None:
        """Show `picture`, uint8 [H, W, 3]; does nothing after a person has closed the window."""
        if self._dismissed:
            return
        if self._root is None:
            self._open()
        import tkinter

        height, width, _ = picture.shape
        header = f"P6 {width} {height} 255\n".encode("ascii")
        # Tk reads PPM by itself, so no bridge library is needed. The reference keeps the image alive.
        self._picture = tkinter.PhotoImage(master=self._root, data=header + picture.tobytes(), format="PPM")
        self._label.configure(image=self._picture)
        self._label.update()  # Handles a click on the close button, after which the window is gone.

    def _dismiss(self) -> None:
        """A person's click on the close button."""
        self._dismissed = True
        self.close()

    def close(self) -> None:
        """Close the window; closing twice is fine."""
        if self._root is not None:
            self._root.destroy()
        self._root = self._label = self._picture = None


class HumanView:
    """What `render_mode="human"` shows, in a window that opens with the first picture.

    A machine without a screen runs the episode all the same, and says once why nothing is seen.

    Args:
        title: of the window.

    Attributes:
        headless: there is no screen, so nothing need be drawn.
    """

    def __init__(self, title: str = "AuralNav") -> None:
        self.headless = False
        self._title = title
        self._window: Window | None = None

    def show(self, picture: np.ndarray) -> None:
        """Show a picture, uint8 [H, W, 3]."""
        if self._window is None:
            self._window = Window(self._title)
        try:
            self._window.show(picture)
        except MissingDependencyError as problem:
            self.headless = True
            _log.warning("%s", problem)

    def close(self) -> None:
        """Close the window, if one is open."""
        if self._window is not None:
            self._window.close()
            self._window = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_window": None}
