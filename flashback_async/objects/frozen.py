"""Frozen values, made in a third of the time: every answer is one."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def maker(frozen: type[T]) -> Callable[..., T]:
    """What makes instances of a frozen dataclass with slots, of all its attributes in their order.

    The class itself sets each attribute through `object.__setattr__`, most of what an instance costs.
    A twin that is not frozen has the same slots, and becomes an instance of the class once they are filled.
    `__post_init__` is not called: values are taken as they are.
    """
    names = [(field.name, object) for field in dataclasses.fields(frozen)]  # type: ignore[arg-type]  # mypy has no name for dataclasses
    twin = dataclasses.make_dataclass(f"_{frozen.__name__}", names, slots=True)

    def make(*values: object) -> T:
        made = twin(*values)
        made.__class__ = frozen
        return made  # type: ignore[no-any-return]  # by now

    return make
