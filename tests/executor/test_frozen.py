"""Values that are made on a shorter way are the values of their class."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from datetime import UTC, datetime

import pytest

from flashback_async.models import ObjectInfo, StoredObject
from flashback_async.objects.frozen import maker

INFO = ObjectInfo(
    "bucket", "key", 3, '"e"', datetime(2026, 1, 2, tzinfo=UTC), "text/plain", {"a": "b"}, "v", "COLD"
)


@pytest.mark.parametrize("value", [INFO, StoredObject(b"abc", INFO, "a", 2)], ids=["info", "object"])
def test_a_value_is_what_its_class_makes(value):
    """Equal, shown, copied, pickled and as unchangeable as one that the class made itself."""
    names = [field.name for field in dataclasses.fields(value)]

    made = maker(type(value))(*[getattr(value, name) for name in names])

    assert type(made) is type(value)
    assert made == value
    assert repr(made) == repr(value)
    assert copy.deepcopy(made) == pickle.loads(pickle.dumps(made)) == dataclasses.replace(made) == value
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, names[0], "other")
    with pytest.raises((AttributeError, TypeError)):
        made.other = 1


def test_a_value_has_all_its_attributes():
    """One that is forgotten, or too many, is an error and not a value without it."""
    for values in [("bucket", "key", 3), (1,) * 14]:
        with pytest.raises(TypeError):
            maker(ObjectInfo)(*values)
