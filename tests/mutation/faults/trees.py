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
        "_guests_of(node, inside) if guests else ()",
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
        "self._program(classes_of_users((args, kwargs)), *args, **kwargs))",
        "self._program((), *args, **kwargs))",
        (TREE + "users_classes_are_told_apart_where_they_are_arguments",),
    ),
    Fault(
        "a-rule-is-judged-by-its-kind-of-tree",
        "core/_rule_checks",
        "function.eval_shape(rule, *shapes)",
        "function._program.eval_shape((), rule, *shapes)",
        (TREE + "a_rule_is_judged_by_itself_whatever_was_judged_before",),
    ),
    Fault(
        "memories-are-not-told-apart",
        "imitator/kernels",
        "@jit\ndef take_row",
        "@jax.jit\ndef take_row",
        (TREE + "users_memories_are_told_apart_in_what_the_shells_compile",),
    ),
    Fault(
        "only-dataclasses-are-told-apart",
        "core/_tree",
        "return issubclass(kind, PyTree) or kind in",
        "return not dataclasses.is_dataclass(kind) or issubclass(kind, PyTree) or kind in",
        (TREE + "classes_that_are_no_dataclasses_are_told_apart_too",),
    ),
    Fault(
        "guests-are-looked-for-at-every-flattening",
        "core/_tree",
        "        object.__setattr__(node, _FOUND, found)\n    return found",
        "    return found",
        (TREE + "guests_are_looked_for_once_in_every_node",),
    ),
    Fault(
        "resuming-may-leave-out-what-python-said",
        "imitator/_resume",
        'if directory.settings.keep == "digests":',
        "if directory.settings is None:",
        ("tests/imitator/test_digests.py::test_no_way_to_go_on_leaves_out_what_they_said",),
    ),
]
