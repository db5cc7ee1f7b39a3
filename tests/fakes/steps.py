# SPDX-License-Identifier: Apache-2.0
"""The power cut: the agent's process ends between two steps."""

from collections.abc import Callable


class PowerCut(BaseException):
    """No ``except Exception`` sees it, as none sees the end of a process."""


class Steps:
    """Counts every change that is made, and cuts the power before number ``last``."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.last: int | None = None

    def step(self, name: str) -> None:
        if len(self.made) == self.last:
            raise PowerCut
        self.made.append(name)


class Stepped:
    """``target``, with each of the methods ``changing`` as one step."""

    def __init__(self, target: object, steps: Steps, *changing: str) -> None:
        self._target = target
        self._steps = steps
        self._changing = changing

    def __getattr__(self, name: str) -> object:
        found = getattr(self._target, name)
        return self._step(name, found) if name in self._changing else found

    def _step(self, name: str, method: Callable[..., object]) -> Callable[..., object]:
        def stepped(*arguments: object) -> object:
            self._steps.step(name)
            return method(*arguments)

        return stepped
