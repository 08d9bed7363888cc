"""An order of the proxy to train a model again."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

from crossfade_backends.registry import NAME

ORDERS = ".orders"  # the folder in the registry for what is known of orders


class Champion(BaseModel):
    model_config = ConfigDict(frozen=True)

    backend: str | None = None
    version: str | None = None


class Order(BaseModel):
    """As the proxy sends it. `predictions`: the URL of the labelled rows."""

    model_config = ConfigDict(frozen=True)

    id: str
    predictions: str
    route: str = ""
    reason: str = ""
    at: float | None = None
    champion: Champion = Champion()

    @property
    def version(self) -> str:
        """Raises ValueError for an id that cannot be a part of a file name."""
        made = f"r{self.id}"
        if not NAME.fullmatch(made):
            raise ValueError(f"{self.id!r} is not a valid id of an order")
        return made


def read_order(text: str | bytes) -> Order:
    """Raises ValueError."""
    try:
        order = Order.model_validate_json(text)
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"no order: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    _ = order.version
    return order
