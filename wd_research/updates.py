"""One step of any optax optimizer, whatever it asks for."""

from typing import Any

import optax

from wd_research.flags import UserError
from wd_research.types import Number, Params


def update(
    optimizer: optax.GradientTransformation, gradients: Params, state: Any, params: Params, value: Number
) -> tuple[Params, Any]:
    """The updates and the new state; an optimizer that asks for the value of the loss gets it, f32[].

    Raises UserError where it asks for more, such as the loss as a function (L-BFGS, Sophia).
    """
    whole = optax.with_extra_args_support(optimizer)
    try:
        try:
            return whole.update(gradients, state, params, value=value)
        except TypeError as error:
            if "unexpected keyword argument 'value'" not in str(error):
                raise
            return whole.update(gradients, state, params)
    except (TypeError, ValueError) as error:
        if "required keyword-only argument" not in str(error) and "must be provided" not in str(error):
            raise
        raise UserError(
            f"the optimizer asks for more than gradients, weights and the value of the loss ({error}): take one that "
            "does not"
        ) from error
