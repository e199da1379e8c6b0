"""Is it safe to let Python evaluate a model's answer? Only literals, and plain formulas with small powers."""

import ast
import re

_MAX_CHARACTERS = 1_000  # of a formula
_MAX_POWER = 100  # also as the product of nested powers: 9**9**9 would fill the memory
_FUNCTION = re.compile(r"exp|log|ln|sqrt|Abs|a?(?:sin|cos|tan)h?|sec|csc|cot")
_NAME = re.compile(r"[A-Za-z]|pi")


def is_plain_literal(text: str) -> bool:
    """A list, number or string; a single word; or what is not Python at all, which cannot be evaluated either."""
    try:
        node = ast.parse(text, mode="eval").body
        if not isinstance(node, ast.Name):
            ast.literal_eval(node)
    except SyntaxError:
        return True
    except (ValueError, TypeError, RecursionError, MemoryError):
        return False
    return True


def is_plain_formula(text: str) -> bool:
    """Sums, products, quotients, small powers and the usual functions of numbers and one-letter variables."""
    if len(text) > _MAX_CHARACTERS:
        return False
    try:
        return _is_plain(ast.parse(text, mode="eval").body, _MAX_POWER)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _is_plain(node: ast.expr, max_power: int) -> bool:
    match node:
        case ast.Constant(value=int() | float()):
            return not isinstance(node.value, bool)
        case ast.Name(id=name):
            return _NAME.fullmatch(name) is not None
        case ast.UnaryOp(op=ast.UAdd() | ast.USub(), operand=operand):
            return _is_plain(operand, max_power)
        case ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div(), left=left, right=right):
            return _is_plain(left, max_power) and _is_plain(right, max_power)
        case ast.BinOp(op=ast.Pow(), left=base, right=exponent):
            power = _power(exponent)
            return 0 < power <= max_power and _is_plain(base, max_power // power)
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]):
            return _FUNCTION.fullmatch(name) is not None and _is_plain(argument, max_power)
    return False


def _power(node: ast.expr) -> int:
    """The size of an exponent: a whole number, a simple fraction, or a variable (1); 0 for anything else."""
    match node:
        case ast.Constant(value=int(value)):
            return max(value, 1)
        case ast.Name(id=name) if _NAME.fullmatch(name):
            return 1
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _power(operand)
        case ast.BinOp(op=ast.Div(), left=ast.Constant(value=int(value)), right=ast.Constant(value=int())):
            return max(value, 1)
    return 0
