"""The only file that touches NumPyro internals; guarded by tests/test_numpyro_contract.py."""

from numpyro.primitives import _PYRO_STACK, apply_stack


def has_handlers() -> bool:
    """Whether any NumPyro effect handler is active."""
    return bool(_PYRO_STACK)


def send_message(message: dict) -> dict:
    """Pass `message` through the stack of active handlers; return it with its value set."""
    return apply_stack(message)
