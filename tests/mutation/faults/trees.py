"""Deliberate faults in how classes are told apart."""

from .fault import Fault

TREE = "tests/core/test_tree.py::test_"

FAULTS: list[Fault] = [
    Fault(
        "classes-of-the-library-are-compared-by-their-fields",
        "core/_tree",
        "jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, build, flatten)",
        "jax.tree_util.register_dataclass(cls, nodes, static)",
        (TREE + "classes_of_the_library_are_never_confused",),
    ),
    Fault(
        "guests-are-not-told-apart",
        "core/_tree",
        "classes_of_users(inside) if guests else ()",
        "()",
        (TREE + "users_classes_are_told_apart_inside_the_librarys",),
    ),
    Fault(
        "a-learners-guests-are-not-told-apart",
        "core/learner",
        "class Learner(PyTree, guests=True):",
        "class Learner(PyTree):",
        (TREE + "users_classes_are_told_apart_inside_the_librarys",),
    ),
    Fault(
        "arguments-are-not-told-apart",
        "core/_tree",
        "return program(classes_of_users((args, kwargs)), *args, **kwargs)",
        "return program((), *args, **kwargs)",
        (TREE + "users_classes_are_told_apart_where_they_are_arguments",),
    ),
    Fault(
        "a-rule-is-judged-by-its-kind-of-tree",
        "core/_rule_checks",
        "function.eval_shape(classes_of_users(rule), rule, *shapes)",
        "function.eval_shape((), rule, *shapes)",
        (TREE + "a_rule_is_judged_by_itself_whatever_was_judged_before",),
    ),
]
