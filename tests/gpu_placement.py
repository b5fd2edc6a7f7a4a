"""What a GPU would have to fetch from the host, or wait for: read off a graph without a GPU.

The installed TensorFlow registers its kernels for GPUs on machines without one too. Each kernel
says which of its inputs and outputs are in the host's memory. A tensor that one kernel writes into
the GPU's memory and another reads from the host's is copied, and the host waits for it.
"""

import functools

import tensorflow as tf
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.framework import kernels, op_def_registry
from tensorflow.python.grappler import tf_optimizer
from tensorflow.python.training.saver import export_meta_graph

# What TensorFlow does to every graph before it runs it, as far as it moves no operation.
_REWRITES = ["function", "constfold", "dependency"]
_NO_DATA = ("Placeholder", "PlaceholderWithDefault", "NoOp")
# Handles, whose data may lie anywhere.
_HANDLES = {dtype.as_datatype_enum for dtype in (tf.resource, tf.variant, tf.string)}
# Arguments of functions in int32 stay on the host.
_HOST_ARGUMENTS = _HANDLES | {tf.int32.as_datatype_enum}


def stops(function) -> set[str]:
    """Returns the operations at which a GPU would stop, empty if there is none.

    Args:
        function: A concrete function; its arguments are on the GPU, but for those in int32.

    Returns:
        "OPERATION(DTYPES): no kernel", or "PRODUCER -> OPERATION (DTYPE)" for a copy to the host.
    """
    nodes = {node.name: node for node in _rewritten(function).node}
    found = set()
    for node in nodes.values():
        if node.op in _NO_DATA or _is_on_host(node):
            continue
        kernel = _kernel_of(node)
        inputs = _arguments(node, "input_arg")
        if kernel is None:
            dtypes = ", ".join(tf.dtypes.as_dtype(dtype).name for _, dtype in inputs)
            found.add(f"{node.op}({dtypes}): no kernel")
    for node in nodes.values():
        for name, dtype, source, index in _inputs(node):
            if _reads_on_host(node, name, dtype) and not _writes_on_host(nodes[source], index):
                dtype = tf.dtypes.as_dtype(dtype).name
                found.add(f"{nodes[source].op} -> {node.op} ({dtype})")
    return found


def _rewritten(function):
    """Returns the graph with all functions and loops inlined."""
    graph = function.graph
    described = export_meta_graph(graph_def=graph.as_graph_def(), graph=graph)
    described.collection_def.clear()
    kept = described.collection_def["train_op"].node_list.value
    kept.extend(tensor.name for tensor in function.inputs + function.outputs)
    kept.extend(operation.name for operation in graph.control_outputs)
    config = config_pb2.ConfigProto()
    rewriter = config.graph_options.rewrite_options
    rewriter.min_graph_nodes = -1
    rewriter.optimizers.extend(_REWRITES)
    rewriter.function_optimization = rewriter.AGGRESSIVE
    return tf_optimizer.OptimizeGraph(config, described)


def _is_on_host(node) -> bool:
    return "CPU" in node.device


@functools.cache
def _kernels(op: str):
    listed = kernels.get_registered_kernels_for_op(op).kernel
    usable = [k for k in listed if k.device_type in ("GPU", "DEFAULT") and not k.label]
    return sorted(usable, key=lambda k: (k.device_type != "GPU", -k.priority))


@functools.cache
def _definition(op: str):
    return op_def_registry.get(op)


def _kernel_of(node):
    """Returns the kernel for a GPU that takes the node's dtypes, or None."""
    for kernel in _kernels(node.op):
        allowed = {c.name: set(c.allowed_values.list.type) for c in kernel.constraint}
        if all(not a or a.issuperset(_types(node, name)) for name, a in allowed.items()):
            return kernel
    return None


def _types(node, attribute: str) -> list[int]:
    value = node.attr[attribute]
    return list(value.list.type) if value.WhichOneof("value") == "list" else [value.type]


def _arguments(node, which: str) -> list[tuple[str, int]]:
    """Returns name and dtype of each input or output; lists repeat their name."""
    found = []
    for argument in getattr(_definition(node.op), which):
        if argument.type_list_attr:
            dtypes = _types(node, argument.type_list_attr)
        else:
            dtype = argument.type or node.attr[argument.type_attr].type
            count = node.attr[argument.number_attr].i if argument.number_attr else 1
            dtypes = [dtype] * count
        found += [(argument.name, dtype) for dtype in dtypes]
    return found


def _inputs(node):
    if node.op in _NO_DATA:
        return
    data = [name for name in node.input if not name.startswith("^")]
    for (name, dtype), source in zip(_arguments(node, "input_arg"), data, strict=True):
        producer, _, index = source.partition(":")
        yield name, dtype, producer, int(index or 0)


def _reads_on_host(node, name: str, dtype: int) -> bool:
    if dtype in _HANDLES:
        return False
    kernel = _kernel_of(node)
    return _is_on_host(node) or kernel is None or name in kernel.host_memory_arg


def _writes_on_host(node, index: int) -> bool:
    if node.op in _NO_DATA:
        return node.attr["dtype"].type in _HOST_ARGUMENTS
    kernel = _kernel_of(node)
    if _is_on_host(node) or kernel is None:
        return True
    name, dtype = _arguments(node, "output_arg")[index]
    return dtype in _HANDLES or name in kernel.host_memory_arg
