"""Which operators can ONNX Runtime's CPU provider not run, and on which types?

    python scripts/operators.py             prints what the CPU lacks, and what it has of the newest operators
    python scripts/operators.py --check     also compares with the table in engine/src/runtime/placement.rs

Every operator that the library knows by its schema becomes a model of one node, and the model is loaded: an operator
without a kernel and without a definition by others is refused by ONNX Runtime with NOT_IMPLEMENTED. Its inputs are of
any shape, and of the first type that a kernel says it takes. Types are tried on the operators that do the arithmetic
of diffusion models. What other providers have cannot be asked without their devices: see placement.rs for its sources.
"""

import argparse
import os
import re
from pathlib import Path

import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnxruntime.capi import _pybind_state

TABLE = Path(__file__).resolve().parent.parent / "engine" / "src" / "runtime" / "placement.rs"
DOMAINS = ("", "com.microsoft")
NEWEST_OPSET = 26  # operators of newer versions are in the library, but refused
ORDER = ["tensor(float)", "tensor(float16)", "tensor(int64)", "tensor(int32)", "tensor(int8)", "tensor(uint8)"]
ELEMENTS = {  # the names of types in schemas that are not those of onnx.TensorProto
    "float": "FLOAT",
    "double": "DOUBLE",
}
TRIED = ["bfloat16", "float8e4m3fn", "float8e5m2", "float4e2m1", "float8e8m0"]
ARITHMETIC = [  # what exporters write between weights
    "Add", "Attention", "Cast", "Concat", "Conv", "ConvTranspose", "DequantizeLinear", "Div", "Erf", "Gather", "Gelu",
    "Gemm", "GroupNormalization", "InstanceNormalization", "LayerNormalization", "MatMul", "Mul", "Pow", "QuantizeLinear",
    "RMSNormalization", "Resize", "RotaryEmbedding", "Sigmoid", "Softmax", "Sub", "Tanh", "Transpose", "Where",
]  # fmt: skip
NEWEST = [
    ("GroupNormalization", 21), ("Attention", 23), ("Attention", 24), ("RMSNormalization", 23), ("RotaryEmbedding", 23),
    ("Swish", 24), ("TensorScatter", 24), ("Gelu", 20), ("Mish", 18), ("LayerNormalization", 17), ("Cast", 25),
    ("DequantizeLinear", 25), ("QuantizeLinear", 25),
]  # fmt: skip


def schemas():
    """The versions of every operator, newest last, by domain and name; none that ONNX Runtime calls unreleased."""
    versions = {}
    for schema in _pybind_state.get_all_operator_schema():
        if schema.domain in DOMAINS and schema.since_version <= (NEWEST_OPSET if schema.domain == "" else 1):
            versions.setdefault((schema.domain, schema.name), []).append(schema)
    return {key: sorted(each, key=lambda schema: schema.since_version) for key, each in sorted(versions.items())}


def kernels():
    """The types that the CPU's kernels take, by domain, operator and type parameter."""
    types = {}
    for kernel in _pybind_state.get_all_opkernel_def():
        for parameter, names in kernel.type_constraints.items():
            types.setdefault((kernel.domain, kernel.op_name, parameter), set()).update(names)
    return types


def element(name):
    """`tensor(float16)` as a number of onnx.TensorProto; None for what is no tensor."""
    match = re.fullmatch(r"tensor\((\w+)\)", name)
    return match and TensorProto.DataType.Value(ELEMENTS.get(match[1], match[1].upper()))


def attribute(schema, name):
    """Something for an attribute that must be there."""
    kind = schema.attributes[name].type
    values = {"INT": 1, "FLOAT": 1.0, "STRING": "x", "INTS": [1], "FLOATS": [1.0], "STRINGS": ["x"]}
    tensor = helper.make_tensor("t", TensorProto.FLOAT, [1], [1.0])
    return values.get(kind.name, tensor if kind.name == "TENSOR" else None)


def model(op, domain, version, types, attributes, outputs=1):
    """A model of one node, whose inputs are of these types."""
    inputs = [helper.make_value_info(f"x{i}", helper.make_tensor_type_proto(t, None)) for i, t in enumerate(types)]
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, [value.name for value in inputs], results, domain=domain, **attributes)
    # an output without a type is given one by ONNX Runtime
    graph = helper.make_graph([node], "one", inputs, [onnx.ValueInfoProto(name=name) for name in results])
    opsets = [helper.make_opsetid("", version if domain == "" else 21)]
    opsets += [helper.make_opsetid(domain, version)] if domain else []
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def refusal(model):
    """What ONNX Runtime says against a model; empty when it loads. In a process of its own: odd nodes end it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os.write(writer, load(model.SerializeToString()).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8", errors="replace") as pipe:
        said = pipe.read()
    ended = os.waitpid(child, 0)[1]
    return f"ends the process with {ended}" if ended else said


def load(serialized):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        onnxruntime.InferenceSession(serialized, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes are many
        return str(error)
    return ""


def one_node(schema, known, kind=None):
    """A model of the operator alone, whose inputs are of this kind where they may; None where inputs are no tensors."""
    types, chosen = [], {}
    for port in schema.inputs[: max(schema.min_input, 1) if schema.inputs else 0]:
        constraint = next((c for c in schema.type_constraints if c.type_param_str == port.typeStr), None)
        allowed = constraint.allowed_type_strs if constraint else [port.typeStr]
        taken = known.get((schema.domain, schema.name, port.typeStr), set()).intersection(allowed) or allowed
        best = min(taken, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
        if f"tensor({kind})" in allowed:
            best = f"tensor({kind})"
        chosen.setdefault(port.typeStr, best)
        types.append(element(chosen[port.typeStr]))
    if None in types or (kind and TensorProto.DataType.Value(kind.upper()) not in types):
        return None
    attributes = {name: attribute(schema, name) for name, about in schema.attributes.items() if about.required}
    if None in attributes.values():
        return None
    outputs = max(schema.min_output, 1)
    return model(schema.name, schema.domain, schema.since_version, types, attributes, outputs)


def verdict(schema, known, kind=None):
    """`has`, `lacks`, or why it could not be tried."""
    tried = one_node(schema, known, kind)
    if tried is None:
        return "takes or needs what is no tensor"
    said = refusal(tried)
    cast_in_vain = "InsertedPrecisionFreeCast" in said  # to float32, for want of a kernel, which the schema forbids
    if "Could not find an implementation" in said or (cast_in_vain and not has_kernel(schema, known)):
        return "lacks"
    return said or "has"


def has_kernel(schema, known):
    return any((domain, op) == (schema.domain, schema.name) for domain, op, _ in known)


def survey():
    """The verdict on the newest version of every operator; for ONNX's own also the first version that is lacking."""
    known, found, since = kernels(), {}, {}
    for key, versions in schemas().items():
        found[key] = verdict(versions[-1], known)
        if found[key] == "lacks" and key[0] == "":
            lacking = [schema.since_version for schema in versions if verdict(schema, known) == "lacks"]
            since[key[1]] = min(lacking)
    return found, since


def types_refused():
    """The types of which the CPU has no kernel, by operator. Those that go to another type by a Cast load."""
    known, newest = kernels(), {name: versions[-1] for (domain, name), versions in schemas().items() if domain == ""}
    refused = {op: [kind for kind in TRIED if verdict(newest[op], known, kind) == "lacks"] for op in ARITHMETIC}
    return {op: kinds for op, kinds in refused.items() if kinds}


def newest_opset():
    """The newest version of ONNX's operators, and of the format, that load."""
    relu = lambda version: model("Relu", "", version, [TensorProto.FLOAT], {})
    opset = max(version for version in range(18, 40) if not refusal(relu(version)))
    assert opset == NEWEST_OPSET, opset

    def with_format(version):
        made = relu(18)
        made.ir_version = version
        return made

    return opset, max(version for version in range(8, 30) if not refusal(with_format(version)))


def rows(text, table):
    """The rows of a table in placement.rs: a name and the rest of the tuple."""
    body = re.search(rf"const {table}: .*?= &\[\n(.*?)^\];", text, re.DOTALL | re.MULTILINE)[1]
    return dict(re.findall(r'\("(\w+)", (.*?)\),?$', body, re.MULTILINE))


def check(found, since, refused, newest):
    """Compares with the tables of the engine; whether they agree."""
    text = TABLE.read_text(encoding="utf-8")
    microsoft = {name for (domain, name), what in found.items() if domain and what == "lacks"}
    ours = {name: re.findall(r"\w+", kinds) for name, kinds in rows(text, "NOT_OF_TYPE").items()}
    limits = tuple(int(re.search(rf"{name}: i64 = (\d+)", text)[1]) for name in ("NEWEST_OPSET", "NEWEST_FORMAT"))
    pairs = [
        # what no exporter of networks that draw writes may be missing
        ("operators of com.microsoft", set(rows(text, "MICROSOFT")), microsoft & set(rows(text, "MICROSOFT"))),
        ("operators of ONNX", {name: int(row) for name, row in rows(text, "ONNX").items()}, since),
        ("types", ours, {name: [kind.upper() for kind in kinds] for name, kinds in refused.items()}),
        ("limits", limits, newest),
    ]
    for what, ours, tried in pairs:
        print(f"{what}: " + ("as in placement.rs" if ours == tried else f"placement.rs has {ours}, tried: {tried}"))
    return all(ours == tried for _, ours, tried in pairs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with engine/src/runtime/placement.rs")
    arguments = parser.parse_args()
    (found, since), refused, newest = survey(), types_refused(), newest_opset()
    lacks = [key for key, what in found.items() if what == "lacks"]
    print(f"onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}")
    print(f"\nnewest opset {newest[0]}, newest format (IR) {newest[1]}")
    print(f"\nlacks ({len(lacks)} of {len(found)}):")
    for domain, name in lacks:
        print(f"  {domain or 'ai.onnx'}.{name}" + (f" from opset {since[name]} on" if domain == "" else ""))
    print("\nlacks for a type:")
    for op, kinds in refused.items():
        print(f"  {op} of {', '.join(kinds)}")
    print("\nnewer operators:")
    for op, version in NEWEST:
        schema = next(schema for schema in schemas()["", op] if schema.since_version == version)
        print(f"  {op}-{version}: {verdict(schema, kernels())}")
    print("\nnot tried:")
    for (domain, name), what in found.items():
        if what not in ("has", "lacks"):
            print(f"  {domain or 'ai.onnx'}.{name}: {what.splitlines()[0][:160]}")
    if arguments.check and not check(found, since, refused, newest):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
